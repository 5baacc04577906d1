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
        let alias = text.get(service.span.clone()).unwrap_or_default();
        return vec![(service.span.clone(), format!("{{ <<: {alias} , split: {} }}", flow(split)))];
    }
    match service.get("split") {
        Some(written) => split_edits(text, written, split),
        None => entries.first().map(|(first, _)| insertion(text, service, first, split)).into_iter().collect(),
    }
}

/// Changes the shares one by one where that is enough, else the whole value.
fn split_edits(text: &str, written: &Node, split: &Split) -> Vec<Edit> {
    let whole = || {
        let range = extent(text, written);
        if !range.is_empty() {
            return vec![(range, flow(split))];
        }
        // Where nothing was written, the place is that of its key's colon.
        let after = range.start + text[range.start..].find(':').map_or(0, |colon| colon + 1);
        vec![(after..after, format!(" {}", flow(split)))]
    };
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
    if begins_with(text, service, &['{']) {
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

fn begins_with(text: &str, node: &Node, brackets: &[char]) -> bool {
    text.get(node.span.start..).is_some_and(|rest| rest.starts_with(brackets))
}

/// The bytes of a value from its first to its last character. The parser lets a block end where the next thing begins,
/// behind comments; it ends with its last value.
fn extent(text: &str, node: &Node) -> Range<usize> {
    let in_flow = begins_with(text, node, &['{', '[']);
    let last = match &node.value {
        Value::Map(entries) if !in_flow => entries.last().map(|(_, value)| value),
        Value::List(items) if !in_flow => items.last(),
        _ => None,
    };
    let end = last.filter(|_| node.origin == Origin::Written).map_or(node.span.end, |last| extent(text, last).end);
    node.span.start..end.max(node.span.start)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::config::parse;
    use crate::model::names::GroupName;
    use crate::model::split::Share;

    fn split(shares: &[(&str, f64)]) -> Split {
        let share =
            |(group, percent): &(&str, f64)| (GroupName::new(group).unwrap(), Share::from_percent(*percent).unwrap());
        Split::new(shares.iter().map(share)).unwrap()
    }

    fn name(name: &str) -> ServiceName {
        ServiceName::new(name).unwrap()
    }

    /// A whole configuration around the lines of service `s`.
    fn around(service: &str) -> String {
        format!(
            "listeners: {{ w: {{ bind: 127.0.0.1:0 }} }}\nroutes: [{{ service: s }}]  # one\nservices: # all\n{service}"
        )
    }

    const GROUPS: &str = "groups: { blue: { upstreams: [http://a] }, green: { upstreams: [http://b] } }";

    #[test]
    fn shares_are_changed_in_place_and_everything_else_stays() {
        let now = [(name("s"), split(&[("blue", 75.5), ("green", 24.5)]))];
        let groups = GROUPS;
        for (before, after) in [
            (
                "  s:\n    split: { blue: 100, green: 0 } # mine\n    GROUPS\n",
                "  s:\n    split: { blue: 75.5, green: 24.5 } # mine\n    GROUPS\n",
            ),
            (
                "  s:\n    split:\n      # first\n      blue: 100   # much\n      green: 0\n    # then\n    GROUPS\n",
                "  s:\n    split:\n      # first\n      blue: 75.5   # much\n      green: 24.5\n    # then\n    GROUPS\n",
            ),
            (
                "  s:\n    split:\n      blue: 100   # much\n    # then\n    GROUPS\n",
                "  s:\n    split:\n      { blue: 75.5, green: 24.5 }   # much\n    # then\n    GROUPS\n",
            ),
            (
                "  s:\n    # about groups\n    GROUPS\n",
                "  s:\n    # about groups\n    split: { blue: 75.5, green: 24.5 }\n    GROUPS\n",
            ),
            ("  s: { GROUPS }\n", "  s: { split: { blue: 75.5, green: 24.5 }, GROUPS }\n"),
            (
                "  s: { GROUPS, split: { \"blue\": '75.50', green: \"24.5%\" } }\n",
                "  s: { GROUPS, split: { \"blue\": '75.50', green: \"24.5%\" } }\n",
            ),
            (
                "  s: { GROUPS, split: { blue: \"${B:-100}\" } }\n",
                "  s: { GROUPS, split: { blue: 75.5, green: 24.5 } }\n",
            ),
            (
                "  t: &t { GROUPS, split: { blue: 100 } }\n  s: *t\n",
                "  t: &t { GROUPS, split: { blue: 100 } }\n  s: { <<: *t , split: { blue: 75.5, green: 24.5 } }\n",
            ),
            (
                "  t: &t { GROUPS, split: { blue: 100 } }\n  s: { <<: *t }\n",
                "  t: &t { GROUPS, split: { blue: 100 } }\n  s: { split: { blue: 75.5, green: 24.5 }, <<: *t }\n",
            ),
            (
                "  t: { GROUPS, split: &p { blue: 100 } }\n  s: { GROUPS, split: *p }\n",
                "  t: { GROUPS, split: &p { blue: 100 } }\n  s: { GROUPS, split: { blue: 75.5, green: 24.5 } }\n",
            ),
        ] {
            let (before, after) = (around(&before.replace("GROUPS", groups)), around(&after.replace("GROUPS", groups)));
            let exported = export(&before, &now);
            assert_eq!(exported, after);
            let spec = parse(exported, Path::new("f.yaml"), &|_| None).unwrap_or_else(|e| panic!("{e}\n{after}")).spec;
            assert_eq!(spec.services.iter().find(|s| s.name == now[0].0).unwrap().split, now[0].1);
        }
    }

    #[test]
    fn what_cannot_be_exported_stays_as_it_is() {
        let now = [(name("s"), split(&[("blue", 100.0)]))];
        for text in ["", "a: [", "services:\n", "services: { t: { split: { blue: 1 } } }", "services: { s: }", "[]"] {
            assert_eq!(export(text, &now), text);
        }
    }

    proptest! {
        #[test]
        fn an_exported_text_says_the_splits_that_were_put_in(
            first in 0_u32..=1_000_000, second in 0_u32..=1_000_000, block in any::<bool>(), written in any::<bool>()
        ) {
            let of = |ppm: u32| {
                let (blue, green) = (f64::from(ppm) / 10_000.0, f64::from(1_000_000 - ppm) / 10_000.0);
                split(&[("blue", blue), ("green", green)])
            };
            let split = match (written, block) {
                (false, _) => "",
                (true, true) => "split:\n      blue: 50\n      green: 50\n    ",
                (true, false) => "split: { blue: 100 }\n    ",
            };
            let text = around(&format!("  s:\n    {split}{GROUPS}\n  t:\n    {split}{GROUPS}\n    # end\n"));
            let now = [(name("s"), of(first)), (name("t"), of(second))];
            let exported = export(&text, &now);
            let spec = parse(exported.as_str(), Path::new("f.yaml"), &|_| None).unwrap().spec;
            prop_assert_eq!(&spec.services[0].split, &now[0].1);
            prop_assert_eq!(&spec.services[1].split, &now[1].1);
            prop_assert_eq!(export(&exported, &now), exported);
        }
    }
}
