//! What can be asked of the controller, and what it answers.

use std::time::Duration;

use jiff::Timestamp;

pub use super::drains::{DrainChange, DrainReceipt, DrainWish};
pub use super::rollouts::{RolloutReceipt, RolloutStart, RolloutStarted, RolloutWish, Validated};
use crate::model::change::ChangeError;
pub use crate::model::change::Stable;
pub use crate::model::drain::Part;
use crate::model::job::State;
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

/// Why the controller did not do what was asked. Nothing was changed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Rejected {
    /// No such service.
    #[error("there is no service {name:?}; the services are {known}")]
    UnknownService {
        /// As asked.
        name: String,
        /// Comma-separated.
        known: String,
    },
    /// No such group.
    #[error("service {service} has no group {name:?}; its groups are {known}")]
    UnknownGroup {
        /// Which service.
        service: ServiceName,
        /// As asked.
        name: String,
        /// Comma-separated.
        known: String,
    },
    /// No such upstream.
    #[error("group {group} of service {service} has no upstream {url:?}; its upstreams are {known}")]
    UnknownUpstream {
        /// Which service.
        service: ServiceName,
        /// Which group.
        group: GroupName,
        /// As asked.
        url: String,
        /// Comma-separated.
        known: String,
    },
    /// It would leave nobody to serve.
    #[error(
        "{part} of service {service} is what serves its users: without it they would get errors; switch to another group first, or repeat with force"
    )]
    LiveGroup {
        /// Which service.
        service: ServiceName,
        /// What was to be drained.
        part: Part,
    },
    /// It is being drained already.
    #[error("{part} of service {service} is being drained already, until {deadline}; wait for its end, or cancel it")]
    DrainInProgress {
        /// Which service.
        service: ServiceName,
        /// What is being drained.
        part: Part,
        /// Its deadline.
        deadline: jiff::Timestamp,
    },
    /// Nobody has drained it.
    #[error("{part} of service {service} has not been drained")]
    NoDrain {
        /// Which service.
        service: ServiceName,
        /// What was asked about.
        part: Part,
    },
    /// There is no such job, or no longer.
    #[error("there is no job {0}; `pointsman jobs` shows those that are known")]
    UnknownJob(u64),
    /// Only what is dead can be retried.
    #[error("job {id} is {}, not dead; there is nothing to retry", state.label())]
    JobNotDead {
        /// Its number.
        id: u64,
        /// How far it is.
        state: State,
    },
    /// It is not to be cancelled.
    #[error("job {id} cannot be cancelled: {why}")]
    JobNotCancellable {
        /// Its number.
        id: u64,
        /// Why not.
        why: &'static str,
    },
    /// The version in `If-Match` is not the current one.
    #[error("{what} is at version {current}, not at {expected}; read it again and decide anew")]
    StaleVersion {
        /// `service shop`, or `the state`.
        what: String,
        /// What the caller had seen.
        expected: u64,
        /// What it is.
        current: u64,
    },
    /// The target has no healthy upstream.
    #[error("group {group} of service {service} has no healthy upstream: {why}; mend it, or repeat with force")]
    NoHealthyUpstream {
        /// Which service.
        service: ServiceName,
        /// Which group.
        group: GroupName,
        /// Each upstream's last check.
        why: String,
    },
    /// Nobody is moved to a candidate that is down, by whatever force.
    #[error("group {group} of service {service} has no healthy upstream: {why}; mend it first")]
    CandidateUnhealthy {
        /// Which service.
        service: ServiceName,
        /// Which group.
        group: GroupName,
        /// Each upstream's last check.
        why: String,
    },
    /// A rollback would go to a group that is down.
    #[error(
        "the stable group {group} of service {service} has no healthy upstream: {why}; mend it, or repeat with force"
    )]
    StableGroupUnhealthy {
        /// Which service.
        service: ServiceName,
        /// Which group.
        group: GroupName,
        /// Each upstream's last check.
        why: String,
    },
    /// A rollout owns the split.
    #[error(
        "service {service} is in rollout {id} ({state}), which owns its split until it ends; abort it, or roll back"
    )]
    RolloutInProgress {
        /// Which service.
        service: ServiceName,
        /// Which rollout.
        id: RolloutId,
        /// Where it is.
        state: &'static str,
    },
    /// There is nothing to roll out.
    #[error("group {group} of service {service} has everything already")]
    AlreadyLive {
        /// Which service.
        service: ServiceName,
        /// Which group.
        group: GroupName,
    },
    /// No such rollout, or none under way.
    #[error("{0}")]
    NoRollout(String),
    /// What was asked of a rollout means nothing where it is.
    #[error("rollout {id} is {state}; {hint}")]
    NotNow {
        /// Which rollout.
        id: RolloutId,
        /// Where it is.
        state: &'static str,
        /// What can be done then.
        hint: &'static str,
    },
    /// Somebody else has to agree.
    #[error("{actor} has started rollout {id}, and somebody else has to agree")]
    AnotherMustAgree {
        /// Which rollout.
        id: RolloutId,
        /// Who has started it.
        actor: String,
    },
    /// A link that approves nothing.
    #[error("the link cannot be used: {0}")]
    BadLink(&'static str),
    /// One drill at a time.
    #[error("a drill is under way already; wait for its end, a minute at the most")]
    DrillInProgress,
    /// A link that was good for a time.
    #[error("the link is too old; approve with a token, or have the rollout started anew")]
    LinkExpired,
    /// Nothing new begins now.
    #[error("service {service} is frozen until {until}: no rollout begins; wait, or repeat with override_freeze")]
    Frozen {
        /// Which service.
        service: ServiceName,
        /// When it ends.
        until: Timestamp,
    },
    /// No time to begin at.
    #[error("{0}")]
    InvalidTime(String),
    /// A plan that makes no sense: one line per error.
    #[error("the plan has {} error(s): {}", .0.len(), .0.join("; "))]
    InvalidPlan(Vec<String>),
    /// How long to hold is none, or too long.
    #[error("{0}")]
    InvalidDuration(String),
    /// The service is held already.
    #[error("service {service} is held already; release it first, or wait until it is over")]
    HoldInProgress {
        /// Which service.
        service: ServiceName,
    },
    /// Somebody has let go of what the switch waited behind.
    #[error("service {service} was released before the switch; nothing was switched")]
    HoldReleased {
        /// Which service.
        service: ServiceName,
    },
    /// The split is none.
    #[error(transparent)]
    InvalidSplit(#[from] crate::model::split::SplitError),
    /// The same key with another request.
    #[error("the Idempotency-Key {0:?} was used for another request; use a new key")]
    IdempotencyKeyReused(String),
    /// A configuration that is wrong, or cannot be put to work (a port in use, an unreadable certificate). One line
    /// per error, each `FILE:LINE:COL: …` where it has a place.
    #[error("the configuration has {} error(s):\n{}", .0.len(), .0.join("\n"))]
    InvalidConfig(Vec<String>),
    /// The store did not take it.
    #[error(
        "the state could not be written ({0}); nothing was changed; check the disk and the permissions of state.path"
    )]
    Store(String),
    /// The process is on its way down.
    #[error("pointsman is shutting down")]
    ShuttingDown,
    /// Another process is about to take over.
    #[error("an upgrade is under way, or the process before it has not left yet; repeat in a moment")]
    Upgrading,
}

impl From<ChangeError> for Rejected {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::UnknownService { name, known } => Rejected::UnknownService { name, known },
            ChangeError::UnknownGroup { service, name, known } => Rejected::UnknownGroup { service, name, known },
            ChangeError::RolloutInProgress { service, id, state } => Rejected::RolloutInProgress { service, id, state },
            ChangeError::AlreadyLive { service, group } => Rejected::AlreadyLive { service, group },
            ChangeError::NoRollout => Rejected::NoRollout("there is no such rollout under way".to_owned()),
            ChangeError::NotNow { id, state } => Rejected::NotNow { id, state, hint: "this cannot be done then" },
        }
    }
}
