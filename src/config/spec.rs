//! The specification: a configuration that has been checked.
//!
//! Whoever holds a [`Spec`] needs no further checks: names are known, splits sum to 100, files were readable when it
//! was made, every default is filled in. It knows neither YAML nor sockets. Comparable, so that a reload can tell
//! what is unchanged.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode};
use ipnet::IpNet;

use crate::model::matching::Conditions;
use crate::model::names::{GroupName, ListenerName, ServiceName};
use crate::model::split::Split;

/// A whole checked configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// The admin port.
    pub admin: Admin,
    /// Where desired state is kept.
    pub state: State,
    /// Data-plane threads, at least 1.
    pub workers: usize,
    /// Ports for clients, in the order of the file; at least one.
    pub listeners: Vec<Listener>,
    /// Services in the order of the file; at least one.
    pub services: Vec<Arc<Service>>,
    /// Routes in the order of the file (their precedence is computed when compiled).
    pub routes: Vec<Route>,
    /// Logs.
    pub telemetry: Telemetry,
}

/// Where a socket listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Bind {
    /// TCP. Port 0 lets the system choose.
    Tcp(SocketAddr),
    /// A unix stream socket.
    Unix(PathBuf),
}

/// The admin port and who may use it.
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// Default `127.0.0.1:7070`.
    pub listen: Bind,
    /// Peers that may connect at all; empty: all.
    pub allow: Vec<IpNet>,
    /// Further `Host` names it answers to (lower case), beside loopback names and its own address.
    pub hosts: Vec<String>,
    /// TLS for the admin port; with a client CA, client certificates are demanded.
    pub tls: Option<Tls>,
    /// Bearer tokens; empty: no credentials are asked for, allowed on loopback and unix sockets only.
    pub tokens: Vec<Token>,
}

/// A bearer token, kept as its digest only.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// Who: the actor in events.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// SHA-256 of the token's bytes.
    pub sha256: [u8; 32],
}

/// What a caller of the admin API may do; each role may do all that the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Reads.
    Viewer,
    /// Reads and rolls back.
    Monitor,
    /// All traffic changes and approvals.
    Operator,
    /// Reload and upgrade too.
    Admin,
}

/// Where desired state is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The SQLite file; created when missing.
    pub path: PathBuf,
}

/// Certificates of a port.
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    /// At least one; chosen by SNI, the first one for a client that names none or an unknown host.
    pub certificates: Vec<CertificateFiles>,
    /// Clients must show a certificate of this authority (PEM).
    pub client_ca: Option<PathBuf>,
}

/// A certificate chain and its key, both PEM. They are read when compiled and whenever they change on disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertificateFiles {
    /// The chain, leaf first.
    pub cert: PathBuf,
    /// The leaf's private key.
    pub key: PathBuf,
}

/// A port that clients connect to.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Its name.
    pub name: ListenerName,
    /// Its address.
    pub bind: Bind,
    /// HTTPS when present.
    pub tls: Option<Tls>,
    /// Where its requests go.
    pub sends_to: SendsTo,
    /// Peers that may connect; empty: all.
    pub allow: Vec<IpNet>,
    /// Peers whose `X-Forwarded-*` and `Forwarded` fields are believed.
    pub trusted_proxies: Vec<IpNet>,
}

/// Which group a listener's requests go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendsTo {
    /// By rules, affinity and split.
    Split,
    /// Always to the candidate: a listener for validation before users come.
    Candidate,
}

/// What users call.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// At least one, in the order of their names.
    pub groups: Vec<Group>,
    /// The split that the file asks for; where the file says none: everything to the first group of the file.
    pub split: Split,
    /// This group takes over when no group with a share can serve, even with a share of 0.
    pub emergency: Option<GroupName>,
    /// How an upstream is chosen within a group.
    pub balance: Balance,
    /// First match wins, ahead of the split.
    pub rules: Vec<Rule>,
    /// What makes a client come back to the same group.
    pub affinity: Affinity,
    /// Response header that names the group that answered.
    pub expose: Option<HeaderName>,
    /// How upstreams are probed.
    pub health: Health,
    /// Bounds on waiting.
    pub timeouts: Timeouts,
    /// When an attempt may be repeated.
    pub retries: Retries,
}

/// A version of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Its name.
    pub name: GroupName,
    /// At least one.
    pub upstreams: Vec<Upstream>,
    /// Set on every request to this group.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// One address of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// Where and how to connect.
    pub endpoint: Endpoint,
    /// Relative share of the group's requests, at least 1.
    pub weight: u32,
}

/// Where and how an upstream is reached. Its identity: the same endpoint after a reload is the same upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The URL as people write it: `http://127.0.0.1:9001`, `unix:/run/app.sock`.
    pub url: String,
    /// What is spoken there.
    pub protocol: Protocol,
    /// Where.
    pub address: Address,
    /// For `https`: PEM file of the authorities to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// For `https`: the name to ask for and to check instead of the URL's host.
    pub server_name: Option<String>,
}

/// What an upstream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1 in clear (`http://`, `unix:`).
    Http1,
    /// HTTP/2 in clear, with prior knowledge (`h2c://`, `unix+h2c:`).
    H2c,
    /// TLS; HTTP/2 where ALPN agrees on it, else HTTP/1.1 (`https://`).
    Https,
}

/// Where an upstream is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// An address, or a name that is resolved when connecting, and a port.
    Tcp {
        /// Name or IP address, without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// A unix stream socket.
    Unix(PathBuf),
}

/// How an upstream is chosen within a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// Of two drawn at random (by weight), the one with fewer requests in flight.
    LeastRequests,
    /// In turn, by weight.
    RoundRobin,
    /// By the client's cohort id, or its address where it has none.
    Hash,
}

/// Sends requests that look like this to a group, whatever the split.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// All must hold.
    pub when: Conditions,
    /// Where they go.
    pub group: GroupName,
}

/// What makes a client come back to the same group.
#[derive(Clone, Debug, PartialEq)]
pub enum Affinity {
    /// A random id in a cookie of this name, set while more than one group has a share.
    Cookie {
        /// The cookie's name; default `pointsman`.
        name: String,
        /// Set it while one group has everything, too.
        always: bool,
    },
    /// A request header holds the id; without it the group is drawn at random.
    Header(HeaderName),
    /// The client's address is the id.
    ClientIp,
    /// Each request is drawn anew.
    None,
}

/// How upstreams are probed.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// What a probe does.
    pub check: Check,
    /// From the begin of one probe to the next; jittered by 10 %.
    pub interval: Duration,
    /// A probe that takes longer has failed.
    pub timeout: Duration,
    /// Successes in a row that make an unhealthy upstream healthy (a first verdict needs one).
    pub healthy_after: u32,
    /// Failures in a row that make a healthy upstream unhealthy (a first verdict needs one).
    pub unhealthy_after: u32,
}

/// What a probe does.
#[derive(Clone, Debug, PartialEq)]
pub enum Check {
    /// Connects. The default.
    Tcp,
    /// GET, judged by status and body.
    Http {
        /// Path and query.
        path: String,
        /// `Host` to send instead of the upstream's own.
        host: Option<String>,
        /// What the answer must be.
        expect: Expect,
    },
    /// `grpc.health.v1.Health/Check` over HTTP/2 must say SERVING.
    Grpc {
        /// The service name asked for; empty: the server as a whole.
        service: String,
    },
    /// A WebSocket handshake must be answered 101 with the matching key (RFC 6455, section 4).
    WebSocket {
        /// Path and query.
        path: String,
        /// `Host` to send instead of the upstream's own.
        host: Option<String>,
    },
}

/// What the answer to an HTTP probe must be; all of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Expect {
    /// Inclusive ranges of status codes; default 200-299.
    pub statuses: Vec<(u16, u16)>,
    /// Dotted paths into the JSON body and the values there.
    pub json: Vec<(String, serde_json::Value)>,
    /// Text that the body contains.
    pub body_contains: Option<String>,
}

/// Bounds on waiting.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timeouts {
    /// To a connection, TLS included. Default 1 s.
    pub connect: Duration,
    /// From the request sent to the response's head. Default 30 s.
    pub response: Duration,
    /// Without a byte in either direction while a body is on its way; and for a pooled connection. Default 60 s.
    pub idle: Duration,
    /// Without a byte in either direction of a tunnel. Default 1 h.
    pub tunnel_idle: Duration,
}

/// When an attempt may be repeated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retries {
    /// Further attempts a request may have. Default 2.
    pub attempts: u32,
    /// Retries in parts per million of requests, over the last seconds; a few are always allowed. Default 20 %.
    pub budget: crate::model::split::Share,
    /// Whether another group may serve what the chosen one could not. Default true.
    pub across_groups: bool,
}

/// Which requests go where.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Which.
    pub matches: RouteMatch,
    /// Where.
    pub action: Action,
    /// Prefix taken off the path before it is sent on; begins with `/`, does not end with it.
    pub strip_prefix: Option<String>,
    /// Changes to the request's header.
    pub request_headers: HeaderEdits,
    /// Changes to the response's header.
    pub response_headers: HeaderEdits,
    /// Clients that may use it; empty: all. Others get 403.
    pub allow: Vec<IpNet>,
}

/// What a request must look like for a route.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteMatch {
    /// Host in lower case without a port; `*.example.com` stands for every host below; none: any.
    pub host: Option<String>,
    /// Path prefix that ends at a segment border; begins with `/`.
    pub path: String,
    /// Any of these; empty: all.
    pub methods: Vec<Method>,
    /// Only requests that came in there.
    pub listener: Option<ListenerName>,
}

/// What is done with a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// To a service.
    Forward(ServiceName),
    /// A redirect. In `to`, `{host}`, `{path}` and `{query}` (with its `?`) stand for the request's.
    Redirect {
        /// The `Location`.
        to: String,
        /// 301, 302, 303, 307 or 308 (the default).
        status: StatusCode,
    },
    /// A fixed answer.
    Respond {
        /// Its status.
        status: StatusCode,
        /// Its body.
        body: String,
        /// Its `Content-Type`.
        content_type: HeaderValue,
    },
}

/// Changes to a header: first removed, then set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeaderEdits {
    /// Set, in place of what was there.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Removed.
    pub remove: Vec<HeaderName>,
}

/// Logs.
#[derive(Clone, Debug, PartialEq)]
pub struct Telemetry {
    /// The filter for the log on standard error, as in `RUST_LOG`; default `info`.
    pub log: String,
    /// One line per request; none: off (the default).
    pub access_log: Option<AccessLog>,
}

/// One line per request.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLog {
    /// Where to.
    pub to: LogTarget,
    /// Which part of the requests is logged.
    pub share: crate::model::split::Share,
}

/// Where a log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// Appended to a file; opened anew on SIGHUP, for logrotate.
    File(PathBuf),
}
