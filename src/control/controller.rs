//! The life of a change. One task owns all desired state and takes one command after another: look it up among the
//! answers given before, check the version, decide on a copy, compile, make it durable, publish, tell.
//!
//! Nothing is published that is not durable, with one exception: a rollback must work when the store is away. It is
//! published all the same, and written later. Reading files and waiting for health are done before a command gets
//! here, so that the controller never waits for anything but the store, and for that not long.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::command::{Force, Origin, Receipt, Rejected, Replaced};
use super::compile::compile;
use super::drains::{self, DrainCommand};
use super::handover::{Keeping, Step};
use super::hold::HoldAsked;
use super::hold_switch::{self, HeldSwitch};
use super::inbox::Inbox;
use super::jobs::JobCommand;
use super::journal::{Journal, Otherwise};
use super::prober::Target;
use super::receipts::{self, Request};
use super::registry::Registry;
use super::rollouts::RolloutCommand;
use super::running::{Running, Shared};
use super::source::Loaded;
use super::view::ReloadReport;
use super::{events, fuses};
use crate::model::change::{Decision, decide};
use crate::model::names::ServiceName;
use crate::routing::publish::Publisher;
use crate::store::{Batch, Event, KeptReceipt, NewEvent};

/// How long a change waits for the store before it is refused.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// How long a rollback waits for the store before it is published without.
pub(super) const ROLLBACK_PATIENCE: Duration = Duration::from_millis(500);

/// Turns of health that are written together at the most: after a start, all upstreams turn at once.
const TURNS_TOGETHER: usize = 64;

/// What the controller is asked to do.
#[derive(Debug)]
pub(super) enum Command {
    /// A change of traffic.
    Change { request: Request, origin: Origin, arrived: Instant, reply: oneshot::Sender<Result<Receipt, Rejected>> },
    /// A hold or a release.
    Hold(Box<HoldAsked>),
    /// A configuration that was read, with its sockets bound and its certificates loaded.
    Apply(Box<Apply>),
    /// The report of an earlier reload with the same key, where there is one.
    Recall { origin: Origin, reply: oneshot::Sender<Result<Option<ReloadReport>, Rejected>> },
    /// Something about drains.
    Drain(DrainCommand),
    /// Something about jobs.
    Job(JobCommand),
    /// Something about rollouts.
    Rollout(RolloutCommand),
    /// An event for the audit log.
    Note(NewEvent),
    /// A step of a handover to another process.
    Handover { step: Step, reply: oneshot::Sender<Result<(), Rejected>> },
    /// Let go of all listening sockets: the process is on its way down.
    ClosePorts(oneshot::Sender<()>),
}

/// A configuration to put to work.
#[derive(Debug)]
pub(super) struct Apply {
    pub(super) loaded: Loaded,
    pub(super) registry: Registry,
    pub(super) origin: Origin,
    pub(super) reply: oneshot::Sender<Result<ReloadReport, Rejected>>,
}

/// Owns desired state and the publisher.
pub(super) struct Controller {
    pub(super) publisher: Publisher,
    pub(super) running: Arc<Running>,
    pub(super) journal: Journal,
    pub(super) shared: Arc<Shared>,
    /// Whose the state is.
    pub(super) keeping: Keeping,
    /// What is to be probed.
    pub(super) targets: watch::Sender<Arc<Vec<Target>>>,
    /// Switches that wait, behind a hold, until nothing is under way.
    pub(super) switches: Vec<HeldSwitch>,
}

impl Controller {
    /// Takes commands until the shutdown; those that are left then are answered with [`Rejected::ShuttingDown`].
    pub(super) async fn run(mut self, mut inbox: Inbox) {
        let mut turned = Vec::new();
        loop {
            let retry = at(self.journal.retry_at());
            let look = at(self.next_expiry().into_iter().chain(self.next_look()).min());
            tokio::select! {
                () = asked_to_end(&mut inbox.shutdown) => break,
                Some(command) = inbox.commands.next() => self.obey(command).await,
                1.. = inbox.turns.recv_many(&mut turned, TURNS_TOGETHER) => {
                    self.note_all(turned.drain(..).map(|turn| events::health(&turn)).collect()).await;
                }
                () = retry => self.journal.retry(&self.running.desired).await,
                () = look => {}
            }
            self.go_on_with_switches().await;
            self.end_expired().await;
        }
        self.give_up_switches(&Rejected::ShuttingDown).await;
        // Replies that were not given are dropped with their commands, which their callers take for a shutdown.
        drop(inbox);
        self.note_all(vec![events::own("stop", json!({}))]).await;
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Hold(asked) => self.obey_hold(*asked).await,
            Command::Change { request, origin, arrived, reply } => {
                if let Some(hold) = request.hold().filter(|_| self.keeping != Keeping::Away) {
                    return self.begin_switch(request, hold, origin, arrived, reply).await;
                }
                let result = match self.keeping {
                    Keeping::Ours | Keeping::Packed => self.change(&request, &origin, arrived).await,
                    Keeping::Away => Err(Rejected::Upgrading),
                };
                if request.is_rollback() && result.is_ok() {
                    self.let_go_behind(&request, &origin).await;
                }
                if let Err(rejected) = &result {
                    self.refused(&request, &origin, rejected).await;
                }
                // A caller that went away does not undo what was done.
                let _ = reply.send(result);
            }
            Command::Apply(apply) => {
                let Apply { loaded, registry, origin, reply } = *apply;
                let applied = match self.keeping {
                    _ if self.shared.is_stopping() => Err(Rejected::ShuttingDown),
                    Keeping::Ours => self.apply(loaded, registry, &origin).await,
                    // Said here, so that whoever takes the state back after this command finds it.
                    Keeping::Packed | Keeping::Away => Err(self.shared.miss_a_reload()),
                };
                let _ = reply.send(applied);
            }
            Command::Recall { origin, reply } => {
                let _ = reply.send(self.recall(&origin).await);
            }
            Command::Drain(command) => self.obey_drain(command).await,
            Command::Job(command) => self.obey_job(command).await,
            Command::Rollout(command) => {
                if let Some(command) = self.still_wished(command) {
                    self.obey_rollout(command).await;
                }
            }
            Command::Handover { step, reply } => {
                let _ = reply.send(self.take_step(step).await);
            }
            Command::Note(event) => self.note_all(vec![event]).await,
            Command::ClosePorts(done) => {
                self.give_up_switches(&Rejected::ShuttingDown).await;
                self.end_all_holds().await;
                let registry = Arc::new(self.running.registry.without_ports());
                self.running = Arc::new(Running { registry, ..(*self.running).clone() });
                self.shared.running.store(Arc::clone(&self.running));
                let _ = done.send(());
            }
        }
    }

    pub(super) async fn change(
        &mut self,
        request: &Request,
        origin: &Origin,
        arrived: Instant,
    ) -> Result<Receipt, Rejected> {
        if let Some(receipt) = self.given_before(request, origin).await? {
            return Ok(receipt);
        }
        self.check_versions(&request.intent().services(), origin)?;
        let mut decision = self.decide(request)?;
        if request.is_rollback() {
            self.end_rollouts(&mut decision, origin);
        }
        if decision.changed() && request.force() == Force::No {
            self.check_health(request, &decision)?;
        }
        self.make_so(request, origin, decision, arrived).await
    }

    /// What becomes of the desired state, drains included.
    pub(super) fn decide(&self, request: &Request) -> Result<Decision, Rejected> {
        let now = Timestamp::now();
        let mut decision = decide(&self.running.desired, &request.intent(), now)?;
        if request.replaced() == Replaced::Drained {
            decision.drain_replaced(|service| self.term(service, None, now));
        }
        Ok(decision)
    }

    /// The receipt of the same request with the same key. The first question of all: the version has moved on since
    /// the request that is repeated.
    pub(super) async fn given_before(
        &mut self,
        request: &Request,
        origin: &Origin,
    ) -> Result<Option<Receipt>, Rejected> {
        let Some(key) = &origin.idempotency_key else { return Ok(None) };
        match self.journal.receipt(&self.running.desired, &stored_key(origin, key), patience(request)).await {
            Ok(None) => Ok(None),
            Ok(Some(kept)) if kept.fingerprint == request.fingerprint() => Ok(receipts::from_value(&kept.receipt)),
            Ok(Some(_)) => Err(Rejected::IdempotencyKeyReused(key.clone())),
            // Going back twice is going back once.
            Err(_) if request.is_rollback() => Ok(None),
            Err(why) => Err(Rejected::Store(why)),
        }
    }

    /// What the caller has seen must be no older than the services, and no newer than everything.
    pub(super) fn check_versions(&self, services: &[&ServiceName], origin: &Origin) -> Result<(), Rejected> {
        let Some(expected) = origin.expected_version else { return Ok(()) };
        let desired = &self.running.desired;
        if expected > desired.version {
            return Err(Rejected::StaleVersion { what: "the state".to_owned(), expected, current: desired.version });
        }
        for name in services {
            if let Some(state) = desired.services.get(name.as_str()).filter(|s| s.version > expected) {
                return Err(Rejected::StaleVersion {
                    what: format!("service {name}"),
                    expected,
                    current: state.version,
                });
            }
        }
        Ok(())
    }

    async fn make_so(
        &mut self,
        request: &Request,
        origin: &Origin,
        decision: Decision,
        arrived: Instant,
    ) -> Result<Receipt, Rejected> {
        let old = Arc::clone(&self.running);
        let mut batch = Batch::between(&old.desired, &decision.desired);
        batch.events = events::changed(request, origin, &decision);
        let own = batch.events.len();
        batch.events.extend(events::drains(&old.desired, &decision.desired, &origin.actor));
        batch.events.extend(events::rollouts(&old.desired, &decision.desired));
        batch.jobs = self.shared.jobs.validations(&decision.desired);
        let numbered = self.journal.numbered(&batch.events);
        let mut receipt = receipts::of(&decision, numbered[..own].last().map(|e| e.id));
        receipt.hold = hold_switch::was_held(&old.holds, request);
        if let Some(key) = &origin.idempotency_key {
            receipt.ms = millis(arrived);
            batch.receipts.push(kept(request, stored_key(origin, key), &receipt));
        }
        if batch.is_empty() {
            receipt.ms = millis(arrived);
            return Ok(receipt);
        }
        let otherwise = if request.is_rollback() { Otherwise::Keep } else { Otherwise::Refuse };
        let changed = decision.changed();
        let holds = hold_switch::without(&old.holds, request);
        let next = Running { desired: Arc::new(decision.desired), holds, ..(*old).clone() };
        let events = self.put_in_force(changed.then_some(next), batch, otherwise).await?;
        if changed {
            self.count(request, origin, &receipt, arrived);
        }
        self.shared.announce(events);
        receipt.ms = millis(arrived);
        Ok(receipt)
    }

    /// Makes `batch` durable and publishes `next`, where there is one. A way back does not wait for a disk: it is
    /// published first, and in force whenever the store takes it.
    pub(super) async fn put_in_force(
        &mut self,
        next: Option<Running>,
        batch: Batch,
        otherwise: Otherwise,
    ) -> Result<Vec<Event>, Rejected> {
        let before = Arc::clone(&self.running);
        let numbered = self.journal.numbered(&batch.events);
        let (first, patience, last) = match otherwise {
            Otherwise::Keep => (next, ROLLBACK_PATIENCE, None),
            Otherwise::Refuse => (None, PATIENCE, next),
        };
        if let Some(next) = first {
            self.publish(next);
        }
        let events = match self.journal.write(&before.desired, batch, patience, otherwise).await {
            Ok(events) => events,
            Err(_) if otherwise == Otherwise::Keep => numbered,
            Err(why) => return Err(Rejected::Store(why)),
        };
        if let Some(next) = last {
            self.publish(next);
        }
        Ok(events)
    }

    /// Compiles, publishes, and shows what is in force from now on.
    pub(super) fn publish(&mut self, next: Running) {
        let mut next = next.without_old_farewells();
        let fuses = fuses::of(&next.desired);
        let table = compile(&next.spec, &next.desired, &next.registry, &next.farewells, &next.holds, &fuses);
        drains::set_entrances(&table, &next.desired);
        fuses::renew(&self.running.table, &table);
        self.publisher.publish(table);
        next.table = self.publisher.current();
        self.running = Arc::new(next);
        self.shared.running.store(Arc::clone(&self.running));
        self.shared.published.send_replace(self.running.table.generation);
    }

    fn count(&self, request: &Request, origin: &Origin, receipt: &Receipt, arrived: Instant) {
        if request.kind() == "split" {
            return;
        }
        self.shared.figures.switched(arrived.elapsed().as_secs_f64());
        if request.is_rollback() {
            let moved = receipt.services.iter().filter(|s| s.before != s.after);
            moved.for_each(|s| self.shared.figures.rolled_back(&s.service, origin.cause.label()));
        }
    }

    /// The attempt, for the audit log.
    pub(super) async fn refused(&mut self, request: &Request, origin: &Origin, rejected: &Rejected) {
        tracing::warn!(actor = origin.actor, kind = request.kind(), error = %rejected, "refused");
        if matches!(rejected, Rejected::Store(_) | Rejected::ShuttingDown | Rejected::Upgrading) {
            return;
        }
        self.note_all(events::refused(request, origin, rejected)).await;
    }

    pub(super) async fn note_all(&mut self, events: Vec<NewEvent>) {
        // The log is another process's, which sees for itself.
        if self.keeping == Keeping::Away {
            return;
        }
        let events = self.journal.note(&self.running.desired, events).await;
        self.shared.announce(events);
    }
}

async fn at(when: Option<Instant>) {
    match when {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn asked_to_end(shutdown: &mut watch::Receiver<bool>) {
    // An error says that the sender is gone, and nobody is left to work for.
    let _ = shutdown.wait_for(|down| *down).await;
}

fn patience(request: &Request) -> Duration {
    if request.is_rollback() { ROLLBACK_PATIENCE } else { PATIENCE }
}

/// Scoped to the caller: two callers may well choose the same key.
pub(super) fn stored_key(origin: &Origin, key: &str) -> String {
    format!("{} {key}", origin.actor)
}

fn kept(request: &Request, key: String, receipt: &Receipt) -> KeptReceipt {
    let (fingerprint, receipt) = (request.fingerprint(), receipts::to_value(receipt));
    KeptReceipt { key, fingerprint, receipt, at: Timestamp::now() }
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

#[cfg(test)]
#[path = "controller_tests.rs"]
pub(super) mod tests;
