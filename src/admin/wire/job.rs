//! How jobs are shown, and what somebody says who has tested a candidate.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::model::job;

/// Something that is to be done once at least, also over a restart.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Job {
    /// Its number.
    pub id: u64,
    /// `notify`, `validate` or `start_rollout`.
    pub kind: String,
    /// `waiting`, `running`, `done`, `dead` or `cancelled`.
    pub state: String,
    /// `critical`, `high`, `normal` or `low`.
    pub priority: String,
    /// What it does, for people.
    pub about: String,
    /// What it does, for programs: the webhook and the event, the rollout, or what begins.
    #[schema(value_type = Object)]
    pub detail: Value,
    /// Tries so far, the one under way included.
    pub attempts: u32,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Not before this time.
    #[schema(value_type = String, format = DateTime)]
    pub due: Timestamp,
    /// Not after this time.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub deadline: Option<Timestamp>,
    /// Why the last try has failed, or why nobody tries any more.
    pub last_error: Option<String>,
}

/// Jobs, the newest first.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Jobs {
    /// Those that were asked for.
    pub jobs: Vec<Job>,
    /// How many there are in each state, whatever was asked for.
    pub counts: std::collections::BTreeMap<String, u64>,
}

/// A change of a job.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    /// Why, for the audit log.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What a test of a candidate has found.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ValidationRequest {
    /// `passed` or `failed`.
    pub status: String,
    /// What was found, for the timeline.
    #[serde(default)]
    pub reason: Option<String>,
}

impl From<job::Job> for Job {
    fn from(job: job::Job) -> Self {
        let (about, detail) = shown(&job.kind);
        Self {
            id: job.id,
            kind: job.kind.label().to_owned(),
            state: job.state.label().to_owned(),
            priority: job.priority.label().to_owned(),
            about,
            detail,
            attempts: job.attempts,
            created_at: job.created,
            due: job.due,
            deadline: job.deadline,
            last_error: job.last_error,
        }
    }
}

fn shown(kind: &job::Kind) -> (String, Value) {
    match kind {
        job::Kind::Notify(job::Notify { webhook, event }) => {
            let of = event.service.as_ref().map(|service| format!(" of {service}")).unwrap_or_default();
            let detail =
                json!({ "webhook": webhook, "event": event.id, "event_kind": event.kind, "service": event.service });
            (format!("tells {webhook} of {}{of}", event.kind), detail)
        }
        job::Kind::Validate(job::Validate { rollout }) => {
            (format!("has the candidate of r{rollout} tested"), json!({ "rollout": format!("r{rollout}") }))
        }
        job::Kind::StartRollout(start) => {
            let services: Vec<_> = start.services.iter().map(ToString::to_string).collect();
            let about = format!("begins a rollout of {} to {}, for {}", services.join(", "), start.to, start.actor);
            let detail = json!({ "services": services, "to": start.to.as_str(), "actor": start.actor,
                "reason": start.reason, "plan": start.plan });
            (about, detail)
        }
    }
}
