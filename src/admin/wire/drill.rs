//! What a drill is asked with, and what it has come to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{Number, Shares, rounded, shares};
use crate::control::view::{self, DrillView};

/// `POST /services/{service}/rollouts/drill`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct DrillRequest {
    /// The group that would get everything.
    pub to: String,
    /// Path and query that are asked for by GET; null: what the warm-up or the health check asks for.
    #[serde(default)]
    pub path: Option<String>,
    /// Path and query of a WebSocket; null: what the health check asks for, where it is one.
    #[serde(default)]
    pub websocket_path: Option<String>,
    /// Requests to either group for each fault, at the most: 1 to 2000. Null: 300.
    #[serde(default)]
    pub requests: Option<u64>,
    /// The part of the candidate's requests that a fault hits, in per cent. Null: 50.
    #[serde(default)]
    pub share: Option<f64>,
    /// Why, for the audit log.
    #[serde(default)]
    pub reason: Option<String>,
    /// Any key of `rollout:` in the file, in place of what the file says.
    #[serde(flatten)]
    pub overrides: BTreeMap<String, Value>,
}

/// What a drill has come to.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Drilled {
    /// The service.
    pub service: String,
    /// The candidate.
    pub to: String,
    /// The group that it was compared with.
    pub baseline: String,
    /// What was asked for.
    pub path: String,
    /// The part of the candidate's requests that faults have hit, in per cent.
    pub share: Number,
    /// How long it took.
    pub seconds: Number,
    /// Whether every guard has failed where it was meant to, and none where it was not.
    pub as_expected: bool,
    /// What a rollout would do when a guard has failed in its first step; null where it could not begin now.
    pub on_failure: Option<DrillConsequence>,
    /// Guards that no fault was put in for.
    pub not_drilled: Vec<Undrilled>,
    /// Without a fault first, then fault by fault.
    pub runs: Vec<DrillRun>,
}

/// What a failed guard leads to.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DrillConsequence {
    /// The state of the rollout.
    pub state: String,
    /// The split of its service.
    #[schema(value_type = BTreeMap<String, f64>)]
    pub split: Shares,
}

/// A guard that was not drilled.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Undrilled {
    /// Its name.
    pub guard: String,
    /// Why.
    pub why: String,
}

/// One fault, and what the guards said.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DrillRun {
    /// `none`, `errors`, `slow`, `unreachable`, `handshakes` or `unhealthy`.
    pub fault: String,
    /// Requests to the candidate.
    pub sent: u64,
    /// Of these, those that the fault has hit.
    pub hit: u64,
    /// Whether there was time enough for it.
    pub complete: bool,
    /// With a fault: every guard that is there for it has failed. Without one: none has.
    pub as_expected: bool,
    /// All guards of the plan.
    pub guards: Vec<DrilledGuard>,
}

/// What a guard said in one run.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DrilledGuard {
    /// Its name.
    pub guard: String,
    /// Whether it is there for this fault.
    pub is_meant: bool,
    /// After how many requests it failed; for `unhealthy_for`, after how many seconds. Null: it has not.
    pub fired_after: Option<u64>,
    /// What it said at the end: `pass`, `fail` or `undecided`.
    pub status: String,
    /// Why.
    pub why: String,
}

impl From<DrillView> for Drilled {
    fn from(view: DrillView) -> Self {
        let consequence =
            |c: view::Consequence| DrillConsequence { state: c.state.label().to_owned(), split: shares(&c.split) };
        let undrilled = |u: view::Undrilled| Undrilled { guard: u.guard, why: u.why };
        Self {
            service: view.service.to_string(),
            to: view.to.to_string(),
            baseline: view.baseline.to_string(),
            path: view.path,
            share: Number(view.share.percent()),
            seconds: rounded(view.seconds, 2),
            as_expected: view.runs.iter().all(|run| run.as_expected),
            on_failure: view.on_failure.map(consequence),
            not_drilled: view.not_drilled.into_iter().map(undrilled).collect(),
            runs: view.runs.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<view::DrillRun> for DrillRun {
    fn from(run: view::DrillRun) -> Self {
        let guard = |g: view::DrilledGuard| DrilledGuard {
            guard: g.guard,
            is_meant: g.is_meant,
            fired_after: g.fired_after,
            status: g.status.label().to_owned(),
            why: g.why,
        };
        let (complete, as_expected) = (run.complete, run.as_expected);
        let guards = run.guards.into_iter().map(guard).collect();
        Self { fault: run.fault.label().to_owned(), sent: run.sent, hit: run.hit, complete, as_expected, guards }
    }
}
