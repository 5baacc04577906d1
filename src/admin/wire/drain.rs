//! What a drain is asked with, and how it is shown.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::control::view::{DrainView, HookView};

/// `POST /services/{service}/groups/{group}/drain`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DrainRequest {
    /// How long it may take: `45s`. Default: the service's `drain.timeout`.
    #[serde(default)]
    pub timeout: Option<String>,
    /// Only this upstream of the group, by its URL.
    #[serde(default)]
    pub upstream: Option<String>,
    /// Also where nobody would be left to serve.
    #[serde(default)]
    pub force: bool,
    /// Why, for the audit log.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What is being drained, or was, and the facts about it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Drain {
    /// The service.
    pub service: String,
    /// The group.
    pub group: String,
    /// The upstream's URL; null: the group as a whole.
    pub upstream: Option<String>,
    /// `draining`, `drained`, `timed_out` or `cancelled`.
    pub state: String,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// What has not gone by then is told to.
    #[schema(value_type = String, format = DateTime)]
    pub deadline: Timestamp,
    /// When it ended; null while it is under way.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// Requests under way now.
    pub in_flight: u64,
    /// Of these, answers that go on for long: Server-Sent Events, large downloads.
    pub streams: u64,
    /// Tunnels (WebSockets) open now.
    pub tunnels: u64,
    /// When the last request came, right to the second; null: none since the process began.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_request: Option<Timestamp>,
    /// What the application's hook has said last; null: there is none.
    pub hook: Option<DrainHook>,
    /// Why it ended as it did; empty where there is nothing to say.
    pub why: String,
    /// How the last drain has ended: `drained`, `timed_out`, `cancelled`; null: none has yet.
    #[serde(rename = "lastDrainResult")]
    pub last_drain_result: Option<String>,
}

/// What an application's hook has said last.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DrainHook {
    /// `starting`, `polling`, `done` or `cancelled`.
    pub state: String,
    /// What is not as expected; empty where there is nothing to say.
    pub detail: String,
    /// What its last answer had at the paths that are looked at; null: it has not answered yet.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub answer: Option<serde_json::Value>,
}

/// The answer to a change of a drain.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DrainReceipt {
    /// Version of the desired state after it.
    pub version: u64,
    /// Whether anything was changed; doing what is already so is no change.
    pub changed: bool,
    /// The drain as it is now.
    #[serde(flatten)]
    pub drain: Drain,
}

impl From<DrainView> for Drain {
    fn from(view: DrainView) -> Self {
        let DrainView { service, part, drain, in_flight, streams, tunnels, last_request, hook } = view;
        Self {
            service: service.to_string(),
            group: part.group.to_string(),
            upstream: part.upstream,
            state: drain.label().to_owned(),
            started_at: drain.began,
            deadline: drain.deadline,
            ended_at: drain.end.as_ref().map(|end| end.at),
            in_flight,
            streams,
            tunnels,
            last_request,
            hook: hook.map(Into::into),
            why: drain.end.map(|end| end.why).unwrap_or_default(),
            last_drain_result: drain.last.map(|outcome| outcome.label().to_owned()),
        }
    }
}

impl From<HookView> for DrainHook {
    fn from(view: HookView) -> Self {
        Self { state: view.state.label().to_owned(), detail: view.detail, answer: view.answer }
    }
}
