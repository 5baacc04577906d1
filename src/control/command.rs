//! What can be asked of the controller, and what it answers.

use std::time::Duration;

use jiff::Timestamp;

pub use super::drains::{DrainChange, DrainReceipt, DrainWish};
pub use super::rejected::Rejected;
pub use super::rollouts::{RolloutReceipt, RolloutStart, RolloutStarted, RolloutWish, Validated};
pub use crate::model::change::Stable;
pub use crate::model::drain::Part;
use crate::model::names::{GroupName, ServiceName};
use crate::model::period;
pub use crate::model::rollout::{Freezes, RolloutId};
use crate::model::split::Split;

/// Who asks, and under which conditions.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// Name of the token, `local` where none is asked for, `file` for a reload by file change.
    pub actor: String,
    /// The version that the caller has seen (`If-Match`); refused when the service has moved on since.
    pub expected_version: Option<u64>,
    /// `Idempotency-Key`: the same key answers with the first receipt instead of acting again (kept for a day, also
    /// over a restart).
    pub idempotency_key: Option<String>,
    /// Why, for the event.
    pub reason: Option<String>,
    /// What kind of caller it is, for the count of rollbacks.
    pub cause: Cause,
}

/// What made somebody ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Cause {
    /// A person or a pipeline decided.
    #[default]
    Operator,
    /// A monitoring system raised the alarm: a token that may do nothing else but read.
    Monitor,
}

impl Cause {
    /// The value of the metric label `cause`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Cause::Operator => "operator",
            Cause::Monitor => "monitor",
        }
    }
}

/// Whether a refusal for reasons of health is overridden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Force {
    /// Refuse.
    #[default]
    No,
    /// Do it all the same.
    Yes,
}

/// What becomes of groups that have lost their share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Replaced {
    /// They stay as they are.
    #[default]
    Kept,
    /// They are drained, each within its service's `drain.timeout`.
    Drained,
}

/// A change of traffic. Over several services it is one publication, all or none.
#[derive(Clone, Debug, PartialEq)]
pub enum TrafficChange {
    /// One service's split, as given; groups not named get nothing.
    Split {
        /// Which service.
        service: ServiceName,
        /// Its new split.
        split: Split,
        /// Whether it becomes the stable one.
        stable: Stable,
    },
    /// Everything to `to`, in each of the services.
    Switch {
        /// At least one.
        services: Vec<ServiceName>,
        /// A group that each of them has.
        to: GroupName,
        /// Whether an unhealthy group is accepted.
        force: Force,
        /// What becomes of the groups that lose their share by it.
        replaced: Replaced,
    },
    /// Back to the stable split, in each of the services.
    Rollback {
        /// At least one.
        services: Vec<ServiceName>,
        /// Whether an unhealthy stable group is accepted.
        force: Force,
    },
}

/// What a change did.
#[derive(Clone, Debug, PartialEq)]
pub struct Receipt {
    /// The version of the desired state after it.
    pub version: u64,
    /// Whether anything was changed; doing what is already so is no change.
    pub changed: bool,
    /// Each service asked for, in the order of the request.
    pub services: Vec<ServiceReceipt>,
    /// From the command's arrival at the controller until it was published, in milliseconds.
    pub ms: f64,
    /// Sequence number of its event; none where nothing was changed.
    pub event: Option<u64>,
    /// A switch behind a hold: what the hold came to.
    pub hold: Option<WasHeld>,
}

/// What a hold came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WasHeld {
    /// How long it lasted, in milliseconds.
    pub ms: f64,
    /// How many requests waited at the most; over several services the sum.
    pub waited: u32,
}

/// What a hold or a release did.
#[derive(Clone, Debug, PartialEq)]
pub struct HoldReceipt {
    /// The version of the desired state, which holds are no part of.
    pub version: u64,
    /// Whether anything was changed; there may have been nothing to let go.
    pub changed: bool,
    /// Which service.
    pub service: ServiceName,
    /// A hold: when it ends by itself.
    pub until: Option<Timestamp>,
    /// A release: what the hold came to.
    pub held: Option<WasHeld>,
}

/// How long to hold, as people write it.
///
/// # Errors
/// [`Rejected::InvalidDuration`].
pub fn hold_time(text: &str) -> Result<Duration, Rejected> {
    let shown: String = text.chars().take(50).collect();
    period::parse(text).map_err(|wrong| Rejected::InvalidDuration(format!("{shown:?} {wrong}")))
}

/// What a change did to one service.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceReceipt {
    /// Which.
    pub service: ServiceName,
    /// The split before.
    pub before: Split,
    /// The split now.
    pub after: Split,
    /// Where a rollback would go now.
    pub stable: Split,
}
