//! Somebody is asked over HTTP: 200 is well; 202 means that he is at it, and is asked again or calls back; anything else
//! is not well. Who cannot be reached has said nothing.

use std::time::Duration;

use http::header::{LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{Failed, Finding, Subject, line};
use crate::control::command::Validated;
use crate::control::outgoing::{Answered, Ask, Client};

/// From one question to the next, where he does not say when.
const AGAIN: Duration = Duration::from_secs(5);

/// How long he may have himself waited for before he is asked again.
const SOONEST: Duration = Duration::from_millis(100);
const LATEST: Duration = Duration::from_secs(60);

/// A look at how far he is may take so long; the first question may take all the time that there is.
const LOOK: Duration = Duration::from_secs(30);

/// Asks until he says how it went.
pub(super) async fn ask(client: &Client, url: &str, subject: &Subject, within: Duration) -> Result<Finding, Failed> {
    let first = || Ask { timeout: within, ..question(url, subject) };
    let mut answer = client.ask(first()).await.map_err(|trouble| Failed::Again(trouble.to_string()))?;
    let mut place = None;
    loop {
        if answer.status != StatusCode::ACCEPTED {
            return Ok(found(&answer));
        }
        place = whereabouts(&answer.headers, url).or(place);
        sleep(pause(&answer.headers)).await;
        let next = match &place {
            Some(place) => Ask { timeout: LOOK.min(within), ..Ask::new(Method::GET, place) },
            None => first(),
        };
        match client.ask(next).await {
            Ok(next) => answer = next,
            // He is at it, and may well call back.
            Err(trouble) => {
                tracing::warn!(rollout = %subject.rollout, %trouble, "whoever validates does not answer now");
            }
        }
    }
}

fn question(url: &str, subject: &Subject) -> Ask {
    let mut ask = Ask::post(url, &body(subject));
    for (name, number) in [("x-pointsman-delivery", subject.job), ("x-pointsman-attempt", subject.attempt.into())] {
        ask.headers.insert(HeaderName::from_static(name), HeaderValue::from(number));
    }
    ask
}

fn body(subject: &Subject) -> Value {
    json!({
        "rollout": subject.rollout.to_string(),
        "service": subject.service(),
        "services": subject.services,
        "candidate": subject.candidate,
        "baseline": subject.baseline,
        "validation_url": subject.through,
        "callback": subject.callback,
        "job": subject.job,
        "attempt": subject.attempt,
    })
}

fn found(answer: &Answered) -> Finding {
    let said = line(&String::from_utf8_lossy(&answer.body));
    let (status, colon) = (answer.status, if said.is_empty() { "" } else { ": " });
    if status.is_success() {
        return Finding { found: Validated::Passed, why: said };
    }
    let redirect = if status.is_redirection() { " (redirects are not followed)" } else { "" };
    Finding { found: Validated::Failed, why: format!("status {}{redirect}{colon}{said}", status.as_u16()) }
}

/// Where he says how far he is: a URL, or a path beside `url`.
fn whereabouts(headers: &HeaderMap, url: &str) -> Option<String> {
    let text = headers.get(LOCATION)?.to_str().ok()?;
    if text.starts_with("http://") || text.starts_with("https://") {
        return Some(text.to_owned());
    }
    let base: Uri = url.parse().ok()?;
    text.starts_with('/').then(|| {
        format!("{}://{}{text}", base.scheme_str().unwrap_or("http"), base.authority().map_or("", |a| a.as_str()))
    })
}

fn pause(headers: &HeaderMap) -> Duration {
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse::<f64>().ok());
    let asked = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    asked.unwrap_or(AGAIN).clamp(SOONEST, LATEST)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::tests::subject;
    use super::*;

    #[test]
    fn the_question_says_what_is_to_be_tested_and_where_to_call_back() {
        let ask = question("http://127.0.0.1:9100/smoke", &subject());
        let body: Value = serde_json::from_slice(ask.body.as_ref().unwrap()).unwrap();
        let expected = json!({ "rollout": "r3", "service": "shop", "services": ["shop", "api"], "candidate": "green",
            "baseline": "blue", "validation_url": "http://127.0.0.1:8090",
            "callback": "http://127.0.0.1:7070/api/v1/rollouts/r3/validation", "job": 17, "attempt": 2 });
        assert_eq!(body, expected);
        assert_eq!((&ask.method, &ask.headers["x-pointsman-delivery"]), (&Method::POST, &HeaderValue::from(17)));
    }

    #[test]
    fn only_success_is_well_and_what_was_said_is_kept() {
        let found = |status: u16, body: &'static str| {
            let status = StatusCode::from_u16(status).unwrap();
            found(&Answered { status, headers: HeaderMap::new(), body: Bytes::from_static(body.as_bytes()) })
        };
        assert_eq!(
            found(200, "12 checks\nall fine"),
            Finding { found: Validated::Passed, why: "12 checks / all fine".into() }
        );
        for (status, body, why) in [
            (500, "boom", "status 500: boom"),
            (404, "", "status 404"),
            (302, "", "status 302 (redirects are not followed)"),
        ] {
            assert_eq!(found(status, body), Finding { found: Validated::Failed, why: why.to_owned() });
        }
    }

    #[test]
    fn who_is_at_it_says_where_and_when_to_look_again() {
        let headers =
            |name: HeaderName, value: &'static str| HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
        let place = |value| whereabouts(&headers(LOCATION, value), "http://ci:x@127.0.0.1:9100/smoke");
        assert_eq!(place("/runs/7"), Some("http://ci:x@127.0.0.1:9100/runs/7".to_owned()));
        assert_eq!(place("https://ci.test/7"), Some("https://ci.test/7".to_owned()));
        assert_eq!((place("runs/7"), whereabouts(&HeaderMap::new(), "http://a/")), (None, None));
        let pause = |value| pause(&headers(RETRY_AFTER, value));
        assert_eq!(pause("2"), Duration::from_secs(2));
        assert_eq!((pause("0"), pause("86400"), pause("soon"), pause("-1")), (SOONEST, LATEST, AGAIN, AGAIN));
    }
}
