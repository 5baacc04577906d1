//! Jobs: what is to be done once at least, also over a restart, and when it is tried again.
//!
//! A job waits until it is due, runs, and is done; or it fails and waits again, longer each time, until its tries or
//! its time are used up: then it is dead, which somebody has to look at. Pure: clocks and dice are arguments, and who
//! runs it is for others to know.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::names::{GroupName, ServiceName};
use super::rollout::Freezes;

/// Tries before a job is dead.
pub const MOST_ATTEMPTS: u32 = 8;

/// From the first failure to the next try; doubles with each.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The same where a rollout waits for the end.
const LONGEST_PAUSE_OF_A_ROLLOUT: Duration = Duration::from_secs(15);

/// A pause is longer by up to this part of it, so that what has failed together does not come again together.
const JITTER: f64 = 0.25;

/// What is to be done, and with what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "payload", rename_all = "snake_case")]
pub enum Kind {
    /// Tell a webhook.
    Notify(Notify),
    /// Have the candidate of a rollout tested.
    Validate(Validate),
    /// Begin a rollout.
    StartRollout(StartRollout),
}

/// Tells a webhook of an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notify {
    /// The webhook's name; where it leads, the configuration says.
    pub webhook: String,
    /// What it is told.
    pub event: NotedEvent,
}

/// A line of the audit log, as a webhook is told of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NotedEvent {
    /// Its number.
    pub id: u64,
    /// When it was.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// What: `switch`, `rollout.started`.
    pub kind: String,
    /// Which service, where it is about one.
    pub service: Option<String>,
    /// Details: an object.
    pub detail: Value,
}

/// Has the candidate of a rollout tested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validate {
    /// The rollout's number.
    pub rollout: u64,
}

/// Begins a rollout at a time that was named before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StartRollout {
    /// Its services, at least one.
    pub services: Vec<ServiceName>,
    /// Where it leads.
    pub to: GroupName,
    /// What its plan has other than the file's: an object with keys of `rollout:`.
    pub plan: Value,
    /// Who wants it.
    pub actor: String,
    /// Why, for the audit log.
    pub reason: Option<String>,
    /// Whether freezes count.
    #[serde(default = "heeded")]
    pub freeze: Freezes,
}

fn heeded() -> Freezes {
    Freezes::Heeded
}

impl Kind {
    /// The names of all kinds.
    pub const LABELS: [&'static str; 3] = ["notify", "validate", "start_rollout"];

    /// Its name in the API and in metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Notify(_) => "notify",
            Self::Validate(_) => "validate",
            Self::StartRollout(_) => "start_rollout",
        }
    }

    /// Whether it may take so long that it must not keep others from their turn.
    #[must_use]
    pub fn is_long(&self) -> bool {
        matches!(self, Self::Validate(_))
    }

    /// Tries before it is dead, and the longest pause between two. A validation is never dead: its rollout ends it when
    /// its time is over.
    fn persistence(&self) -> (u32, Duration) {
        match self {
            Self::Notify(_) | Self::StartRollout(_) => (MOST_ATTEMPTS, LONGEST_PAUSE),
            Self::Validate(_) => (u32::MAX, LONGEST_PAUSE_OF_A_ROLLOUT),
        }
    }

    /// Jobs of one lane wait for each other, so that one receiver that hangs does not keep all others waiting.
    #[must_use]
    pub fn lane(&self) -> Lane<'_> {
        match self {
            Self::Notify(notify) => Lane::Webhook(&notify.webhook),
            Self::Validate(validate) => Lane::Rollout(validate.rollout),
            Self::StartRollout(_) => Lane::Starts,
        }
    }
}

/// What jobs that wait for each other have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane<'a> {
    /// They tell this webhook.
    Webhook(&'a str),
    /// They are about this rollout.
    Rollout(u64),
    /// They begin rollouts.
    Starts,
}

/// What goes first; the first one is the most urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Users are hurt while it waits.
    Critical,
    /// Somebody waits for it.
    High,
    /// The usual.
    Normal,
    /// It may as well be lost.
    Low,
}

impl Priority {
    /// All of them, the most urgent first.
    pub const ALL: [Self; 4] = [Self::Critical, Self::High, Self::Normal, Self::Low];

    /// Its name in the API and in the store.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.label() == label)
    }

    /// Whether a place is kept for it.
    #[must_use]
    pub fn is_urgent(self) -> bool {
        self <= Self::High
    }

    /// How urgent it is that somebody hears of an event of this kind.
    #[must_use]
    pub fn of_event(kind: &str) -> Self {
        match kind {
            "rollback" | "rollout.failed" | "rollout.rolling_back" | "rollout.rolled_back" => Self::Critical,
            "switch" | "split" => Self::High,
            "health" => Self::Low,
            _ if kind.starts_with("rollout.") => Self::High,
            _ => Self::Normal,
        }
    }
}

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Until it is due.
    Waiting,
    /// Somebody is at it.
    Running,
    /// It was done.
    Done,
    /// It has failed for good; it can be retried by hand.
    Dead,
    /// It is not wanted any more.
    Cancelled,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Waiting, Self::Running, Self::Done, Self::Dead, Self::Cancelled];

    /// Its name in the API and in the store.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.label() == label)
    }

    /// Whether nothing becomes of it any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Cancelled)
    }
}

/// Something that is to be done once at least.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its number; never used twice.
    pub id: u64,
    /// What is to be done.
    pub kind: Kind,
    /// What goes first.
    pub priority: Priority,
    /// How far it is.
    pub state: State,
    /// Tries so far, the one under way included; since it was last retried by hand.
    pub attempts: u32,
    /// When it was thought of.
    pub created: Timestamp,
    /// Not before this time.
    pub due: Timestamp,
    /// Not after this time.
    pub deadline: Option<Timestamp>,
    /// Why the last try has failed.
    pub last_error: Option<String>,
}

/// What decides who goes first among those that are due.
pub type Turn = (Priority, Timestamp, u64);

impl Job {
    /// A job that waits, and may be done at once.
    #[must_use]
    pub fn new(id: u64, kind: Kind, priority: Priority, now: Timestamp) -> Self {
        let (state, attempts, deadline, last_error) = (State::Waiting, 0, None, None);
        Self { id, kind, priority, state, attempts, created: now, due: now, deadline, last_error }
    }

    /// The same, not before `due`.
    #[must_use]
    pub fn due_at(self, due: Timestamp) -> Self {
        Self { due, ..self }
    }

    /// The same, not after `deadline`.
    #[must_use]
    pub fn until(self, deadline: Timestamp) -> Self {
        Self { deadline: Some(deadline), ..self }
    }

    /// Those that are due go by it, the least one first.
    #[must_use]
    pub fn turn(&self) -> Turn {
        (self.priority, self.due, self.id)
    }

    /// Whether it waits and may be done now.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.state == State::Waiting && self.due <= now
    }

    /// Whether its time is over.
    #[must_use]
    pub fn is_late(&self, now: Timestamp) -> bool {
        self.deadline.is_some_and(|deadline| deadline < now)
    }

    /// Somebody begins with it. None: it does not wait.
    #[must_use]
    pub fn taken(&self) -> Option<Self> {
        let running = || Self { state: State::Running, attempts: self.attempts.saturating_add(1), ..self.clone() };
        (self.state == State::Waiting).then(running)
    }

    /// It was done. None: nobody was at it.
    #[must_use]
    pub fn succeeded(&self) -> Option<Self> {
        let done = || Self { state: State::Done, last_error: None, ..self.clone() };
        (self.state == State::Running).then(done)
    }

    /// Somebody else has seen to it. None: it has ended already.
    #[must_use]
    pub fn settled(&self) -> Option<Self> {
        let open = matches!(self.state, State::Waiting | State::Running);
        open.then(|| Self { state: State::Done, last_error: None, ..self.clone() })
    }

    /// A try has failed, at `now`: it waits for the next one, or is dead. `jitter` is a throw between 0 and 1. None:
    /// nobody was at it.
    #[must_use]
    pub fn failed(&self, why: &str, now: Timestamp, jitter: f64) -> Option<Self> {
        if self.state != State::Running {
            return None;
        }
        let (most, longest) = self.kind.persistence();
        let due = now.checked_add(pause(self.attempts, jitter, longest)).unwrap_or(Timestamp::MAX);
        let over = self.attempts >= most || self.deadline.is_some_and(|deadline| deadline < due);
        if over {
            return self.buried(why);
        }
        Some(Self { state: State::Waiting, due, last_error: Some(why.to_owned()), ..self.clone() })
    }

    /// It will never succeed as things are. None: it has ended already.
    #[must_use]
    pub fn buried(&self, why: &str) -> Option<Self> {
        let open = matches!(self.state, State::Waiting | State::Running);
        open.then(|| Self { state: State::Dead, last_error: Some(why.to_owned()), ..self.clone() })
    }

    /// Somebody wants it to be tried again, as often as at first, whatever its deadline was. None: it is not dead.
    #[must_use]
    pub fn retried(&self, now: Timestamp) -> Option<Self> {
        let again = || {
            let deadline = self.deadline.filter(|deadline| *deadline > now);
            Self { state: State::Waiting, attempts: 0, due: now, deadline, ..self.clone() }
        };
        (self.state == State::Dead).then(again)
    }

    /// It is not wanted any more. None: it has ended already.
    #[must_use]
    pub fn cancelled(&self, why: &str) -> Option<Self> {
        let open = !self.state.is_final();
        open.then(|| Self { state: State::Cancelled, last_error: Some(why.to_owned()), ..self.clone() })
    }

    /// As somebody finds it who cannot know what became of a try under way: it is made again.
    #[must_use]
    pub fn found(self) -> Self {
        let state = if self.state == State::Running { State::Waiting } else { self.state };
        Self { state, ..self }
    }
}

/// From the failure of try number `attempts` to the next one.
fn pause(attempts: u32, jitter: f64, longest: Duration) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1 << attempts.saturating_sub(1).min(20));
    doubled.min(longest).mul_f64(1.0 + JITTER * jitter.clamp(0.0, 1.0)).min(longest)
}

#[cfg(test)]
#[path = "job_samples.rs"]
pub(crate) mod samples;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::samples::*;
    use super::*;

    #[test]
    fn every_kind_has_its_name_in_the_list_of_names() {
        assert_eq!(super::samples::kinds().map(|kind| kind.label()), Kind::LABELS);
    }

    #[test]
    fn a_job_is_taken_once_and_done_once() {
        let running = notification(1).taken().unwrap();
        assert_eq!((running.state, running.attempts), (State::Running, 1));
        assert_eq!(running.taken(), None);
        let done = running.succeeded().unwrap();
        assert_eq!(done.state, State::Done);
        for ended in [&done, &running.cancelled("not wanted").unwrap()] {
            let nothing = [
                ended.taken(),
                ended.succeeded(),
                ended.failed("x", second(0), 0.0),
                ended.buried("x"),
                ended.retried(second(0)),
                ended.cancelled("x"),
            ];
            assert!(nothing.iter().all(Option::is_none), "{nothing:?}");
        }
        assert!(notification(1).succeeded().is_none() && notification(1).failed("x", second(0), 0.0).is_none());
    }

    #[test]
    fn the_pause_doubles_from_a_second_to_five_minutes() {
        let pauses: Vec<_> = (1..=12).map(|attempts| pause(attempts, 0.0, LONGEST_PAUSE).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert_eq!(pause(1, 1.0, LONGEST_PAUSE), Duration::from_millis(1250));
        assert_eq!(pause(u32::MAX, 1.0, LONGEST_PAUSE), LONGEST_PAUSE);
    }

    #[test]
    fn after_eight_tries_it_is_dead_and_by_hand_it_has_eight_more() {
        let mut job = notification(1);
        for attempt in 1..=MOST_ATTEMPTS {
            assert!(!job.is_due(second(-1)), "it was due before its time");
            job = job.taken().unwrap().failed("refused", second(0), 0.5).unwrap();
            let expected = if attempt < MOST_ATTEMPTS { State::Waiting } else { State::Dead };
            assert_eq!((job.state, job.last_error.as_deref()), (expected, Some("refused")));
        }
        let again = job.retried(second(9)).unwrap();
        assert_eq!((again.state, again.attempts, again.due), (State::Waiting, 0, second(9)));
        assert_eq!(again.last_error, job.last_error, "what was wrong stays readable");
        assert_eq!(again.retried(second(9)), None);
    }

    #[test]
    fn a_validation_is_tried_until_its_rollout_ends_it() {
        let mut job = Job::new(1, Kind::Validate(Validate { rollout: 3 }), Priority::High, second(0));
        for _ in 0..3 * MOST_ATTEMPTS {
            job = job.taken().unwrap().failed("refused", second(0), 1.0).unwrap();
            assert_eq!(job.state, State::Waiting);
            assert!(job.due <= second(15), "somebody waits: {}", job.due);
        }
        assert_eq!(job.settled().unwrap().state, State::Done);
        assert_eq!(job.cancelled("over").unwrap().settled(), None);
    }

    #[test]
    fn what_would_be_tried_after_its_deadline_is_dead_and_may_be_retried_by_hand_all_the_same() {
        let job = notification(1).until(second(10));
        let failed = |at| job.taken().unwrap().failed("x", second(at), 0.0).unwrap();
        assert_eq!((failed(9).state, failed(10).state), (State::Waiting, State::Dead));
        assert!(!job.is_late(second(10)) && job.is_late(second(11)));
        assert_eq!(failed(10).retried(second(11)).unwrap().deadline, None);
        assert_eq!(failed(10).retried(second(2)).unwrap().deadline, Some(second(10)));
    }

    #[test]
    fn a_try_whose_end_nobody_knows_is_made_again() {
        let running = notification(1).taken().unwrap();
        assert_eq!(running.clone().found().state, State::Waiting);
        assert_eq!(running.succeeded().unwrap().found().state, State::Done);
    }

    #[test]
    fn every_kind_is_the_same_after_it_was_written() {
        for kind in kinds() {
            let text = serde_json::to_value(&kind).unwrap();
            assert_eq!(text["kind"], kind.label());
            assert_eq!(serde_json::from_value::<Kind>(text).unwrap(), kind);
        }
    }

    #[test]
    fn labels_lead_back_to_what_they_name() {
        assert!(State::ALL.iter().all(|s| State::from_label(s.label()) == Some(*s)));
        assert!(Priority::ALL.iter().all(|p| Priority::from_label(p.label()) == Some(*p)));
        assert_eq!((State::from_label("lost"), Priority::from_label("")), (None, None));
    }

    /// What may happen to a job.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Take,
        Succeed,
        Fail,
        Bury,
        Retry,
        Cancel,
        Restart,
    }

    fn after(job: &Job, step: Step, now: Timestamp, jitter: f64) -> Job {
        let next = match step {
            Step::Take => job.taken(),
            Step::Succeed => job.succeeded(),
            Step::Fail => job.failed("x", now, jitter),
            Step::Bury => job.buried("x"),
            Step::Retry => job.retried(now),
            Step::Cancel => job.cancelled("x"),
            Step::Restart => Some(job.clone().found()),
        };
        next.unwrap_or_else(|| job.clone())
    }

    fn any_step() -> impl Strategy<Value = (Step, f64, i64)> {
        use Step::{Bury, Cancel, Fail, Restart, Retry, Succeed, Take};
        let steps = vec![Take, Take, Take, Fail, Fail, Succeed, Bury, Retry, Cancel, Restart];
        (prop::sample::select(steps), 0.0..=1.0, 0_i64..400)
    }

    proptest! {
        #[test]
        fn whatever_happens_the_rules_hold(steps in prop::collection::vec(any_step(), 1..60), deadline in 0_i64..4000) {
            let mut job = notification(7).until(second(deadline));
            let mut now = second(0);
            for (step, jitter, pause) in steps {
                now += Duration::from_secs(pause.unsigned_abs());
                let next = after(&job, step, now, jitter);
                prop_assert_eq!((next.id, &next.kind, next.created), (job.id, &job.kind, job.created));
                prop_assert!(next.attempts <= MOST_ATTEMPTS || next.state != State::Waiting);
                prop_assert!(!job.state.is_final() || next == job, "it had ended");
                if next.state == State::Waiting && job.state == State::Running && !matches!(step, Step::Restart) {
                    let waits = next.due.duration_since(now);
                    prop_assert!(waits >= jiff::SignedDuration::from_secs(1), "{waits:?}");
                    prop_assert!(waits <= jiff::SignedDuration::from_secs(300), "{waits:?}");
                    prop_assert!(!next.is_late(next.due));
                }
                prop_assert_eq!(next.state == State::Dead && next.last_error.is_none(), false);
                job = next;
            }
        }

        #[test]
        fn the_more_urgent_go_first_then_those_that_are_due_longer(mut jobs in prop::collection::vec(any_job(), 2..20)) {
            jobs.sort_by_key(Job::turn);
            for pair in jobs.windows(2) {
                let (a, b) = (&pair[0], &pair[1]);
                prop_assert!(a.priority <= b.priority);
                prop_assert!(a.priority < b.priority || a.due <= b.due);
                prop_assert!(a.priority < b.priority || a.due < b.due || a.id <= b.id);
            }
        }
    }
}
