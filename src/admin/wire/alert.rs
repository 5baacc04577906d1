//! What Prometheus Alertmanager sends (its webhook, version 4), as far as it matters here, and what it is answered.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /hooks/alertmanager`. Whatever else Alertmanager says is left out.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct Alerts {
    /// Firing and resolved ones.
    pub alerts: Vec<Alert>,
}

/// One alert.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub struct Alert {
    /// `firing` or `resolved`.
    pub status: String,
    /// With `service` and `pointsman="rollback"` it is meant for us.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// `summary` becomes a part of the reason.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// What was done about the alerts.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AlertAnswer {
    /// One for each service that a firing alert wants rolled back.
    pub services: Vec<AlertOutcome>,
    /// Alerts that are not for us: resolved, or without the label `pointsman="rollback"`.
    pub ignored: usize,
}

/// What was done about one service.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AlertOutcome {
    /// The service that the alert names; empty where it names none.
    pub service: String,
    /// The alert's name.
    pub alert: String,
    /// Whether it was rolled back now; it may have been so already.
    pub changed: bool,
    /// Version of the desired state after it; null where it was refused.
    pub version: Option<u64>,
    /// Why it was refused, for programs: `no_such_service`; null where it was not.
    pub code: Option<String>,
    /// Why it was refused, for people.
    pub detail: Option<String>,
}
