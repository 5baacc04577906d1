//! The file: what users write, as types. The mirror of the YAML, and the source of its JSON Schema.
//!
//! Only the form is known here: keys, shapes, units. Whether names are known and files are there is `validate`'s
//! business. Every value keeps its place; one that could not be read is missing and has been reported.

mod admin;
mod drain;
mod guards;
mod health;
mod hold;
mod listener;
mod resolver;
mod rollout;
mod route;
mod service;
mod shutdown;
mod telemetry;
mod units;
mod webhooks;

pub(super) use admin::{Admin, AdminTls, Role, State, Token};
pub(super) use drain::{Drain, DrainHook, DrainTunnels, HookCall, HookPoll};
pub(super) use guards::{Guards, HttpGuard, Latency, PrometheusGuard};
pub(super) use health::{Expect, Health, Kind};
pub(super) use hold::Hold;
pub(super) use listener::{Listener, ListenerTls, SendsTo};
pub(super) use resolver::Resolver;
pub(super) use rollout::{
    Approval, Approver, Freeze, OnFailure, OnTimeout, Rollout, Step, Then, Undecided, UndecidedAct, Validate, WarmUp,
};
pub(super) use route::{HeaderEdits, Headers, Redirect, Respond, Route, RouteMatch};
pub(super) use service::{
    Affinity, AffinityBy, Balance, Expected, Expose, Group, Limits, Retries, Rule, Service, Timeouts, Upstream,
    UpstreamMap, When,
};
pub(super) use shutdown::Shutdown;
pub(super) use telemetry::{AccessLog, Telemetry};
pub(super) use units::{Increase, Number, Percentage, Period, Size};
pub(super) use webhooks::{Webhook, WebhookFormat};

use schemars::JsonSchema;
use serde::Deserialize;

use super::yaml::{At, Named};

/// A list, each of its items with its place.
pub(super) type List<T> = Option<At<Vec<At<T>>>>;
/// A value that may be left out.
pub(super) type Maybe<T> = Option<At<T>>;

/// The configuration of pointsman: a reverse proxy that moves traffic between versions of a service. `${NAME}` and
/// `${NAME:-default}` take environment variables in any value; relative paths are relative to this file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "pointsman")]
pub(super) struct File {
    /// The admin port and who may use it.
    pub(super) admin: Maybe<Admin>,
    /// Where the state of traffic is kept.
    pub(super) state: Maybe<State>,
    /// Data-plane threads, 1 to 256; default: one per core.
    pub(super) workers: Maybe<u16>,
    /// How the process leaves when it is told to stop.
    pub(super) shutdown: Maybe<Shutdown>,
    /// Who says where the names of upstreams lead; default: the system's name servers.
    pub(super) resolver: Maybe<Resolver>,
    /// Ports for clients, by name.
    #[schemars(required)]
    pub(super) listeners: Maybe<Named<Listener>>,
    /// What users call, by name.
    #[schemars(required)]
    pub(super) services: Maybe<Named<Service>>,
    /// Which requests go where. The most specific match wins: exact host, then longest path, then most conditions.
    #[schemars(required)]
    pub(super) routes: List<Route>,
    /// Who is told of events.
    pub(super) webhooks: List<Webhook>,
    /// Logs.
    pub(super) telemetry: Maybe<Telemetry>,
}
