//! `shutdown` as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Maybe, Period};

/// How the process leaves when it is told to stop.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Shutdown {
    /// For so long `/readyz` already says 503 while connections are still accepted, so that load balancers notice;
    /// default 0s.
    pub(in crate::config) lame_duck: Maybe<Period>,
    /// Then requests and WebSockets have so long to finish; default 30s.
    pub(in crate::config) timeout: Maybe<Period>,
}
