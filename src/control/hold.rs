//! Holds under way: begun, let go, and ended when their time is over.
//!
//! A hold is in force as soon as it is published, and is not durable: after a restart nobody waits. What is written are
//! events. A hold is always taken out of the table first and ended afterwards, so that whoever is let go chooses by a
//! table without it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::command::{HoldReceipt, Origin, Rejected, WasHeld};
use super::controller::{Controller, stored_key};
use super::handover::Keeping;
use super::journal::Otherwise;
use super::running::Running;
use super::view::HoldView;
use super::{events, receipts};
use crate::config::spec::{self, LONGEST_HOLD, Spec};
use crate::model::names::{GroupName, ServiceName};
use crate::model::period;
use crate::routing::hold::{Hold, Room};
use crate::store::{Batch, KeptReceipt, NewEvent};

/// How long the store may take to say whether a key was used before.
const RECALLING: Duration = Duration::from_millis(500);

/// Holds under way, by service.
pub(super) type Holds = BTreeMap<ServiceName, Arc<UnderWay>>;

/// A hold under way.
#[derive(Debug)]
pub(super) struct UnderWay {
    pub(super) hold: Arc<Hold>,
    began: Instant,
    since: Timestamp,
    /// As it was announced; a switch has a little more, so that it is never too late for those who wait.
    until: Timestamp,
    actor: String,
    /// Where a switch goes when nothing is under way any more; none: somebody lets go.
    pub(super) to: Option<GroupName>,
}

impl UnderWay {
    pub(super) fn view(&self) -> HoldView {
        HoldView {
            since: self.since,
            until: self.until,
            actor: self.actor.clone(),
            to: self.to.clone(),
            waiting: self.hold.waiting(),
            most: self.hold.most(),
            bytes: self.hold.bytes(),
            refused: self.hold.refused(),
        }
    }

    pub(super) fn was(&self) -> WasHeld {
        WasHeld { ms: self.began.elapsed().as_secs_f64() * 1000.0, waited: self.hold.most() }
    }
}

/// What is asked about holds.
#[derive(Debug)]
pub(super) enum Ask {
    /// For so long; none: as long as the file says.
    Hold(Option<Duration>),
    Release,
}

/// A hold or a release that is asked for.
#[derive(Debug)]
pub(super) struct HoldAsked {
    pub(super) service: ServiceName,
    pub(super) ask: Ask,
    pub(super) origin: Origin,
    pub(super) reply: oneshot::Sender<Result<HoldReceipt, Rejected>>,
}

/// How a hold comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Released,
    Expired,
    /// A reload has removed the service.
    ServiceGone,
}

impl End {
    fn kind(self) -> &'static str {
        match self {
            End::Released | End::ServiceGone => "release",
            End::Expired => "hold.expired",
        }
    }
}

/// A duration that a hold may have.
///
/// # Errors
/// [`Rejected::InvalidDuration`].
pub(super) fn checked(time: Duration) -> Result<Duration, Rejected> {
    if time.is_zero() {
        return Err(Rejected::InvalidDuration("0s holds nobody; write more, like 10s".to_owned()));
    }
    if time > LONGEST_HOLD {
        let (asked, most) = (period::written(time), period::written(LONGEST_HOLD));
        return Err(Rejected::InvalidDuration(format!("{asked} is longer than {most}, the most that may be held")));
    }
    Ok(time)
}

impl Controller {
    pub(super) async fn obey_hold(&mut self, asked: HoldAsked) {
        let HoldAsked { service, ask, origin, reply } = asked;
        let (kind, fingerprint) = match &ask {
            Ask::Hold(time) => ("hold.refused", format!("hold {service} {time:?}")),
            Ask::Release => ("release.refused", format!("release {service}")),
        };
        let answer = match self.hold_again(&origin, &fingerprint).await {
            _ if self.keeping == Keeping::Away => Err(Rejected::Upgrading),
            Ok(Some(receipt)) => Ok(receipt),
            Err(rejected) => Err(rejected),
            Ok(None) => match ask {
                Ask::Hold(time) => self.hold(&service, time, &origin, &fingerprint).await,
                Ask::Release => self.release(&service, &origin, &fingerprint).await,
            },
        };
        if let Err(rejected) = &answer {
            tracing::warn!(actor = origin.actor, service = %service, error = %rejected, "refused");
            self.note_all(vec![events::hold_refused(kind, &service, &origin, rejected)]).await;
        }
        // A caller that went away does not undo what was done.
        let _ = reply.send(answer);
    }

    async fn hold(
        &mut self,
        service: &ServiceName,
        time: Option<Duration>,
        origin: &Origin,
        fingerprint: &str,
    ) -> Result<HoldReceipt, Rejected> {
        self.check_versions(&[service], origin)?;
        let time = checked(time.unwrap_or(self.spec_of(service)?.hold.time))?;
        self.may_be_held(&[service])?;
        let event = self.begin_holds(&[service], time, Duration::ZERO, None, origin);
        let until = self.running.holds.get(service).map(|under_way| under_way.until);
        let receipt = HoldReceipt {
            version: self.running.desired.version,
            changed: true,
            service: service.clone(),
            until,
            held: None,
        };
        self.write_hold(event, origin, fingerprint, &receipt).await;
        Ok(receipt)
    }

    async fn release(
        &mut self,
        service: &ServiceName,
        origin: &Origin,
        fingerprint: &str,
    ) -> Result<HoldReceipt, Rejected> {
        self.check_versions(&[service], origin)?;
        self.spec_of(service)?;
        let ended = self.take_holds(&[service], End::Released);
        let held = ended.first().map(|(_, under_way)| under_way.was());
        let events = end_events(&ended, End::Released, origin);
        let version = self.running.desired.version;
        let receipt = HoldReceipt { version, changed: !ended.is_empty(), service: service.clone(), until: None, held };
        self.give_up_switch(service).await;
        self.write_hold(events, origin, fingerprint, &receipt).await;
        Ok(receipt)
    }

    pub(super) fn spec_of(&self, service: &ServiceName) -> Result<&spec::Service, Rejected> {
        let services = &self.running.spec.services;
        let unknown = || Rejected::UnknownService {
            name: service.to_string(),
            known: services.iter().map(|s| s.name.to_string()).collect::<Vec<_>>().join(", "),
        };
        services.iter().find(|s| s.name == *service).map(|s| &**s).ok_or_else(unknown)
    }

    /// Refuses where one of the services is held already, where another process is about to take over, and while the one
    /// before an upgrade still has requests: nobody could say when all is quiet.
    pub(super) fn may_be_held(&self, services: &[&ServiceName]) -> Result<(), Rejected> {
        if self.keeping != Keeping::Ours || self.shared.predecessor.load(Ordering::Acquire) {
            return Err(Rejected::Upgrading);
        }
        match services.iter().find(|name| self.running.holds.get(**name).is_some_and(|h| h.hold.is_on())) {
            Some(name) => Err(Rejected::HoldInProgress { service: (*name).clone() }),
            None => Ok(()),
        }
    }

    /// Holds the services from now on, in one publication. Gives the events to write.
    pub(super) fn begin_holds(
        &mut self,
        services: &[&ServiceName],
        time: Duration,
        grace: Duration,
        to: Option<&GroupName>,
        origin: &Origin,
    ) -> Vec<NewEvent> {
        let mut holds = (*self.running.holds).clone();
        let (began, since) = (Instant::now(), Timestamp::now());
        let until = since.saturating_add(time).unwrap_or(since);
        for &name in services {
            let Ok(spec::Hold { requests, bytes, .. }) = self.spec_of(name).map(|s| s.hold) else { continue };
            let totals = self.shared.figures.holds_of(name);
            let hold = Arc::new(Hold::new(began + time + grace, Room { requests, bytes }, totals));
            let (actor, to) = (origin.actor.clone(), to.cloned());
            let replaced = holds.insert(name.clone(), Arc::new(UnderWay { hold, began, since, until, actor, to }));
            // One whose time was over a moment ago.
            if let Some(over) = replaced {
                over.hold.expire();
            }
        }
        self.publish(Running { holds: Arc::new(holds), ..(*self.running).clone() });
        services.iter().map(|name| events::held(name, time, to, origin)).collect()
    }

    /// Takes the services' holds out of the table and ends them. Gives those that there were.
    pub(super) fn take_holds(&mut self, services: &[&ServiceName], end: End) -> Vec<(ServiceName, Arc<UnderWay>)> {
        let (mut holds, mut taken) = ((*self.running.holds).clone(), Vec::new());
        for &name in services {
            taken.extend(holds.remove_entry(name));
        }
        if !taken.is_empty() {
            self.publish(Running { holds: Arc::new(holds), ..(*self.running).clone() });
            for (_, under_way) in &taken {
                match end {
                    End::Released | End::ServiceGone => under_way.hold.end(),
                    End::Expired => under_way.hold.expire(),
                }
            }
        }
        taken
    }

    /// When [`Controller::end_expired`] should be called, if it should.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.running.holds.values().map(|under_way| under_way.hold.until()).min()
    }

    /// Ends the holds whose time is over.
    pub(super) async fn end_expired(&mut self) {
        let now = Instant::now();
        let over = |(_, under_way): &(&ServiceName, &Arc<UnderWay>)| under_way.hold.until() <= now;
        let names: Vec<_> = self.running.holds.iter().filter(over).map(|(name, _)| name.clone()).collect();
        let ended = self.take_holds(&names.iter().collect::<Vec<_>>(), End::Expired);
        if !ended.is_empty() {
            self.note_all(end_events(&ended, End::Expired, &Origin::default())).await;
        }
    }

    /// Ends everything that is held: the process is on its way down.
    pub(super) async fn end_all_holds(&mut self) {
        let names: Vec<_> = self.running.holds.keys().cloned().collect();
        let ended = self.take_holds(&names.iter().collect::<Vec<_>>(), End::Released);
        if !ended.is_empty() {
            self.note_all(end_events(&ended, End::Released, &Origin::default())).await;
        }
    }

    /// After a reload: whoever waits for a service that is gone gets what the new table says.
    pub(super) async fn end_holds_of_gone(&mut self, old: &Holds) {
        let gone: Vec<_> = old.iter().filter(|(name, _)| !self.running.holds.contains_key(*name)).collect();
        for (_, under_way) in &gone {
            under_way.hold.end();
        }
        let ended: Vec<_> = gone.into_iter().map(|(name, h)| (name.clone(), Arc::clone(h))).collect();
        if !ended.is_empty() {
            self.note_all(end_events(&ended, End::ServiceGone, &Origin::default())).await;
        }
    }

    async fn hold_again(&mut self, origin: &Origin, fingerprint: &str) -> Result<Option<HoldReceipt>, Rejected> {
        let Some(key) = &origin.idempotency_key else { return Ok(None) };
        match self.journal.receipt(&self.running.desired, &stored_key(origin, key), RECALLING).await {
            Ok(None) => Ok(None),
            Ok(Some(kept)) if kept.fingerprint == fingerprint => Ok(receipts::hold_from_value(&kept.receipt)),
            Ok(Some(_)) => Err(Rejected::IdempotencyKeyReused(key.clone())),
            Err(why) => Err(Rejected::Store(why)),
        }
    }

    /// Writes what happened. What has been published is in force, whatever the store says.
    async fn write_hold(&mut self, events: Vec<NewEvent>, origin: &Origin, fingerprint: &str, receipt: &HoldReceipt) {
        let Some(key) = &origin.idempotency_key else { return self.note_all(events).await };
        let kept = KeptReceipt {
            key: stored_key(origin, key),
            fingerprint: fingerprint.to_owned(),
            receipt: receipts::hold_to_value(receipt),
            at: Timestamp::now(),
        };
        let numbered = self.journal.numbered(&events);
        let batch = Batch { events, receipts: vec![kept], ..Batch::default() };
        let written = self.journal.write(&self.running.desired, batch, RECALLING, Otherwise::Keep).await;
        self.shared.announce(written.unwrap_or(numbered));
    }
}

/// What is left of `holds` when only the services of `spec` are there.
pub(super) fn left_of(holds: &Arc<Holds>, spec: &Spec) -> Arc<Holds> {
    let is_there = |name: &ServiceName| spec.services.iter().any(|s| s.name == *name);
    if holds.keys().all(is_there) {
        return Arc::clone(holds);
    }
    let left = holds.iter().filter(|(name, _)| is_there(name));
    Arc::new(left.map(|(name, under_way)| (name.clone(), Arc::clone(under_way))).collect())
}

pub(super) fn end_events(ended: &[(ServiceName, Arc<UnderWay>)], end: End, origin: &Origin) -> Vec<NewEvent> {
    let line = |(name, under_way): &(ServiceName, Arc<UnderWay>)| {
        let note = (end == End::ServiceGone).then_some("a reload has removed the service");
        events::hold_ended(end.kind(), name, under_way.was(), under_way.hold.refused(), note, origin)
    };
    ended.iter().map(line).collect()
}

#[cfg(test)]
#[path = "hold_tests.rs"]
mod tests;
