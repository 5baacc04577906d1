//! What an answer must be, and how to say that it is not.

use http::header::LOCATION;
use serde_json::Value;

use super::exchange::{Answer, MOST, Wanted};
use crate::config::spec::Expect;

/// Bytes of a body that are shown.
const SHOWN: usize = 160;

/// How much of the body decides, for an answer with this status.
pub(in crate::control) fn wanted(expect: &Expect, status: u16) -> Wanted {
    match (status_fits(expect, status), expect.json.is_empty() && expect.body_contains.is_none()) {
        (false, _) => Wanted::Explanation,
        (true, true) => Wanted::Head,
        (true, false) => Wanted::Body,
    }
}

/// What is wrong with `answer`; none: it is as expected.
pub(in crate::control) fn problem(expect: &Expect, answer: &Answer) -> Option<String> {
    let status = answer.head.status;
    if !status_fits(expect, status.as_u16()) {
        return Some(format!("answered {status}, expected {}{}", ranges(expect), circumstances(answer)));
    }
    let what = wrong_json(expect, answer).or_else(|| missing_text(expect, answer))?;
    Some(format!("answered {status}, but {what}{}", circumstances(answer)))
}

/// What the answer has at the expected paths, as an object by path; none where its body is no JSON.
pub(in crate::control) fn found(expect: &Expect, answer: &Answer) -> Option<Value> {
    let body: Value = serde_json::from_slice(&answer.body).ok()?;
    let value = |(path, _): &(String, Value)| (path.clone(), at(&body, path).cloned().unwrap_or_default());
    Some(Value::Object(expect.json.iter().map(value).collect()))
}

fn status_fits(expect: &Expect, status: u16) -> bool {
    expect.statuses.iter().any(|(low, high)| (*low..=*high).contains(&status))
}

fn ranges(expect: &Expect) -> String {
    let range = |(low, high): &(u16, u16)| if low == high { low.to_string() } else { format!("{low}-{high}") };
    expect.statuses.iter().map(range).collect::<Vec<_>>().join(", ")
}

fn wrong_json(expect: &Expect, answer: &Answer) -> Option<String> {
    if expect.json.is_empty() {
        return None;
    }
    let body: Value = match serde_json::from_slice(&answer.body) {
        Ok(body) => body,
        Err(_) if answer.cut => return Some(format!("the body is longer than {MOST} bytes")),
        Err(e) => return Some(format!("the body is no JSON: {e}")),
    };
    expect.json.iter().find_map(|(path, expected)| match at(&body, path) {
        Some(found) if equal(found, expected) => None,
        Some(found) => Some(format!("{path} is {}, expected {expected}", shown(found.to_string().as_bytes()))),
        None => Some(format!("{path} is missing, expected {expected}")),
    })
}

fn missing_text(expect: &Expect, answer: &Answer) -> Option<String> {
    let text = expect.body_contains.as_ref().filter(|t| !t.is_empty())?;
    let found = answer.body.windows(text.len()).any(|w| w == text.as_bytes());
    (!found).then(|| format!("the body does not contain {text:?}"))
}

/// The value at a dotted path; a number is an index into a list.
fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, key| match value {
        Value::Object(members) => members.get(key),
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        _ => None,
    })
}

/// Equal as JSON; numbers by value, so that 1 is 1.0.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || x.as_f64() == y.as_f64(),
        _ => a == b,
    }
}

fn circumstances(answer: &Answer) -> String {
    let location = answer.head.headers.get(LOCATION).map(|l| format!("; Location: {}", shown(l.as_bytes())));
    let body = (!answer.body.is_empty()).then(|| format!("; the body begins: {}", shown(&answer.body)));
    location.unwrap_or_default() + &body.unwrap_or_default()
}

/// The first bytes in one line, without anything that would do harm in a terminal or a log.
pub(super) fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]);
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if bytes.len() > SHOWN { format!("{text}…") } else { text }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        let (head, ()) = http::Response::builder().status(status).body(()).unwrap().into_parts();
        Answer { head, body: body.to_owned().into(), cut: false, trailers: None }
    }

    fn expecting(json: Vec<(&str, Value)>, contains: Option<&str>) -> Expect {
        Expect {
            statuses: vec![(200, 299), (304, 304)],
            json: json.into_iter().map(|(p, v)| (p.to_owned(), v)).collect(),
            body_contains: contains.map(Into::into),
        }
    }

    #[test]
    fn a_status_outside_the_ranges_is_shown_with_location_and_the_first_bytes() {
        let plain = expecting(vec![], None);
        assert_eq!(problem(&plain, &answer(204, "")), None);
        assert_eq!(problem(&plain, &answer(304, "")), None);
        let mut moved = answer(302, "go\naway\u{1b}[31m");
        moved.head.headers.insert(LOCATION, "https://login.test/".parse().unwrap());
        assert_eq!(
            problem(&plain, &moved).unwrap(),
            "answered 302 Found, expected 200-299, 304; Location: https://login.test/; the body begins: go away [31m"
        );
        assert_eq!((wanted(&plain, 200), wanted(&plain, 500)), (Wanted::Head, Wanted::Explanation));
    }

    #[test]
    fn dotted_paths_are_followed_into_objects_and_lists() {
        let expect = expecting(vec![("checks.database", json!("healthy")), ("queue.1.depth", json!(0))], None);
        let body = |db: &str, depth: &str| {
            answer(200, &format!(r#"{{"checks":{{"database":"{db}"}},"queue":[7,{{"depth":{depth}}}]}}"#))
        };
        assert_eq!(wanted(&expect, 200), Wanted::Body);
        assert_eq!(problem(&expect, &body("healthy", "0.0")), None);
        let wrong = problem(&expect, &body("down", "0")).unwrap();
        assert!(
            wrong.starts_with(r#"answered 200 OK, but checks.database is "down", expected "healthy"; "#),
            "{wrong}"
        );
        assert!(problem(&expect, &body("healthy", "3")).unwrap().contains("queue.1.depth is 3, expected 0"));
        assert!(problem(&expect, &answer(200, "{}")).unwrap().contains("checks.database is missing"));
        assert!(problem(&expect, &answer(200, "<html>")).unwrap().contains("no JSON"));
    }

    #[test]
    fn the_body_must_contain_the_text() {
        let expect = expecting(vec![], Some("ok"));
        assert_eq!(problem(&expect, &answer(200, "all ok here")), None);
        assert!(problem(&expect, &answer(200, "o")).unwrap().contains(r#"does not contain "ok"; the body begins: o"#));
    }
}
