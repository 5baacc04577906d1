//! Holds: how they are asked for, shown, and what they came to.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Number, rounded};
use crate::control::command;
use crate::control::view::HoldView;

/// `POST /services/{service}/hold`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldRequest {
    /// How long at the most: `10s`, up to `10m`; without it, as long as the file says.
    #[serde(default, rename = "for")]
    pub time: Option<String>,
    /// Why, for the audit log.
    #[serde(default)]
    pub reason: Option<String>,
}

/// `DELETE /services/{service}/hold`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRequest {
    /// Why, for the audit log.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What a hold or a release did.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct HoldReceipt {
    /// Version of the desired state, which holds are no part of.
    pub version: u64,
    /// Whether anything was changed.
    pub changed: bool,
    /// Which service.
    pub service: String,
    /// After a hold: when it ends by itself.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<jiff::Timestamp>,
    /// After a release: what the hold came to.
    pub held: Option<WasHeld>,
}

/// What a hold came to.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
pub struct WasHeld {
    /// How long it lasted.
    pub ms: Number,
    /// How many requests waited at the most; over several services the sum.
    pub waited: u32,
}

/// A hold under way.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Hold {
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub since: jiff::Timestamp,
    /// When it ends by itself.
    #[schema(value_type = String, format = DateTime)]
    pub until: jiff::Timestamp,
    /// Who has begun it.
    pub by: String,
    /// Where a switch goes when nothing is under way any more; null: somebody lets go.
    pub switch_to: Option<String>,
    /// Requests that wait.
    pub waiting: u32,
    /// The most that have waited at a time.
    pub most_waiting: u32,
    /// Bytes that have come of those that wait.
    pub bytes: u64,
    /// Requests that there was no room for.
    pub refused: u64,
}

impl From<command::HoldReceipt> for HoldReceipt {
    fn from(receipt: command::HoldReceipt) -> Self {
        let command::HoldReceipt { version, changed, service, until, held } = receipt;
        Self { version, changed, service: service.to_string(), until, held: held.map(Into::into) }
    }
}

impl From<command::WasHeld> for WasHeld {
    fn from(held: command::WasHeld) -> Self {
        Self { ms: rounded(held.ms, 3), waited: held.waited }
    }
}

impl From<HoldView> for Hold {
    fn from(view: HoldView) -> Self {
        Self {
            since: view.since,
            until: view.until,
            by: view.actor,
            switch_to: view.to.map(|group| group.to_string()),
            waiting: view.waiting,
            most_waiting: view.most,
            bytes: view.bytes,
            refused: view.refused,
        }
    }
}
