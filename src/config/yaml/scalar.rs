//! A single value of a document: text, and what else it can be taken for.
//!
//! Only `true` and `false` are booleans (not `yes`, `on`, `n`); only decimal numbers are numbers. The text is kept as
//! written, so that a version `2.50` stays `2.50`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

/// A scalar as written.
#[derive(Clone, Debug)]
pub(in crate::config) struct Scalar {
    /// Its text, after escapes.
    pub(in crate::config) text: String,
    /// It was in quotes, or a block of text.
    pub(in crate::config) quoted: bool,
    /// Whether environment variables were put in.
    pub(in crate::config) variables: Variables,
}

/// What became of the environment variables in a scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Variables {
    /// It has none.
    None,
    /// They were put in. In flow style `"${NAME}"` cannot do without quotes, so a quoted one can be a number all the
    /// same.
    Filled,
    /// One could not be put in, which has been reported: the text is not what was meant.
    Failed,
}

/// What a scalar is by itself, where nothing particular is expected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind<'a> {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(&'a str),
}

impl Scalar {
    /// Whether it is YAML's way to say nothing.
    pub(super) fn is_null(&self) -> bool {
        !self.quoted && self.variables == Variables::None && matches!(&*self.text, "" | "~" | "null" | "Null" | "NULL")
    }

    /// The text of a number or boolean: quotes make it a text.
    pub(super) fn unquoted(&self) -> Option<&str> {
        (self.variables == Variables::Filled || !self.quoted).then_some(&*self.text)
    }

    /// What it is by itself (YAML 1.2, core schema, without octal and hexadecimal numbers).
    pub(super) fn kind(&self) -> Kind<'_> {
        let text = &*self.text;
        let is_number = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'))
            && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'+' | b'.' | b'e' | b'E'));
        match text {
            _ if self.quoted => Kind::Text(text),
            _ if self.is_null() => Kind::Null,
            "true" | "True" | "TRUE" => Kind::Bool(true),
            "false" | "False" | "FALSE" => Kind::Bool(false),
            _ if is_number => None
                .or_else(|| text.parse().ok().map(Kind::Unsigned))
                .or_else(|| text.parse().ok().map(Kind::Signed))
                .or_else(|| text.parse().ok().filter(|f: &f64| f.is_finite()).map(Kind::Float))
                .unwrap_or(Kind::Text(text)),
            _ => Kind::Text(text),
        }
    }
}

/// A text that may be written without quotes even where it looks like a number: a header value, a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct Text(pub(in crate::config) String);

impl std::ops::Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

impl JsonSchema for Text {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_true_and_false_are_booleans_and_only_decimal_numbers_are_numbers() {
        let kind = |text: &str| {
            format!("{:?}", Scalar { text: text.to_owned(), quoted: false, variables: Variables::None }.kind())
        };
        for (text, is) in [
            ("true", "Bool(true)"),
            ("yes", "Text(\"yes\")"),
            ("on", "Text(\"on\")"),
            ("n", "Text(\"n\")"),
            ("~", "Null"),
            ("", "Null"),
            ("12", "Unsigned(12)"),
            ("-3", "Signed(-3)"),
            ("1.5", "Float(1.5)"),
            ("1e999", "Text(\"1e999\")"),
            ("inf", "Text(\"inf\")"),
            ("0x10", "Text(\"0x10\")"),
            ("2.5.0", "Text(\"2.5.0\")"),
            ("-", "Text(\"-\")"),
        ] {
            assert_eq!(kind(text), is, "{text}");
        }
    }
}
