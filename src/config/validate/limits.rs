//! `limits` of a service, and other counts that stand for "no limit" when they are left out.

use super::check::{Check, or};
use crate::config::file::{self, Maybe, Size};
use crate::config::spec::Limits;

/// How much a service takes at the most.
pub(super) fn limits(check: &Check<'_>, field: &Maybe<file::Limits>) -> Option<Limits> {
    let absent = file::Limits::default();
    let limits = match field {
        None => &absent,
        Some(at) => at.value.as_ref()?,
    };
    let body = body(check, &limits.body);
    let in_flight = at_least_one(check, "in_flight", &limits.in_flight);
    let queue = or(&limits.queue, 0);
    if let (Some(at), None, Some(1..)) = (&limits.queue, &limits.in_flight, queue) {
        return check.add(at.place, "nobody waits as long as everybody is let in; add `in_flight`, or remove `queue`");
    }
    Some(Limits { body: body?, in_flight: in_flight?, queue: queue? })
}

fn body(check: &Check<'_>, field: &Maybe<Size>) -> Option<Option<u64>> {
    let Some(at) = field else { return Some(None) };
    match at.value? {
        Size(0) => check.add(at.place, "`body` is 0; write a size like 64MiB, or remove it to have no limit"),
        Size(bytes) => Some(Some(bytes)),
    }
}

/// A number that may be left out, and is 1 or more where it is there.
pub(super) fn at_least_one(check: &Check<'_>, key: &str, field: &Maybe<u32>) -> Option<Option<u32>> {
    let Some(at) = field else { return Some(None) };
    match at.value? {
        0 => check.add(at.place, format!("`{key}` is 0; write 1 or more, or remove it to have no limit")),
        number => Some(Some(number)),
    }
}
