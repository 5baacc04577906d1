//! `health` as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Maybe, Period};
use crate::config::yaml::{Named, Text};

/// How upstreams are probed. Default: a connection every 5 s.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Health {
    /// What a probe does. Default `tcp`; `http` where path, host or expect is given.
    pub(in crate::config) kind: Maybe<Kind>,
    /// For http and websocket: path and query; default `/`.
    pub(in crate::config) path: Maybe<String>,
    /// For http and websocket: the `Host` to send instead of the upstream's own.
    pub(in crate::config) host: Maybe<String>,
    /// For grpc: the service asked for; default: the server as a whole.
    pub(in crate::config) service: Maybe<String>,
    /// From one probe to the next; default 5s.
    pub(in crate::config) interval: Maybe<Period>,
    /// A probe that takes longer has failed; default 2s.
    pub(in crate::config) timeout: Maybe<Period>,
    /// Successes in a row that make an unhealthy upstream healthy; default 2.
    pub(in crate::config) healthy_after: Maybe<u32>,
    /// Failures in a row that make a healthy upstream unhealthy; default 2.
    pub(in crate::config) unhealthy_after: Maybe<u32>,
    /// For http: what the answer must be, all of it.
    pub(in crate::config) expect: Maybe<Expect>,
}

/// What a probe does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Kind {
    /// GET, judged by status and body.
    Http,
    /// Connects.
    Tcp,
    /// grpc.health.v1.Health/Check must say SERVING.
    Grpc,
    /// A WebSocket handshake must succeed.
    Websocket,
}

/// What the answer to an HTTP probe must be.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Expect {
    /// A status, a range or several: 200, "200-299", "200,204"; default "200-299".
    pub(in crate::config) status: Maybe<Text>,
    /// Dotted paths into the JSON body and the values there.
    pub(in crate::config) json: Maybe<Named<serde_json::Value>>,
    /// Text that the body contains.
    pub(in crate::config) body_contains: Maybe<Text>,
}
