//! The text of a configuration with the splits of now in it. Everything else stays as written: comments, order,
//! `${NAME}`.

use std::ops::Range;

use super::file::Percentage;
use super::yaml::{Node, Origin, Value, compose};
use crate::model::names::ServiceName;
use crate::model::split::Split;

/// `text` with the `split` of each named service replaced by the given one. Shares are changed in place where all
/// groups with a share are already named there; else the whole value is replaced; a service without a split gets one
/// as its first key. A service that the text does not name is left out. A text that is no YAML comes back as it is.
#[must_use]
pub fn export(text: &str, splits: &[(ServiceName, Split)]) -> String {
    let Ok(root) = compose(text) else { return text.to_owned() };
    let Some(services) = root.get("services") else { return text.to_owned() };
    let mut edits = Vec::new();
    for (name, split) in splits {
        if let Some(service) = services.get(name.as_str()) {
            edits.extend(service_edits(text, service, split));
        }
    }
    edits.sort_by_key(|(range, _)| std::cmp::Reverse(range.start));
    let mut out = text.to_owned();
    for (range, with) in edits {
        // Byte ranges come from the parser; one that does not fit the text is not worth a panic.
        if out.get(range.clone()).is_some() {
            out.replace_range(range, &with);
        }
    }
    out
}

type Edit = (Range<usize>, String);

fn service_edits(text: &str, service: &Node, split: &Split) -> Vec<Edit> {
    let Value::Map(entries) = &service.value else { return Vec::new() };
    if service.origin == Origin::Alias {
        // What the alias stands for belongs to another service, too; so this one gets its own map around it.
        let alias = &text[service.span.clone()];
        return vec![(service.span.clone(), format!("{{ <<: {alias} , split: {} }}", flow(split)))];
    }
    match service.get("split") {
        Some(written) => split_edits(text, written, split),
        None => entries.first().map(|(first, _)| insertion(text, service, first, split)).into_iter().collect(),
    }
}

/// Changes the shares one by one where that is enough, else the whole value.
fn split_edits(text: &str, written: &Node, split: &Split) -> Vec<Edit> {
    let whole = || vec![(extent(text, written), flow(split))];
    let Value::Map(entries) = &written.value else { return whole() };
    let named = |group: &str| entries.iter().any(|(key, _)| key.text() == Some(group));
    let belongs = |key: &Node| key.text().is_some_and(|k| split.iter().any(|(group, _)| group.as_str() == k));
    let fits = split.iter().all(|(group, share)| share.ppm() == 0 || named(group.as_str()))
        && entries.iter().all(|(key, value)| belongs(key) && value.text().is_some() && value.origin == Origin::Written);
    if !fits || written.origin == Origin::Alias {
        return whole();
    }
    let changed = split.iter().filter_map(|(group, share)| {
        let value = written.get(group.as_str())?;
        let same = Percentage::parse(value.text()?).is_ok_and(|p| p.0 == share);
        (!same).then(|| (value.span.clone(), share.to_string()))
    });
    changed.collect()
}

/// A `split` as the first key of a service that has none.
fn insertion(text: &str, service: &Node, first: &Node, split: &Split) -> Edit {
    let flow_style = text[service.span.start..].starts_with('{');
    if flow_style {
        let behind = service.span.start + 1;
        return (behind..behind, format!(" split: {},", flow(split)));
    }
    let start = first.span.start;
    let indent = " ".repeat(first.place.col.saturating_sub(1) as usize);
    (start..start, format!("split: {}\n{indent}", flow(split)))
}

fn flow(split: &Split) -> String {
    let shares: Vec<String> = split.iter().map(|(group, share)| format!("{group}: {share}")).collect();
    format!("{{ {} }}", shares.join(", "))
}

/// The bytes of a value from its first to its last character. The parser lets a block end where the next thing begins,
/// behind comments; it ends with its last value.
fn extent(text: &str, node: &Node) -> Range<usize> {
    let in_flow = text[node.span.start..].starts_with(['{', '[']);
    let last = match &node.value {
        Value::Map(entries) if !in_flow => entries.last().map(|(_, value)| value),
        Value::List(items) if !in_flow => items.last(),
        _ => None,
    };
    let end = last.filter(|_| node.origin == Origin::Written).map_or(node.span.end, |last| extent(text, last).end);
    node.span.start..end.max(node.span.start)
}
