//! The specification of how new requests of a service are kept waiting for a moment.

use std::time::Duration;

/// The longest time that requests are kept waiting: no client is patient for longer.
pub const LONGEST_HOLD: Duration = Duration::from_secs(600);

/// How new requests of a service are kept waiting for a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// How long, where nobody says. Default 10 s, at most [`LONGEST_HOLD`].
    pub time: Duration,
    /// Requests that wait at a time, at least 1. Default 10 000.
    pub requests: u32,
    /// Bytes that may have come of the requests that wait, at least 1. Default 64 MiB.
    pub bytes: u64,
}

impl Default for Hold {
    fn default() -> Self {
        Self { time: Duration::from_secs(10), requests: 10_000, bytes: 64 << 20 }
    }
}
