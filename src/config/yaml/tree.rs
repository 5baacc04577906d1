//! A YAML document as a tree that knows its places.

use std::ops::Range;

use super::Scalar;
use super::scalar::Variables;
use crate::config::problem::Place;

/// A value of the document.
#[derive(Clone, Debug)]
pub(in crate::config) struct Node {
    /// Where it begins; for an alias, where the alias stands.
    pub(in crate::config) place: Place,
    /// Its bytes in the text. A block map or list has its first key's or dash's begin; its end is the parser's, which
    /// may lie behind comments.
    pub(in crate::config) span: Range<usize>,
    /// Whether it stands there itself.
    pub(in crate::config) origin: Origin,
    /// What it is.
    pub(in crate::config) value: Value,
}

/// Whether a node stands where it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Origin {
    /// It is written there.
    Written,
    /// It is a copy of an anchored node, made by an alias.
    Alias,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(in crate::config) enum Value {
    /// A single value.
    Scalar(Scalar),
    /// `[…]` or lines with dashes.
    List(Vec<Node>),
    /// `{…}` or lines with keys, in the order of the file. A key is a node, too.
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// The text of a scalar; none for others.
    pub(in crate::config) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(scalar) => Some(&scalar.text),
            _ => None,
        }
    }

    /// The entry of a map with the key `key`; none for others.
    pub(in crate::config) fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(k, _)| k.text() == Some(key)).map(|(_, v)| v),
            _ => None,
        }
    }

    /// Whether it is a scalar with an environment variable that could not be put in.
    pub(super) fn has_failed(&self) -> bool {
        matches!(&self.value, Value::Scalar(Scalar { variables: Variables::Failed, .. }))
    }

    /// What it is, for messages: `"abc"`, `a list`, `empty`.
    pub(super) fn describe(&self) -> String {
        match &self.value {
            Value::Scalar(scalar) if scalar.is_null() => "empty".to_owned(),
            Value::Scalar(scalar) => quote(&scalar.text),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        }
    }
}

/// `text` in quotes, cut to a length that fits a line.
pub(in crate::config) fn quote(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{:?}", format!("{}…", &text[..cut])),
        None => format!("{text:?}"),
    }
}
