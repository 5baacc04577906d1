//! What a rollout is asked with, and how it is shown.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::plan::{PlanStep, plan, steps};
use super::verdict::{Figure, Verdict};
use super::waits::{left, waits_for};
use super::{Drain, Number, Shares, rounded, shares};
use crate::control::view::{self, RolloutState, RolloutView};
use crate::model::rollout::{Freezes, Moving};

/// `POST /services/{service}/rollouts`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct RolloutRequest {
    /// The group that is to get everything.
    pub to: String,
    /// Why, for the audit log.
    #[serde(default)]
    pub reason: Option<String>,
    /// When it is to begin; null: now.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub at: Option<Timestamp>,
    /// Whether it begins, and goes on, in spite of a freeze.
    #[serde(default)]
    pub override_freeze: bool,
    /// Any key of `rollout:` in the file, in place of what the file says.
    #[serde(flatten)]
    pub overrides: BTreeMap<String, Value>,
}

/// `POST /rollouts`: the same for several services, in lockstep.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct RolloutServicesRequest {
    /// At least one; the plan is the first one's.
    pub services: Vec<String>,
    /// A group that each of them has.
    pub to: String,
    /// Why, for the audit log.
    #[serde(default)]
    pub reason: Option<String>,
    /// When it is to begin; null: now.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub at: Option<Timestamp>,
    /// Whether it begins, and goes on, in spite of a freeze.
    #[serde(default)]
    pub override_freeze: bool,
    /// Any key of `rollout:` in the file, in place of what the file says.
    #[serde(flatten)]
    pub overrides: BTreeMap<String, Value>,
}

/// `POST /services/{service}/rollouts/current/{wish}`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SteerRequest {
    /// Why, for the audit log.
    #[serde(default)]
    pub reason: Option<String>,
}

/// A rollout that a job will begin.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Scheduled {
    /// The job's number.
    pub job: u64,
    /// When.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub at: Option<Timestamp>,
    /// Version of the desired state, which has not changed.
    pub version: u64,
}

/// The last rollouts of a service.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Rollouts {
    /// Newest first.
    pub rollouts: Vec<Rollout>,
}

/// The way of one or several services from one group to another.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Rollout {
    /// Its number: `r12`.
    pub id: String,
    /// The first of its services.
    pub service: String,
    /// The services that move in lockstep.
    pub services: Vec<String>,
    /// The group that the first service comes from.
    pub from: String,
    /// The candidate.
    pub to: String,
    /// Each service's shares where nobody is on the candidate by it.
    #[schema(value_type = BTreeMap<String, BTreeMap<String, f64>>)]
    pub from_splits: BTreeMap<String, Shares>,
    /// `checking`, `warming`, `validating`, `awaiting_approval`, `shifting`, `baking`, `draining`, `done`, `paused`,
    /// `rolling_back`, `rolled_back` or `failed`.
    pub state: String,
    /// `paused`: the state that it was paused in.
    pub paused_in: Option<String>,
    /// What it waits for, for people; null when it is over.
    pub waits_for: Option<String>,
    /// The step in force, or the last one that was, from 1; null: none has begun.
    pub step: Option<usize>,
    /// The candidate's share now, in per cent.
    pub share: Number,
    /// The steps of its plan.
    pub steps: Vec<PlanStep>,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// Who has begun it.
    pub started_by: String,
    /// Why.
    pub reason: Option<String>,
    /// Since when it is in this state.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// When it ended; null while it is under way.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// How long it has been busy with what it is busy with, pauses left out; null where nobody has counted.
    pub spent_seconds: Option<Number>,
    /// How much of the time is left that is meant for it; null where there is none.
    pub left_seconds: Option<Number>,
    /// What is thought of the candidate; null when nobody has judged it yet, or not any more.
    pub verdict: Option<Verdict>,
    /// What has happened, oldest first.
    pub timeline: Vec<Entry>,
    /// How the drains at its end have ended or are getting on.
    pub drains: Vec<Drain>,
    /// How it is to go, as in the file.
    #[schema(value_type = Object)]
    pub plan: Value,
    /// Whether freezes are passed over.
    pub override_freeze: bool,
    /// Where somebody can agree without a token, once; for operators, while it waits for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval_url: Option<String>,
    /// Version of the service's last change; what `If-Match` is compared with.
    pub version: u64,
    /// After a change: whether anything was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<bool>,
}

/// Something that has happened to a rollout.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Entry {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The state that it led to.
    pub state: String,
    /// The candidate's share from then on, in per cent.
    pub share: Number,
    /// Who: the name of a token, or `pointsman` itself.
    pub actor: String,
    /// Why.
    pub cause: String,
    /// What the guards said then.
    pub figures: Vec<Figure>,
}

impl Rollout {
    /// As `view` has it, of a service at `version`.
    #[must_use]
    pub fn new(view: RolloutView, version: u64) -> Self {
        let (waits_for, left) = (waits_for(&view), left(&view));
        let RolloutView { rollout, verdict, spent, drains } = view;
        let names = rollout.services.iter().map(|m| m.service.to_string());
        let split = |m: &Moving| (m.service.to_string(), shares(&m.from));
        Self {
            id: rollout.id.to_string(),
            service: names.clone().next().unwrap_or_default(),
            services: names.collect(),
            from: rollout.services.first().map(|m| m.from.live().to_string()).unwrap_or_default(),
            to: rollout.to.to_string(),
            from_splits: rollout.services.iter().map(split).collect(),
            state: rollout.state.label().to_owned(),
            paused_in: paused_in(rollout.state),
            waits_for,
            step: rollout.step.map(|step| step + 1),
            share: Number(rollout.share.percent()),
            steps: steps(&rollout.plan),
            plan: plan(&rollout.plan),
            started_at: rollout.started_at,
            started_by: rollout.started_by,
            reason: rollout.reason,
            since: rollout.since,
            ended_at: rollout.ended_at,
            spent_seconds: spent.map(|s| rounded(s, 1)),
            left_seconds: left.map(|s| rounded(s, 1)),
            verdict: verdict.map(Into::into),
            timeline: rollout.timeline.into_iter().map(Into::into).collect(),
            drains: drains.into_iter().map(Into::into).collect(),
            override_freeze: rollout.freeze == Freezes::Overridden,
            approval_url: None,
            version,
            changed: None,
        }
    }
}

fn paused_in(state: RolloutState) -> Option<String> {
    match state {
        RolloutState::Paused(phase) => Some(RolloutState::Active(phase).label().to_owned()),
        _ => None,
    }
}

impl From<view::Entry> for Entry {
    fn from(entry: view::Entry) -> Self {
        let view::Entry { at, state, share, actor, cause, figures } = entry;
        let figures = figures.into_iter().map(Into::into).collect();
        Self { at, state, share: Number(share.percent()), actor, cause, figures }
    }
}
