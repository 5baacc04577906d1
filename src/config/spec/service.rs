//! The specification of a service: its groups and upstreams, and how requests are divided, probed and retried.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::{Drain, Hold};
use crate::model::matching::Conditions;
use crate::model::names::{GroupName, ServiceName};
use crate::model::rollout::plan::Plan;
use crate::model::split::Split;

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
    /// The time in which an upstream that has come back gets from a tenth to all of its work; none: all at once. Not
    /// for [`Balance::Hash`], which keeps clients where they are.
    pub slow_start: Option<Duration>,
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
    /// How much is taken at the most.
    pub limits: Limits,
    /// How a group is let go of.
    pub drain: Drain,
    /// How new requests are kept waiting for a moment.
    pub hold: Hold,
    /// How a rollout goes where whoever starts it says nothing else.
    pub rollout: Plan,
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
    /// An address, or a name that the resolver follows, and a port.
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

/// How much a service takes at the most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's body; none (the default): as many as come. Bodies are streamed, so a long one costs no
    /// memory, and a gRPC stream may well be open for days.
    pub body: Option<u64>,
    /// Requests under way at a time in all groups together, tunnels left out, at least 1; none (the default): as many
    /// as come.
    pub in_flight: Option<u32>,
    /// Requests that may wait for a place; default 0.
    pub queue: u32,
}
