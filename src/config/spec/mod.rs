//! The specification: a configuration that has been checked.
//!
//! Whoever holds a [`Spec`] needs no further checks: names are known, splits sum to 100, files were readable when it
//! was made, every default is filled in. It knows neither YAML nor sockets. Comparable, so that a reload can tell
//! what is unchanged.

mod drain;
mod hold;
mod route;
mod service;
mod webhook;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

pub use drain::{Drain, DrainHook, HookCall, HookPoll, TunnelClose};
pub use hold::{Hold, LONGEST_HOLD};
pub use route::{Action, HeaderEdits, Route, RouteMatch};
pub use service::{
    Address, Affinity, Balance, Check, Endpoint, Expect, Group, Health, Limits, Protocol, Retries, Rule, Service,
    Timeouts, Upstream,
};
pub use webhook::{EventPattern, Secret, Webhook, WebhookFormat};

use crate::model::names::ListenerName;

/// A whole checked configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// The admin port.
    pub admin: Admin,
    /// Where desired state is kept.
    pub state: State,
    /// Data-plane threads, at least 1.
    pub workers: usize,
    /// How the process leaves.
    pub shutdown: Shutdown,
    /// Who says where names lead.
    pub resolver: Resolver,
    /// Ports for clients, in the order of the file; at least one.
    pub listeners: Vec<Listener>,
    /// Services in the order of the file; at least one.
    pub services: Vec<Arc<Service>>,
    /// Routes in the order of the file (their precedence is computed when compiled).
    pub routes: Vec<Route>,
    /// Who is told of events, in the order of the file.
    pub webhooks: Vec<Webhook>,
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

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bind::Tcp(address) => address.fmt(f),
            Bind::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
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

/// How the process leaves when it is told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// So long it says that it leaves and serves all the same; not longer than a day.
    pub lame_duck: Duration,
    /// Then whatever is under way has so long to finish; above 0, not longer than a day.
    pub timeout: Duration,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { lame_duck: Duration::ZERO, timeout: Duration::from_secs(30) }
    }
}

/// Who says where the names of upstreams lead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolver {
    /// Name servers; empty: the system's.
    pub servers: Vec<SocketAddr>,
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
    /// Every connection begins with a PROXY protocol header; where `trusted_proxies` is not empty, from one of these.
    pub proxy_protocol: bool,
    /// Connections at a time; none: as many as come.
    pub max_connections: Option<u32>,
    /// From the first byte of a request's head to its last. Default 30 s.
    pub head_timeout: Duration,
    /// How long a connection may be without a request. Default 75 s.
    pub idle_timeout: Duration,
}

/// Which group a listener's requests go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendsTo {
    /// By rules, affinity and split.
    Split,
    /// Always to the candidate: a listener for validation before users come.
    Candidate,
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
