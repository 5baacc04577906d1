//! The controller's part of drains: they begin, are called off, come to their deadline and end.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::{DrainKey, Farewells};
use crate::control::command::{DrainChange, DrainReceipt, DrainWish, Force, Origin, Rejected};
use crate::control::compile::entrance;
use crate::control::controller::{Command, Controller, PATIENCE, stored_key};
use crate::control::events;
use crate::control::gather;
use crate::control::handle::Handle;
use crate::control::handover::Keeping;
use crate::control::journal::Otherwise;
use crate::control::receipts;
use crate::control::running::Running;
use crate::control::view::DrainView;
use crate::model::change::{Decision, Desired, Move};
use crate::model::drain::{self, End, Outcome, Part, Term};
use crate::model::names::ServiceName;
use crate::model::split::Share;
use crate::routing::table::{Entrance, Service, Table, Upstream};
use crate::store::{Batch, KeptReceipt};

/// What the controller is asked to do about drains.
#[derive(Debug)]
pub(in crate::control) enum DrainCommand {
    /// Somebody wants one to begin, or to be called off.
    Change { change: DrainChange, origin: Origin, reply: oneshot::Sender<Result<DrainReceipt, Rejected>> },
    /// Its deadline has come: tunnels are told to end.
    Due(DrainKey),
    /// It is over.
    Over { key: DrainKey, end: End },
}

impl Handle {
    /// Begins a drain of a part of a service, or calls one off. Returns when that is durable and published.
    ///
    /// # Errors
    /// [`Rejected`]; nothing was changed.
    pub async fn drain(&self, change: DrainChange, origin: Origin) -> Result<DrainReceipt, Rejected> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Drain(DrainCommand::Change { change, origin, reply })).await?;
        answer.await.map_err(|_| Rejected::ShuttingDown)?
    }

    /// How the drain of a part is getting on, or has ended.
    ///
    /// # Errors
    /// [`Rejected::NoDrain`], and where there is no such service, group or upstream.
    pub fn drain_of(&self, service: &str, part: &Part) -> Result<DrainView, Rejected> {
        gather::drain(&self.shared, service, part)
    }
}

impl Controller {
    pub(in crate::control) async fn obey_drain(&mut self, command: DrainCommand) {
        match command {
            DrainCommand::Change { change, origin, reply } => {
                let result = match self.keeping {
                    Keeping::Ours | Keeping::Packed => self.change_drain(&change, &origin).await,
                    Keeping::Away => Err(Rejected::Upgrading),
                };
                if let Err(rejected) = &result {
                    let events = vec![events::drain_refused(&change, &origin, rejected)];
                    tracing::warn!(actor = origin.actor, part = %change.part, error = %rejected, "refused");
                    if !matches!(rejected, Rejected::Store(_) | Rejected::ShuttingDown | Rejected::Upgrading) {
                        self.note_all(events).await;
                    }
                }
                // A caller that went away does not undo what was done.
                let _ = reply.send(result);
            }
            DrainCommand::Due(key) => self.say_farewell(key),
            // Where the state is another process's, it finds out for itself.
            DrainCommand::Over { .. } if self.keeping == Keeping::Away => {}
            DrainCommand::Over { key, end } => self.end_drain(&key, end).await,
        }
    }

    async fn change_drain(&mut self, change: &DrainChange, origin: &Origin) -> Result<DrainReceipt, Rejected> {
        let fingerprint = receipts::drain_fingerprint(change);
        let kept = self.kept_receipt(origin, &fingerprint).await?;
        if let Some(receipt) = kept.and_then(|kept| receipts::drain_from_value(&kept)) {
            return Ok(receipt);
        }
        self.check_versions(&[&change.service], origin)?;
        let decision = self.decide_drain(change, origin)?;
        let receipt = DrainReceipt { version: decision.desired.version, changed: decision.changed() };
        let kept = origin.idempotency_key.as_ref().map(|key| KeptReceipt {
            key: stored_key(origin, key),
            fingerprint,
            receipt: receipts::drain_to_value(receipt),
            at: Timestamp::now(),
        });
        self.make_drains_so(decision, origin, kept).await?;
        Ok(receipt)
    }

    fn decide_drain(&self, change: &DrainChange, origin: &Origin) -> Result<Decision, Rejected> {
        let (desired, now) = (&self.running.desired, Timestamp::now());
        let DrainChange { service, part, wish } = change;
        match *wish {
            DrainWish::Begin { timeout, force } => {
                let decision = drain::begin(desired, service, part, self.term(service, timeout, now))?;
                self.check_upstream(service, part)?;
                match desired.services.get(service.as_str()).and_then(|state| state.drains.get(part)) {
                    Some(drain) if drain.is_under_way() => {
                        let (service, part, deadline) = (service.clone(), part.clone(), drain.deadline);
                        return Err(Rejected::DrainInProgress { service, part, deadline });
                    }
                    // Doing what is already so.
                    Some(drain) if drain.end.as_ref().is_some_and(|end| end.outcome == Outcome::Drained) => {
                        return Ok(unchanged(decision, desired));
                    }
                    _ => {}
                }
                let table = self.running.table.service(service.as_str());
                if force == Force::No && table.is_some_and(|table| takes_all(table, part)) {
                    return Err(Rejected::LiveGroup { service: service.clone(), part: part.clone() });
                }
                Ok(decision)
            }
            DrainWish::CallOff => {
                let why = origin.reason.as_deref().unwrap_or("it was cancelled");
                let decision = drain::call_off(desired, service, part, now, why)?;
                let known = desired.services.get(service.as_str()).is_some_and(|s| s.drains.contains_key(part));
                self.check_upstream(service, part)?;
                if known { Ok(decision) } else { Err(no_drain(service, part)) }
            }
        }
    }

    /// How long a drain of `service` that begins now takes.
    pub(in crate::control) fn term(&self, service: &ServiceName, timeout: Option<Duration>, now: Timestamp) -> Term {
        let spec = self.running.spec.services.iter().find(|s| s.name == *service);
        let timeout = timeout.or(spec.map(|s| s.drain.timeout)).unwrap_or_default();
        Term { began: now, deadline: now.checked_add(timeout).unwrap_or(Timestamp::MAX) }
    }

    fn check_upstream(&self, name: &ServiceName, part: &Part) -> Result<(), Rejected> {
        let (Some(url), Some(service)) = (&part.upstream, self.running.table.service(name.as_str())) else {
            return Ok(());
        };
        let Some(group) = service.group_index(part.group.as_str()) else { return Ok(()) };
        let urls: Vec<_> = service.groups[group].upstreams.iter().map(|u| u.live.endpoint.url.as_str()).collect();
        if urls.contains(&url.as_str()) {
            return Ok(());
        }
        let (service, group, url, known) = (name.clone(), part.group.clone(), url.clone(), urls.join(", "));
        Err(Rejected::UnknownUpstream { service, group, url, known })
    }

    async fn make_drains_so(
        &mut self,
        decision: Decision,
        origin: &Origin,
        receipt: Option<KeptReceipt>,
    ) -> Result<(), Rejected> {
        let old = Arc::clone(&self.running);
        let mut batch = Batch::between(&old.desired, &decision.desired);
        batch.events = events::drains(&old.desired, &decision.desired, &origin.actor);
        batch.receipts.extend(receipt);
        if batch.is_empty() {
            return Ok(());
        }
        let written = self.journal.write(&old.desired, batch, PATIENCE, Otherwise::Refuse).await;
        let events = written.map_err(Rejected::Store)?;
        if decision.changed() {
            self.publish(Running { desired: Arc::new(decision.desired), ..(*old).clone() });
        }
        self.shared.announce(events);
        Ok(())
    }

    /// Tunnels of a drain whose deadline has come are told to end.
    fn say_farewell(&mut self, key: DrainKey) {
        if self.running.drain(&key).is_none() {
            return;
        }
        let mut farewells = Farewells::clone(&self.running.farewells);
        farewells.insert(key);
        self.publish(Running { farewells: Arc::new(farewells), ..(*self.running).clone() });
    }

    /// Writes down how a drain has ended. That it has is a fact: a store that is away does not change it.
    async fn end_drain(&mut self, key: &DrainKey, end: End) {
        let old = Arc::clone(&self.running);
        let Some(drain) = old.drain(key) else { return };
        let seconds = end.at.duration_since(drain.began).as_secs_f64();
        let mut desired = (*old.desired).clone();
        let Some(state) = desired.services.get_mut(key.service.as_str()) else { return };
        tracing::info!(service = %key.service, part = %key.part, outcome = end.outcome.label(), why = end.why, "a drain has ended");
        state.end_drain(&key.part, key.began, end);
        let mut batch = Batch::between(&old.desired, &desired);
        batch.events = events::drains(&old.desired, &desired, "pointsman");
        let numbered = self.journal.numbered(&batch.events);
        let written = self.journal.write(&old.desired, batch, PATIENCE, Otherwise::Keep).await;
        self.publish(Running { desired: Arc::new(desired), ..(*old).clone() });
        self.shared.figures.drained(seconds);
        self.shared.announce(written.unwrap_or(numbered));
    }
}

fn unchanged(decision: Decision, desired: &Desired) -> Decision {
    let moves = decision.moves.into_iter().map(|moved| Move { changed: false, ..moved });
    Decision { desired: desired.clone(), moves: moves.collect() }
}

pub(in crate::control) fn no_drain(service: &ServiceName, part: &Part) -> Rejected {
    Rejected::NoDrain { service: service.clone(), part: part.clone() }
}

/// Whether nobody would be left for the users of `part`: it is the live group, or the only one with a share that can
/// serve; of an upstream: the last one of such a group that can.
fn takes_all(service: &Service, part: &Part) -> bool {
    let Some(index) = service.group_index(part.group.as_str()) else { return false };
    if let Some(url) = &part.upstream {
        let others = service.groups[index].upstreams.iter().filter(|u| u.live.endpoint.url != *url);
        if others.into_iter().any(Upstream::can_serve) {
            return false;
        }
    }
    let share = service.shares[index];
    let is_live = share > Share::NONE.ppm() && service.shares.iter().all(|s| *s <= share);
    let serves = |i: usize| {
        let group = &service.groups[i];
        i != index && service.shares[i] > 0 && group.entrance == Entrance::Open && group.can_serve()
    };
    is_live || (share > 0 && !(0..service.groups.len()).any(serves))
}

impl Running {
    /// Only farewells of drains that are still under way.
    pub(in crate::control) fn without_old_farewells(mut self) -> Self {
        if self.farewells.iter().any(|key| self.drain(key).is_none()) {
            let still: Farewells = self.farewells.iter().filter(|key| self.drain(key).is_some()).cloned().collect();
            self.farewells = Arc::new(still);
        }
        self
    }
}

/// Lets new requests to each upstream, or keeps them out, as the drains say. Goes ahead of the publication of `table`.
pub(in crate::control) fn set_entrances(table: &Table, desired: &Desired) {
    for service in &table.services {
        let Some(state) = desired.services.get(service.name.as_str()) else { continue };
        for group in &service.groups {
            for upstream in &group.upstreams {
                let part = Part { group: group.name.clone(), upstream: Some(upstream.live.endpoint.url.clone()) };
                upstream.live.set_entrance(entrance(state, &part));
            }
        }
    }
}
