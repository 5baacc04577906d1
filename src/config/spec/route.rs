//! The specification of a route: which requests, and what is done with them.

use http::{HeaderName, HeaderValue, Method, StatusCode};
use ipnet::IpNet;

use crate::model::names::{ListenerName, ServiceName};

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
