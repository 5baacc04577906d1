//! A switch behind a hold: new requests wait, those under way end, the switch is published together with the end of the
//! hold. One operation; several may be under way, of different services.
//!
//! The controller goes on with other commands meanwhile and looks here now and then. Whatever becomes of the switch,
//! nobody is left waiting.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::command::{Origin, Receipt, Rejected, WasHeld};
use super::controller::{Controller, PATIENCE};
use super::hold::{End, Holds, checked, end_events};
use super::receipts::Request;
use crate::model::change::Desired;
use crate::model::names::{GroupName, ServiceName};

/// From one look at what is under way to the next.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// So much longer than announced nobody is refused: the store has its time, and then either the switch is published or
/// everybody is let go without it.
const GRACE: Duration = PATIENCE.saturating_mul(2);

type Reply = oneshot::Sender<Result<Receipt, Rejected>>;

/// A switch that waits for the end of what is under way.
#[derive(Debug)]
pub(super) struct HeldSwitch {
    request: Request,
    origin: Origin,
    arrived: Instant,
    reply: Reply,
    services: Vec<ServiceName>,
    /// The version of each service when it began.
    versions: Vec<u64>,
    to: GroupName,
    /// It goes on now, whatever is still under way.
    due: Instant,
}

impl Controller {
    /// Begins a switch behind a hold, or answers at once where there is nothing to do or it is refused.
    pub(super) async fn begin_switch(
        &mut self,
        request: Request,
        hold: Duration,
        origin: Origin,
        arrived: Instant,
        reply: Reply,
    ) {
        let begun = match self.may_switch(&request, hold, &origin).await {
            Ok(None) => {
                let services: Vec<_> = request.intent().services().into_iter().cloned().collect();
                self.hold_for(request, services, hold, origin, arrived, reply).await;
                return;
            }
            Ok(Some(receipt)) => Ok(receipt),
            Err(rejected) => {
                self.refused(&request, &origin, &rejected).await;
                Err(rejected)
            }
        };
        let _ = reply.send(begun);
    }

    /// Some: it is answered already, or nothing is to be changed.
    async fn may_switch(
        &mut self,
        request: &Request,
        hold: Duration,
        origin: &Origin,
    ) -> Result<Option<Receipt>, Rejected> {
        checked(hold)?;
        if let Some(receipt) = self.given_before(request, origin).await? {
            return Ok(Some(receipt));
        }
        self.check_versions(&request.intent().services(), origin)?;
        let decision = self.decide(request)?;
        if !decision.changed() {
            return self.change(request, origin, Instant::now()).await.map(Some);
        }
        if request.force() == super::command::Force::No {
            self.check_health(request, &decision)?;
        }
        self.may_be_held(&request.intent().services())?;
        Ok(None)
    }

    async fn hold_for(
        &mut self,
        request: Request,
        services: Vec<ServiceName>,
        hold: Duration,
        origin: Origin,
        arrived: Instant,
        reply: Reply,
    ) {
        let Some(to) = request.target().cloned() else { return };
        let names: Vec<_> = services.iter().collect();
        let due = Instant::now() + hold;
        let events = self.begin_holds(&names, hold, GRACE, Some(&to), &origin);
        let versions = versions(&self.running.desired, &services);
        self.switches.push(HeldSwitch { request, origin, arrived, reply, services, versions, to, due });
        self.note_all(events).await;
    }

    /// When [`Controller::go_on_with_switches`] should be called, if it should.
    pub(super) fn next_look(&self) -> Option<Instant> {
        (!self.switches.is_empty()).then(|| Instant::now() + LOOK_EVERY)
    }

    /// Ends the switches whose services are quiet, or whose time is over.
    pub(super) async fn go_on_with_switches(&mut self) {
        let now = Instant::now();
        let all = std::mem::take(&mut self.switches);
        let (ready, wait): (Vec<_>, Vec<_>) = all.into_iter().partition(|s| s.due <= now || self.is_quiet(s));
        self.switches = wait;
        for switch in ready {
            self.end_switch(switch).await;
        }
    }

    /// Whether nothing is under way at the groups that lose their share.
    fn is_quiet(&self, switch: &HeldSwitch) -> bool {
        switch.services.iter().all(|name| {
            // One that is gone is found out when the switch is made.
            let Some(service) = self.running.table.service(name.as_str()) else { return true };
            let loses = |i: usize| service.shares[i] > 0 && service.groups[i].name != switch.to;
            let mut groups = service.groups.iter().enumerate();
            groups.all(|(i, group)| !loses(i) || group.live.in_flight() == 0)
        })
    }

    async fn end_switch(&mut self, switch: HeldSwitch) {
        let HeldSwitch { request, origin, arrived, reply, services, versions: seen, .. } = switch;
        let names: Vec<_> = services.iter().collect();
        let before = Arc::clone(&self.running);
        let under_way: Vec<_> = names.iter().filter_map(|name| before.holds.get_key_value(*name)).collect();
        let result = match self.moved_on(&services, &seen) {
            Some(rejected) => Err(rejected),
            None => self.change(&request, &origin, arrived).await,
        };
        if let Err(rejected) = &result {
            self.refused(&request, &origin, rejected).await;
        }
        // Where the switch was published, they are out of the table already.
        self.take_holds(&names, End::Released);
        let ended: Vec<_> = under_way.into_iter().map(|(name, h)| (name.clone(), Arc::clone(h))).collect();
        for (_, under_way) in &ended {
            under_way.hold.end();
        }
        let _ = reply.send(result);
        self.note_all(end_events(&ended, End::Released, &origin)).await;
    }

    /// Whether somebody has changed one of the services since the switch began: then it is not what was asked for.
    fn moved_on(&self, services: &[ServiceName], seen: &[u64]) -> Option<Rejected> {
        let now = versions(&self.running.desired, services);
        let mut moved = services.iter().zip(seen).zip(now).filter(|((_, seen), now)| *seen != now);
        moved.next().map(|((name, seen), current)| Rejected::StaleVersion {
            what: format!("service {name}"),
            expected: *seen,
            current,
        })
    }

    /// Somebody lets go of what a switch waits behind: it is given up, and so are its other services let go.
    pub(super) async fn give_up_switch(&mut self, service: &ServiceName) {
        let Some(at) = self.switches.iter().position(|s| s.services.contains(service)) else { return };
        let HeldSwitch { request, origin, reply, services, .. } = self.switches.swap_remove(at);
        let ended = self.take_holds(&services.iter().collect::<Vec<_>>(), End::Released);
        let rejected = Rejected::HoldReleased { service: service.clone() };
        self.refused(&request, &origin, &rejected).await;
        let _ = reply.send(Err(rejected));
        self.note_all(end_events(&ended, End::Released, &origin)).await;
    }

    /// A rollback was made: whoever waits goes where it leads, and no switch that waits flips forward behind it.
    pub(super) async fn let_go_behind(&mut self, rollback: &Request, origin: &Origin) {
        let intent = rollback.intent();
        for service in intent.services() {
            self.give_up_switch(service).await;
        }
        let ended = self.take_holds(&intent.services(), End::Released);
        if !ended.is_empty() {
            self.note_all(end_events(&ended, End::Released, origin)).await;
        }
    }

    /// The process is on its way down, or the state passes to another one.
    pub(super) async fn give_up_switches(&mut self, why: &Rejected) {
        for HeldSwitch { request, origin, reply, .. } in std::mem::take(&mut self.switches) {
            self.refused(&request, &origin, why).await;
            let _ = reply.send(Err(why.clone()));
        }
    }
}

/// What the holds that a request waits behind have come to so far: the longest, and all who waited.
pub(super) fn was_held(holds: &Holds, request: &Request) -> Option<WasHeld> {
    request.hold()?;
    let intent = request.intent();
    let of_request = intent.services().into_iter().filter_map(|name| holds.get(name)).map(|h| h.was());
    of_request.reduce(|a, b| WasHeld { ms: a.ms.max(b.ms), waited: a.waited + b.waited })
}

/// The holds that are left when a request is followed: those that it waited behind end with it.
pub(super) fn without(holds: &Arc<Holds>, request: &Request) -> Arc<Holds> {
    if request.hold().is_none() {
        return Arc::clone(holds);
    }
    let mut left = (**holds).clone();
    for name in request.intent().services() {
        left.remove(name);
    }
    Arc::new(left)
}

fn versions(desired: &Desired, services: &[ServiceName]) -> Vec<u64> {
    services.iter().map(|name| desired.services.get(name.as_str()).map_or(0, |state| state.version)).collect()
}
