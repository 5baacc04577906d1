//! Everything else that can be read: events, explanations, the configuration and how it stands, readiness.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Shares, rounded, shares};
use crate::control::view;

/// A page of the audit log.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Events {
    /// Oldest first.
    pub events: Vec<Event>,
    /// What to ask for next: `?since=NEXT`.
    pub next: u64,
}

/// A line of the audit log.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Sequence number, from 1, without gaps.
    pub id: u64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: jiff::Timestamp,
    /// Who.
    pub actor: String,
    /// What: `switch`, `split`, `rollback`, `reload`…; `.refused` behind it where it was not done.
    pub kind: String,
    /// Which service, where it is about one.
    pub service: Option<String>,
    /// Details by kind.
    #[schema(value_type = Object)]
    pub detail: serde_json::Value,
}

impl From<view::Event> for Event {
    fn from(event: view::Event) -> Self {
        let view::Event { id, at, actor, kind, service, detail } = event;
        Self { id, at, actor, kind, service, detail }
    }
}

/// Where a request would go, and why.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// Of which service.
    pub service: String,
    /// The group that would get it; null: nobody can serve.
    pub group: Option<String>,
    /// `rule`, `cohort` or `random`.
    pub by: String,
    /// For people.
    pub why: String,
    /// Position on the line of cohorts in per cent, where it has one.
    pub position: Option<f64>,
    /// The group by rule or cohort before health was looked at.
    pub preferred: String,
}

impl Explanation {
    /// The answer about `service`.
    #[must_use]
    pub fn of(service: String, view: view::Explanation) -> Self {
        Self {
            service,
            group: view.group.map(|group| group.to_string()),
            by: view.by.to_owned(),
            why: view.why,
            position: view.position.map(|p| rounded(p, 4).0),
            preferred: view.preferred.to_string(),
        }
    }
}

/// The running configuration in short; `?format=yaml` gives all of it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Config {
    /// Version of the desired state.
    pub version: u64,
    /// In the order of the file.
    pub listeners: Vec<Listener>,
    /// In the order of the file.
    pub services: Vec<ConfigService>,
}

/// A port for clients.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// The address in use.
    pub address: String,
    /// Connections open.
    pub connections: u64,
}

/// A service in short.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ConfigService {
    /// Its name.
    pub name: String,
    /// Version of its last change.
    pub version: u64,
    /// Shares now.
    #[schema(value_type = BTreeMap<String, f64>)]
    pub split: Shares,
    /// Where a rollback goes.
    #[schema(value_type = BTreeMap<String, f64>)]
    pub stable_split: Shares,
    /// The upstreams' URLs by group.
    pub groups: BTreeMap<String, Vec<String>>,
}

impl From<view::ListenerView> for Listener {
    fn from(view: view::ListenerView) -> Self {
        Self { name: view.name.to_string(), address: view.address, connections: view.connections }
    }
}

impl From<view::ServiceView> for ConfigService {
    fn from(view: view::ServiceView) -> Self {
        let urls = |group: view::GroupView| group.upstreams.into_iter().map(|u| u.url).collect();
        Self {
            name: view.name.to_string(),
            version: view.version,
            split: shares(&view.split),
            stable_split: shares(&view.stable_split),
            groups: view.groups.into_iter().map(|group| (group.name.to_string(), urls(group))).collect(),
        }
    }
}

/// What differs between the file and what is running.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DriftReport {
    /// Whether anything does.
    pub drift: bool,
    /// Every difference.
    pub differences: Vec<Drift>,
}

/// One difference.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Drift {
    /// Dotted path: `services.shop.split`.
    pub what: String,
    /// In the file.
    pub file: String,
    /// Running.
    pub running: String,
    /// Why they differ.
    pub why: String,
}

impl From<Vec<view::Drift>> for DriftReport {
    fn from(found: Vec<view::Drift>) -> Self {
        let one = |view::Drift { what, file, running, why }| Drift { what, file, running, why };
        let differences: Vec<_> = found.into_iter().map(one).collect();
        Self { drift: !differences.is_empty(), differences }
    }
}

/// The outcome of a reload that was accepted.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Reload {
    /// Version of the desired state after it.
    pub version: u64,
    /// Whether anything was changed.
    pub changed: bool,
    /// What was changed, for people.
    pub changes: Vec<String>,
    /// What needs a restart and was kept as it was.
    pub needs_restart: Vec<String>,
}

impl From<view::ReloadReport> for Reload {
    fn from(report: view::ReloadReport) -> Self {
        let view::ReloadReport { version, changed, changes, needs_restart } = report;
        Self { version, changed, changes, needs_restart }
    }
}

/// How the process as a whole is.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// Whether traffic can be served.
    pub ready: bool,
    /// Why not, or what is degraded.
    pub notes: Vec<String>,
}

impl From<view::Readiness> for Readiness {
    fn from(view: view::Readiness) -> Self {
        Self { ready: view.ready, notes: view.notes }
    }
}
