//! `webhooks`: who is told of events.

use super::check::{Check, all};
use super::text;
use crate::config::file::{self, File, Maybe, WebhookFormat as Format};
use crate::config::problem::Place;
use crate::config::spec::{EventPattern, Secret, Webhook, WebhookFormat};
use crate::config::yaml::{Text, quote};
use crate::model::names::ServiceName;

/// Webhooks in the order of the file.
pub(super) fn webhooks(check: &Check<'_>, file: &File) -> Option<Vec<Webhook>> {
    let webhooks = check.list(&file.webhooks, "add a webhook, or remove the key", |at| {
        Some((at.place, one(check, at.place, at.value.as_ref()?)?))
    })?;
    all(webhooks.iter().enumerate().map(|(i, (place, webhook))| {
        if webhooks[..i].iter().any(|(_, other)| other.name == webhook.name) {
            let message = format!("there is already a webhook called `{}`; choose another name", webhook.name);
            return check.add(*place, message);
        }
        Some(webhook.clone())
    }))
}

fn one(check: &Check<'_>, place: Place, webhook: &file::Webhook) -> Option<Webhook> {
    let name = check
        .need(place, "name", "a name for logs and jobs", &webhook.name)
        .and_then(|at| check.parse(at, text::name(ServiceName::new)));
    // What is wrong is said without the URL: it may hold a secret.
    let url = check
        .need(place, "url", "where events are sent, like http://127.0.0.1:9200/hook", &webhook.url)
        .and_then(|at| check.parse(at, |url| text::url(url).map_err(|wrong| format!("the URL {wrong}"))));
    let right = "write switch, rollout.* or *, or remove the key to be told everything";
    let events = check.list(&webhook.events, right, |at| check.parse(at, pattern));
    let events = events.map(|events| if events.is_empty() { vec![EventPattern::All] } else { events });
    let secret = secret(&webhook.secret);
    let format = match &webhook.format {
        None => Some(WebhookFormat::Json),
        Some(at) => at.value.map(|format| match format {
            Format::Json => WebhookFormat::Json,
            Format::Slack => WebhookFormat::Slack,
        }),
    };
    Some(Webhook { name: name?.to_string(), url: url?, events: events?, secret: secret?, format: format? })
}

/// An empty one is none, so that `${NAME:-}` will do.
fn secret(field: &Maybe<Text>) -> Option<Option<Secret>> {
    let Some(at) = field else { return Some(None) };
    let text = at.value.as_deref()?;
    Some((!text.is_empty()).then(|| Secret::new(text)))
}

fn pattern(text: &str) -> Result<EventPattern, String> {
    let is_kind = |kind: &str| {
        let is_word = |word: &str| {
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        kind.split('.').all(is_word)
    };
    match (text, text.strip_suffix(".*")) {
        ("*", _) => Ok(EventPattern::All),
        (_, Some(family)) if is_kind(family) => Ok(EventPattern::Family(family.to_owned())),
        (kind, None) if is_kind(kind) => Ok(EventPattern::Kind(kind.to_owned())),
        _ => Err(format!("{} is not a kind of event; write it like switch, rollout.* or *", quote(text))),
    }
}
