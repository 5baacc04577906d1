//! What goes over the wire: the only serde of the API, shared by the server and the command line.
//!
//! Values here are for programs and may only grow. They know the views that they are made from; nothing below this
//! floor knows them.

mod alert;
mod change;
mod drain;
mod drill;
mod event;
mod hold;
mod job;
mod plan;
mod report;
mod rollout;
mod service;
mod upgrade;
mod verdict;
mod waits;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

use crate::model::split::Split;

pub use alert::{Alert, AlertAnswer, AlertOutcome, Alerts};
pub use change::{
    Receipt, RollbackRequest, RollbackServicesRequest, ServiceReceipt, ShiftRequest, SplitRequest, SwitchRequest,
    SwitchServicesRequest,
};
pub use drain::{Drain, DrainHook, DrainReceipt, DrainRequest};
pub use drill::{DrillConsequence, DrillRequest, DrillRun, Drilled, DrilledGuard, Undrilled};
pub use event::{Config, ConfigService, Drift, DriftReport, Event, Events, Explanation, Listener, Readiness, Reload};
pub use hold::{Hold, HoldReceipt, HoldRequest, ReleaseRequest, WasHeld};
pub use job::{Job, JobRequest, Jobs, ValidationRequest};
pub use plan::PlanStep;
#[cfg(test)]
pub(super) use report::samples as report_samples;
pub use report::{Approval, Report, Stay};
pub use rollout::{Entry, Rollout, RolloutRequest, RolloutServicesRequest, Rollouts, Scheduled, SteerRequest};
pub use service::{Check, Group, Service, Services, Upstream, Window};
pub use upgrade::{UpgradeRequest, Upgraded};
pub use verdict::{Figure, Guard, Verdict};
pub(super) use waits::ahead_of;

/// An error (RFC 9457).
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `urn:pointsman:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem, for people.
    pub title: String,
    /// The status of the answer.
    pub status: u16,
    /// This problem, and what to do about it.
    pub detail: String,
    /// The kind of problem, for programs: `stale_version`.
    pub code: String,
    /// `invalid_config`, `upgrade_failed`: everything that is wrong, `FILE:LINE:COL: …` where it has a place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<Vec<String>>,
    /// `stale_version`: the current version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

/// A number that is written without decimals when it has none: `100`, `12.5`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = f64)]
pub struct Number(pub f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Whole numbers up to 2^53 are exact in both types.
        if self.0.fract() == 0.0 && self.0.abs() < 9e15 {
            serializer.serialize_i64(self.0 as i64)
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

/// Each group's share in per cent.
pub type Shares = BTreeMap<String, Number>;

/// A split as it goes over the wire.
#[must_use]
pub fn shares(split: &Split) -> Shares {
    split.iter().map(|(group, share)| (group.to_string(), Number(share.percent()))).collect()
}

/// Rounded to `decimals`.
fn rounded(value: f64, decimals: i32) -> Number {
    let scale = 10_f64.powi(decimals);
    Number((value * scale).round() / scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::names::GroupName;
    use crate::model::split::Share;

    #[test]
    fn whole_shares_have_no_decimals_and_others_keep_theirs() {
        let group = |name| GroupName::new(name).unwrap();
        let part = |percent| Share::from_percent(percent).unwrap();
        let split = Split::new([(group("blue"), part(87.5)), (group("green"), part(12.5)), (group("red"), part(0.0))]);
        let json = serde_json::to_string(&shares(&split.unwrap())).unwrap();
        assert_eq!(json, r#"{"blue":87.5,"green":12.5,"red":0}"#);
    }
}
