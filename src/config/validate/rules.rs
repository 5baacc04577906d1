//! `rules`: which requests go to a group whatever the split.

use super::check::{Check, all};
use super::headers::header_name;
use super::text;
use crate::config::file::{self, Maybe, Service};
use crate::config::problem::Place;
use crate::config::spec::Rule;
use crate::config::yaml::{At, Named, quote};
use crate::model::matching::{Conditions, Expected, Pattern};
use crate::model::names::GroupName;

/// A service's rules in the order of the file. `groups` are the names of its groups.
pub(super) fn rules(check: &Check<'_>, service: &Service, groups: Option<&[&str]>) -> Option<Vec<Rule>> {
    let Some(list) = &service.rules else { return Some(Vec::new()) };
    all(list.value.as_ref()?.iter().map(|at| rule(check, at, groups)))
}

fn rule(check: &Check<'_>, at: &At<file::Rule>, groups: Option<&[&str]>) -> Option<Rule> {
    let rule = at.value.as_ref()?;
    let right = "what a request must look like: { header: { x-beta: \"1\" } }";
    let when = check.need(at.place, "when", right, &rule.when).and_then(|at| conditions(check, at));
    let to = check
        .need(at.place, "group", "the group that it goes to", &rule.group)
        .and_then(|at| group(check, at.place, at.value.as_deref()?, groups));
    Some(Rule { when: when?, group: to? })
}

fn conditions(check: &Check<'_>, at: &At<file::When>) -> Option<Conditions> {
    let when = at.value.as_ref()?;
    let headers = named(check, &when.header, header_name);
    let cookies = named(check, &when.cookie, text::cookie_name);
    let query = named(check, &when.query, |name| Ok(name.to_owned()));
    let right = "name a network, or remove the key";
    let client = check.list(&when.client, right, |at| check.parse(at, text::network));
    let conditions = Conditions { headers: headers?, cookies: cookies?, query: query?, client: client? };
    if conditions == Conditions::default() {
        let message = "the rule has no condition and would take every request; add header, cookie, query or client";
        return check.add(at.place, message);
    }
    Some(conditions)
}

fn named<T>(
    check: &Check<'_>,
    field: &Maybe<Named<file::Expected>>,
    name: impl Fn(&str) -> Result<T, String>,
) -> Option<Vec<(T, Expected)>> {
    let Some(at) = field else { return Some(Vec::new()) };
    all(at.value.as_ref()?.0.iter().map(|(key, value)| {
        let key = check.parse(key, &name);
        let value = expected(check, value);
        Some((key?, value?))
    }))
}

fn expected(check: &Check<'_>, at: &At<file::Expected>) -> Option<Expected> {
    match at.value.as_ref()? {
        file::Expected::Text(text) => Some(Expected::OneOf(vec![text.0.clone()])),
        file::Expected::OneOf(values) if values.is_empty() => {
            check.add(at.place, "the list is empty, so nothing would fit; add a value")
        }
        file::Expected::OneOf(values) => {
            all(values.iter().map(|v| v.value.as_ref().map(|t| t.0.clone()))).map(Expected::OneOf)
        }
        file::Expected::Pattern(map) => {
            let regex = check.need(at.place, "regex", "a regular expression", &map.regex)?;
            check.parse(regex, pattern).map(Expected::Regex)
        }
    }
}

fn pattern(text: &str) -> Result<Pattern, String> {
    Pattern::new(text).map_err(|error| {
        // The crate explains over several lines, with a drawing; the last one says what it is.
        let error = error.to_string();
        let why = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
        format!("{} is not a regular expression ({why}); mend it, or write a plain text", quote(text))
    })
}

/// Reports what is wrong with a reference to a group.
pub(super) fn group(check: &Check<'_>, place: Place, name: &str, groups: Option<&[&str]>) -> Option<GroupName> {
    check.known(place, "group", name, groups)?;
    GroupName::new(name).ok()
}
