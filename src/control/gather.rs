//! Views: what is in force and what goes on, put together when somebody asks.

use super::command::Rejected;
use super::drains;
use super::handle::unknown;
use super::rollouts;
use super::running::{Running, Shared};
use super::view::{
    AdmissionView, DrainView, GroupView, HoldCounts, ListenerView, RolloutView, ServiceView, UpstreamView,
};
use crate::config::spec::Bind;
use crate::model::change::ServiceState;
use crate::model::drain::Part;
use crate::model::outcome::Outcome;
use crate::model::rollout::Rollout;
use crate::model::split::Split;
use crate::routing::admission::Admission;
use crate::routing::live::Health;
use crate::routing::sockets::Sockets;
use crate::routing::table::{Group, Service, Table, Upstream};

/// All services, in the order of the file.
pub(super) fn services(shared: &Shared) -> Vec<ServiceView> {
    let running = shared.running.load();
    running.table.services.iter().filter_map(|s| service(shared, &running, s)).collect()
}

/// One service of `running`.
pub(super) fn service(shared: &Shared, running: &Running, service: &Service) -> Option<ServiceView> {
    let state = running.desired.services.get(service.name.as_str())?;
    Some(ServiceView {
        name: service.name.clone(),
        version: state.version,
        split: state.split.clone(),
        stable_split: state.stable.clone(),
        live: state.split.live().clone(),
        candidate: state.candidate().cloned(),
        groups: service.groups.iter().map(|g| group(shared, service, g, state)).collect(),
        pending_file_split: pending(running, service, state),
        hold: running.holds.get(&service.name).filter(|h| h.hold.is_on()).map(|h| h.view()),
        rollout: state_of(shared, running, service),
    })
}

/// The rollout under way.
fn state_of(shared: &Shared, running: &Running, service: &Service) -> Option<RolloutView> {
    running.desired.rollout(service.name.as_str()).map(|rollout| rollouts::view(shared, running, rollout))
}

/// The file's split, where a rollout keeps it back.
fn pending(running: &Running, service: &Service, state: &ServiceState) -> Option<Split> {
    let spec = running.spec.services.iter().find(|s| s.name == service.name)?;
    (!spec.split.same_traffic(&state.file_split)).then(|| spec.split.clone())
}

fn group(shared: &Shared, service: &Service, group: &Group, state: &ServiceState) -> GroupView {
    let totals = group.live.totals();
    GroupView {
        name: group.name.clone(),
        in_flight: group.live.in_flight(),
        streams: group.live.streams(),
        tunnels: group.live.tunnels(),
        drain: kept_out(shared, service, state, &Part { group: group.name.clone(), upstream: None }),
        upstreams: group.upstreams.iter().map(|u| upstream(shared, service, group, u, state)).collect(),
        window: shared.windows.of(&service.name, &group.name, &totals),
        totals,
    }
}

fn upstream(
    shared: &Shared,
    service: &Service,
    group: &Group,
    upstream: &Upstream,
    state: &ServiceState,
) -> UpstreamView {
    let live = &upstream.live;
    let part = Part { group: group.name.clone(), upstream: Some(live.endpoint.url.clone()) };
    UpstreamView {
        url: live.endpoint.url.clone(),
        health: live.health(),
        in_flight: live.in_flight(),
        drain: kept_out(shared, service, state, &part),
        last_check: shared.board.last(live.id),
        attempts: Outcome::ALL.map(|outcome| live.attempts(outcome)).to_vec(),
    }
}

/// The drain that keeps users away from `part`, where there is one.
fn kept_out(shared: &Shared, service: &Service, state: &ServiceState, part: &Part) -> Option<DrainView> {
    let drain = state.drains.get(part).filter(|drain| drain.keeps_out())?;
    Some(drains::view(shared, service, part, drain))
}

/// The last drain of `part`, under way or ended.
pub(super) fn drain(shared: &Shared, service: &str, part: &Part) -> Result<DrainView, Rejected> {
    let running = shared.running.load();
    let found = running.table.service(service).zip(running.desired.services.get(service));
    let (table, state) = found.ok_or_else(|| unknown(&running.table, service))?;
    let no_drain = || Rejected::NoDrain { service: table.name.clone(), part: part.clone() };
    state.known(&table.name, &part.group)?;
    let drain = state.drains.get(part).ok_or_else(no_drain)?;
    Ok(drains::view(shared, table, part, drain))
}

/// The rollout under way of `service`.
pub(super) fn current_rollout(shared: &Shared, service: &str) -> Result<RolloutView, Rejected> {
    let running = shared.running.load();
    let table = running.table.service(service).ok_or_else(|| unknown(&running.table, service))?;
    let none = || Rejected::NoRollout(format!("service {service} has no rollout under way"));
    state_of(shared, &running, table).ok_or_else(none)
}

/// The rollouts of `service` that are in memory, oldest first.
pub(super) fn rollouts(shared: &Shared, service: &str) -> Result<Vec<Rollout>, Rejected> {
    let running = shared.running.load();
    running.table.service(service).ok_or_else(|| unknown(&running.table, service))?;
    Ok(running.desired.rollouts.values().filter(|r| r.moves(service)).cloned().collect())
}

/// Listeners, in the order of the file.
pub(super) fn listeners(running: &Running) -> Vec<ListenerView> {
    let binds = running.spec.listeners.iter().map(|l| &l.bind);
    let listener = |(listener, bind): (&std::sync::Arc<crate::routing::table::Listener>, &Bind)| ListenerView {
        name: listener.name.clone(),
        address: address(listener.sockets.upgrade().as_deref(), bind),
        connections: listener.live.connections(),
    };
    running.table.listeners.iter().zip(binds).map(listener).collect()
}

/// Services with a limit of requests under way, in the order of the file.
pub(super) fn admissions(running: &Running) -> Vec<AdmissionView> {
    let limited = running.table.services.iter().filter_map(|s| Some((s, s.admission.as_ref()?)));
    let view = |(service, admission): (&std::sync::Arc<Service>, &std::sync::Arc<Admission>)| AdmissionView {
        service: service.name.clone(),
        waiting: admission.waiting().into(),
        refused: admission.refused(),
    };
    limited.map(view).collect()
}

/// What the holds of each service have come to, in the order of the file.
pub(super) fn holds(shared: &Shared, running: &Running) -> Vec<HoldCounts> {
    let counts = |service: &std::sync::Arc<Service>| {
        let totals = shared.figures.holds_of(&service.name);
        let held = running.holds.get(&service.name).map_or(0, |h| h.hold.waiting().into());
        HoldCounts { service: service.name.clone(), held, refused: totals.refused(), expired: totals.expired() }
    };
    running.table.services.iter().map(counts).collect()
}

fn address(sockets: Option<&Sockets>, bind: &Bind) -> String {
    sockets.and_then(Sockets::local_address).map_or_else(|| bind.to_string(), |address| address.to_string())
}

/// Whether there is an upstream without a verdict.
pub(super) fn has_unknown(table: &Table) -> bool {
    let groups = table.services.iter().flat_map(|s| &s.groups);
    groups.flat_map(|g| &g.upstreams).any(|u| u.live.health() == Health::Unknown)
}

/// Whether a verdict on `group` is still to come: none of its upstreams is healthy, and not all have been judged.
pub(super) fn is_undecided(group: &Group) -> bool {
    !group.can_serve() && group.upstreams.iter().any(|u| u.live.health() == Health::Unknown)
}
