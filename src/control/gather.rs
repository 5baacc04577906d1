//! Views: what is in force and what goes on, put together when somebody asks.

use super::running::{Running, Shared};
use super::view::{AdmissionView, GroupView, ListenerView, ServiceView, UpstreamView};
use crate::config::spec::Bind;
use crate::model::outcome::Outcome;
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
        groups: service.groups.iter().map(|g| group(shared, service, g)).collect(),
        pending_file_split: None,
    })
}

fn group(shared: &Shared, service: &Service, group: &Group) -> GroupView {
    let totals = group.live.totals();
    GroupView {
        name: group.name.clone(),
        in_flight: group.live.in_flight(),
        tunnels: group.live.tunnels(),
        upstreams: group.upstreams.iter().map(|u| upstream(shared, u)).collect(),
        window: shared.windows.of(&service.name, &group.name, &totals),
        totals,
    }
}

fn upstream(shared: &Shared, upstream: &Upstream) -> UpstreamView {
    let live = &upstream.live;
    UpstreamView {
        url: live.endpoint.url.clone(),
        health: live.health(),
        in_flight: live.in_flight(),
        last_check: shared.board.last(live.id),
        attempts: Outcome::ALL.map(|outcome| live.attempts(outcome)).to_vec(),
    }
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
