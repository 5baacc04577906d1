//! `admin` and `state` as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{List, Maybe};

/// The admin port and who may use it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Admin {
    /// Default 127.0.0.1:7070; or `unix:/run/pointsman.sock`. Beyond loopback it needs credentials.
    pub(in crate::config) listen: Maybe<String>,
    /// Networks that may connect at all.
    pub(in crate::config) allow: List<String>,
    /// Further `Host` names it answers to.
    pub(in crate::config) hosts: List<String>,
    /// HTTPS for the admin port.
    pub(in crate::config) tls: Maybe<AdminTls>,
    /// Bearer tokens.
    pub(in crate::config) tokens: List<Token>,
}

/// HTTPS for the admin port.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct AdminTls {
    /// PEM file with the certificate chain, leaf first.
    #[schemars(required)]
    pub(in crate::config) cert: Maybe<String>,
    /// PEM file with the private key.
    #[schemars(required)]
    pub(in crate::config) key: Maybe<String>,
    /// PEM file: clients must show a certificate of this authority.
    pub(in crate::config) client_ca: Maybe<String>,
}

/// A bearer token: exactly one of `env`, `file`, `sha256`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Token {
    /// Who: the actor in the audit log.
    #[schemars(required)]
    pub(in crate::config) name: Maybe<String>,
    /// What it may do.
    #[schemars(required)]
    pub(in crate::config) role: Maybe<Role>,
    /// The environment variable that holds the token.
    pub(in crate::config) env: Maybe<String>,
    /// The file that holds the token.
    pub(in crate::config) file: Maybe<String>,
    /// The token's SHA-256, 64 hexadecimal digits.
    pub(in crate::config) sha256: Maybe<String>,
}

/// viewer (read) < monitor (read, rollback) < operator (all traffic changes) < admin (reload, upgrade).
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Role {
    /// Reads.
    Viewer,
    /// Reads and rolls back.
    Monitor,
    /// All traffic changes.
    Operator,
    /// Reload and upgrade too.
    Admin,
}

/// Where the state of traffic is kept.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct State {
    /// The SQLite file; created when missing. Default state/pointsman.db.
    pub(in crate::config) path: Maybe<String>,
}
