//! What can be asked of the controller about rollouts, and what it answers.

use jiff::Timestamp;

use crate::model::names::{GroupName, ServiceName};
use crate::model::rollout::{Freezes, RolloutId};

/// A rollout that is to begin.
#[derive(Clone, Debug, PartialEq)]
pub struct RolloutStart {
    /// The services that move in lockstep, at least one.
    pub services: Vec<ServiceName>,
    /// The candidate: a group that each of them has.
    pub to: GroupName,
    /// An object with any key of `rollout:` in the file: what is to be another way than the first service's plan says.
    pub overrides: serde_json::Value,
    /// Whether freezes count.
    pub freeze: Freezes,
    /// When it is to begin; none: now.
    pub at: Option<Timestamp>,
}

/// What became of the wish to begin a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RolloutStarted {
    /// It is under way.
    Begun {
        /// Its number.
        id: RolloutId,
        /// The version of the desired state.
        version: u64,
    },
    /// A job will begin it.
    Scheduled {
        /// The job's number.
        job: u64,
        /// The version of the desired state, which has not changed.
        version: u64,
    },
}

/// What is to be done with the rollout under way of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RolloutWish {
    /// Somebody agrees that it goes on.
    Approve,
    /// It stays where it is; its guards go on.
    Pause,
    /// It goes on.
    Resume,
    /// It goes on at once, whatever it waits for, approvals left out.
    Advance,
    /// It ends, and everything goes back to the stable split.
    Abort,
}

impl RolloutWish {
    /// Its name in the API.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Advance => "advance",
            Self::Abort => "abort",
        }
    }
}

/// What a test of a candidate has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validated {
    /// It is well.
    Passed,
    /// It is not.
    Failed,
}

impl Validated {
    /// Its name in the API.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
        }
    }
}

/// What a wish did to a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RolloutReceipt {
    /// The rollout.
    pub id: RolloutId,
    /// The version of the desired state after it.
    pub version: u64,
    /// Whether anything was changed.
    pub changed: bool,
}
