//! Specifications, certificates and waits that the tests of the control plane begin with.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::spec::{
    self, Action, Address, Admin, Affinity, Balance, Bind, CertificateFiles, Check, Drain, Endpoint, Expect, Health,
    Hold, Limits, Protocol, Retries, Route, RouteMatch, SendsTo, Service, Spec, State, Telemetry, Timeouts,
    TunnelClose,
};
use crate::model::names::{GroupName, ListenerName, ServiceName};
use crate::model::split::{Share, Split};

/// Writes a self-signed certificate for `name` and its key into `folder`.
pub(crate) fn certificate(folder: &Path, name: &str) -> CertificateFiles {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let file = |end: &str| folder.join(format!("{}.{end}", name.replace('*', "any")));
    let files = CertificateFiles { cert: file("crt"), key: file("key") };
    std::fs::write(&files.cert, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    files
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub(crate) fn listener(name: &str, address: &str) -> spec::Listener {
    spec::Listener {
        name: ListenerName::new(name).unwrap(),
        bind: Bind::Tcp(address.parse().unwrap()),
        tls: None,
        sends_to: SendsTo::Split,
        allow: Vec::new(),
        trusted_proxies: Vec::new(),
        proxy_protocol: false,
        max_connections: None,
        head_timeout: Duration::from_secs(30),
        idle_timeout: Duration::from_secs(75),
    }
}

/// `http://…`, `h2c://…`, `https://…` with a port, or `unix:/path`.
pub(crate) fn endpoint(url: &str) -> Endpoint {
    let (scheme, rest) = url.split_once(':').unwrap();
    let protocol = match scheme {
        "https" => Protocol::Https,
        "h2c" => Protocol::H2c,
        _ => Protocol::Http1,
    };
    let address = match rest.strip_prefix("//") {
        None => Address::Unix(rest.into()),
        Some(authority) => {
            let (host, port) = authority.rsplit_once(':').unwrap();
            let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            Address::Tcp { host, port: port.parse().unwrap() }
        }
    };
    Endpoint { url: url.to_owned(), protocol, address, ca: None, server_name: None }
}

pub(crate) fn expect() -> Expect {
    Expect { statuses: vec![(200, 299)], json: Vec::new(), body_contains: None }
}

pub(crate) fn health(check: Check) -> Health {
    let (interval, timeout) = (Duration::from_millis(50), Duration::from_millis(500));
    Health { check, interval, timeout, healthy_after: 2, unhealthy_after: 2 }
}

/// The service `shop` with the groups `blue`, `green`, `red`, as many as there are urls, everything to the first.
pub(crate) fn service(name: &str, urls: &[&str]) -> Service {
    let names = ["blue", "green", "red"].map(|n| GroupName::new(n).unwrap());
    let upstream = |url: &&str| spec::Upstream { endpoint: endpoint(url), weight: 1 };
    let groups = urls.iter().zip(&names);
    Service {
        name: ServiceName::new(name).unwrap(),
        groups: groups
            .map(|(url, name)| spec::Group { name: name.clone(), upstreams: vec![upstream(url)], headers: Vec::new() })
            .collect(),
        split: Split::all_to(&names[0], names[..urls.len()].to_vec()),
        emergency: None,
        balance: Balance::LeastRequests,
        slow_start: None,
        rules: Vec::new(),
        affinity: Affinity::Cookie { name: "pointsman".to_owned(), always: false },
        expose: None,
        health: health(Check::Tcp),
        timeouts: Timeouts {
            connect: Duration::from_secs(1),
            response: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            tunnel_idle: Duration::from_secs(3600),
        },
        retries: Retries { attempts: 2, budget: Share::from_percent(20.0).unwrap(), across_groups: true },
        limits: Limits::default(),
        hold: Hold::default(),
        rollout: crate::model::rollout::plan::Plan::default(),
        drain: Drain { timeout: Duration::from_secs(30), tunnels: TunnelClose::default(), hook: None },
    }
}

/// The service `shop` behind one port that the system chooses.
pub(crate) fn spec(urls: &[&str]) -> Spec {
    Spec {
        admin: Admin {
            listen: Bind::Tcp("127.0.0.1:0".parse().unwrap()),
            allow: Vec::new(),
            hosts: Vec::new(),
            tls: None,
            tokens: Vec::new(),
        },
        state: State { path: "state.db".into() },
        workers: 1,
        shutdown: spec::Shutdown::default(),
        resolver: spec::Resolver::default(),
        listeners: vec![listener("web", "127.0.0.1:0")],
        services: vec![Arc::new(service("shop", urls))],
        routes: vec![Route {
            matches: RouteMatch { path: "/".into(), ..RouteMatch::default() },
            action: Action::Forward(ServiceName::new("shop").unwrap()),
            strip_prefix: None,
            request_headers: spec::HeaderEdits::default(),
            response_headers: spec::HeaderEdits::default(),
            allow: Vec::new(),
        }],
        webhooks: Vec::new(),
        telemetry: Telemetry { log: "info".to_owned(), access_log: None },
    }
}

/// Waits until `holds`, for ten seconds at the most.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never came true: {what}");
}
