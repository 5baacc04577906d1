//! Upgrades: what is asked for, and what came of it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is to take over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpgradeRequest {
    /// Path of the program; null: the one that runs.
    #[serde(default)]
    pub binary: Option<String>,
    /// Path of the configuration file; null: the one in use.
    #[serde(default)]
    pub config: Option<String>,
    /// Why, for the audit log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The new process serves; the old one finishes what it has and leaves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Upgraded {
    /// The new process.
    pub pid: u32,
    /// Its version of pointsman.
    pub version: String,
    /// The process that leaves.
    pub old_pid: u32,
    /// From the request until the new process was ready, in milliseconds.
    pub ms: f64,
}
