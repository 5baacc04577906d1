//! Who is told of events.

use std::fmt;

/// Somebody who is told of events by POST.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its name; unique.
    pub name: String,
    /// Where it listens: http or https. It may well be a secret as a whole.
    pub url: String,
    /// What it is told of: `word`, `word.*`, or `*` for everything.
    pub events: Vec<String>,
    /// What its messages are signed with.
    pub secret: Option<String>,
    /// How it is told.
    pub format: WebhookFormat,
}

/// How a webhook is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum WebhookFormat {
    /// The event as an object.
    #[default]
    Json,
    /// What Slack's incoming webhooks take: `{"text": …}`.
    Slack,
}

impl Webhook {
    /// Whether it is told of events of this kind.
    #[must_use]
    pub fn wants(&self, kind: &str) -> bool {
        self.events.iter().any(|pattern| match pattern.strip_suffix(".*") {
            Some(family) => kind.strip_prefix(family).is_some_and(|rest| rest.starts_with('.')),
            None => pattern == "*" || pattern == kind,
        })
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, events, format, .. } = self;
        // URL and secret are nobody's business.
        f.debug_struct("Webhook")
            .field("name", name)
            .field("events", events)
            .field("format", format)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook(events: &[&str]) -> Webhook {
        Webhook {
            name: "ops".to_owned(),
            url: "https://user:hunter2@hooks.test/T0/B0".to_owned(),
            events: events.iter().map(|e| (*e).to_owned()).collect(),
            secret: Some("hunter2".to_owned()),
            format: WebhookFormat::Json,
        }
    }

    #[test]
    fn a_webhook_wants_what_its_patterns_name() {
        for (pattern, wanted, unwanted) in [
            ("switch", &["switch"][..], &["switch.refused", "switc", "switches"][..]),
            ("rollout.*", &["rollout.started", "rollout.step.taken"], &["rollout", "rollouts.x", "rollback"]),
            ("*", &["switch", "rollout.started"], &[]),
        ] {
            assert!(wanted.iter().all(|kind| webhook(&[pattern]).wants(kind)), "{pattern}");
            assert!(!unwanted.iter().any(|kind| webhook(&[pattern]).wants(kind)), "{pattern}");
        }
        assert!(webhook(&["switch", "reload"]).wants("reload") && !webhook(&[]).wants("reload"));
    }

    #[test]
    fn neither_secret_nor_url_is_shown() {
        let shown = format!("{:?}", webhook(&["*"]));
        assert!(shown.contains("ops") && !shown.contains("hunter2") && !shown.contains("T0"), "{shown}");
    }
}
