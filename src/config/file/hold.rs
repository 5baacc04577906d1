//! `hold` of a service as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Maybe, Period, Size};

/// How new requests are kept waiting for a moment.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Hold {
    /// How long, where nobody says; at most 10m. Default 10s.
    #[serde(rename = "for")]
    pub(in crate::config) time: Maybe<Period>,
    /// Requests that wait at a time; others are refused with 503. Default 10000.
    pub(in crate::config) requests: Maybe<u32>,
    /// Bytes that may have come of the requests that wait; others are refused with 503. Default 64MiB.
    pub(in crate::config) bytes: Maybe<Size>,
}
