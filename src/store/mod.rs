//! Floor 1: where desired state and the audit log are kept.
//!
//! A [`Store`] takes whole [`Batch`]es: a batch is durable as a whole when [`Store::commit`] returns, or not at all.
//! It is synchronous; whoever must not wait calls it from another thread. It knows neither the controller's commands
//! nor what its receipts say.

mod chain;
pub(crate) mod drains;
mod jobs;
mod rollouts;
mod rows;
pub mod sqlite;
mod unavailable;

use jiff::Timestamp;
use serde_json::Value;

use crate::model::change::{Desired, ServiceState};
use crate::model::job::Job;
use crate::model::names::ServiceName;
use crate::model::rollout::Rollout;

pub use unavailable::Unavailable;

/// Jobs that were done, and as many that were cancelled: only the last ones are kept.
pub const MOST_ENDED: usize = 1000;

/// Rollouts that have ended: only the last ones are kept.
pub const MOST_ROLLOUTS: usize = 1000;

/// Dead jobs that are kept; the newest.
pub const MOST_DEAD: usize = 5000;

/// Keeps desired state and events.
pub trait Store: Send {
    /// What is stored: every service's state in [`Desired::services`], and the number of the last event.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read or does not make sense.
    fn load(&mut self) -> Result<Stored, StoreError>;

    /// Makes `batch` durable and gives back its events as they were written.
    ///
    /// # Errors
    /// [`StoreError`]; nothing of the batch was kept.
    fn commit(&mut self, batch: &Batch) -> Result<Vec<Event>, StoreError>;

    /// What was answered to the request with this key, within the last day.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read.
    fn receipt(&mut self, key: &str) -> Result<Option<KeptReceipt>, StoreError>;

    /// Up to `limit` events, oldest first.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read.
    fn events(&mut self, query: &EventQuery) -> Result<Vec<Event>, StoreError>;

    /// The last event of one of these kinds about `service`.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read.
    fn last_event(&mut self, service: &str, kinds: &[&str]) -> Result<Option<Event>, StoreError>;

    /// Rollouts, under way and ended, the newest first.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read.
    fn rollouts(&mut self, query: &RolloutQuery) -> Result<Vec<RolloutRow>, StoreError>;

    /// The rollout with this number.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read.
    fn rollout(&mut self, id: u64) -> Result<Option<RolloutRow>, StoreError>;

    /// Reads the whole audit log and checks that each line follows from the one before.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read.
    fn verify(&mut self) -> Result<Verified, StoreError>;
}

/// What was stored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored {
    /// All services are in `services`, none in `retired`: only the file tells which is which. Of rollouts there are
    /// those under way.
    pub desired: Desired,
    /// Number of the last event; 0 when there is none.
    pub last_event: u64,
    /// Jobs that wait or are dead, and the last ones that have ended, by their numbers.
    pub jobs: Vec<Job>,
    /// The greatest number that a job has; 0 when there was none.
    pub last_job: u64,
    /// The greatest number that a rollout has, ended ones included; 0 when there was none.
    pub last_rollout: u64,
}

/// A rollout as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolloutRow {
    /// Its number.
    pub id: u64,
    /// Its services.
    pub services: Vec<ServiceName>,
    /// Whether it is over.
    pub ended: bool,
    /// All of it, in JSON.
    pub body: String,
}

impl RolloutRow {
    fn of(rollout: &Rollout) -> Self {
        Self {
            id: rollout.id.0,
            services: rollout.services.iter().map(|m| m.service.clone()).collect(),
            ended: rollout.state.is_over(),
            // Names, numbers and texts: there is nothing in it that could not be written.
            body: serde_json::to_string(rollout).unwrap_or_default(),
        }
    }

    /// What is to be in the place of a rollout that was written and has never been in force.
    #[must_use]
    pub fn called_off(rollout: Rollout, at: Timestamp, cause: &str) -> Self {
        Self::of(&rollout.called_off(at, cause))
    }

    /// The rollout.
    ///
    /// # Errors
    /// When the row makes no sense (any more).
    pub fn read(&self) -> Result<Rollout, serde_json::Error> {
        serde_json::from_str(&self.body)
    }
}

/// Which rollouts are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RolloutQuery {
    /// Only those of this service.
    pub service: Option<String>,
    /// At most so many.
    pub limit: usize,
    /// Only those with a lesser number.
    pub before: Option<u64>,
}

/// What is to become durable together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// New version of the desired state, where there is one.
    pub version: Option<u64>,
    /// New states of services.
    pub services: Vec<(ServiceName, ServiceState)>,
    /// New lines of the audit log, in their order.
    pub events: Vec<NewEvent>,
    /// Answers to keep for repeated requests.
    pub receipts: Vec<KeptReceipt>,
    /// Keys of answers that do not hold any more; removed before `receipts` are written.
    pub forgotten: Vec<String>,
    /// Jobs as they are from now on.
    pub jobs: Vec<Job>,
    /// Rollouts as they are from now on.
    pub rollouts: Vec<RolloutRow>,
}

impl Batch {
    /// What is new in `new`, compared with `old`.
    #[must_use]
    pub fn between(old: &Desired, new: &Desired) -> Self {
        let is_new = |(name, state): &(&ServiceName, &ServiceState)| {
            old.services.get(*name).or_else(|| old.retired.get(*name)) != Some(*state)
        };
        let services = new.services.iter().chain(&new.retired).filter(is_new);
        Self {
            version: (new.version != old.version).then_some(new.version),
            services: services.map(|(name, state)| (name.clone(), state.clone())).collect(),
            rollouts: new
                .rollouts
                .values()
                .filter(|r| old.rollouts.get(&r.id) != Some(r))
                .map(RolloutRow::of)
                .collect(),
            ..Self::default()
        }
    }

    /// The whole of `desired`, for a store that may have anything in it.
    #[must_use]
    pub fn whole(desired: &Desired) -> Self {
        let services = desired.services.iter().chain(&desired.retired);
        Self {
            version: Some(desired.version),
            services: services.map(|(name, state)| (name.clone(), state.clone())).collect(),
            rollouts: desired.rollouts.values().map(RolloutRow::of).collect(),
            ..Self::default()
        }
    }

    /// Puts `later` behind this one; where both speak of one thing, `later` counts.
    pub fn append(&mut self, later: Batch) {
        self.version = later.version.or(self.version);
        self.services.extend(later.services);
        self.events.extend(later.events);
        self.receipts.extend(later.receipts);
        self.forgotten.extend(later.forgotten);
        // Of what is written again and again while the store is away, only the last counts.
        self.jobs.retain(|job| later.jobs.iter().all(|l| l.id != job.id));
        self.jobs.extend(later.jobs);
        self.rollouts.retain(|row| later.rollouts.iter().all(|l| l.id != row.id));
        self.rollouts.extend(later.rollouts);
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A line of the audit log that has no number yet.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// What: `switch`, `reload.refused`.
    pub kind: String,
    /// Which service, where it is about one.
    pub service: Option<String>,
    /// Details: an object.
    pub detail: Value,
}

/// A line of the audit log.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Number, from 1, without gaps.
    pub id: u64,
    /// The rest of it.
    pub line: NewEvent,
}

/// Which events are asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventQuery {
    /// Only events with a greater number.
    pub since: u64,
    /// At most so many.
    pub limit: usize,
    /// Only events about this service.
    pub service: Option<String>,
}

/// An answer that is given again when the request is repeated.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptReceipt {
    /// Whose request it was, and the key it came with.
    pub key: String,
    /// What was asked, to tell another request with the same key.
    pub fingerprint: String,
    /// The answer.
    pub receipt: Value,
    /// When it was given; it is kept for a day.
    pub at: Timestamp,
}

/// What a check of the audit log has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verified {
    /// All so many lines are as they were written.
    Intact(u64),
    /// The line with this number, or the one that should be there, is not as it was written.
    Broken(u64),
}

/// Why the store did not do what was asked, and what would help.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it.
    #[error("{path} is in use by another pointsman; stop that one, or give this one a state.path of its own")]
    InUse {
        /// The file.
        path: String,
    },
    /// The file or its folder cannot be used.
    #[error("cannot use {path}: {hint}")]
    Unusable {
        /// The file.
        path: String,
        /// What is wrong and what to do.
        hint: String,
    },
    /// The file is no SQLite database, or a damaged one.
    #[error(
        "{path} is damaged or no pointsman state ({what}); restore it from a backup, or move it away to start from the file's splits"
    )]
    Damaged {
        /// The file.
        path: String,
        /// What was found.
        what: String,
    },
    /// It was written by a later version of pointsman.
    #[error(
        "{path} was written by a later version of pointsman (schema {found}, this one knows up to {known}); use that version"
    )]
    TooNew {
        /// The file.
        path: String,
        /// Its schema.
        found: i64,
        /// The newest that is known.
        known: i64,
    },
    /// A write or a read failed: disk full, file system read-only, locked for too long.
    #[error("{what}")]
    Failed {
        /// What the database said.
        what: String,
    },
}
