//! What a change is asked with, and the receipt for it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Number, Shares, WasHeld, rounded, shares};
use crate::control::command;

/// `PUT /services/{service}/split`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SplitRequest {
    /// Each group's share in per cent; they sum to 100, groups not named get nothing.
    pub weights: BTreeMap<String, f64>,
    /// Whether rollbacks go to this split from now on.
    #[serde(default)]
    pub stable: bool,
    /// Why, for the audit log.
    #[serde(default)]
    pub reason: Option<String>,
}

/// `POST /services/{service}/switch`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SwitchRequest {
    /// The group that gets everything.
    pub to: String,
    /// Whether an unhealthy group is accepted.
    #[serde(default)]
    pub force: bool,
    /// Whether the groups that lose their share are drained.
    #[serde(default)]
    pub drain: bool,
    /// New requests wait for so long at the most, until those under way have ended: `8s`, up to `10m`.
    #[serde(default)]
    pub hold: Option<String>,
    /// Why, for the audit log.
    #[serde(default)]
    pub reason: Option<String>,
}

/// `POST /switch`: the same for several services, all or none.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SwitchServicesRequest {
    /// At least one.
    pub services: Vec<String>,
    /// A group that each of them has.
    pub to: String,
    /// Whether an unhealthy group is accepted.
    #[serde(default)]
    pub force: bool,
    /// Whether the groups that lose their share are drained.
    #[serde(default)]
    pub drain: bool,
    /// New requests wait for so long at the most, until those under way have ended: `8s`, up to `10m`.
    #[serde(default)]
    pub hold: Option<String>,
    /// Why, for the audit log.
    #[serde(default)]
    pub reason: Option<String>,
}

/// `POST /services/{service}/shift`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ShiftRequest {
    /// The group whose share is set; the others keep their proportions.
    pub group: String,
    /// Its share in per cent.
    pub to: f64,
    /// Why, for the audit log.
    #[serde(default)]
    pub reason: Option<String>,
}

/// `POST /services/{service}/rollback`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// Whether an unhealthy stable group is accepted.
    #[serde(default)]
    pub force: bool,
    /// Why, for the audit log.
    #[serde(default)]
    pub reason: Option<String>,
}

/// `POST /rollback`: the same for several services, all or none.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackServicesRequest {
    /// At least one.
    pub services: Vec<String>,
    /// Whether an unhealthy stable group is accepted.
    #[serde(default)]
    pub force: bool,
    /// Why, for the audit log.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What a change did.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Receipt {
    /// Version of the desired state after it.
    pub version: u64,
    /// Whether anything was changed; doing what is already so is no change.
    pub changed: bool,
    /// Each service asked for.
    pub services: Vec<ServiceReceipt>,
    /// From the command's arrival until it was published.
    pub ms: Number,
    /// Number of its event; null where nothing was changed.
    pub event: Option<u64>,
    /// The split now, where one service was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, f64>>)]
    pub split: Option<Shares>,
    /// Where a rollback would go now, where one service was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, f64>>)]
    pub stable_split: Option<Shares>,
    /// After a switch behind a hold: what the hold came to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<WasHeld>,
}

/// What a change did to one service.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ServiceReceipt {
    /// Which.
    pub service: String,
    /// Shares before.
    #[schema(value_type = BTreeMap<String, f64>)]
    pub before: Shares,
    /// Shares now.
    #[schema(value_type = BTreeMap<String, f64>)]
    pub after: Shares,
    /// Where a rollback would go now.
    #[schema(value_type = BTreeMap<String, f64>)]
    pub stable: Shares,
}

impl From<command::Receipt> for Receipt {
    fn from(receipt: command::Receipt) -> Self {
        let single = match &receipt.services[..] {
            [one] => Some((shares(&one.after), shares(&one.stable))),
            _ => None,
        };
        let (split, stable_split) = single.unzip();
        let service = |one: command::ServiceReceipt| ServiceReceipt {
            service: one.service.to_string(),
            before: shares(&one.before),
            after: shares(&one.after),
            stable: shares(&one.stable),
        };
        Self {
            version: receipt.version,
            changed: receipt.changed,
            services: receipt.services.into_iter().map(service).collect(),
            ms: rounded(receipt.ms, 3),
            event: receipt.event,
            split,
            stable_split,
            hold: receipt.hold.map(Into::into),
        }
    }
}
