//! `resolver` as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::List;

/// Who says where the names of upstreams lead.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Resolver {
    /// Name servers, like 10.0.0.2 or 127.0.0.1:5353; default: the system's.
    pub(in crate::config) servers: List<String>,
}
