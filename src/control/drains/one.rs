//! Watches over one drain, from its begin to its end.
//!
//! It ends as drained once every worker has seen the table that keeps new requests out, nothing is under way any more
//! and the hook is content; as timed out when the deadline has come first and tunnels have been told to end; or without
//! a word when it was called off, which the hook is told.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::change::DrainCommand;
use super::facts::Counts;
use super::{DrainKey, hook};
use crate::config::spec::{self, DrainHook};
use crate::control::controller::Command;
use crate::control::prober::{Target, targets};
use crate::control::running::Shared;
use crate::control::view::{HookState, HookView};
use crate::model::drain::{End, Outcome};
use crate::routing::publish::Reader;
use crate::routing::table::Farewell;

/// From one time that the end is told to the next.
const SAID_AGAIN: Duration = Duration::from_millis(500);
/// How often the counts are looked at: soon at first, then as often as this.
const LOOK: Duration = Duration::from_millis(50);
/// Tunnels that were told to end have so long beyond their spread.
const GRACE: Duration = Farewell::LONGEST_END.saturating_add(Duration::from_secs(1));

/// A drain under way and all that is needed to watch over it.
pub(super) struct Watched {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    reader: Reader,
    key: DrainKey,
}

/// What a drain was configured with when it began.
struct Plan {
    hook: Option<DrainHook>,
    targets: Vec<Target>,
    spread: Duration,
    deadline: Instant,
    /// The table that keeps new requests out, or a later one.
    generation: u64,
}

/// Who else may have requests of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Company {
    None,
    /// The process that this one has taken over from has not left yet.
    Predecessor,
}

impl Watched {
    pub(super) fn new(shared: Arc<Shared>, commands: mpsc::Sender<Command>, reader: Reader, key: DrainKey) -> Self {
        Self { shared, commands, reader, key }
    }

    pub(super) async fn run(self) {
        let Some(plan) = self.plan() else { return };
        let (said, word) = watch::channel(HookView { state: HookState::Starting, detail: String::new(), answer: None });
        // The process that has the state asks it.
        let hook = plan.hook.clone().filter(|_| !self.is_away()).map(|hook| {
            let targets = plan.targets.clone();
            Hook { task: tokio::spawn(async move { hook::run(&hook, &targets, said).await }), word }
        });
        let end = self.until_over(&plan, hook.as_ref()).await;
        let hook_was_asked = hook.is_some();
        drop(hook);
        match end {
            Some(end) => self.end(end).await,
            None if hook_was_asked && self.is_there() && !self.is_away() => self.call_off(&plan).await,
            None => {}
        }
    }

    /// It had ended, and was lifted: the application is told.
    pub(super) async fn lift(self) {
        let now = Timestamp::now();
        if let Some(plan) = self.plan_until(now).filter(|_| self.is_there() && !self.is_away()) {
            self.call_off(&plan).await;
        }
    }

    fn plan(&self) -> Option<Plan> {
        let deadline = self.shared.running.load().drain(&self.key)?.deadline;
        self.plan_until(deadline)
    }

    fn plan_until(&self, deadline: Timestamp) -> Option<Plan> {
        let running = self.shared.running.load();
        let service: &spec::Service = running.spec.services.iter().find(|s| s.name == self.key.service)?;
        let part = &self.key.part;
        let meant = |target: &Target| {
            let this_one = part.upstream.as_ref().is_none_or(|url| target.live.endpoint.url == *url);
            target.service == self.key.service && target.group == part.group && this_one
        };
        let targets = targets(&running.spec, &running.table);
        let left = deadline.duration_since(Timestamp::now());
        Some(Plan {
            hook: service.drain.hook.clone(),
            targets: targets.iter().filter(|t| meant(t)).cloned().collect(),
            spread: service.drain.tunnels.spread,
            deadline: Instant::now() + Duration::try_from(left).unwrap_or_default(),
            generation: running.table.generation,
        })
    }

    /// How it has ended; none when it was called off.
    async fn until_over(&self, plan: &Plan, hook: Option<&Hook>) -> Option<End> {
        let begun = Instant::now();
        let mut farewell: Option<u64> = None;
        loop {
            // Ahead of the counts: whoever chose by an older table is in them by then.
            let closed = self.reader.acknowledged() >= plan.generation;
            let counts = self.counts()?;
            let content = hook.is_none_or(Hook::is_content);
            if let Some(hook) = hook {
                self.shared.drains.set(&self.key, hook.word.borrow().clone());
            }
            let company = self.company();
            if content && closed && company == Company::None && counts.is_nothing() {
                let (outcome, why) = farewell.map_or((Outcome::Drained, String::new()), |tunnels| {
                    (Outcome::TimedOut, left_over(tunnels, &counts, hook, company))
                });
                return Some(end(outcome, why));
            }
            let now = Instant::now();
            if now >= plan.deadline && farewell.is_none() {
                farewell = Some(counts.tunnels);
                if counts.tunnels > 0 {
                    self.tell(DrainCommand::Due(self.key.clone())).await;
                }
            }
            let told = farewell.filter(|_| counts.tunnels == 0 || now >= plan.deadline + plan.spread + GRACE);
            if let Some(tunnels) = told {
                return Some(end(Outcome::TimedOut, left_over(tunnels, &counts, hook, company)));
            }
            self.look_again(begun.elapsed(), plan.deadline, hook).await;
        }
    }

    fn is_away(&self) -> bool {
        self.shared.away.load(Ordering::Acquire)
    }

    fn company(&self) -> Company {
        let predecessor = self.shared.predecessor.load(Ordering::Acquire);
        if predecessor { Company::Predecessor } else { Company::None }
    }

    /// What is under way; none when the drain was called off.
    fn counts(&self) -> Option<Counts> {
        let running = self.shared.running.load();
        running.drain(&self.key)?;
        Counts::of(&running.table, &self.key.service, &self.key.part)
    }

    /// Waits until the counts may be worth another look.
    async fn look_again(&self, so_far: Duration, deadline: Instant, hook: Option<&Hook>) {
        let pause = (so_far / 8).clamp(Duration::from_millis(1), LOOK);
        let until_due = deadline.saturating_duration_since(Instant::now());
        let pause = if until_due.is_zero() { pause } else { pause.min(until_due) };
        let mut published = self.shared.published.subscribe();
        let content = async {
            match hook {
                Some(hook) if !hook.is_content() => hook.changed().await,
                _ => pending().await,
            }
        };
        tokio::select! {
            () = sleep(pause) => {}
            _ = published.changed() => {}
            () = content => {}
        }
    }

    /// The hook is told that it need not hurry any more.
    async fn call_off(&self, plan: &Plan) {
        let Some(hook) = &plan.hook else { return };
        let detail = match hook::cancel(hook, &plan.targets).await {
            Ok(()) => String::new(),
            Err(why) => {
                tracing::warn!(service = %self.key.service, part = %self.key.part, why, "the drain's hook was not told that it was cancelled");
                why
            }
        };
        self.shared.drains.set(&self.key, HookView { state: HookState::Cancelled, detail, answer: None });
    }

    /// Says that it is over until that is so: while the state is another process's, nobody writes it down.
    async fn end(&self, end: End) {
        while self.shared.running.load().drain(&self.key).is_some() {
            self.tell(DrainCommand::Over { key: self.key.clone(), end: end.clone() }).await;
            let mut published = self.shared.published.subscribe();
            let _ = timeout(SAID_AGAIN, published.changed()).await;
        }
    }

    /// Whether the part is still there, or was removed by a reload.
    fn is_there(&self) -> bool {
        Counts::of(&self.shared.running.load().table, &self.key.service, &self.key.part).is_some()
    }

    async fn tell(&self, command: DrainCommand) {
        // A controller that is gone goes on with it after the restart.
        let _ = self.commands.send(Command::Drain(command)).await;
    }
}

/// The hook at work; stopped when dropped.
struct Hook {
    task: JoinHandle<()>,
    word: watch::Receiver<HookView>,
}

impl Hook {
    fn is_content(&self) -> bool {
        self.word.borrow().state == HookState::Done
    }

    async fn changed(&self) {
        let mut word = self.word.clone();
        // What was said by now has been looked at, or is at the next look.
        word.mark_unchanged();
        if word.changed().await.is_err() {
            // It has panicked: it will never be content.
            pending::<()>().await;
        }
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn end(outcome: Outcome, why: String) -> End {
    End { outcome, at: Timestamp::now(), why }
}

/// What was left at the deadline: tunnels that were told to end, what is still under way, and what the hook said last.
fn left_over(tunnels: u64, counts: &Counts, hook: Option<&Hook>, company: Company) -> String {
    let mut left = Vec::new();
    if company == Company::Predecessor {
        left.push("the process before an upgrade has not left yet; what it has is not counted here".to_owned());
    }
    if tunnels > 0 {
        let gone = tunnels.saturating_sub(counts.tunnels);
        left.push(format!("{} open at the deadline, of which {gone} were closed", several(tunnels, "tunnel")));
    }
    if counts.tunnels > 0 {
        left.push(format!("{} still open", several(counts.tunnels, "tunnel")));
    }
    if counts.in_flight > 0 {
        let streams =
            if counts.streams > 0 { format!(" ({})", several(counts.streams, "stream")) } else { String::new() };
        left.push(format!("{}{streams} still under way", several(counts.in_flight, "request")));
    }
    if let Some(hook) = hook.filter(|hook| !hook.is_content()) {
        let word = hook.word.borrow();
        let detail = if word.detail.is_empty() { "it has not answered" } else { &word.detail };
        left.push(format!("the hook was not content: {detail}"));
    }
    left.join("; ")
}

/// `1 tunnel`, `2 tunnels`.
fn several(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
