//! What can be seen of a drill from outside.

use super::Fault;
use crate::model::names::{GroupName, ServiceName};
use crate::model::rollout::State;
use crate::model::split::{Share, Split};
use crate::model::verdict;

/// What a drill has come to.
#[derive(Clone, Debug, PartialEq)]
pub struct DrillView {
    /// The service.
    pub service: ServiceName,
    /// The candidate.
    pub to: GroupName,
    /// The group that it was compared with.
    pub baseline: GroupName,
    /// What was asked for.
    pub path: String,
    /// The part of the candidate's requests that faults have hit.
    pub share: Share,
    /// How long it took.
    pub seconds: f64,
    /// What a rollout by this plan would do when a guard has failed; none where it could not begin now.
    pub on_failure: Option<Consequence>,
    /// Guards that no fault was put in for.
    pub not_drilled: Vec<Undrilled>,
    /// Without a fault first, then fault by fault.
    pub runs: Vec<DrillRun>,
}

/// What a failed guard leads to.
#[derive(Clone, Debug, PartialEq)]
pub struct Consequence {
    /// The state of the rollout.
    pub state: State,
    /// The split of its service.
    pub split: Split,
}

/// A guard that was not drilled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undrilled {
    /// Its name.
    pub guard: String,
    /// Why, for people.
    pub why: String,
}

/// One fault of a drill, and what the guards said.
#[derive(Clone, Debug, PartialEq)]
pub struct DrillRun {
    /// What went wrong on purpose.
    pub fault: Fault,
    /// Requests to the candidate.
    pub sent: u64,
    /// Of these, those that the fault has hit.
    pub hit: u64,
    /// Whether there was time enough.
    pub complete: bool,
    /// With a fault: every guard that is there for it has failed. Without one: none has.
    pub as_expected: bool,
    /// All guards of the plan.
    pub guards: Vec<DrilledGuard>,
}

/// What a guard said in a run of a drill.
#[derive(Clone, Debug, PartialEq)]
pub struct DrilledGuard {
    /// Its name.
    pub guard: String,
    /// Whether it is there for this fault.
    pub is_meant: bool,
    /// After how many requests it failed; for `unhealthy_for`, after how many seconds. None: it has not.
    pub fired_after: Option<u64>,
    /// What it said at the end.
    pub status: verdict::Status,
    /// Why, for people.
    pub why: String,
}
