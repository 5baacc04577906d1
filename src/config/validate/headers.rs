//! Header fields that a configuration sets or removes.

use http::{HeaderName, HeaderValue};

use super::check::{Check, all};
use crate::config::file;
use crate::config::file::Maybe;
use crate::config::spec::HeaderEdits;
use crate::config::yaml::{Named, Text, quote};

/// Fields that say how a message is framed or a connection is used: the proxy writes them itself, always.
const FRAMING: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
];

/// The name of a header field.
pub(super) fn header_name(text: &str) -> Result<HeaderName, String> {
    let wrong = || format!("{} is not a header's name; use letters, digits and -, like x-release", quote(text));
    HeaderName::from_bytes(text.as_bytes()).map_err(|_| wrong())
}

/// The name of a header field that may be set or removed.
pub(super) fn changeable(text: &str) -> Result<HeaderName, String> {
    let name = header_name(text)?;
    if FRAMING.contains(&name.as_str()) {
        return Err(format!("`{name}` is written by the proxy itself; choose another header"));
    }
    Ok(name)
}

/// The value of a header field.
pub(super) fn header_value(text: &str) -> Result<HeaderValue, String> {
    let wrong = || format!("{} is not a header's value; it must be one line of visible characters", quote(text));
    HeaderValue::from_str(text).map_err(|_| wrong())
}

/// Fields to set.
pub(super) fn set(check: &Check<'_>, field: &Maybe<Named<Text>>) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let Some(at) = field else { return Some(Vec::new()) };
    all(at.value.as_ref()?.0.iter().map(|(name, value)| {
        let name = check.parse(name, changeable);
        let value = check.parse(value, header_value);
        Some((name?, value?))
    }))
}

/// Fields to set and to remove.
pub(super) fn edits(check: &Check<'_>, field: &Maybe<file::HeaderEdits>) -> Option<HeaderEdits> {
    let Some(at) = field else { return Some(HeaderEdits::default()) };
    let edits = at.value.as_ref()?;
    let set = set(check, &edits.set);
    let remove = match &edits.remove {
        None => Some(Vec::new()),
        Some(list) => list.value.as_ref().and_then(|items| all(items.iter().map(|name| check.parse(name, changeable)))),
    };
    Some(HeaderEdits { set: set?, remove: remove? })
}
