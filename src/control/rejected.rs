//! Why something was not done, and what would help: a sentence for each.

use jiff::Timestamp;

use crate::model::change::ChangeError;
use crate::model::drain::Part;
use crate::model::job::State;
use crate::model::names::{GroupName, ServiceName};
use crate::model::rollout::RolloutId;

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
    /// No step is taken now.
    #[error("rollout {id} takes no step until {until}, for a freeze; wait, or abort it and begin anew, in spite of it")]
    StepFrozen {
        /// Which rollout.
        id: RolloutId,
        /// When it ends.
        until: Timestamp,
    },
    /// Services that are to move in lockstep are not at one place.
    #[error("the services do not give group {group} the same share: {shares}; bring them to one share first")]
    UnevenShares {
        /// The candidate.
        group: GroupName,
        /// What each of them gives it.
        shares: String,
    },
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
            ChangeError::UnevenShares { group, shares } => Rejected::UnevenShares { group, shares },
            ChangeError::NoRollout => Rejected::NoRollout("there is no such rollout under way".to_owned()),
            ChangeError::NotNow { id, state } => Rejected::NotNow { id, state, hint: "this cannot be done then" },
        }
    }
}
