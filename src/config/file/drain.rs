//! `drain` of a service as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Maybe, Period};
use crate::config::yaml::{Named, Text};

/// How a group is let go of.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Drain {
    /// Requests, WebSockets and the application have this long to finish; default 30s.
    pub(in crate::config) timeout: Maybe<Period>,
    /// What becomes of WebSockets that are left at the deadline.
    pub(in crate::config) tunnels: Maybe<DrainTunnels>,
    /// Asks the application to finish work of its own, and whether it has.
    pub(in crate::config) hook: Maybe<DrainHook>,
}

/// What becomes of WebSockets that are left at the deadline: they are closed.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct DrainTunnels {
    /// The code in their Close frames: 1000, 1001, 1008, 1011 to 1014 or 3000 to 4999; default 1012 (service restart).
    pub(in crate::config) close_code: Maybe<u16>,
    /// They are closed one after another over this time, so that not all clients come back at once; default 5s.
    pub(in crate::config) spread: Maybe<Period>,
}

/// Asks the application to finish work of its own, and whether it has. Each upstream of the group is asked.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct DrainHook {
    /// Sent when the drain begins; any status from 200 to 299 will do.
    pub(in crate::config) start: Maybe<HookCall>,
    /// Sent again and again until the answer is as expected.
    pub(in crate::config) poll: Maybe<HookPoll>,
    /// Sent when the drain is cancelled.
    pub(in crate::config) cancel: Maybe<HookCall>,
}

/// A request to the application.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct HookCall {
    /// Default POST.
    pub(in crate::config) method: Maybe<Text>,
    /// Path and query.
    #[schemars(required)]
    pub(in crate::config) path: Maybe<String>,
    /// Header fields; default for `cancel`: those of `start`. Their values are written to no log.
    pub(in crate::config) headers: Maybe<Named<Text>>,
    /// The body, as JSON.
    pub(in crate::config) json: Maybe<Named<serde_json::Value>>,
}

/// A question to the application.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct HookPoll {
    /// Default GET.
    pub(in crate::config) method: Maybe<Text>,
    /// Path and query.
    #[schemars(required)]
    pub(in crate::config) path: Maybe<String>,
    /// Header fields; default: those of `start`. Their values are written to no log.
    pub(in crate::config) headers: Maybe<Named<Text>>,
    /// From one question to the next; default 1s.
    pub(in crate::config) every: Maybe<Period>,
    /// What the answer must be.
    pub(in crate::config) until: Maybe<HookUntil>,
}

/// What the answer to a question must be; its status always from 200 to 299.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct HookUntil {
    /// Dotted paths into the JSON body and the values there.
    #[schemars(required)]
    pub(in crate::config) json: Maybe<Named<serde_json::Value>>,
}
