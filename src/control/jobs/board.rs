//! The board of jobs: all that wait, run, are dead, and the last that have ended.
//!
//! Written by the controller's journal, together with what makes it durable; that a job is begun, which is not written
//! down, is the runner's word. Read by whoever asks. Here events become notifications, and the queue has its bound.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Included};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use super::Attempt;
use crate::config::spec::Webhook;
use crate::control::events;
use crate::control::handover::Keeping;
use crate::model::change::Desired;
use crate::model::job::{Job, Kind, Lane, NotedEvent, Notify, Priority, State, Turn, Validate};
use crate::model::rollout::{Rollout, RolloutId, Tested};
use crate::store::{Batch, Event, MOST_DEAD, MOST_ENDED};

/// Jobs that run at a time, long ones left out: more than there are webhooks, as a rule, so that each may be slow.
const MOST_RUNNING: usize = 16;

/// Of these, so many are kept for urgent ones.
const KEPT: usize = 4;

/// Long ones that run at a time: validations, one for each rollout.
const MOST_LONG: usize = 16;

/// Of so many turns one goes to the job that is due longest, so that the least urgent is done, too, in the end.
const PATIENCE: u64 = 4;

/// Jobs that wait at the most.
const MOST_WAITING: usize = 10_000;

/// Where there are more, so many at least are given up together, so that not each further one has its victim.
const GIVEN_UP_TOGETHER: usize = 100;

/// A notification is worth nothing after this time.
const NEWS: Duration = Duration::from_secs(24 * 3600);

/// What became of those that were given up.
const NO_ROOM: &str = "too many jobs were waiting; the oldest of the least urgent notifications were given up";

/// All jobs.
#[derive(Debug)]
pub(in crate::control) struct Jobs {
    board: Mutex<Board>,
    /// Sent to whenever there may be something to run.
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct Board {
    all: BTreeMap<u64, Job>,
    by_state: BTreeMap<State, BTreeSet<u64>>,
    /// Those that wait, in their order.
    waiting: BTreeSet<Turn>,
    /// How many have been begun.
    begun: u64,
    /// The next number. Never goes back: receivers tell a message that they had before by it.
    next: u64,
    webhooks: Vec<Webhook>,
    keeping: Keeping,
}

impl Default for Jobs {
    fn default() -> Self {
        let board = Board {
            all: BTreeMap::new(),
            by_state: BTreeMap::new(),
            waiting: BTreeSet::new(),
            begun: 0,
            next: 1,
            webhooks: Vec::new(),
            keeping: Keeping::Ours,
        };
        Self { board: Mutex::new(board), changed: watch::channel(()).0 }
    }
}

impl Jobs {
    fn board(&self) -> MutexGuard<'_, Board> {
        // Every change is whole before anything in it can panic.
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job that may be done at once. It counts from when a batch that has it was written.
    pub(in crate::control) fn draft(&self, kind: Kind, priority: Priority) -> Job {
        self.board().draft(kind, priority, Timestamp::now())
    }

    /// What was stored, in place of all there is.
    pub(in crate::control) fn load(&self, jobs: Vec<Job>, last: u64) {
        let mut board = self.board();
        board.next = board.next.max(last + 1);
        (board.all, board.by_state, board.waiting) = Default::default();
        for job in jobs {
            board.put(job.found());
        }
        drop(board);
        self.changed.send_replace(());
    }

    /// Nobody is at any of them any more.
    pub(in crate::control) fn none_runs(&self) {
        let mut board = self.board();
        for id in board.of(State::Running).collect::<Vec<_>>() {
            if let Some(job) = board.all.get(&id).cloned() {
                board.put(job.found());
            }
        }
        drop(board);
        self.changed.send_replace(());
    }

    /// Whose they are: only ours are begun.
    pub(in crate::control) fn keep(&self, keeping: Keeping) {
        self.board().keeping = keeping;
        self.changed.send_replace(());
    }

    /// Whether another process does them.
    pub(super) fn are_away(&self) -> bool {
        self.board().keeping == Keeping::Away
    }

    /// Who is told of events from now on.
    pub(in crate::control) fn tell(&self, webhooks: &[Webhook]) {
        self.board().webhooks = webhooks.to_vec();
    }

    /// Puts into `batch` what follows from its events, which will be `numbered` so.
    pub(in crate::control) fn complete(&self, batch: &mut Batch, numbered: &[Event]) {
        let mut board = self.board();
        for event in numbered {
            batch.jobs.extend(board.notifications(event));
        }
        let given_up = board.given_up_for(&batch.jobs);
        if !given_up.is_empty() {
            batch.events.push(events::jobs_given_up(&given_up, NO_ROOM));
            batch.jobs.extend(given_up);
        }
    }

    /// These are in force.
    pub(in crate::control) fn put(&self, jobs: &[Job]) {
        if jobs.is_empty() {
            return;
        }
        let mut board = self.board();
        let fresh =
            |job: &&Job| job.state == State::Dead && board.all.get(&job.id).map(|j| j.state) != Some(State::Dead);
        complain(&jobs.iter().filter(fresh).collect::<Vec<_>>());
        for job in jobs {
            board.put(job.clone());
        }
        drop(board);
        self.changed.send_replace(());
    }

    /// These were written and are not to count: what they are in truth.
    pub(in crate::control) fn in_truth(&self, jobs: &[Job]) -> Vec<Job> {
        let board = self.board();
        let truth =
            |job: &Job| board.all.get(&job.id).cloned().or_else(|| job.cancelled("what it was part of was refused"));
        jobs.iter().filter_map(truth).collect()
    }

    /// What becomes of validations where `desired` is in force: there is one for each rollout that wants it, and none for
    /// any other.
    pub(in crate::control) fn validations(&self, desired: &Desired) -> Vec<Job> {
        let mut board = self.board();
        let open: Vec<_> = board.validations().map(|(rollout, job)| (rollout, job.clone())).collect();
        let rollout = |id: u64| desired.rollouts.get(&RolloutId(id));
        let ended = open.iter().filter(|(id, _)| !rollout(*id).is_some_and(Rollout::wants_test));
        let ended = ended.filter_map(|(id, job)| match rollout(*id).map_or(Tested::NotYet, |r| r.tested) {
            Tested::Well | Tested::Ill => job.settled(),
            Tested::NotYet => job.cancelled("its rollout does not wait for it any more"),
        });
        let mut jobs: Vec<_> = ended.collect();
        for rollout in desired.rollouts.values().filter(|rollout| rollout.wants_test()) {
            if !open.iter().any(|(id, _)| *id == rollout.id.0) {
                let kind = Kind::Validate(Validate { rollout: rollout.id.0 });
                jobs.push(board.draft(kind, Priority::High, Timestamp::now()));
            }
        }
        jobs
    }

    /// Whether somebody is at this try.
    pub(super) fn is_under_way(&self, attempt: Attempt) -> bool {
        let is_it = |job: &Job| job.state == State::Running && job.attempts == attempt.number;
        self.board().all.get(&attempt.id).is_some_and(is_it)
    }

    /// The job with this number.
    pub(in crate::control) fn get(&self, id: u64) -> Option<Job> {
        self.board().all.get(&id).cloned()
    }

    /// The newest `limit` ones, of this kind and in this state where such are named.
    pub(in crate::control) fn list(&self, kind: Option<&str>, state: Option<State>, limit: usize) -> Vec<Job> {
        let board = self.board();
        let is_wanted = |job: &&Job| {
            kind.is_none_or(|kind| job.kind.label() == kind) && state.is_none_or(|state| job.state == state)
        };
        board.all.values().rev().filter(is_wanted).take(limit).cloned().collect()
    }

    /// How many there are in each state.
    pub(in crate::control) fn counts(&self) -> [(State, u64); State::ALL.len()] {
        let board = self.board();
        State::ALL.map(|state| (state, board.of(state).len() as u64))
    }

    /// Tells when there may be something to run.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Begins with the next one that is due, where there is one and room for it.
    pub(super) fn take(&self, now: Timestamp) -> Option<Job> {
        let mut board = self.board();
        let taken = board.next_turn(now).and_then(|id| board.all[&id].taken())?;
        board.begun += 1;
        board.put(taken.clone());
        Some(taken)
    }

    /// When the next one is due that is not yet.
    pub(super) fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        let board = self.board();
        let of = |priority: Priority| {
            let later = (Excluded((priority, now, u64::MAX)), Included((priority, Timestamp::MAX, u64::MAX)));
            board.waiting.range(later).next().map(|turn| turn.1)
        };
        Priority::ALL.into_iter().filter_map(of).min()
    }
}

impl Board {
    fn of(&self, state: State) -> impl ExactSizeIterator<Item = u64> {
        self.by_state.get(&state).map(BTreeSet::iter).unwrap_or_default().copied()
    }

    fn draft(&mut self, kind: Kind, priority: Priority, now: Timestamp) -> Job {
        let id = self.next;
        self.next += 1;
        Job::new(id, kind, priority, now)
    }

    fn put(&mut self, job: Job) {
        self.remove(job.id);
        if job.state == State::Waiting {
            self.waiting.insert(job.turn());
        }
        let state = job.state;
        self.by_state.entry(state).or_default().insert(job.id);
        self.all.insert(job.id, job);
        let most = match state {
            State::Done | State::Cancelled => MOST_ENDED,
            State::Dead => MOST_DEAD,
            State::Waiting | State::Running => usize::MAX,
        };
        let oldest = self.of(state).next().filter(|_| self.of(state).len() > most);
        if let Some(oldest) = oldest {
            self.remove(oldest);
        }
    }

    fn remove(&mut self, id: u64) {
        if let Some(old) = self.all.remove(&id) {
            self.waiting.remove(&old.turn());
            self.by_state.entry(old.state).or_default().remove(&id);
        }
    }

    /// Validations that are not over, and the rollout of each.
    fn validations(&self) -> impl Iterator<Item = (u64, &Job)> {
        let open = self.of(State::Waiting).chain(self.of(State::Running)).filter_map(|id| self.all.get(&id));
        open.filter_map(|job| match &job.kind {
            Kind::Validate(validate) => Some((validate.rollout, job)),
            Kind::Notify(_) | Kind::StartRollout(_) => None,
        })
    }

    /// Who goes next: the most urgent, or now and then the one that is due longest.
    fn next_turn(&self, now: Timestamp) -> Option<u64> {
        if self.keeping != Keeping::Ours {
            return None;
        }
        let places = Places::taken_by(self.of(State::Running).filter_map(|id| self.all.get(&id)));
        let due = |priority: Priority| {
            let due = self.waiting.range((priority, Timestamp::MIN, 0)..=(priority, now, u64::MAX));
            due.filter_map(|turn| self.all.get(&turn.2)).find(|job| places.has_one_for(job))
        };
        let mut first = Priority::ALL.into_iter().filter_map(due);
        let next = if self.begun % PATIENCE == PATIENCE - 1 { first.min_by_key(|job| job.due) } else { first.next() };
        next.map(|job| job.id)
    }

    fn notifications(&mut self, event: &Event) -> Vec<Job> {
        let wanted = |webhook: &&Webhook| webhook.wants(&event.line.kind) && !is_own_echo(event, webhook);
        let names: Vec<_> = self.webhooks.iter().filter(wanted).map(|webhook| webhook.name.clone()).collect();
        let told = |webhook| {
            let line = event.line.clone();
            let (id, at) = (event.id, line.at);
            let event =
                NotedEvent { id, at, actor: line.actor, kind: line.kind, service: line.service, detail: line.detail };
            let priority = Priority::of_event(&event.kind);
            let job = self.draft(Kind::Notify(Notify { webhook, event }), priority, at);
            job.until(at.checked_add(NEWS).unwrap_or(Timestamp::MAX))
        };
        names.into_iter().map(told).collect()
    }

    /// Notifications that have to go so that there is room for `new` ones: of the least urgent the oldest.
    fn given_up_for(&self, new: &[Job]) -> Vec<Job> {
        let fresh = new.iter().filter(|job| job.state == State::Waiting && !self.all.contains_key(&job.id)).count();
        let over = (self.waiting.len() + fresh).saturating_sub(MOST_WAITING);
        if over == 0 || fresh == 0 {
            return Vec::new();
        }
        let waiting = self.waiting.iter().filter_map(|turn| self.all.get(&turn.2));
        let mut victims: Vec<_> = waiting.filter(|job| matches!(job.kind, Kind::Notify(_))).collect();
        victims.sort_by_key(|job| (std::cmp::Reverse(job.priority), job.id));
        victims.into_iter().take(over.max(GIVEN_UP_TOGETHER)).filter_map(|job| job.buried(NO_ROOM)).collect()
    }
}

/// Who is at work.
struct Places<'a> {
    lanes: BTreeMap<Lane<'a>, usize>,
    long: usize,
    short: usize,
}

impl<'a> Places<'a> {
    fn taken_by(running: impl Iterator<Item = &'a Job>) -> Self {
        let mut places = Self { lanes: BTreeMap::new(), long: 0, short: 0 };
        for job in running {
            *places.lanes.entry(job.kind.lane()).or_default() += 1;
            *(if job.kind.is_long() { &mut places.long } else { &mut places.short }) += 1;
        }
        places
    }

    fn has_one_for(&self, job: &Job) -> bool {
        let urgent = job.priority.is_urgent();
        let room = match (job.kind.is_long(), urgent) {
            (true, _) => self.long < MOST_LONG,
            (false, true) => self.short < MOST_RUNNING,
            (false, false) => self.short < MOST_RUNNING - KEPT,
        };
        // Somebody who is told of something urgent need not wait for what he is told beside.
        room && self.lanes.get(&job.kind.lane()).copied().unwrap_or_default() < if urgent { 2 } else { 1 }
    }
}

/// Whether telling this webhook of it could go on for ever: that a webhook cannot be told is not told to it, and that
/// somebody could not be told of such a thing is told to nobody.
fn is_own_echo(event: &Event, webhook: &Webhook) -> bool {
    let detail = &event.line.detail;
    let about = detail["about"].as_str().unwrap_or_default();
    event.line.kind == "job.dead"
        && (detail["webhook"] == webhook.name.as_str() || about.starts_with("job.") || detail["count"].is_u64())
}

/// Says aloud that these are dead.
fn complain(dead: &[&Job]) {
    match dead {
        [] => {}
        [job] => {
            let (kind, why) = (job.kind.label(), job.last_error.as_deref().unwrap_or_default());
            tracing::error!(
                job = job.id,
                kind,
                why,
                "a job is dead; once it can be done, `pointsman jobs retry` does it"
            );
        }
        [job, ..] => {
            let why = job.last_error.as_deref().unwrap_or_default();
            tracing::error!(jobs = dead.len(), why, "jobs are dead; `pointsman jobs --dead` shows them");
        }
    }
}

#[cfg(test)]
#[path = "board_tests.rs"]
mod tests;
