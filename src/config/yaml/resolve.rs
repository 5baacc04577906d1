//! What happens to a tree before it is read: environment variables, duplicate keys, merge keys.
//!
//! Variables are put into scalars of the finished tree, never into the text: whatever a variable holds, it cannot
//! change the structure. `${NAME}` must be set, `${NAME:-default}` stands in for one that is unset or empty, and
//! `$${` is a plain `${`.

use super::scalar::Variables;
use super::{Node, Scalar, Value};
use crate::config::problem::{Faults, Place};

/// Gives the value of an environment variable.
pub(in crate::config) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Puts in environment variables, reports and removes duplicate keys, and expands merge keys (`<<`).
pub(in crate::config) fn resolve(node: &mut Node, env: Env<'_>, faults: &Faults) {
    match &mut node.value {
        Value::Scalar(scalar) => fill(scalar, node.place, env, faults),
        Value::List(items) => items.iter_mut().for_each(|item| resolve(item, env, faults)),
        Value::Map(entries) => {
            for (key, value) in entries.iter_mut() {
                resolve(key, env, faults);
                resolve(value, env, faults);
            }
            refuse_duplicates(entries, faults);
            merge(entries, faults);
        }
    }
}

fn refuse_duplicates(entries: &mut Vec<(Node, Node)>, faults: &Faults) {
    let mut seen = std::collections::HashMap::new();
    entries.retain(|(key, _)| {
        let text = key.text().unwrap_or_default().to_owned();
        let Some(Place { line, .. }) = seen.get(&text).copied() else {
            seen.insert(text, key.place);
            return true;
        };
        faults.add(key.place, format!("the key `{text}` is already in line {line}; remove one of them"));
        false
    });
}

/// Expands `<<: *anchor` and `<<: [*one, *two]`: what is written wins over what is merged, earlier over later.
fn merge(entries: &mut Vec<(Node, Node)>, faults: &Faults) {
    let Some(at) = entries.iter().position(|(k, _)| is_merge(k)) else { return };
    let (key, merged) = entries.remove(at);
    let sources = match merged.value {
        Value::List(items) => items,
        _ => vec![merged],
    };
    for source in sources {
        let Value::Map(more) = source.value else {
            faults.add(key.place, format!("`<<` merges maps, not {}; name a map by its alias", source.describe()));
            continue;
        };
        let known: std::collections::HashSet<String> =
            entries.iter().filter_map(|(k, _)| k.text().map(str::to_owned)).collect();
        entries.extend(more.into_iter().filter(|(k, _)| k.text().is_some_and(|k| !known.contains(k))));
    }
}

fn is_merge(key: &Node) -> bool {
    matches!(&key.value, Value::Scalar(Scalar { text, quoted: false, .. }) if text == "<<")
}

fn fill(scalar: &mut Scalar, place: Place, env: Env<'_>, faults: &Faults) {
    if !scalar.text.contains("${") {
        return;
    }
    match filled(&scalar.text, env) {
        Ok((text, variables)) => (scalar.text, scalar.variables) = (text, variables),
        Err(message) => {
            scalar.variables = Variables::Failed;
            faults.add(place, message);
        }
    }
}

/// `text` with its variables put in, and whether there was any.
fn filled(text: &str, env: Env<'_>) -> Result<(String, Variables), String> {
    let (mut out, mut rest, mut any) = (String::new(), text, Variables::None);
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            out += &rest[..at - 1];
            out += "${";
            rest = &rest[at + 2..];
            continue;
        }
        out += &rest[..at];
        let Some((inside, after)) = rest[at + 2..].split_once('}') else {
            return Err("`${` has no end; write `${NAME}`, or `$${` for a plain `${`".to_owned());
        };
        out += &variable(inside, env)?;
        (rest, any) = (after, Variables::Filled);
    }
    Ok((out + rest, any))
}

fn variable(inside: &str, env: Env<'_>) -> Result<String, String> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !is_name {
        return Err(format!(
            "{} names no environment variable; write `${{NAME}}` or `${{NAME:-default}}`, or `$${{` for a plain `${{`",
            super::quote(&format!("${{{inside}}}"))
        ));
    }
    match (env(name), default) {
        (Some(value), Some(default)) if value.is_empty() => Ok(default.to_owned()),
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => {
            Err(format!("the environment variable {name} is not set; set it, or write `${{{name}:-default}}`"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::compose;
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "PORT" => Some("8080".to_owned()),
            "EMPTY" => Some(String::new()),
            "NASTY" => Some("x }\ny: z # ${PORT}".to_owned()),
            _ => None,
        }
    }

    fn texts(text: &str) -> (Vec<String>, String) {
        let faults = Faults::default();
        let mut root = compose(text).unwrap();
        resolve(&mut root, &env, &faults);
        let Value::Map(entries) = root.value else { panic!() };
        let texts = entries.iter().map(|(k, v)| format!("{}={}", k.text().unwrap(), v.text().unwrap_or("…"))).collect();
        (texts, faults.into_error(std::path::Path::new("f")).to_string())
    }

    #[test]
    fn variables_are_put_into_any_scalar_and_never_change_the_structure() {
        for (text, filled) in [
            ("a: 127.0.0.1:${PORT}", "a=127.0.0.1:8080"),
            ("a: { b: 1 }\nb: \"${PORT}${PORT}\"", "a=…|b=80808080"),
            ("a: '${NO:-x y}'", "a=x y"),
            ("a: '${EMPTY:-x}${EMPTY}'", "a=x"),
            ("a: '${NO:-}'", "a="),
            ("a: $${PORT} $PORT $", "a=${PORT} $PORT $"),
            ("a: '${NASTY}'", "a=x }\ny: z # ${PORT}"),
            ("p${PORT}: x", "p8080=x"),
        ] {
            assert_eq!(texts(text), (filled.split('|').map(str::to_owned).collect(), String::new()), "{text}");
        }
    }

    #[test]
    fn a_variable_that_is_unset_or_malformed_is_an_error_with_its_place() {
        assert_eq!(
            texts("a: ${NO}\nb: 'x ${PORT'\nc: '${a b}'").1,
            "f:1:4: the environment variable NO is not set; set it, or write `${NO:-default}`\n\
             f:2:4: `${` has no end; write `${NAME}`, or `$${` for a plain `${`\n\
             f:3:4: \"${a b}\" names no environment variable; write `${NAME}` or `${NAME:-default}`, or `$${` for a plain `${`"
        );
    }

    #[test]
    fn a_duplicate_key_is_reported_and_the_first_one_kept() {
        let (kept, error) = texts("a: 1\nb: 2\na: 3\n'a': 4\n");
        assert_eq!(kept, ["a=1", "b=2"]);
        assert_eq!(
            error,
            "f:3:1: the key `a` is already in line 1; remove one of them\n\
             f:4:1: the key `a` is already in line 1; remove one of them"
        );
    }

    #[test]
    fn merged_keys_stand_behind_written_ones() {
        assert_eq!(texts("x: &x { a: 1, b: 2 }\n<<: *x\nb: 3\n").0, ["x=…", "b=3", "a=1"]);
        assert_eq!(texts("x: &x { a: 1 }\ny: &y { a: 2, c: 2 }\n<<: [*x, *y]\n").0, ["x=…", "y=…", "a=1", "c=2"]);
        assert_eq!(texts("<<: 5").1, "f:1:1: `<<` merges maps, not \"5\"; name a map by its alias");
    }
}
