//! Drives one rollout: does what it is busy with, judges the candidate while it has users, watches the time, and says
//! what came of that to the controller.
//!
//! Nothing is decided here: what an input means is [`crate::model::rollout`]'s business, and what is due is
//! [`Rollout::due`]'s.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::bench::Bench;
use super::change::RolloutCommand;
use super::progress::Progress;
use super::ready;
use crate::control::command::Rejected;
use crate::control::controller::Command;
use crate::control::events;
use crate::control::freeze::frozen;
use crate::control::running::Shared;
use crate::model::change::Desired;
use crate::model::rollout::{By, Frozen, Input, Moment, Phase, Place, Rollout, RolloutId, State};
use crate::model::verdict::Status;
use crate::routing::publish::Reader;

/// From one look at the candidate to the next, where nothing fails.
const LOOK: Duration = Duration::from_secs(1);

/// What was not taken is said again after this time.
const SAID_AGAIN: Duration = Duration::from_secs(1);

/// How long the controller may take to answer.
const ANSWER: Duration = Duration::from_secs(30);

/// A rollout under way and all that is needed to drive it.
pub(super) struct Driver {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    reader: Reader,
    id: RolloutId,
}

/// How long a rollout has been busy with one thing, pauses left out.
struct Stopwatch {
    of: (Option<Phase>, Option<usize>),
    spent: Duration,
    /// Since it was resumed last, or has begun with that; none while it is paused.
    since: Option<Instant>,
}

/// What is to be said to the rollout.
struct Found {
    input: Input,
    cause: String,
    /// Where it holds; none: wherever the rollout is meanwhile.
    at: Option<Place>,
}

impl Stopwatch {
    fn new() -> Self {
        Self { of: (None, None), spent: Duration::ZERO, since: None }
    }

    /// Goes on, stands still or begins anew, as `rollout` says.
    fn follow(&mut self, rollout: &Rollout) {
        let (spent, now) = (self.spent(), Instant::now());
        let of = match rollout.state {
            State::RollingBack(step) => (None, Some(step)),
            state => (state.phase(), rollout.step),
        };
        self.spent = if of == self.of { spent } else { Duration::ZERO };
        self.of = of;
        self.since = (!matches!(rollout.state, State::Paused(_))).then_some(now);
    }

    fn spent(&self) -> Duration {
        self.spent + self.waited()
    }

    fn waited(&self) -> Duration {
        self.since.map(|since| since.elapsed()).unwrap_or_default()
    }
}

impl Driver {
    pub(super) fn new(shared: Arc<Shared>, commands: mpsc::Sender<Command>, reader: Reader, id: RolloutId) -> Self {
        Self { shared, commands, reader, id }
    }

    pub(super) async fn run(self) {
        let (mut watch, mut bench) = (Stopwatch::new(), None);
        let mut complained = false;
        while let Some(rollout) = self.rollout() {
            watch.follow(&rollout);
            let bench = bench.get_or_insert_with(|| Bench::new(&rollout));
            bench.follow(&rollout, &self.shared, &self.reader);
            let found = tokio::select! {
                biased;
                () = self.left(&rollout) => { complained = false; continue }
                (input, cause) = self.work(&rollout) => Found { input, cause, at: Some(rollout.place()) },
                found = self.watch_over(&rollout, &watch, bench) => found,
            };
            match self.say(found).await {
                Ok(()) => timeout(SAID_AGAIN, self.left(&rollout)).await.unwrap_or_default(),
                Err(rejected) => {
                    if !complained && matches!(rejected, Rejected::StableGroupUnhealthy { .. }) {
                        self.complain(&rollout, &rejected).await;
                        complained = true;
                    }
                    sleep(SAID_AGAIN).await;
                }
            }
        }
    }

    fn rollout(&self) -> Option<Rollout> {
        self.shared.running.load().rollout(self.id).cloned()
    }

    /// Waits until it is somewhere else.
    async fn left(&self, rollout: &Rollout) {
        let mut published = self.shared.published.subscribe();
        loop {
            published.mark_unchanged();
            if self.shared.running.load().rollout(self.id).map(Rollout::place) != Some(rollout.place()) {
                return;
            }
            if published.changed().await.is_err() {
                pending::<()>().await;
            }
        }
    }

    /// What it is busy with ahead of the first step, and at the end.
    async fn work(&self, rollout: &Rollout) -> (Input, String) {
        match rollout.state {
            _ if self.is_away() => pending().await,
            State::Active(Phase::Checking) => ready::check(&self.shared, rollout).await,
            State::Active(Phase::Warming) => ready::warm_up(&self.shared, rollout).await,
            State::Active(Phase::Draining) => self.drained(rollout).await,
            _ => pending().await,
        }
    }

    async fn drained(&self, rollout: &Rollout) -> (Input, String) {
        let mut published = self.shared.published.subscribe();
        loop {
            published.mark_unchanged();
            let running = self.shared.running.load_full();
            if running.desired.has_drained(rollout) {
                return (Input::Drained, let_go(&running.desired, rollout));
            }
            if published.changed().await.is_err() {
                pending::<()>().await;
            }
        }
    }

    /// Judges, and looks at the time, until something is due.
    async fn watch_over(&self, rollout: &Rollout, watch: &Stopwatch, bench: &mut Bench) -> Found {
        let mut tick = interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut frozen = Frozen::No;
        loop {
            tokio::select! {
                _ = tick.tick() => frozen = is_frozen(rollout),
                () = bench.rung() => {}
            }
            let verdict = if rollout.has_users() {
                bench.look(&self.reader, Timestamp::now())
            } else {
                bench.learn(&self.reader, Timestamp::now());
                None
            };
            let status = verdict.as_ref().map_or(Status::Undecided, |v| v.status);
            let failed = verdict.as_ref().and_then(|v| bench.failed(v, rollout));
            self.shared.verdicts.set(self.id, Progress { verdict, spent: watch.spent() });
            // Also while another process has the state: this one has the users until that one serves them.
            if let Some((input, cause)) = failed {
                return Found { input, cause, at: None };
            }
            let moment = Moment { spent: watch.spent(), waited: watch.waited(), verdict: status, frozen };
            let due = rollout.due(moment).filter(|_| !self.is_away());
            if let Some((input, cause)) = due {
                return Found { input, cause, at: Some(rollout.place()) };
            }
        }
    }

    fn is_away(&self) -> bool {
        self.shared.away.load(Ordering::Acquire)
    }

    async fn say(&self, found: Found) -> Result<(), Rejected> {
        let Found { input, cause, at } = found;
        let by = By { actor: events::OURSELVES.to_owned(), cause, figures: self.shared.verdicts.figures(self.id) };
        let (reply, answer) = oneshot::channel();
        let say = RolloutCommand::Say { id: self.id, input, by, at, reply };
        // A controller that is gone goes on with it after the restart.
        self.commands.send(Command::Rollout(say)).await.map_err(|_| Rejected::ShuttingDown)?;
        timeout(ANSWER, answer).await.ok().and_then(Result::ok).unwrap_or(Err(Rejected::ShuttingDown))
    }

    /// The candidate has failed, and nobody can be sent back.
    async fn complain(&self, rollout: &Rollout, rejected: &Rejected) {
        for moving in &rollout.services {
            let event = events::rollout_stuck(rollout, &moving.service, rejected);
            // A controller that is gone keeps no log.
            let _ = self.commands.send(Command::Note(event)).await;
        }
    }
}

fn is_frozen(rollout: &Rollout) -> Frozen {
    frozen(&rollout.plan.freeze, Timestamp::now()).map_or(Frozen::No, |_| Frozen::Yes)
}

/// How the drains at the end of `rollout` have ended.
fn let_go(desired: &Desired, rollout: &Rollout) -> String {
    let mut ends = Vec::new();
    for moving in &rollout.services {
        let Some(state) = desired.services.get(moving.service.as_str()) else { continue };
        for (part, drain) in state.drains.iter().filter(|(part, _)| part.upstream.is_none()) {
            let Some(end) = drain.end.as_ref().filter(|_| drain.began >= rollout.since) else { continue };
            let took = end.at.duration_since(drain.began).as_secs_f64();
            let why = if end.why.is_empty() { String::new() } else { format!(" ({})", end.why) };
            ends.push(format!(
                "{} of service {} was let go of: {} after {took:.1} s{why}",
                part,
                moving.service,
                drain.label()
            ));
        }
    }
    if ends.is_empty() { "there was nothing to let go of".to_owned() } else { ends.join("; ") }
}
