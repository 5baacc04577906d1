//! `listeners` as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{List, Maybe, Period};

/// A port that clients connect to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Listener {
    /// 127.0.0.1:8080, [::]:8080, or `unix:/run/web.sock`.
    #[schemars(required)]
    pub(in crate::config) bind: Maybe<String>,
    /// HTTPS.
    pub(in crate::config) tls: Maybe<ListenerTls>,
    /// Where its requests go; default `split`.
    pub(in crate::config) sends_to: Maybe<SendsTo>,
    /// Networks that may connect; default: all.
    pub(in crate::config) allow: List<String>,
    /// Networks whose `X-Forwarded-*` and `Forwarded` fields are believed.
    pub(in crate::config) trusted_proxies: List<String>,
    /// Every connection begins with a PROXY protocol header (v1 or v2) that names the client; one without it is
    /// closed. With `trusted_proxies`, only these may connect.
    pub(in crate::config) proxy_protocol: Maybe<bool>,
    /// Connections at a time; further ones wait until one of them ends. Default: no limit.
    pub(in crate::config) max_connections: Maybe<u32>,
    /// From the first byte of a request's head to its last; default 30s.
    pub(in crate::config) head_timeout: Maybe<Period>,
    /// A connection without a request is closed after this time; default 75s.
    pub(in crate::config) idle_timeout: Maybe<Period>,
}

/// HTTPS for a port.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ListenerTls {
    /// Chosen by the name that the client asks for; the first one where none fits.
    #[schemars(required)]
    pub(in crate::config) certificates: List<Certificate>,
    /// PEM file: clients must show a certificate of this authority.
    pub(in crate::config) client_ca: Maybe<String>,
}

/// A certificate chain and its key.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Certificate {
    /// PEM file with the certificate chain, leaf first.
    #[schemars(required)]
    pub(in crate::config) cert: Maybe<String>,
    /// PEM file with the private key.
    #[schemars(required)]
    pub(in crate::config) key: Maybe<String>,
}

/// Which group a listener's requests go to.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum SendsTo {
    /// By rules, affinity and split.
    Split,
    /// Always to the candidate: test traffic before users come.
    Candidate,
}
