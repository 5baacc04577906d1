//! Rollouts: the way of one or several services from one group to another, step by step.
//!
//! A rollout is a part of desired state: it owns the split of its services while it is under way, and is durable with
//! it. Pure: who checks, warms, validates and judges is for others to know; they say what they have found
//! ([`Input`]), and out comes the next desired state or a refusal.

mod begin;
mod due;
mod input;
mod machine;
pub mod plan;

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use begin::{Begin, begin};
pub use due::{Frozen, Moment};
pub use input::{By, Input};
pub use machine::{advance, fail_without, pause_all, roll_back};

use super::names::{GroupName, ServiceName};
use super::split::{Share, Split};
use super::verdict;
use plan::{Gate, Plan};

/// The number of a rollout, never given twice by one store: `r12`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RolloutId(pub u64);

impl fmt::Display for RolloutId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

impl RolloutId {
    /// Reads `r12`, or `12`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.strip_prefix('r').unwrap_or(text).parse().ok().map(Self)
    }
}

/// A way from one group to another, under way or ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// Its number.
    pub id: RolloutId,
    /// The services that move in lockstep, and where each comes from. At least one.
    pub services: Vec<Moving>,
    /// The candidate: a group that each of them has.
    pub to: GroupName,
    /// How it is to go.
    pub plan: Plan,
    /// Where it is.
    pub state: State,
    /// The index of the step in force, or of the last one that was; none: no step has begun.
    pub step: Option<usize>,
    /// The candidate's share now.
    pub share: Share,
    /// What whoever tests the candidate has said.
    #[serde(default)]
    pub tested: Tested,
    /// Ahead of what somebody has agreed last, so that nobody is asked twice.
    pub agreed: Option<Stop>,
    /// Since when it is in this state.
    pub since: Timestamp,
    /// When it began.
    pub started_at: Timestamp,
    /// Who has begun it.
    pub started_by: String,
    /// Why.
    pub reason: Option<String>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Whether freezes are passed over, because somebody has said so when it began.
    pub freeze: Freezes,
    /// What has happened, oldest first; of very long ones the middle is left out.
    pub timeline: Vec<Entry>,
}

/// A service of a rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moving {
    /// Which.
    pub service: ServiceName,
    /// Its split when nobody is on the candidate by this rollout.
    pub from: Split,
}

/// What whoever tests a candidate has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tested {
    /// Nothing yet, or nobody was asked.
    #[default]
    NotYet,
    /// It is well.
    Well,
    /// It is not.
    Ill,
}

/// Where a rollout is, to tell whether it is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    state: State,
    since: Timestamp,
    step: Option<usize>,
}

/// Whether freezes count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Freezes {
    /// They do.
    Heeded,
    /// They do not.
    Overridden,
}

/// What it is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Whether the candidate is healthy.
    Checking,
    /// Requests make the candidate ready.
    Warming,
    /// Somebody tests the candidate.
    Validating,
    /// Somebody has to agree before it goes on.
    AwaitingApproval(Stop),
    /// A share is kept for a while and judged.
    Shifting,
    /// The candidate has everything and is still judged.
    Baking,
    /// The old groups are let go of.
    Draining,
}

/// Ahead of what it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// The step with this index.
    Step(usize),
    /// The drain at the end.
    Drain,
}

/// Where a rollout is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Under way.
    Active(Phase),
    /// It stays where it is until somebody resumes it; guards go on.
    Paused(Phase),
    /// On its way back over falling shares: the index of the one in force.
    RollingBack(usize),
    /// All is on the candidate.
    Done,
    /// All is back on the stable split.
    RolledBack,
    /// It has ended before anybody was on the candidate by it, or what it was about is gone.
    Failed,
}

impl State {
    /// Its name in the API.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Active(phase) => match phase {
                Phase::Checking => "checking",
                Phase::Warming => "warming",
                Phase::Validating => "validating",
                Phase::AwaitingApproval(_) => "awaiting_approval",
                Phase::Shifting => "shifting",
                Phase::Baking => "baking",
                Phase::Draining => "draining",
            },
            Self::Paused(_) => "paused",
            Self::RollingBack(_) => "rolling_back",
            Self::Done => "done",
            Self::RolledBack => "rolled_back",
            Self::Failed => "failed",
        }
    }

    /// The names of all states, in their order.
    pub const LABELS: [&'static str; 12] = [
        "checking",
        "warming",
        "validating",
        "awaiting_approval",
        "shifting",
        "baking",
        "draining",
        "done",
        "paused",
        "rolling_back",
        "rolled_back",
        "failed",
    ];

    /// Whether it is over.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::RolledBack | Self::Failed)
    }

    /// What it is busy with, paused or not.
    #[must_use]
    pub fn phase(self) -> Option<Phase> {
        match self {
            Self::Active(phase) | Self::Paused(phase) => Some(phase),
            Self::RollingBack(_) | Self::Done | Self::RolledBack | Self::Failed => None,
        }
    }
}

/// Something that has happened to a rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// The state that it led to.
    pub state: String,
    /// The candidate's share from then on.
    pub share: Share,
    /// Who: the name of a token, or `pointsman` itself.
    pub actor: String,
    /// Why, for people.
    pub cause: String,
    /// What the guards said then.
    pub figures: Vec<Figure>,
}

/// What one guard said at some time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// The service, where there are several.
    pub service: ServiceName,
    /// The guard's name.
    pub guard: String,
    /// `pass`, `fail`, `undecided`.
    pub status: String,
    /// The candidate's figure.
    pub candidate: Option<f64>,
    /// The baseline's.
    pub baseline: Option<f64>,
    /// The limit.
    pub limit: Option<f64>,
    /// The unit of these.
    pub unit: String,
    /// Attempts at the candidate that were counted.
    pub requests: u64,
    /// For people.
    pub why: String,
}

impl Figure {
    /// What `row` says of `service`.
    #[must_use]
    pub fn of(service: &ServiceName, row: &verdict::Row) -> Self {
        Self {
            service: service.clone(),
            guard: row.guard.clone(),
            status: row.status.label().to_owned(),
            candidate: row.candidate,
            baseline: row.baseline,
            limit: row.limit,
            unit: row.unit.to_owned(),
            requests: row.requests,
            why: row.why.clone(),
        }
    }
}

/// Entries of a timeline at the most; the first ones and the last ones are kept.
const LONGEST_TIMELINE: usize = 400;

impl Rollout {
    /// Where it is.
    #[must_use]
    pub fn place(&self) -> Place {
        Place { state: self.state, since: self.since, step: self.step }
    }

    /// Whether users may be on the candidate because of it.
    #[must_use]
    pub fn has_users(&self) -> bool {
        !self.state.is_over() && self.share > Share::NONE
    }

    /// Whether somebody is to test its candidate, or is at it; also while it is paused.
    #[must_use]
    pub fn wants_test(&self) -> bool {
        self.state.phase() == Some(Phase::Validating) && self.tested == Tested::NotYet
    }

    /// Whether it moves `service`.
    #[must_use]
    pub fn moves(&self, service: &str) -> bool {
        self.services.iter().any(|m| m.service.as_str() == service)
    }

    /// Whether what it waits for ahead of a step has come, and only a pause or a freeze keeps it.
    #[must_use]
    pub fn is_let_through(&self) -> bool {
        match self.state.phase() {
            Some(Phase::Validating) => self.tested == Tested::Well,
            Some(Phase::AwaitingApproval(stop)) => self.agreed == Some(stop),
            _ => false,
        }
    }

    /// How long the share in force is kept at least; none where nothing is kept for a time.
    #[must_use]
    pub fn hold(&self) -> Option<Duration> {
        match self.state.phase()? {
            Phase::Shifting => self.plan.steps.get(self.step?).map(|step| step.hold),
            Phase::Baking => Some(self.plan.bake),
            _ => None,
        }
    }

    /// Where it stops next on its way from here, and has not been let through yet.
    pub(super) fn gate(&self, ahead: Stop) -> Option<Stop> {
        let approval = self.plan.approval.as_ref()?;
        let last = self.plan.steps.len().saturating_sub(1);
        let fits = |gate: &Gate| match (gate, ahead) {
            (Gate::EachStep, Stop::Step(_)) | (Gate::Drain, Stop::Drain) => true,
            (Gate::FirstStep, Stop::Step(_)) => self.step.is_none(),
            (Gate::LastStep, Stop::Step(i)) => i == last,
            (Gate::Share(share), Stop::Step(i)) => self.plan.steps.get(i).is_some_and(|s| s.share == *share),
            _ => false,
        };
        let asked = approval.before.iter().any(fits) && self.agreed != Some(ahead);
        asked.then_some(ahead)
    }

    /// What is left of one that has never been in force, although it was written: it has failed.
    #[must_use]
    pub fn called_off(mut self, at: Timestamp, cause: &str) -> Self {
        (self.state, self.since, self.ended_at) = (State::Failed, at, Some(at));
        self.note(at, &By { actor: "pointsman".to_owned(), cause: cause.to_owned(), figures: Vec::new() });
        self
    }

    fn note(&mut self, at: Timestamp, by: &By) {
        let (state, share) = (self.state.label().to_owned(), self.share);
        let By { actor, cause, figures } = by.clone();
        self.timeline.push(Entry { at, state, share, actor, cause, figures });
        if self.timeline.len() > LONGEST_TIMELINE {
            self.timeline.remove(LONGEST_TIMELINE / 2);
        }
    }
}
