//! JSON → tree: what a request brings is read by the same types as the file. No environment variables are put in: a
//! request must not be able to ask for their values.

use serde_json::Value as Json;

use super::scalar::Variables;
use super::{Node, Origin, Scalar, Value};
use crate::config::problem::Place;

/// A tree, and the paths of its values: the line of a place is the number of its path, from 1.
pub(in crate::config) fn from_json(json: &Json) -> (Node, Vec<String>) {
    let mut paths = Vec::new();
    let root = node(json, String::new(), &mut paths);
    (root, paths)
}

fn node(json: &Json, path: String, paths: &mut Vec<String>) -> Node {
    paths.push(path.clone());
    let place = Place { line: u32::try_from(paths.len()).unwrap_or(u32::MAX), col: 1 };
    let value = match json {
        Json::Null => scalar(String::new(), false),
        Json::Bool(value) => scalar(value.to_string(), false),
        Json::Number(number) => scalar(number.to_string(), false),
        Json::String(text) => scalar(text.clone(), true),
        Json::Array(items) => {
            let items = items.iter().enumerate();
            Value::List(items.map(|(i, item)| node(item, format!("{path}[{i}]"), paths)).collect())
        }
        Json::Object(members) => {
            let dot = if path.is_empty() { "" } else { "." };
            let entry = |(key, value): (&String, &Json)| {
                let value = node(value, format!("{path}{dot}{key}"), paths);
                (at(value.place, scalar(key.clone(), true)), value)
            };
            Value::Map(members.iter().map(entry).collect())
        }
    };
    at(place, value)
}

fn scalar(text: String, quoted: bool) -> Value {
    Value::Scalar(Scalar { text, quoted, variables: Variables::None })
}

fn at(place: Place, value: Value) -> Node {
    Node { place, span: 0..0, origin: Origin::Written, value }
}
