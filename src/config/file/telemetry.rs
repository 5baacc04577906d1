//! `telemetry` as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Maybe, Percentage};

/// Logs.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Telemetry {
    /// One line per request; default `off`.
    pub(in crate::config) access_log: Maybe<AccessLog>,
    /// The filter for the log on standard error: error, warn, info (the default), debug, trace; or target=level,….
    pub(in crate::config) log: Maybe<String>,
}

/// One line per request, or `off`.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(untagged)]
pub(in crate::config) enum AccessLog {
    /// `off`.
    #[serde(rename = "@text")]
    Word(String),
    /// Where to, and how much of it.
    #[serde(rename = "@map")]
    Map(AccessLogMap),
}

/// One line per request.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct AccessLogMap {
    /// stdout (the default), a path, or off.
    pub(in crate::config) to: Maybe<String>,
    /// Only json.
    pub(in crate::config) format: Maybe<Format>,
    /// Which part of the requests is logged, in per cent; default 100.
    pub(in crate::config) share: Maybe<Percentage>,
}

/// What a line looks like.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Format {
    /// An object.
    Json,
}
