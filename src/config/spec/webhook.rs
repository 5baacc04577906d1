//! The specification of webhooks: who is told of events.

use std::fmt;

/// Is told of events.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its name, unique.
    pub name: String,
    /// Where it is told: http or https. It may hold a secret (Slack's do).
    pub url: String,
    /// Of what; at least one.
    pub events: Vec<EventPattern>,
    /// What a message is signed with.
    pub secret: Option<Secret>,
    /// What a message looks like.
    pub format: WebhookFormat,
}

impl Webhook {
    /// Whether it is told of events of this kind.
    #[must_use]
    pub fn wants(&self, kind: &str) -> bool {
        self.events.iter().any(|pattern| pattern.fits(kind))
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("name", &self.name)
            .field("events", &self.events)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

/// Kinds of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventPattern {
    /// All of them: `*`.
    All,
    /// A family: `rollout.*` is `rollout`, `rollout.paused` and so on.
    Family(String),
    /// This one.
    Kind(String),
}

impl EventPattern {
    /// Whether a kind is one of them.
    #[must_use]
    pub fn fits(&self, kind: &str) -> bool {
        match self {
            Self::All => true,
            Self::Kind(own) => own == kind,
            Self::Family(own) => kind.strip_prefix(own.as_str()).is_some_and(|r| r.is_empty() || r.starts_with('.')),
        }
    }
}

/// A secret that shows itself to nobody who does not ask for it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// What it is; not for logs.
    #[must_use]
    pub fn revealed(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// What a message looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookFormat {
    /// The event.
    Json,
    /// A text for a channel.
    Slack,
}
