//! What the details of an event come to in a line, for people.

use serde_json::Value;

/// Details that repeat what the line or a receipt says already.
const LEFT_OUT: [&str; 5] = ["before", "after", "stable", "version", "asked"];

/// The details in a line: `blue 100 → green 100, reason: …`.
#[must_use]
pub fn summary(detail: &Value) -> String {
    let Some(object) = detail.as_object() else { return String::new() };
    let turn = match (object.get("before"), object.get("after")) {
        (Some(before), Some(after)) => Some(format!("{} → {}", short(before), short(after))),
        _ => None,
    };
    let others = object.iter().filter(|(key, value)| !LEFT_OUT.contains(&key.as_str()) && !is_nothing(value));
    let others = others.map(|(key, value)| format!("{key}: {}", short(value)));
    turn.into_iter().chain(others).collect::<Vec<_>>().join(", ")
}

/// In one line, without control characters.
#[must_use]
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        // Tables, like what each guard has said, are for reports.
        Value::Array(items) => items.iter().all(Value::is_object),
        Value::Object(object) => object.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A value without brackets and quotes; groups without a share are left out.
fn short(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(short).collect::<Vec<_>>().join("; "),
        Value::Object(object) => {
            let some = object.iter().filter(|(_, value)| value.as_f64() != Some(0.0));
            some.map(|(key, value)| format!("{key} {}", short(value))).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_summary_says_what_moved_and_all_that_is_there() {
        let moved = json!({ "version": 3, "before": { "blue": 100, "green": 0 }, "after": { "blue": 75, "green": 25 },
            "reason": "later", "errors": [], "x": null, "figures": [{ "guard": "error_rate" }], "together": ["shop", "api"], "n": 2 });
        assert_eq!(summary(&moved), "blue 100 → blue 75, green 25, reason: later, together: shop; api, n: 2");
        assert_eq!((summary(&json!({})), summary(&json!("x"))), (String::new(), String::new()));
        assert_eq!(plain("a\r\nb\u{1b}[2J"), "a  b [2J");
    }
}
