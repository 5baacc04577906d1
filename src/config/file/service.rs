//! `services` as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Drain, Health, Hold, List, Maybe, Percentage, Period, Rollout, Size};
use crate::config::yaml::{At, Named, Text};

/// What users call.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Service {
    /// Its versions, by name: usually blue and green.
    #[schemars(required)]
    pub(in crate::config) groups: Maybe<Named<Group>>,
    /// Each group's share in per cent; they sum to 100. Default: everything to the first group. Applied again only
    /// when changed in the file.
    pub(in crate::config) split: Maybe<Named<Percentage>>,
    /// This group takes over when no group with a share can serve.
    pub(in crate::config) emergency: Maybe<Text>,
    /// How an upstream is chosen within a group; default `least_requests`.
    pub(in crate::config) balance: Maybe<Balance>,
    /// An upstream that has come back gets a tenth of its work at first and all of it after this time (not with
    /// `balance: hash`); default: all at once.
    pub(in crate::config) slow_start: Maybe<Period>,
    /// The first match wins, ahead of the split.
    pub(in crate::config) rules: List<Rule>,
    /// What makes a client come back to the same group; default `{ cookie: pointsman }`.
    pub(in crate::config) affinity: Maybe<Affinity>,
    /// Tells clients which group answered.
    pub(in crate::config) expose: Maybe<Expose>,
    /// How upstreams are probed.
    pub(in crate::config) health: Maybe<Health>,
    /// Bounds on waiting.
    pub(in crate::config) timeouts: Maybe<Timeouts>,
    /// When an attempt may be repeated.
    pub(in crate::config) retries: Maybe<Retries>,
    /// How much is taken at the most.
    pub(in crate::config) limits: Maybe<Limits>,
    /// How a group is let go of.
    pub(in crate::config) drain: Maybe<Drain>,
    /// How new requests are kept waiting for a moment.
    pub(in crate::config) hold: Maybe<Hold>,
    /// How a rollout goes where whoever starts it says nothing else.
    pub(in crate::config) rollout: Maybe<Rollout>,
}

/// A version of a service.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Group {
    /// Its addresses.
    #[schemars(required)]
    pub(in crate::config) upstreams: List<Upstream>,
    /// Header fields set on every request to it.
    pub(in crate::config) headers: Maybe<Named<Text>>,
}

/// One address of a group.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(untagged)]
pub(in crate::config) enum Upstream {
    /// Its URL.
    #[serde(rename = "@text")]
    Url(String),
    /// Its URL and more.
    #[serde(rename = "@map")]
    Map(UpstreamMap),
}

/// One address of a group, and how it is reached.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct UpstreamMap {
    /// http://host:port, https://host:port, h2c://host:port or unix:/path.
    #[schemars(required)]
    pub(in crate::config) url: Maybe<String>,
    /// Relative share of the group's requests, 1 or more; default 1.
    pub(in crate::config) weight: Maybe<u32>,
    /// For https: PEM file of the authorities to trust instead of the system's.
    pub(in crate::config) ca: Maybe<String>,
    /// For https: the name that its certificate must carry instead of the URL's host.
    pub(in crate::config) server_name: Maybe<String>,
}

/// How an upstream is chosen within a group.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Balance {
    /// Of two drawn at random, the one with fewer requests in flight.
    LeastRequests,
    /// In turn.
    RoundRobin,
    /// By the client's id or address.
    Hash,
}

/// Sends requests that look like this to a group.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Rule {
    /// All of these must hold.
    #[schemars(required)]
    pub(in crate::config) when: Maybe<When>,
    /// Where they go.
    #[schemars(required)]
    pub(in crate::config) group: Maybe<Text>,
}

/// What a request must look like.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct When {
    /// Header fields by name.
    pub(in crate::config) header: Maybe<Named<Expected>>,
    /// Cookies by name.
    pub(in crate::config) cookie: Maybe<Named<Expected>>,
    /// Query parameters by name.
    pub(in crate::config) query: Maybe<Named<Expected>>,
    /// Networks of the client's address.
    pub(in crate::config) client: List<String>,
}

/// What a value must be: a text, one of several, or found by a regular expression.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(untagged)]
pub(in crate::config) enum Expected {
    /// Equal to this.
    #[serde(rename = "@text")]
    Text(Text),
    /// Equal to one of these.
    #[serde(rename = "@list")]
    OneOf(Vec<At<Text>>),
    /// Found by a regular expression.
    #[serde(rename = "@map")]
    Pattern(Pattern),
}

/// A regular expression; it finds anywhere unless anchored.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Pattern {
    /// The expression.
    #[schemars(required)]
    pub(in crate::config) regex: Maybe<String>,
}

/// What makes a client come back to the same group; `none`: each request is drawn anew.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(untagged)]
pub(in crate::config) enum Affinity {
    /// `none`.
    #[serde(rename = "@text")]
    Word(String),
    /// By one thing.
    #[serde(rename = "@map")]
    By(AffinityBy),
}

/// Exactly one of cookie, header, client_ip.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct AffinityBy {
    /// A random id in a cookie of this name, set while more than one group has a share.
    pub(in crate::config) cookie: Maybe<Text>,
    /// With `cookie`: set it while one group has everything, too.
    pub(in crate::config) always: Maybe<bool>,
    /// A request header that holds an id.
    pub(in crate::config) header: Maybe<Text>,
    /// The client's address.
    pub(in crate::config) client_ip: Maybe<bool>,
}

/// Tells clients which group answered.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Expose {
    /// The response header that names the group.
    #[schemars(required)]
    pub(in crate::config) response_header: Maybe<String>,
}

/// Bounds on waiting.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Timeouts {
    /// To a connection, TLS included; default 1s.
    pub(in crate::config) connect: Maybe<Period>,
    /// From the request sent to the response's head; default 30s.
    pub(in crate::config) response: Maybe<Period>,
    /// Without a byte while a body is on its way, and for a pooled connection; default 60s.
    pub(in crate::config) idle: Maybe<Period>,
    /// Without a byte in either direction of a WebSocket; default 1h.
    pub(in crate::config) tunnel_idle: Maybe<Period>,
}

/// When an attempt may be repeated.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Retries {
    /// Further attempts a request may have; default 2.
    pub(in crate::config) attempts: Maybe<u32>,
    /// Retries in per cent of requests; default 20%.
    pub(in crate::config) budget: Maybe<Percentage>,
    /// Whether another group may serve what the chosen one could not; default true.
    pub(in crate::config) across_groups: Maybe<bool>,
}

/// How much is taken at the most.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Limits {
    /// Size of a request's body; a larger one is refused with 413. Default: no limit.
    pub(in crate::config) body: Maybe<Size>,
    /// Requests at a time, in all groups together, WebSockets left out; default: no limit.
    pub(in crate::config) in_flight: Maybe<u32>,
    /// Requests that wait for a place when `in_flight` is reached, for `timeouts.response` at the most; the others are
    /// refused with 503. Default 0.
    pub(in crate::config) queue: Maybe<u32>,
}
