//! The compiled routing table: one immutable value.
//!
//! Everything that a request needs is in it or hangs on it; whatever changes a table makes a new one. It is compiled
//! by the control plane from the spec and the desired state, so lookups here are cheap and cannot fail on a name.

use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use ipnet::IpNet;

use super::admission::Admission;
use super::hold::Hold;
pub use super::live::Entrance;
use super::live::{GroupLive, ListenerLive, UpstreamLive};
use super::sockets::Sockets;
use crate::config::spec::{self, Balance, HeaderEdits, Limits, Retries, SendsTo, Timeouts};
use crate::model::cohort::{self, Position, Salt};
use crate::model::matching::{Conditions, Facts};
use crate::model::names::{GroupName, ListenerName, ServiceName};

/// All that the data plane goes by.
#[derive(Debug, Default)]
pub struct Table {
    /// Counts publications within this process; set by the publisher.
    pub generation: u64,
    /// Version of the desired state it was compiled from.
    pub version: u64,
    /// Ports.
    pub listeners: Vec<Arc<Listener>>,
    /// Services in the order of the file.
    pub services: Vec<Arc<Service>>,
    /// Routes, the most specific first.
    pub routes: Routes,
}

/// A port, bound.
#[derive(Debug)]
pub struct Listener {
    /// Never given twice in a process; the same over a reload while the bind address is the same.
    pub id: u64,
    /// Its name.
    pub name: ListenerName,
    /// Its bound sockets. The control plane holds them while the listener is configured; a table is held by tunnels
    /// and long requests as well, and must not keep a port open that nobody accepts at any more.
    pub sockets: Weak<Sockets>,
    /// HTTPS when present; exchanged with the table when certificates change.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Where its requests go.
    pub sends_to: SendsTo,
    /// Peers that may connect; empty: all.
    pub allow: Vec<IpNet>,
    /// Peers whose forwarding fields are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Every connection begins with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// Connections at a time; none: as many as come.
    pub max_connections: Option<u32>,
    /// From the first byte of a request's head to its last.
    pub head_timeout: Duration,
    /// How long a connection may be without a request.
    pub idle_timeout: Duration,
    /// Connections open.
    pub live: Arc<ListenerLive>,
}

/// Routes in the order of their precedence: exact host, wildcard host, any host; then the longest path; then the most
/// further conditions; then the order of the file.
#[derive(Debug, Default)]
pub struct Routes(Vec<Route>);

/// A compiled route.
#[derive(Debug)]
pub struct Route {
    /// What a request must look like.
    pub matches: spec::RouteMatch,
    /// What is done with it.
    pub action: Action,
    /// Prefix taken off the path.
    pub strip_prefix: Option<String>,
    /// Changes to the request's header.
    pub request_headers: HeaderEdits,
    /// Changes to the response's header.
    pub response_headers: HeaderEdits,
    /// Clients that may use it; empty: all.
    pub allow: Vec<IpNet>,
}

/// What is done with a request.
#[derive(Debug)]
pub enum Action {
    /// Sent to the service with this index in [`Table::services`].
    Forward(usize),
    /// A redirect; see [`spec::Action::Redirect`].
    Redirect {
        /// The `Location` with its placeholders.
        to: String,
        /// Its status.
        status: http::StatusCode,
    },
    /// A fixed answer.
    Respond {
        /// Its status.
        status: http::StatusCode,
        /// Its body.
        body: bytes::Bytes,
        /// Its `Content-Type`.
        content_type: HeaderValue,
    },
}

/// A compiled service.
#[derive(Debug)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// Its groups in the order of their names.
    pub groups: Vec<Group>,
    /// Each group's share in ppm, in the same order; they sum to 1 000 000.
    pub shares: Vec<u32>,
    /// Key of the cohort hash.
    pub salt: Salt,
    /// Index of the group where validation traffic goes; none where there is nothing to validate.
    pub candidate: Option<usize>,
    /// Index of the group that takes over when no group with a share can serve.
    pub emergency: Option<usize>,
    /// Conditions and the index of the group, first match wins.
    pub rules: Vec<(Conditions, usize)>,
    /// What makes a client come back to the same group.
    pub affinity: spec::Affinity,
    /// How an upstream is chosen within a group.
    pub balance: Balance,
    /// Response header that names the group that answered.
    pub expose: Option<HeaderName>,
    /// Bounds on waiting.
    pub timeouts: Timeouts,
    /// When an attempt may be repeated.
    pub retries: Retries,
    /// How much is taken at the most.
    pub limits: Limits,
    /// What becomes of tunnels whose upstream is no longer in the table, or whose proxy goes down.
    pub tunnel_close: spec::TunnelClose,
    /// The time that tunnels have when their upstream is no longer in the table.
    pub drain_timeout: Duration,
    /// Lets requests in; none where the service takes as many at a time as come.
    pub admission: Option<Arc<Admission>>,
    /// New requests wait; none where nobody has asked for that.
    pub hold: Option<Arc<Hold>>,
    /// The path where its upstreams are asked for their health: whoever asks there from outside is answered by us
    /// while the service is held.
    pub probe_path: Option<String>,
}

/// A compiled group.
#[derive(Debug)]
pub struct Group {
    /// Its name.
    pub name: GroupName,
    /// The same as a header value.
    pub name_value: HeaderValue,
    /// Set on every request to it.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The time in which an upstream that has come back gets from a tenth to all of its work; none: all at once.
    pub slow_start: Option<Duration>,
    /// Who may come.
    pub entrance: Entrance,
    /// Its tunnels are to end.
    pub farewell: Option<Farewell>,
    /// It is watched: so many attempts of users in a row that cannot connect, and no user is sent to it any more, until
    /// the control plane puts that right; and of each that fails the control plane hears at once.
    pub fuse: Option<u32>,
    /// At least one.
    pub upstreams: Vec<Upstream>,
    /// Its counts.
    pub live: Arc<GroupLive>,
}

/// The tunnels of a group are to end: each is told so at a moment drawn at random from `spread`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Farewell {
    /// The code of the Close frame.
    pub close_code: u16,
    /// From the publication to the moment in which the last tunnel is told.
    pub spread: Duration,
    /// Only tunnels to these upstreams, by [`UpstreamLive::id`]; none: all of the group.
    pub upstreams: Option<Vec<u64>>,
}

impl Farewell {
    /// A tunnel that was told to end takes so long at the most: four steps of two seconds, where its peers do nothing.
    pub const LONGEST_END: Duration = Duration::from_secs(8);

    /// Whether a tunnel to the upstream with this id is meant.
    #[must_use]
    pub fn is_for(&self, upstream: u64) -> bool {
        self.upstreams.as_ref().is_none_or(|ids| ids.contains(&upstream))
    }
}

/// A compiled upstream.
#[derive(Debug)]
pub struct Upstream {
    /// Its identity, health and counts.
    pub live: Arc<UpstreamLive>,
    /// `Host` for upstreams that are addressed by a name of their own (health probes); requests keep the client's.
    pub authority: HeaderValue,
    /// Relative share, at least 1.
    pub weight: u32,
    /// How TLS is spoken to it, for `https`.
    pub tls: Option<UpstreamTls>,
}

/// How TLS is spoken to an upstream.
#[derive(Clone, Debug)]
pub struct UpstreamTls {
    /// Trust anchors and ALPN (h2, then http/1.1).
    pub config: Arc<rustls::ClientConfig>,
    /// The name that its certificate must carry.
    pub name: rustls::pki_types::ServerName<'static>,
}

/// Why a request goes to the group it goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It came in at a listener that sends to the candidate.
    Validation,
    /// The rule with this index matched.
    Rule(usize),
    /// Its id's position on the line of cohorts, in ppm.
    Cohort(u32),
    /// It has no id; the position was drawn at random, in ppm.
    Drawn(u32),
}

impl Group {
    /// Whether a request could be served here: at least one upstream is healthy and open. Whether it may come is
    /// another question ([`Group::entrance`]).
    #[must_use]
    pub fn can_serve(&self) -> bool {
        self.upstreams.iter().any(Upstream::can_serve)
    }

    /// Whether users are kept away because one after another could not connect. Looked at afresh by every choice; where
    /// the group is not watched, nothing is looked at.
    #[must_use]
    pub fn has_blown(&self) -> bool {
        self.fuse.is_some() && self.live.fuse().has_blown()
    }

    /// Whether users may come.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.entrance == Entrance::Open && !self.has_blown()
    }
}

impl Upstream {
    /// Whether it is healthy and open.
    #[must_use]
    pub fn can_serve(&self) -> bool {
        self.live.health() == super::live::Health::Healthy && self.live.entrance() == Entrance::Open
    }
}

impl Service {
    /// The index of the group called `name`.
    #[must_use]
    pub fn group_index(&self, name: &str) -> Option<usize> {
        self.groups.iter().position(|g| g.name.as_str() == name)
    }

    /// Whether more than one group has a share.
    #[must_use]
    pub fn is_divided(&self) -> bool {
        self.shares.iter().filter(|s| **s > 0).count() > 1
    }

    /// The first rule that holds: its index, and the index of its group.
    #[must_use]
    pub fn rule(&self, facts: &Facts<'_>) -> Option<(usize, usize)> {
        self.rules.iter().enumerate().find(|(_, (when, _))| when.hold(facts)).map(|(i, (_, group))| (i, *group))
    }

    /// The index of the group that owns `position`, health aside.
    #[must_use]
    pub fn owner(&self, position: Position) -> usize {
        cohort::owner(self.shares.iter().copied(), position).unwrap_or(0)
    }

    /// Where a request goes that should go to `preferred`, when only groups for which `usable` holds can take it: to
    /// `preferred`, else to the others in proportion to their shares (the same client always to the same), else to
    /// the emergency group. None: nobody can take it.
    #[must_use]
    pub fn usable_group(&self, preferred: usize, position: Position, usable: impl Fn(usize) -> bool) -> Option<usize> {
        if usable(preferred) {
            return Some(preferred);
        }
        let share = |i: usize| if usable(i) { self.shares[i] } else { 0 };
        let total: u32 = (0..self.groups.len()).map(share).sum();
        if total > 0 {
            return cohort::owner((0..self.groups.len()).map(share), position.among(self.salt, total));
        }
        self.emergency.filter(|&i| usable(i))
    }
}

impl Table {
    /// The service called `name`.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<&Arc<Service>> {
        self.services.iter().find(|s| s.name.as_str() == name)
    }

    /// The listener with this id.
    #[must_use]
    pub fn listener(&self, id: u64) -> Option<&Arc<Listener>> {
        self.listeners.iter().find(|l| l.id == id)
    }
}

/// What a route is looked up by.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The request's host without its port, any case; empty where it has none.
    pub host: &'a str,
    /// Its path, beginning with `/`.
    pub path: &'a str,
    /// Its method.
    pub method: &'a Method,
    /// The listener that it came in at; none for `explain`.
    pub listener: Option<&'a ListenerName>,
}

impl Routes {
    /// Puts routes into the order of their precedence.
    #[must_use]
    pub fn new(mut routes: Vec<Route>) -> Self {
        routes.sort_by_key(|r| std::cmp::Reverse(precedence(&r.matches)));
        Self(routes)
    }

    /// The most specific route that fits, and its index in [`Routes::all`].
    #[must_use]
    pub fn find(&self, target: &Target<'_>) -> Option<(usize, &Route)> {
        self.0.iter().enumerate().find(|(_, route)| fits(&route.matches, target))
    }

    /// All routes, the most specific first.
    #[must_use]
    pub fn all(&self) -> &[Route] {
        &self.0
    }
}

/// Exactness of the host, length of a wildcard, length of the path, number of further conditions.
fn precedence(matches: &spec::RouteMatch) -> (u8, usize, usize, usize) {
    let (exactness, length) = match &matches.host {
        Some(host) if !host.starts_with("*.") => (2, 0),
        Some(host) => (1, host.len()),
        None => (0, 0),
    };
    let further = usize::from(!matches.methods.is_empty()) + usize::from(matches.listener.is_some());
    (exactness, length, matches.path.len(), further)
}

fn fits(matches: &spec::RouteMatch, target: &Target<'_>) -> bool {
    under(&matches.path, target.path)
        && matches.host.as_deref().is_none_or(|host| host_fits(host, target.host))
        && (matches.methods.is_empty() || matches.methods.contains(target.method))
        && matches.listener.as_ref().is_none_or(|name| target.listener == Some(name))
}

fn host_fits(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(suffix) => {
            host.len() > suffix.len()
                && host.is_char_boundary(host.len() - suffix.len())
                && host[host.len() - suffix.len()..].eq_ignore_ascii_case(suffix)
        }
        None => host.eq_ignore_ascii_case(pattern),
    }
}

/// Whether `path` is `prefix` or lies below it: `/api` covers `/api` and `/api/x`, not `/apix`.
fn under(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || prefix.ends_with('/') || rest.starts_with('/'))
}

/// Whether `peer` may: the list is empty or contains it. A peer without an address (unix socket) may.
#[must_use]
pub fn allowed(list: &[IpNet], peer: Option<IpAddr>) -> bool {
    list.is_empty() || peer.is_none_or(|ip| crate::model::matching::contains(list, ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(host: Option<&str>, path: &str, methods: &[Method]) -> Route {
        let matches = spec::RouteMatch {
            host: host.map(Into::into),
            path: path.into(),
            methods: methods.to_vec(),
            listener: None,
        };
        Route {
            matches,
            action: Action::Forward(0),
            strip_prefix: None,
            request_headers: HeaderEdits::default(),
            response_headers: HeaderEdits::default(),
            allow: Vec::new(),
        }
    }

    #[test]
    fn the_most_specific_route_wins_whatever_the_order_in_the_file() {
        let routes = Routes::new(vec![
            route(None, "/", &[]),
            route(None, "/api", &[]),
            route(Some("*.example.com"), "/", &[]),
            route(Some("*.shop.example.com"), "/", &[]),
            route(Some("a.example.com"), "/", &[]),
            route(Some("a.example.com"), "/api/v1", &[]),
            route(Some("a.example.com"), "/api/v1", &[Method::POST]),
        ]);
        let find = |host, path, method: &Method| {
            let (_, found) = routes.find(&Target { host, path, method, listener: None }).unwrap();
            (found.matches.host.clone().unwrap_or_default(), found.matches.path.clone(), found.matches.methods.len())
        };
        for (host, path, method, expected) in [
            ("other", "/x", Method::GET, ("", "/", 0)),
            ("other", "/api", Method::GET, ("", "/api", 0)),
            ("other", "/api/x", Method::GET, ("", "/api", 0)),
            ("other", "/apix", Method::GET, ("", "/", 0)),
            ("b.Example.com", "/api", Method::GET, ("*.example.com", "/", 0)),
            ("x.shop.example.com", "/", Method::GET, ("*.shop.example.com", "/", 0)),
            ("example.com", "/", Method::GET, ("", "/", 0)),
            ("A.EXAMPLE.COM", "/api/v1/x", Method::GET, ("a.example.com", "/api/v1", 0)),
            ("a.example.com", "/api/v1", Method::POST, ("a.example.com", "/api/v1", 1)),
            ("a.example.com", "/api/v10", Method::POST, ("a.example.com", "/", 0)),
        ] {
            let (h, p, n) = expected;
            assert_eq!(find(host, path, &method), (h.to_owned(), p.to_owned(), n), "{host}{path} {method}");
        }
    }
}
