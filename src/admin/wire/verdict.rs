//! What the guards of a rollout say, as it goes over the wire.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Number, rounded};
use crate::control::view::{self, VerdictView};
use crate::model::names::ServiceName;
use crate::model::verdict::Row;

/// What is thought of a candidate.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Verdict {
    /// `fail` when any guard has failed, `pass` when all have passed, else `undecided`.
    pub status: String,
    /// One row for each guard of each service.
    pub guards: Vec<Guard>,
}

/// What one guard says.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Guard {
    /// The service.
    pub service: String,
    /// The guard's name: `error_rate`, `latency_p95`, `unhealthy_for`…
    pub guard: String,
    /// `pass`, `fail` or `undecided`.
    pub status: String,
    /// Whether a failure of it goes straight back whatever the policy.
    pub hard: bool,
    /// The candidate's figure since the step began.
    pub candidate: Option<Number>,
    /// The baseline's figure over the same time.
    pub baseline: Option<Number>,
    /// What the candidate's figure must not exceed, or fall below.
    pub limit: Option<Number>,
    /// The unit of these: `fraction` (0 to 1), `ms`, `s` or empty.
    pub unit: String,
    /// Attempts at the candidate that were counted since the step began.
    pub requests: u64,
    /// About how many more it needs for another answer than undecided; 0 where it needs none.
    pub needs: u64,
    /// About how long these take; null where nothing comes.
    pub needs_seconds: Option<Number>,
    /// The evidence against the candidate; 1 is none.
    pub evidence: Number,
    /// The evidence at which it fails; 0 where it does not go by evidence.
    pub fails_at: Number,
    /// For people, in one sentence.
    pub why: String,
}

/// What a guard said at some time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Figure {
    /// The service.
    pub service: String,
    /// The guard's name.
    pub guard: String,
    /// `pass`, `fail` or `undecided`.
    pub status: String,
    /// The candidate's figure.
    pub candidate: Option<Number>,
    /// The baseline's figure.
    pub baseline: Option<Number>,
    /// What the candidate's figure must not exceed, or fall below.
    pub limit: Option<Number>,
    /// The unit of these: `fraction` (0 to 1), `ms`, `s` or empty.
    pub unit: String,
    /// Attempts at the candidate that were counted.
    pub requests: u64,
    /// For people, in one sentence.
    pub why: String,
}

/// JSON has no infinity: such a number is left out.
fn figure(value: Option<f64>) -> Option<Number> {
    value.filter(|value| value.is_finite()).map(|value| rounded(value, 6))
}

/// Evidence that is beyond all numbers is as large as a number can be.
fn evidence(value: f64) -> Number {
    rounded(if value.is_nan() { 1.0 } else { value.clamp(-1e15, 1e15) }, 3)
}

fn guard(service: ServiceName, row: Row) -> Guard {
    Guard {
        service: service.to_string(),
        guard: row.guard,
        status: row.status.label().to_owned(),
        hard: row.hard,
        candidate: figure(row.candidate),
        baseline: figure(row.baseline),
        limit: figure(row.limit),
        unit: row.unit.to_owned(),
        requests: row.requests,
        needs: row.needs,
        needs_seconds: row.needs_seconds.filter(|s| s.is_finite()).map(|s| rounded(s, 1)),
        evidence: evidence(row.evidence),
        fails_at: evidence(row.fails_at),
        why: row.why,
    }
}

impl From<VerdictView> for Verdict {
    fn from(view: VerdictView) -> Self {
        let guards = view.rows.into_iter().map(|(service, row)| guard(service, row)).collect();
        Self { status: view.status.label().to_owned(), guards }
    }
}

impl From<view::Figure> for Figure {
    fn from(of: view::Figure) -> Self {
        let view::Figure { service, guard, status, candidate, baseline, limit, unit, requests, why } = of;
        let (candidate, baseline, limit) = (figure(candidate), figure(baseline), figure(limit));
        Self { service: service.to_string(), guard, status, candidate, baseline, limit, unit, requests, why }
    }
}

impl From<Guard> for Figure {
    fn from(of: Guard) -> Self {
        let Guard { service, guard, status, candidate, baseline, limit, unit, requests, why, .. } = of;
        Self { service, guard, status, candidate, baseline, limit, unit, requests, why }
    }
}
