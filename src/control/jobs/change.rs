//! The controller's part of jobs: how a try has ended is written down, what is dead is tried again by hand, and what
//! nobody wants any more is not done.

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::{Attempt, Failed};
use crate::control::command::{Origin, Rejected};
use crate::control::controller::{Command, Controller, PATIENCE, stored_key};
use crate::control::events;
use crate::control::handle::Handle;
use crate::control::handover::Keeping;
use crate::control::journal::Otherwise;
use crate::control::receipts;
use crate::model::job::{Job, Kind, State};
use crate::store::{Batch, KeptReceipt, NewEvent};

/// What the controller is asked to do about jobs.
#[derive(Debug)]
pub(in crate::control) enum JobCommand {
    /// A try is over.
    Over { attempt: Attempt, ran: Result<(), Failed> },
    /// Somebody wants a dead one to be tried again.
    Retry { id: u64, origin: Origin, reply: oneshot::Sender<Result<Job, Rejected>> },
    /// Somebody does not want one to be done any more.
    Cancel { id: u64, origin: Origin, reply: oneshot::Sender<Result<Job, Rejected>> },
}

impl Handle {
    /// The newest `limit` jobs, in this state where one is named.
    pub fn jobs(&self, state: Option<State>, limit: usize) -> Vec<Job> {
        self.shared.jobs.list(None, state, limit)
    }

    /// The same, of one kind: one of [`Kind::LABELS`].
    pub fn jobs_of(&self, kind: &str, state: Option<State>, limit: usize) -> Vec<Job> {
        self.shared.jobs.list(Some(kind), state, limit)
    }

    /// How many jobs there are in each state.
    pub fn job_counts(&self) -> [(State, u64); State::ALL.len()] {
        self.shared.jobs.counts()
    }

    /// Tries at jobs so far, by kind and how they have ended (`done`, `failed`, `dead`).
    pub fn job_attempts(&self) -> Vec<(&'static str, &'static str, u64)> {
        self.shared.figures.job_attempts()
    }

    /// Has a dead job tried again. Returns when that is durable.
    ///
    /// # Errors
    /// [`Rejected::UnknownJob`], [`Rejected::JobNotDead`], [`Rejected::Store`]; nothing was changed.
    pub async fn retry_job(&self, id: u64, origin: Origin) -> Result<Job, Rejected> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Job(JobCommand::Retry { id, origin, reply })).await?;
        answer.await.map_err(|_| Rejected::ShuttingDown)?
    }

    /// Has a job not done: one that waits, or that is dead. Returns when that is durable.
    ///
    /// # Errors
    /// [`Rejected::UnknownJob`], [`Rejected::JobNotCancellable`], [`Rejected::Store`]; nothing was changed.
    pub async fn cancel_job(&self, id: u64, origin: Origin) -> Result<Job, Rejected> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Job(JobCommand::Cancel { id, origin, reply })).await?;
        answer.await.map_err(|_| Rejected::ShuttingDown)?
    }
}

impl Controller {
    pub(in crate::control) async fn obey_job(&mut self, command: JobCommand) {
        match command {
            // Where the state is another process's, it makes the try again.
            JobCommand::Over { .. } if self.keeping == Keeping::Away => {}
            JobCommand::Over { attempt, ran } => self.end_attempt(attempt, ran).await,
            JobCommand::Retry { id, origin, reply } => {
                let result = match self.keeping {
                    Keeping::Ours | Keeping::Packed => self.retry_job(id, &origin).await,
                    Keeping::Away => Err(Rejected::Upgrading),
                };
                // A caller that went away does not undo what was done.
                let _ = reply.send(result);
            }
            JobCommand::Cancel { id, origin, reply } => {
                let result = match self.keeping {
                    Keeping::Ours | Keeping::Packed => self.cancel_job(id, &origin).await,
                    Keeping::Away => Err(Rejected::Upgrading),
                };
                let _ = reply.send(result);
            }
        }
    }

    /// That a try has ended is a fact: a store that is away does not change it.
    async fn end_attempt(&mut self, attempt: Attempt, ran: Result<(), Failed>) {
        let job = self.shared.jobs.get(attempt.id).filter(|job| job.attempts == attempt.number);
        let next = job.and_then(|job| match &ran {
            Ok(()) => job.succeeded(),
            Err(Failed::Again(why)) => job.failed(why, Timestamp::now(), fastrand::f64()),
            Err(Failed::ForGood(why)) => job.buried(why),
        });
        let Some(next) = next else { return };
        self.shared.figures.attempted(next.kind.label(), label(next.state));
        let events = if next.state == State::Dead { vec![events::job_dead(&next)] } else { Vec::new() };
        if let State::Waiting = next.state {
            let (kind, why) = (next.kind.label(), next.last_error.as_deref().unwrap_or_default());
            tracing::warn!(job = next.id, kind, attempt = next.attempts, why, "a job has failed; it is tried again");
        }
        self.note_jobs(vec![next], events).await;
    }

    async fn retry_job(&mut self, id: u64, origin: &Origin) -> Result<Job, Rejected> {
        let again = |job: &Job| {
            let not_dead = || Rejected::JobNotDead { id, state: job.state };
            let again = job.retried(Timestamp::now()).ok_or_else(not_dead)?;
            let event = events::job_retried(&again, origin);
            Ok((again, event))
        };
        self.change_job(id, origin, "retry", again).await
    }

    async fn cancel_job(&mut self, id: u64, origin: &Origin) -> Result<Job, Rejected> {
        let cancelled = |job: &Job| {
            let why = match (&job.kind, job.state) {
                (Kind::Validate(_), _) => "its rollout waits for it; abort that instead",
                (_, State::Running) => "somebody is at it; look again in a moment",
                (_, State::Done | State::Cancelled) => "it has ended already",
                (_, State::Waiting | State::Dead) => "",
            };
            let refused = || Rejected::JobNotCancellable { id, why };
            let cause = format!("{} does not want it any more", origin.actor);
            let cancelled = job.cancelled(&cause).filter(|_| why.is_empty()).ok_or_else(refused)?;
            let event = events::job_cancelled(&cancelled, origin);
            Ok((cancelled, event))
        };
        self.change_job(id, origin, "cancel", cancelled).await
    }

    /// Makes of the job what `change` says, with an event; once for each `Idempotency-Key`.
    async fn change_job(
        &mut self,
        id: u64,
        origin: &Origin,
        verb: &str,
        change: impl FnOnce(&Job) -> Result<(Job, NewEvent), Rejected>,
    ) -> Result<Job, Rejected> {
        let fingerprint = receipts::job_fingerprint(verb, id);
        if self.kept_receipt(origin, &fingerprint).await?.is_some() {
            return self.shared.jobs.get(id).ok_or(Rejected::UnknownJob(id));
        }
        self.check_versions(&[], origin)?;
        let job = self.shared.jobs.get(id).ok_or(Rejected::UnknownJob(id))?;
        let (changed, event) = change(&job)?;
        let kept = origin.idempotency_key.as_ref().map(|key| KeptReceipt {
            key: stored_key(origin, key),
            fingerprint,
            receipt: serde_json::json!({ "id": id }),
            at: Timestamp::now(),
        });
        let batch = Batch {
            jobs: vec![changed.clone()],
            events: vec![event],
            receipts: kept.into_iter().collect(),
            ..Batch::default()
        };
        let written = self.journal.write(&self.running.desired, batch, PATIENCE, Otherwise::Refuse).await;
        self.shared.announce(written.map_err(Rejected::Store)?);
        Ok(changed)
    }

    /// Writes down what has become of jobs, and events that belong to it; where the store is away, later.
    pub(in crate::control) async fn note_jobs(&mut self, jobs: Vec<Job>, events: Vec<NewEvent>) {
        let batch = Batch { events, jobs, ..Batch::default() };
        let events = self.journal.fact(&self.running.desired, batch).await;
        self.shared.announce(events);
    }
}

/// How a try has ended, as metrics call it.
fn label(next: State) -> &'static str {
    match next {
        State::Waiting | State::Running => "failed",
        State::Done => "done",
        State::Dead => "dead",
        State::Cancelled => "cancelled",
    }
}
