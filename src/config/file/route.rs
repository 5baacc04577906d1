//! `routes` as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{List, Maybe};
use crate::config::yaml::{Named, Text};

/// Which requests go where: exactly one of service, redirect, respond.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Route {
    /// Which requests; default: all.
    #[serde(rename = "match")]
    pub(in crate::config) matches: Maybe<RouteMatch>,
    /// To this service.
    pub(in crate::config) service: Maybe<Text>,
    /// To another URL.
    pub(in crate::config) redirect: Maybe<Redirect>,
    /// A fixed answer.
    pub(in crate::config) respond: Maybe<Respond>,
    /// Taken off the path before a request is sent on.
    pub(in crate::config) strip_prefix: Maybe<String>,
    /// Changes to headers.
    pub(in crate::config) headers: Maybe<Headers>,
    /// Networks of clients that may use it; others get 403. Default: all.
    pub(in crate::config) allow: List<String>,
}

/// What a request must look like.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RouteMatch {
    /// shop.example.com, or *.example.com for every host below; default: any.
    pub(in crate::config) host: Maybe<String>,
    /// Path prefix that ends at a segment border; default `/`.
    pub(in crate::config) path: Maybe<String>,
    /// Any of these; default: all.
    pub(in crate::config) methods: List<String>,
    /// Only requests that came in at this listener.
    pub(in crate::config) listener: Maybe<Text>,
}

/// A redirect.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Redirect {
    /// Where to; {host}, {path} and {query} (with its `?`) stand for the request's.
    #[schemars(required)]
    pub(in crate::config) to: Maybe<String>,
    /// 301, 302, 303, 307 or 308 (the default).
    pub(in crate::config) status: Maybe<u16>,
}

/// A fixed answer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Respond {
    /// Its status; default 200.
    pub(in crate::config) status: Maybe<u16>,
    /// Its body; default empty.
    pub(in crate::config) body: Maybe<Text>,
    /// Default `text/plain; charset=utf-8`.
    pub(in crate::config) content_type: Maybe<String>,
}

/// Changes to headers.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Headers {
    /// Of the request, on its way to the service.
    pub(in crate::config) request: Maybe<HeaderEdits>,
    /// Of the response, on its way to the client.
    pub(in crate::config) response: Maybe<HeaderEdits>,
}

/// Changes to a header: first removed, then set.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct HeaderEdits {
    /// Set, in place of what was there.
    pub(in crate::config) set: Maybe<Named<Text>>,
    /// Removed.
    pub(in crate::config) remove: List<String>,
}
