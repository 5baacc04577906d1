//! What can be asked of the controller, and what it answers.

use crate::model::change::ChangeError;
pub use crate::model::change::Stable;
use crate::model::names::{GroupName, ServiceName};
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
    #[error("an upgrade is under way; repeat in a moment, the new process will answer")]
    Upgrading,
}

impl From<ChangeError> for Rejected {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::UnknownService { name, known } => Rejected::UnknownService { name, known },
            ChangeError::UnknownGroup { service, name, known } => Rejected::UnknownGroup { service, name, known },
        }
    }
}
