//! From specification, desired state and living things to the table that the data plane goes by.
//!
//! Cannot fail: names were checked with the specification, sockets and certificates with the registry, shares with
//! the desired state. The three must belong together; the controller sees to that.

use std::sync::Arc;

use http::HeaderValue;

use super::drains::Farewells;
use super::fuses::{Fuse, Fuses};
use super::hold::Holds;
use super::registry::Registry;
use crate::config::spec::{self, Address, Check, Endpoint, Protocol, Spec};
use crate::model::adoption::FileService;
use crate::model::change::{Desired, ServiceState};
use crate::model::drain::Part;
use crate::model::names::GroupName;
use crate::routing::table::{Action, Entrance, Farewell, Group, Listener, Route, Routes, Service, Table, Upstream};

/// The services of a file, as desired state sees them.
pub(super) fn file_services(spec: &Spec) -> Vec<FileService> {
    let urls = |group: &spec::Group| {
        let name = group.name.clone();
        group.upstreams.iter().map(|u| (name.clone(), u.endpoint.url.clone())).collect::<Vec<_>>()
    };
    let service = |service: &Arc<spec::Service>| FileService {
        name: service.name.clone(),
        groups: service.groups.iter().map(|g| g.name.clone()).collect(),
        upstreams: service.groups.iter().flat_map(urls).collect(),
        split: service.split.clone(),
    };
    spec.services.iter().map(service).collect()
}

/// The table for `spec` and `desired`, over what lives in `registry`, with these `holds` and `fuses`; tunnels of
/// `farewells` are to end.
pub(super) fn compile(
    spec: &Spec,
    desired: &Desired,
    registry: &Registry,
    farewells: &Farewells,
    holds: &Holds,
    fuses: &Fuses,
) -> Table {
    let services = spec.services.iter().map(|service| {
        let state = desired.services.get(service.name.as_str()).expect("adopting a file gives each service a state");
        let hold = holds.get(&service.name).map(|under_way| Arc::clone(&under_way.hold));
        let mut compiled = compiled(service, state, registry, farewells);
        if let Some(fuse) = fuses.get(&service.name) {
            watch(&mut compiled, fuse);
        }
        Arc::new(Service { hold, ..compiled })
    });
    Table {
        generation: 0,
        version: desired.version,
        listeners: spec.listeners.iter().map(|l| Arc::new(listener(l, registry))).collect(),
        services: services.collect(),
        routes: Routes::new(spec.routes.iter().map(|r| route(r, spec)).collect()),
    }
}

fn listener(listener: &spec::Listener, registry: &Registry) -> Listener {
    let port = registry.port(listener).clone();
    Listener {
        id: port.id,
        name: listener.name.clone(),
        sockets: port.sockets.as_ref().map(Arc::downgrade).unwrap_or_default(),
        tls: registry.port_tls(&listener.name),
        sends_to: listener.sends_to,
        allow: listener.allow.clone(),
        trusted_proxies: listener.trusted_proxies.clone(),
        proxy_protocol: listener.proxy_protocol,
        max_connections: listener.max_connections,
        head_timeout: listener.head_timeout,
        idle_timeout: listener.idle_timeout,
        live: port.live,
    }
}

fn compiled(service: &spec::Service, state: &ServiceState, registry: &Registry, farewells: &Farewells) -> Service {
    let index = |name: &str| service.groups.iter().position(|g| g.name.as_str() == name);
    let rules = service.rules.iter().filter_map(|r| Some((r.when.clone(), index(r.group.as_str())?)));
    Service {
        name: service.name.clone(),
        groups: service.groups.iter().map(|g| group(service, g, state, registry, farewells)).collect(),
        shares: service.groups.iter().map(|g| state.split.share(&g.name).ppm()).collect(),
        salt: state.salt,
        candidate: state.candidate().and_then(|g| index(g.as_str())),
        emergency: service.emergency.as_ref().and_then(|g| index(g.as_str())),
        rules: rules.collect(),
        affinity: service.affinity.clone(),
        balance: service.balance,
        expose: service.expose.clone(),
        timeouts: service.timeouts,
        retries: service.retries,
        limits: service.limits,
        tunnel_close: service.drain.tunnels,
        drain_timeout: service.drain.timeout,
        admission: registry.admission(&service.name).cloned(),
        hold: None,
        probe_path: probe_path(&service.health.check),
    }
}

/// Puts a fuse to the group that is watched.
fn watch(service: &mut Service, fuse: &Fuse) {
    let index = |name: &GroupName| service.groups.iter().position(|g| g.name == *name);
    // A reload may have removed either.
    let (watched, instead) = (index(&fuse.group), index(&fuse.instead));
    service.emergency = service.emergency.or(instead);
    if let Some(watched) = watched {
        service.groups[watched].fuse = Some(fuse.blows_at);
    }
}

/// Without the query.
fn probe_path(check: &Check) -> Option<String> {
    match check {
        Check::Http { path, .. } | Check::WebSocket { path, .. } => path.split('?').next().map(ToOwned::to_owned),
        Check::Tcp | Check::Grpc { .. } => None,
    }
}

fn group(
    service: &spec::Service,
    group: &spec::Group,
    state: &ServiceState,
    registry: &Registry,
    farewells: &Farewells,
) -> Group {
    let part = Part { group: group.name.clone(), upstream: None };
    let upstreams = group.upstreams.iter().map(|upstream| {
        let connected = registry.upstream(&service.name, &group.name, &upstream.endpoint).clone();
        let authority = authority(&upstream.endpoint);
        Upstream { live: connected.live, authority, weight: upstream.weight, tls: connected.tls }
    });
    let upstreams: Vec<_> = upstreams.collect();
    Group {
        name: group.name.clone(),
        name_value: HeaderValue::from_str(group.name.as_str()).expect("a name fits a header value"),
        headers: group.headers.clone(),
        slow_start: service.slow_start,
        entrance: entrance(state, &part),
        farewell: farewell(service, &part, &upstreams, farewells),
        fuse: None,
        upstreams,
        live: Arc::clone(registry.group(&service.name, &group.name)),
    }
}

/// Who may come to `part`.
pub(super) fn entrance(state: &ServiceState, part: &Part) -> Entrance {
    match state.drains.get(part) {
        Some(drain) if drain.is_under_way() => Entrance::Closed,
        Some(drain) if drain.keeps_out() => Entrance::ToValidation,
        _ => Entrance::Open,
    }
}

/// The farewell to the whole of the group, or to some of its upstreams.
fn farewell(service: &spec::Service, whole: &Part, upstreams: &[Upstream], farewells: &Farewells) -> Option<Farewell> {
    let parts = farewells.iter().filter(|key| key.service == service.name && key.part.group == whole.group);
    let urls: Vec<_> = parts.map(|key| key.part.upstream.as_deref()).collect();
    if urls.is_empty() {
        return None;
    }
    let told = upstreams.iter().filter(|u| urls.contains(&Some(&u.live.endpoint.url))).map(|u| u.live.id);
    let upstreams = (!urls.contains(&None)).then(|| told.collect());
    let spec::TunnelClose { code, spread } = service.drain.tunnels;
    Some(Farewell { close_code: code, spread, upstreams })
}

/// `Host` for an upstream itself: `app.internal:9001`, without the port where it is the usual one.
fn authority(endpoint: &Endpoint) -> HeaderValue {
    let text = match &endpoint.address {
        Address::Unix(_) => "localhost".to_owned(),
        Address::Tcp { host, port } => {
            let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
            let usual = if endpoint.protocol == Protocol::Https { 443 } else { 80 };
            if *port == usual { host } else { format!("{host}:{port}") }
        }
    };
    // A host that came out of a URL fits; a stranger one is better left out than a reason to fail.
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("localhost"))
}

fn route(route: &spec::Route, spec: &Spec) -> Route {
    Route {
        matches: route.matches.clone(),
        action: action(&route.action, spec),
        strip_prefix: route.strip_prefix.clone(),
        request_headers: route.request_headers.clone(),
        response_headers: route.response_headers.clone(),
        allow: route.allow.clone(),
    }
}

fn action(action: &spec::Action, spec: &Spec) -> Action {
    match action {
        spec::Action::Forward(name) => {
            let index = spec.services.iter().position(|s| s.name == *name);
            Action::Forward(index.expect("a checked route names a service of its specification"))
        }
        spec::Action::Redirect { to, status } => Action::Redirect { to: to.clone(), status: *status },
        spec::Action::Respond { status, body, content_type } => {
            Action::Respond { status: *status, body: body.clone().into(), content_type: content_type.clone() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::samples;
    use crate::model::adoption::adopt;
    use crate::model::cohort::Salt;

    #[test]
    fn shares_candidate_and_routes_follow_the_desired_state() {
        let spec = samples::spec(&["http://127.0.0.1:1", "http://[::1]:80"]);
        let desired = adopt(&Desired::default(), &file_services(&spec), || Salt(5)).desired;
        let table = compile(
            &spec,
            &desired,
            &Registry::new(1).renewed(&spec).unwrap(),
            &Farewells::new(),
            &Holds::new(),
            &Fuses::new(),
        );
        let shop = table.service("shop").unwrap();
        assert_eq!(shop.shares, [1_000_000, 0]);
        assert_eq!((shop.candidate, shop.emergency, shop.salt), (Some(1), None, Salt(5)));
        let drain = &spec.services[0].drain;
        assert_eq!((shop.tunnel_close, shop.drain_timeout), (drain.tunnels, drain.timeout));
        assert_eq!(shop.groups[0].upstreams[0].authority, "127.0.0.1:1");
        assert_eq!(shop.groups[1].upstreams[0].authority, "[::1]");
        assert_eq!((table.version, table.routes.all().len(), table.listeners.len()), (1, 1, 1));
    }
}
