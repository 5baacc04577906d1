//! `hold`: how new requests of a service are kept waiting for a moment.

use super::check::{Check, or};
use super::health::positive;
use crate::config::file::{self, Maybe, Period, Size};
use crate::config::spec::{Hold, LONGEST_HOLD};

/// How new requests are kept waiting for a moment.
pub(super) fn hold(check: &Check<'_>, field: &Maybe<file::Hold>) -> Option<Hold> {
    let default = Hold::default();
    let Some(at) = field else { return Some(default) };
    let hold = at.value.as_ref()?;
    let time = match (&hold.time, positive(check, "for", &hold.time, Period(default.time))) {
        (Some(at), Some(time)) if time > LONGEST_HOLD => {
            check.add(at.place, "`for` is longer than 10m; no client is that patient, write less")
        }
        (_, time) => time,
    };
    let requests = match (&hold.requests, or(&hold.requests, default.requests)) {
        (Some(at), Some(0)) => check.add(at.place, "`requests` is 0, so that nobody could wait; write 1 or more"),
        (_, requests) => requests,
    };
    let bytes = match (&hold.bytes, or(&hold.bytes, Size(default.bytes))) {
        (Some(at), Some(Size(0))) => {
            check.add(at.place, "`bytes` is 0, so that nobody could wait; write a size like 64MiB")
        }
        (_, bytes) => bytes,
    };
    Some(Hold { time: time?, requests: requests?, bytes: bytes?.0 })
}
