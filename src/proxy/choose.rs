//! Chooses where a request goes and claims its place there, in one step.
//!
//! Nobody chooses while the service is held. A service that takes so many requests at a time is asked for a place first.
//! Order of decision: listener for validation, rule, affinity, split. Whether the group is open and healthy is looked at
//! afterwards. The claim is
//! entered, then it is checked that the table is still the published one; if not, everything starts over with the new
//! table (see [`crate::routing::claim`]).

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::affinity::{self, Place};
use super::balance::Comer;
use super::error::ProxyError;
use super::hold::{self, Held};
use super::worker::Worker;
use crate::config::spec::SendsTo;
use crate::model::fields::Fields;
use crate::model::matching::Facts;
use crate::routing::admission::{Admission, Admitted};
use crate::routing::hold::Hold;
use crate::routing::live::{GroupSlot, Health};
use crate::routing::publish::Snapshot;
use crate::routing::table::{Action, Entrance, Group, Listener, Route, Service, Target, allowed};

/// A request's count at its group, given back when dropped.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) snapshot: Snapshot,
    pub(super) service: usize,
    pub(super) group: usize,
    worker: usize,
    holds: Holds,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Request,
    Tunnel,
}

impl Claim {
    /// Enters the group's count; none when the table was replaced meanwhile.
    fn enter(worker: &Worker, snapshot: &Snapshot, service: usize, group: usize) -> Option<Self> {
        let snapshot = Rc::clone(snapshot);
        let claim = Self { snapshot, service, group, worker: worker.index, holds: Holds::Request };
        claim.slot().in_flight.enter();
        worker.snapshots.is_current(&claim.snapshot).then_some(claim)
    }

    pub(super) fn service(&self) -> &Service {
        &self.snapshot.services[self.service]
    }

    pub(super) fn group(&self) -> &Group {
        &self.service().groups[self.group]
    }

    /// This worker's counts for the group.
    pub(super) fn slot(&self) -> &GroupSlot {
        self.group().live.slot(self.worker)
    }

    /// The request has become a tunnel: it is counted as one from now on.
    pub(super) fn hold_as_tunnel(&mut self) {
        if self.holds == Holds::Request {
            // First in, then out: the sum of both never misses it.
            self.slot().tunnels.enter();
            self.slot().in_flight.leave();
            self.holds = Holds::Tunnel;
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        match self.holds {
            Holds::Request => self.slot().in_flight.leave(),
            Holds::Tunnel => self.slot().tunnels.leave(),
        }
    }
}

/// What a choice is made by.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) target: Target<'a>,
    pub(super) fields: &'a Fields,
    pub(super) query: Option<&'a str>,
    pub(super) client: Option<IpAddr>,
    pub(super) listener: &'a Listener,
}

/// What is to be done with a request.
#[derive(Debug)]
pub(super) enum Chosen {
    /// It goes to a group of a service.
    Forward { claim: Claim, route: usize, place: Place, admitted: Option<Admitted> },
    /// The route (by its index) has an answer of its own.
    Answer { snapshot: Snapshot, route: usize },
    /// Whoever asks for the health of a service that is held is told that all is well.
    Well { snapshot: Snapshot, route: usize },
}

/// Why nothing was chosen.
#[derive(Debug)]
pub(super) enum NoChoice {
    Error(ProxyError),
    /// The service is held: a request that is let go chooses anew.
    Held(Arc<Hold>),
    /// The service has no place free: a request that gets one in time chooses anew.
    Full {
        admission: Arc<Admission>,
        patience: Duration,
    },
}

impl From<ProxyError> for NoChoice {
    fn from(error: ProxyError) -> Self {
        Self::Error(error)
    }
}

/// Chooses and claims; `admitted` is the place that the request has waited for.
pub(super) fn choose(worker: &Worker, asked: &Asked<'_>, mut admitted: Option<Admitted>) -> Result<Chosen, NoChoice> {
    if !allowed(&asked.listener.allow, asked.client) {
        return Err(ProxyError::NotAllowed.into());
    }
    loop {
        let snapshot = worker.snapshots.load();
        let (index, route) = route(&snapshot, asked)?;
        let Action::Forward(service) = route.action else {
            return Ok(Chosen::Answer { snapshot, route: index });
        };
        let Service { admission, timeouts, hold, .. } = &*snapshot.services[service];
        if let Some(hold) = hold {
            match hold::held(hold, &snapshot.services[service], route, asked) {
                Some(Held::Waits(hold)) => return Err(NoChoice::Held(hold)),
                Some(Held::IsProbe) => return Ok(Chosen::Well { snapshot, route: index }),
                None => {}
            }
        }
        if let Some(admission) = admission.as_ref().filter(|a| !admitted.as_ref().is_some_and(|have| have.is_of(a))) {
            admitted = admission.try_enter();
            if admitted.is_none() {
                return Err(NoChoice::Full { admission: Arc::clone(admission), patience: timeouts.response });
            }
        }
        let facts = Facts { fields: asked.fields, query: asked.query, client: asked.client };
        let place = affinity::place(&snapshot.services[service], &facts);
        let group = group(worker, &snapshot.services[service], asked.listener.sends_to, &facts, place)?;
        if let Some(claim) = Claim::enter(worker, &snapshot, service, group) {
            return Ok(Chosen::Forward { claim, route: index, place, admitted });
        }
    }
}

fn route<'t>(snapshot: &'t Snapshot, asked: &Asked<'_>) -> Result<(usize, &'t Route), ProxyError> {
    let (index, route) = snapshot.routes.find(&asked.target).ok_or(ProxyError::NoRoute)?;
    if allowed(&route.allow, asked.client) { Ok((index, route)) } else { Err(ProxyError::NotAllowed) }
}

/// The group by validation listener, rule, affinity and split, in this order; then by health.
fn group(
    worker: &Worker,
    service: &Service,
    sends_to: SendsTo,
    facts: &Facts<'_>,
    place: Place,
) -> Result<usize, ProxyError> {
    if sends_to == SendsTo::Candidate {
        // Never anybody else: that would prove nothing about the candidate.
        let may =
            |group: &Group| group.entrance != Entrance::Closed && usable(group, Health::Unknown, Comer::Validation);
        let candidate = service.candidate.filter(|&i| may(&service.groups[i]));
        return candidate.ok_or(ProxyError::NoCandidate);
    }
    let ruled = if service.rules.is_empty() { None } else { service.rule(facts) };
    let preferred = ruled.map_or_else(|| service.owner(place.position), |(_, group)| group);
    by_health(service, preferred, place, |_| true).ok_or_else(|| {
        service.groups[preferred].live.slot(worker.index).answered(503, 0);
        ProxyError::NoHealthyUpstream
    })
}

/// `preferred`, or whoever stands in for it: first among groups that are known to be healthy, then among those not
/// known to be unhealthy (a service that was configured a moment ago has no verdict yet).
fn by_health(service: &Service, preferred: usize, place: Place, may: impl Fn(usize) -> bool) -> Option<usize> {
    let open = |i: usize| may(i) && service.groups[i].is_open();
    let among = |worst| {
        let may = |i: usize| open(i) && usable(&service.groups[i], worst, Comer::User);
        service.usable_group(preferred, place.position, may)
    };
    among(Health::Healthy).or_else(|| among(Health::Unknown))
}

fn usable(group: &Group, worst: Health, comer: Comer) -> bool {
    group.upstreams.iter().any(|u| {
        let health = u.live.health();
        (health == Health::Healthy || health == worst) && comer.may_enter(u.live.entrance())
    })
}

/// A claim on another group of the same service, for a request that no upstream of `claim`'s group took. None: there
/// is no other group with a share that may.
pub(super) fn another_group(worker: &Worker, claim: &Claim, tried: &[usize], place: Place) -> Option<Claim> {
    loop {
        let snapshot = worker.snapshots.load();
        // After a publication the indices may mean something else; such a request is not worth a second journey.
        let index = snapshot.services.iter().position(|s| s.name == claim.service().name)?;
        let service = &snapshot.services[index];
        if service.groups.len() != claim.service().groups.len() {
            return None;
        }
        let group = by_health(service, claim.group, place, |i| i != claim.group && !tried.contains(&i))?;
        if let Some(other) = Claim::enter(worker, &snapshot, index, group) {
            return Some(other);
        }
    }
}
