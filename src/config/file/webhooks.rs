//! `webhooks` as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{List, Maybe};
use crate::config::yaml::Text;

/// Is told of events.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Webhook {
    /// Its name in logs and jobs.
    #[schemars(required)]
    pub(in crate::config) name: Maybe<String>,
    /// Where it is told, by POST.
    #[schemars(required)]
    pub(in crate::config) url: Maybe<String>,
    /// Of what: the name of a kind of event, like switch; a family, like rollout.*; or *. Default: everything.
    pub(in crate::config) events: List<String>,
    /// What a message is signed with; it is written to no log. Default, and empty: no signature.
    pub(in crate::config) secret: Maybe<Text>,
    /// What a message looks like; default `json`.
    pub(in crate::config) format: Maybe<WebhookFormat>,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Its URL may hold a secret, as well.
        f.debug_struct("Webhook").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a message looks like.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum WebhookFormat {
    /// The event.
    Json,
    /// A text for a channel of Slack, or of whatever takes the same.
    Slack,
}
