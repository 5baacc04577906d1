//! The controller's way to the store: what was written, what still has to be, and what nobody knows.
//!
//! A write has a deadline, because disks hang. A rollback is published even when it cannot be written; it is kept
//! here and written as soon as the store takes it again. A write that outlives its deadline may still become durable
//! after its change was refused; it is then taken back by writing the whole state that is in force.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::jobs::Jobs;
use crate::model::change::Desired;
use crate::model::job::Job;
use crate::model::rollout::RolloutId;
use crate::store::{Batch, Event, KeptReceipt, NewEvent, RolloutRow, Store, StoreError, Stored, Unavailable};

/// The store, shared with readers. Locked on blocking threads only.
pub(super) type SharedStore = Arc<Mutex<Box<dyn Store>>>;

/// From the first failure to the next try; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Events that are kept while the store is away; more are in the log only.
const MOST_UNWRITTEN: usize = 256;

/// Jobs that are kept while the store is away; of more, those that were done are forgotten.
const MOST_UNWRITTEN_JOBS: usize = 20_000;

/// How long writing an event may hold up the next command; it is kept and written later after that.
const PATIENCE: Duration = Duration::from_millis(500);

/// Writes to the store, in order.
pub(super) struct Journal {
    store: SharedStore,
    /// What is in force of jobs; each batch that is adds to it.
    jobs: Arc<Jobs>,
    /// Number of the last event that is known to be durable.
    last_event: u64,
    /// The greatest number that a rollout had when the store was opened, or of one that may be in it all the same.
    last_rollout: u64,
    /// In force, but not durable.
    unwritten: Batch,
    late: Option<Late>,
    retry: Option<(Instant, Duration)>,
    /// What is wrong with the store, for readiness.
    trouble: watch::Sender<Option<String>>,
}

/// A write that was not over at its deadline.
struct Late {
    task: Commit,
    /// How much of [`Journal::unwritten`] is in it.
    events: usize,
    receipts: usize,
    /// What in it does not hold when its change was refused; none: its change is in force.
    refused: Option<Refused>,
}

/// What a refused change would have brought.
struct Refused {
    /// Keys of receipts.
    keys: Vec<String>,
    jobs: Vec<Job>,
    rollouts: Vec<RolloutRow>,
}

impl Refused {
    /// Of rollouts that would have begun, what is to be in their place.
    fn called_off(&self, in_force: &Desired) -> Vec<RolloutRow> {
        let is_known = |row: &&RolloutRow| in_force.rollouts.contains_key(&RolloutId(row.id));
        let cause = "its start was refused, because writing it took too long";
        let begun = self.rollouts.iter().filter(|row| !is_known(row)).filter_map(|row| row.read().ok());
        begun.map(|rollout| RolloutRow::called_off(rollout, Timestamp::now(), cause)).collect()
    }
}

/// What becomes of a batch that could not be written in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Otherwise {
    /// It is dropped: its change is refused.
    Refuse,
    /// It is in force, and written as soon as the store takes it.
    Keep,
}

type Commit = JoinHandle<Result<Vec<Event>, StoreError>>;

impl Journal {
    /// Writes behind the event `last_event` and the rollout `last_rollout`.
    pub(super) fn new(store: SharedStore, last_event: u64, last_rollout: u64, jobs: Arc<Jobs>) -> Self {
        let (unwritten, trouble) = (Batch::default(), watch::channel(None).0);
        Self { store, jobs, last_event, last_rollout, unwritten, late: None, retry: None, trouble }
    }

    /// What is wrong with the store.
    pub(super) fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.trouble.subscribe()
    }

    /// The number that the next rollout gets, where `desired` has the newest ones.
    pub(super) fn next_rollout(&self, desired: &Desired) -> RolloutId {
        let newest = desired.rollouts.keys().next_back().map_or(0, |id| id.0);
        RolloutId(newest.max(self.last_rollout) + 1)
    }

    /// The number that the next event will get.
    fn next_event(&self) -> u64 {
        self.last_event + self.unwritten.events.len() as u64 + 1
    }

    /// These events with the numbers that they will get when they are written next.
    pub(super) fn numbered(&self, events: &[NewEvent]) -> Vec<Event> {
        let first = self.next_event();
        (first..).zip(events).map(|(id, line)| Event { id, line: line.clone() }).collect()
    }

    /// When [`Journal::retry`] should be called, if it should.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry.map(|(at, _)| at)
    }

    /// Makes `batch` durable, and all that is still unwritten, within `patience`. `in_force` is the state that counted
    /// before it. Whoever is to be told of its events will be: that is part of it. Gives back the batch's events.
    ///
    /// # Errors
    /// Why it is not durable; what became of the batch is as `otherwise` says.
    pub(super) async fn write(
        &mut self,
        in_force: &Desired,
        mut batch: Batch,
        patience: Duration,
        otherwise: Otherwise,
    ) -> Result<Vec<Event>, String> {
        let now = Instant::now();
        // What would be refused can wait for an earlier write to end; what is kept in any case should not.
        let settled_by = if otherwise == Otherwise::Refuse { now + patience } else { now };
        let settled = self.settle(in_force, settled_by).await;
        // Not before: now the numbers are right.
        let numbered = self.numbered(&batch.events);
        self.jobs.complete(&mut batch, &numbered);
        let written = match settled {
            Ok(()) => self.commit(batch, now + patience, patience, otherwise).await,
            Err(busy) => {
                self.keep(batch, otherwise);
                Err(busy)
            }
        };
        match &written {
            Ok(_) => self.recovered(),
            Err(why) => self.failed(why),
        }
        written
    }

    /// Takes over a batch that could not be written and is in force all the same.
    fn keep(&mut self, mut batch: Batch, otherwise: Otherwise) {
        if otherwise == Otherwise::Refuse {
            return;
        }
        if self.unwritten.events.len() + batch.events.len() > MOST_UNWRITTEN {
            tracing::error!(events = ?batch.events, "the store has been away for too long; these are in the log only");
            batch.events.clear();
        }
        self.jobs.put(&batch.jobs);
        self.unwritten.append(batch);
        if self.unwritten.jobs.len() > MOST_UNWRITTEN_JOBS {
            // They are done; that they are done again after a crash is the lesser evil.
            self.unwritten.jobs.retain(|job| !job.state.is_final());
        }
    }

    /// Writes events that must not be lost; keeps them when the store is away.
    pub(super) async fn note(&mut self, in_force: &Desired, events: Vec<NewEvent>) -> Vec<Event> {
        self.fact(in_force, Batch { events, ..Batch::default() }).await
    }

    /// Writes what is so, whatever becomes of the store; keeps it when the store is away. Gives back its events.
    pub(super) async fn fact(&mut self, in_force: &Desired, batch: Batch) -> Vec<Event> {
        let expected = self.numbered(&batch.events);
        self.write(in_force, batch, PATIENCE, Otherwise::Keep).await.unwrap_or(expected)
    }

    /// Tries again to write what is left over.
    pub(super) async fn retry(&mut self, in_force: &Desired) {
        // Writing the version too makes it a real write even where nothing is left over.
        let batch = Batch { version: Some(in_force.version), ..Batch::default() };
        // A failure is in `trouble` already, and the next try is set.
        let _ = self.write(in_force, batch, PATIENCE, Otherwise::Keep).await;
    }

    /// What was answered to the request with this key. `in_force` is the state that counts.
    pub(super) async fn receipt(
        &mut self,
        in_force: &Desired,
        key: &str,
        patience: Duration,
    ) -> Result<Option<KeptReceipt>, String> {
        let until = Instant::now() + patience;
        // Only then it is known whether the receipts of an earlier write hold.
        self.settle(in_force, until).await?;
        if let Some(kept) = self.unwritten.receipts.iter().rfind(|r| r.key == key) {
            return Ok(Some(kept.clone()));
        }
        if self.unwritten.forgotten.iter().any(|forgotten| forgotten == key) {
            return Ok(None);
        }
        let (store, key) = (Arc::clone(&self.store), key.to_owned());
        let task = tokio::task::spawn_blocking(move || locked(&store).receipt(&key));
        match timeout_at(until, task).await {
            Ok(Ok(found)) => found.map_err(|e| e.to_string()),
            Ok(Err(panicked)) => Err(panicked.to_string()),
            Err(_) => Err(slow(patience)),
        }
    }

    /// Writes what is left over, where there is any.
    ///
    /// # Errors
    /// Why it is not durable.
    pub(super) async fn flush(&mut self, in_force: &Desired, patience: Duration) -> Result<(), String> {
        self.settle(in_force, Instant::now() + patience).await?;
        if self.unwritten.is_empty() {
            return Ok(());
        }
        self.write(in_force, Batch::default(), patience, Otherwise::Keep).await.map(|_| ())
    }

    /// Closes the store: from now on it is another process's.
    ///
    /// # Errors
    /// When somebody reads it for longer than `patience`; then it is ours as before.
    pub(super) async fn part(&mut self, why: &str, patience: Duration) -> Result<(), String> {
        let (shared, none) = (Arc::clone(&self.store), Box::new(Unavailable::because(why)));
        // Whoever is first decides: it is exchanged, or it is not any more.
        let decided = Arc::new(AtomicBool::new(false));
        let decided_too = Arc::clone(&decided);
        let task = tokio::task::spawn_blocking(move || {
            let mut shared = locked(&shared);
            if !decided_too.swap(true, Ordering::AcqRel) {
                *shared = none;
            }
        });
        match timeout_at(Instant::now() + patience, task).await {
            Ok(Ok(())) => {}
            Ok(Err(panicked)) => return Err(panicked.to_string()),
            Err(_) if decided.swap(true, Ordering::AcqRel) => {
                tracing::warn!("the store takes its time to close; it cannot be opened elsewhere until it has");
            }
            Err(_) => return Err(slow(patience)),
        }
        self.recovered();
        Ok(())
    }

    /// Goes on with this store in place of the one that was parted with. Gives what is in it.
    ///
    /// # Errors
    /// When it does not say so in time; it is used all the same.
    pub(super) async fn exchange(&mut self, store: Box<dyn Store>, patience: Duration) -> Result<Stored, String> {
        let shared = Arc::clone(&self.store);
        let task = tokio::task::spawn_blocking(move || {
            let mut shared = locked(&shared);
            *shared = store;
            shared.load()
        });
        let stored = match timeout_at(Instant::now() + patience, task).await {
            Ok(Ok(stored)) => stored.map_err(|e| e.to_string())?,
            Ok(Err(panicked)) => return Err(panicked.to_string()),
            Err(_) => return Err(slow(patience)),
        };
        self.last_event = self.last_event.max(stored.last_event);
        self.last_rollout = self.last_rollout.max(stored.last_rollout);
        self.recovered();
        Ok(stored)
    }

    async fn commit(
        &mut self,
        batch: Batch,
        until: Instant,
        patience: Duration,
        otherwise: Otherwise,
    ) -> Result<Vec<Event>, String> {
        let before = self.unwritten.events.len();
        let mut all = self.unwritten.clone();
        all.append(batch.clone());
        let store = Arc::clone(&self.store);
        let mut task: Commit = tokio::task::spawn_blocking(move || locked(&store).commit(&all));
        let why = match timeout_at(until, &mut task).await {
            Ok(Ok(Ok(mut events))) => {
                self.durable(&events);
                self.unwritten = Batch::default();
                self.jobs.put(&batch.jobs);
                return Ok(events.split_off(before));
            }
            Ok(Ok(Err(e))) => e.to_string(),
            Ok(Err(panicked)) => panicked.to_string(),
            Err(_) => {
                self.await_late(task, batch, otherwise);
                return Err(slow(patience));
            }
        };
        self.keep(batch, otherwise);
        Err(why)
    }

    fn await_late(&mut self, task: Commit, batch: Batch, otherwise: Otherwise) {
        let keys = batch.receipts.iter().map(|r| r.key.clone()).collect();
        let (jobs, rollouts) = (batch.jobs.clone(), batch.rollouts.clone());
        // It may become durable: another one does not get its number.
        self.last_rollout =
            rollouts.iter().map(|row| row.id).max().map_or(self.last_rollout, |id| self.last_rollout.max(id));
        let refused = (otherwise == Otherwise::Refuse).then_some(Refused { keys, jobs, rollouts });
        self.keep(batch, otherwise);
        let (events, receipts) = (self.unwritten.events.len(), self.unwritten.receipts.len());
        self.late = Some(Late { task, events, receipts, refused });
    }

    /// Finds out what became of a write that outlived its deadline, and waits for its end until `until`.
    async fn settle(&mut self, in_force: &Desired, until: Instant) -> Result<(), String> {
        let Some(mut late) = self.late.take() else { return Ok(()) };
        let Ok(ended) = timeout_at(until, &mut late.task).await else {
            self.late = Some(late);
            return Err(busy());
        };
        let Ok(Ok(events)) = ended else { return Ok(()) };
        self.durable(&events);
        self.unwritten.events.drain(..late.events);
        self.unwritten.receipts.drain(..late.receipts);
        if let Some(refused) = late.refused {
            let jobs = self.jobs.in_truth(&refused.jobs);
            let mut whole = Batch::whole(in_force);
            whole.rollouts.extend(refused.called_off(in_force));
            whole = Batch { forgotten: refused.keys, jobs, events: vec![taken_back()], ..whole };
            whole.append(std::mem::take(&mut self.unwritten));
            self.unwritten = whole;
        }
        Ok(())
    }

    fn durable(&mut self, events: &[Event]) {
        self.last_event = events.last().map_or(self.last_event, |e| e.id);
    }

    fn recovered(&mut self) {
        self.retry = None;
        if self.trouble.send_replace(None).is_some() {
            tracing::info!("the store takes writes again");
        }
    }

    fn failed(&mut self, why: &str) {
        let pause = self.retry.map_or(FIRST_PAUSE, |(_, pause)| (pause * 2).min(LONGEST_PAUSE));
        self.retry = Some((Instant::now() + pause, pause));
        if self.trouble.send_replace(Some(why.to_owned())).as_deref() != Some(why) {
            tracing::error!(why, "the store does not take writes");
        }
    }
}

fn taken_back() -> NewEvent {
    NewEvent {
        at: Timestamp::now(),
        actor: "pointsman".to_owned(),
        kind: "store.corrected".to_owned(),
        service: None,
        detail: serde_json::json!({
            "reason": "the write before this line took too long, was reported as failed, and became durable all the same; \
                       the state in force was written again"
        }),
    }
}

fn busy() -> String {
    "it is still busy with an earlier write".to_owned()
}

fn slow(patience: Duration) -> String {
    format!("it did not answer within {patience:?}")
}

/// The store. A panic while it was locked does not matter: a transaction that was not committed is rolled back.
pub(super) fn locked(store: &SharedStore) -> std::sync::MutexGuard<'_, Box<dyn Store>> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "journal_tests.rs"]
pub(super) mod tests;
