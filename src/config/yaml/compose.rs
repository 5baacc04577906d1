//! Text → tree. The only file that names the YAML crate's parser.
//!
//! Bounds what a hostile text can cost: its size, its depth, and how much aliases may multiply.

use std::collections::HashMap;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

use super::scalar::Variables;
use super::{Node, Origin, Scalar, Value};
use crate::config::problem::{Fault, Place};

/// Longest accepted text, in bytes.
const MAX_BYTES: usize = 8 << 20;
/// Deepest accepted nesting.
const MAX_DEPTH: usize = 48;
/// Most nodes in a tree, copies made by aliases included.
const MAX_NODES: usize = 1_000_000;

/// Composes the one document in `text`. Environment variables, duplicate keys and merge keys are left as they are.
///
/// # Errors
/// The first place where `text` is no YAML, or goes beyond a bound.
pub(in crate::config) fn compose(text: &str) -> Result<Node, Fault> {
    let start = Place { line: 1, col: 1 };
    if text.len() > MAX_BYTES {
        return Err(fault(start, format!("the file is longer than {MAX_BYTES} bytes; split it up")));
    }
    let mut composer = Composer { events: Parser::new_from_str(text), anchors: HashMap::new(), nodes: 0 };
    let mut root = None;
    while let Some((event, span)) = composer.next()? {
        match event {
            Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd | Event::StreamEnd => {}
            _ if root.is_some() => {
                return Err(fault(place(&span), "a second document begins; keep one document in the file"));
            }
            event => root = Some(composer.node(event, &span, 0)?),
        }
    }
    let empty = Scalar { text: String::new(), quoted: false, variables: Variables::None };
    Ok(root.unwrap_or(Node { place: start, span: 0..0, origin: Origin::Written, value: Value::Scalar(empty) }))
}

struct Composer<'a> {
    events: Parser<'a, serde_saphyr::granit_parser::StrInput<'a>>,
    /// Finished anchored nodes, with how many nodes they have and how deep they are.
    anchors: HashMap<usize, (Node, usize, usize)>,
    nodes: usize,
}

impl<'a> Composer<'a> {
    /// The next event that is not a comment.
    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, Fault> {
        loop {
            match self.events.next() {
                Some(Ok((Event::Comment(..), _))) => {}
                Some(Ok(event)) => return Ok(Some(event)),
                Some(Err(error)) => return Err(malformed(&error)),
                None => return Ok(None),
            }
        }
    }

    /// The next event inside a list or map that began at `opened`.
    fn inner(&mut self, opened: Place) -> Result<(Event<'a>, Span), Fault> {
        self.next()?.ok_or_else(|| fault(opened, "what begins here has no end; close it"))
    }

    fn node(&mut self, event: Event<'a>, span: &Span, depth: usize) -> Result<Node, Fault> {
        let place = place(span);
        self.count(1, depth, place)?;
        let before = self.nodes;
        let mut node = Node { place, span: bytes(span), origin: Origin::Written, value: Value::List(Vec::new()) };
        let anchor = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let quoted = style != ScalarStyle::Plain || check_tag(tag.as_deref(), span)?;
                node.value = Value::Scalar(Scalar { text: text.into_owned(), quoted, variables: Variables::None });
                anchor
            }
            Event::SequenceStart(_, anchor, tag) => {
                check_tag(tag.as_deref(), span)?;
                node.value = Value::List(self.list(&mut node.span, place, depth)?);
                anchor
            }
            Event::MappingStart(_, anchor, tag) => {
                check_tag(tag.as_deref(), span)?;
                node.value = Value::Map(self.map(&mut node, depth)?);
                anchor
            }
            Event::Alias(anchor) => return self.alias(anchor, node, depth),
            _ => return Err(fault(place, "a value is missing here; write one")),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), self.nodes - before, height(&node)));
        }
        Ok(node)
    }

    fn list(&mut self, span: &mut std::ops::Range<usize>, opened: Place, depth: usize) -> Result<Vec<Node>, Fault> {
        let mut items = Vec::new();
        loop {
            match self.inner(opened)? {
                (Event::SequenceEnd, end) => {
                    span.end = bytes(&end).end;
                    return Ok(items);
                }
                (event, span) => items.push(self.node(event, &span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, node: &mut Node, depth: usize) -> Result<Vec<(Node, Node)>, Fault> {
        let mut entries = Vec::new();
        loop {
            let (event, span) = self.inner(node.place)?;
            if matches!(event, Event::MappingEnd) {
                node.span.end = bytes(&span).end;
                return Ok(entries);
            }
            let key = self.node(event, &span, depth + 1)?;
            if key.text().is_none() {
                return Err(fault(key.place, format!("a key cannot be {}; write a text", key.describe())));
            }
            let (event, span) = self.inner(node.place)?;
            let value = self.node(event, &span, depth + 1)?;
            entries.push((key, value));
        }
    }

    fn alias(&mut self, anchor: usize, alias: Node, depth: usize) -> Result<Node, Fault> {
        let Some((node, nodes, height)) = self.anchors.get(&anchor) else {
            return Err(fault(alias.place, "this alias stands inside of what it names; it would have no end"));
        };
        let (node, nodes, height) = (node.clone(), *nodes, *height);
        self.count(nodes, depth + height, alias.place)?;
        Ok(Node { value: node.value, origin: Origin::Alias, ..alias })
    }

    fn count(&mut self, nodes: usize, depth: usize, place: Place) -> Result<(), Fault> {
        self.nodes += nodes;
        if depth > MAX_DEPTH {
            return Err(fault(place, format!("nested deeper than {MAX_DEPTH} levels; write it flatter")));
        }
        if self.nodes > MAX_NODES {
            return Err(fault(place, format!("the file has more than {MAX_NODES} values; use fewer aliases")));
        }
        Ok(())
    }
}

fn height(node: &Node) -> usize {
    match &node.value {
        Value::Scalar(_) => 0,
        Value::List(items) => items.iter().map(height).max().map_or(0, |h| h + 1),
        Value::Map(entries) => entries.iter().map(|(_, v)| height(v)).max().map_or(0, |h| h + 1),
    }
}

/// Whether the tag makes a scalar a text. Other tags than YAML's own have no meaning here.
fn check_tag(tag: Option<&Tag>, span: &Span) -> Result<bool, Fault> {
    match tag {
        None => Ok(false),
        Some(tag) if tag.handle() == "tag:yaml.org,2002:" => Ok(tag.suffix() == "str"),
        Some(tag) => {
            let tag = format!("{}{}", tag.handle(), tag.suffix());
            let place = span.tag_span().map_or_else(|| place(span), |span| place(&span));
            Err(fault(place, format!("the tag {tag:?} has no meaning here; remove it")))
        }
    }
}

fn malformed(error: &ScanError) -> Fault {
    let marker = error.marker();
    let place = Place { line: number(marker.line()), col: number(marker.col() + 1) };
    fault(place, format!("this is not YAML ({}); mend the indentation, quotes or brackets", error.info()))
}

fn fault(place: Place, message: impl Into<String>) -> Fault {
    Fault { place, message: message.into() }
}

fn place(span: &Span) -> Place {
    Place { line: number(span.start.line()), col: number(span.start.col() + 1) }
}

fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn bytes(span: &Span) -> std::ops::Range<usize> {
    span.byte_range().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        let fault = compose(text).unwrap_err();
        format!("{}:{}: {}", fault.place.line, fault.place.col, fault.message)
    }

    #[test]
    fn every_node_knows_its_place_and_its_bytes() {
        let text = "# ä\na: { b: 1, c: \"x\" } # after\nd:\n  - ü: *A\n".replace("*A", "2");
        let root = compose(&text).unwrap();
        let a = root.get("a").unwrap();
        assert_eq!((a.place, &text[a.span.clone()]), (Place { line: 2, col: 4 }, "{ b: 1, c: \"x\" }"));
        let c = a.get("c").unwrap();
        assert_eq!((c.place, &text[c.span.clone()]), (Place { line: 2, col: 15 }, "\"x\""));
        let Value::List(items) = &root.get("d").unwrap().value else { panic!() };
        assert_eq!(items[0].get("ü").unwrap().place, Place { line: 4, col: 8 });
    }

    #[test]
    fn what_is_no_yaml_is_refused_with_its_place() {
        assert!(wrong("a: [1, 2\nb: 3\n").starts_with("2:2: this is not YAML ("), "{}", wrong("a: [1, 2\nb: 3\n"));
        assert!(wrong("a: \"x\n").contains("this is not YAML"));
        assert!(wrong("a: *x\n").contains("this is not YAML"));
        assert_eq!(wrong("a: 1\n---\nb: 2\n"), "3:1: a second document begins; keep one document in the file");
        assert_eq!(wrong("? [a]\n: 1\n"), "1:3: a key cannot be a list; write a text");
        assert_eq!(wrong("a: !secret x\n"), "1:4: the tag \"!secret\" has no meaning here; remove it");
        assert_eq!(wrong("a: &a [*a]\n"), "1:8: this alias stands inside of what it names; it would have no end");
    }

    #[test]
    fn aliases_cannot_multiply_beyond_a_bound_nor_nest_too_deep() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..9 {
            let before = format!("*a{}, ", i - 1).repeat(10);
            bomb = format!("{bomb}a{i}: &a{i} [{before}]\n");
        }
        assert!(wrong(&bomb).contains("more than 1000000 values"), "{}", wrong(&bomb));
        let flat = format!("a: {}1{}", "[".repeat(60), "]".repeat(60));
        assert!(wrong(&flat).contains("nested deeper than 48 levels"), "{}", wrong(&flat));
        let mut deep = "a0: &a0 [x]\n".to_owned();
        (1..60).for_each(|i| deep = format!("{deep}a{i}: &a{i} [*a{}]\n", i - 1));
        assert!(wrong(&deep).contains("nested deeper than 48 levels"));
    }
}
