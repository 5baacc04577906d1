//! Notifications: a webhook is told of an event by POST.
//!
//! What it is told can be checked by it: the message is signed, and says itself which delivery it is and when it was
//! sent, so that neither can be exchanged. Neither the URL of a webhook, which may be a secret as a whole, nor its secret
//! gets into anything that is said here.

use std::fmt::Write as _;
use std::time::Duration;

use aws_lc_rs::hmac;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Failed, place};
use crate::config::spec::{Webhook, WebhookFormat};
use crate::control::outgoing::{Answered, Ask, Wanted};
use crate::control::running::{Running, Shared};
use crate::model::job::{NotedEvent, Notify};
use crate::model::rollout::RolloutId;
use crate::model::summary::{plain, summary};

/// Longest text for people, in characters.
const LONGEST: usize = 2000;

/// Tells the webhook, as number `id` of all messages.
pub(super) async fn deliver(shared: &Shared, id: u64, notify: &Notify, within: Duration) -> Result<(), Failed> {
    let running = shared.running.load();
    let webhook = running.spec.webhooks.iter().find(|webhook| webhook.name == notify.webhook).cloned();
    let link = approval_link(&running, &notify.event);
    // Not kept while waiting: it keeps ports open.
    drop(running);
    let gone = || Failed::ForGood(format!("there is no webhook {:?} in the configuration any more", notify.webhook));
    let webhook = webhook.ok_or_else(gone)?;
    let ask = message(&webhook, id, &notify.event, link.as_deref(), Timestamp::now(), within);
    let answered = shared.client.ask(ask).await;
    answered.map_err(|trouble| Failed::Again(trouble.to_string())).and_then(|answered| judged(&answered))
}

/// Where somebody who is told of `event` can agree at once, while that is still to be done.
fn approval_link(running: &Running, event: &NotedEvent) -> Option<String> {
    let id = Some(&event.detail["rollout"]).filter(|_| event.kind == "rollout.awaiting_approval")?;
    let rollout = running.desired.rollouts.get(&RolloutId::parse(id.as_str()?)?)?;
    Some(place::admin_by_name(&running.spec.admin)? + &running.approval_link(rollout)?)
}

fn judged(answered: &Answered) -> Result<(), Failed> {
    let status = answered.status;
    match status {
        _ if status.is_success() => Ok(()),
        StatusCode::GONE => Err(Failed::ForGood(format!("it answered {status}: it is not there any more"))),
        _ if status.is_redirection() => Err(Failed::Again(format!(
            "it answered {status}; redirects are not followed, write the address where it is"
        ))),
        _ => Err(Failed::Again(format!("it answered {status}"))),
    }
}

/// What the webhook is sent at `now`.
fn message(
    webhook: &Webhook,
    id: u64,
    event: &NotedEvent,
    link: Option<&str>,
    now: Timestamp,
    timeout: Duration,
) -> Ask {
    let body = body(webhook.format, id, event, link, now).to_string();
    let mut headers = HeaderMap::new();
    let mut set = |name: &'static str, value: &str| {
        // Kinds of events, numbers and hexadecimal digits fit into a field.
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    set("content-type", "application/json");
    set("user-agent", concat!("pointsman/", env!("CARGO_PKG_VERSION"), " (webhook)"));
    set("x-pointsman-event", &event.kind);
    set("x-pointsman-delivery", &id.to_string());
    set("x-pointsman-timestamp", &now.as_second().to_string());
    if let Some(secret) = &webhook.secret {
        let signature = format!("sha256={}", signature(secret.revealed(), &body));
        set("x-pointsman-signature", &signature);
        // As GitHub signs its own: what can check those can check these.
        set("x-hub-signature-256", &signature);
    }
    Ask {
        method: Method::POST,
        url: webhook.url.clone(),
        headers,
        body: Some(body.into()),
        timeout,
        wanted: Wanted::Head,
    }
}

/// HMAC-SHA256 of the body, in hexadecimal digits.
fn signature(secret: &str, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, body.as_bytes());
    tag.as_ref().iter().fold(String::new(), |mut digits, byte| {
        // Writing to a string cannot fail.
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

fn body(format: WebhookFormat, delivery: u64, event: &NotedEvent, link: Option<&str>, now: Timestamp) -> Value {
    let text = text(event);
    let NotedEvent { id, at, actor, kind, service, detail } = event;
    match format {
        WebhookFormat::Json => json!({
            "id": id, "at": at, "kind": kind, "service": service, "actor": actor, "detail": detail, "text": text,
            "delivery": delivery, "sent_at": now, "approval_url": link,
        }),
        WebhookFormat::Slack => {
            let link = link.map(|link| format!(" <{}|Approve>", escaped(link))).unwrap_or_default();
            json!({ "text": escaped(&text) + &link })
        }
    }
}

/// The event in a line: `switch of shop by ops: blue 100 → green 100, reason: …`.
fn text(event: &NotedEvent) -> String {
    let service = event.service.as_ref().map(|name| format!(" of {name}")).unwrap_or_default();
    let summary = summary(&event.detail);
    let what = if summary.is_empty() { String::new() } else { format!(": {summary}") };
    plain(&format!("{}{service} by {}{what}", event.kind, event.actor)).chars().take(LONGEST).collect()
}

/// As Slack wants it: these three characters lead to its own markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::spec::{EventPattern, Secret};

    fn event() -> NotedEvent {
        NotedEvent {
            id: 17,
            at: "2026-11-05T10:00:00Z".parse().unwrap(),
            actor: "ops".to_owned(),
            kind: "switch".to_owned(),
            service: Some("shop".to_owned()),
            detail: json!({ "before": { "blue": 100, "green": 0 }, "after": { "blue": 0, "green": 100 }, "reason": "<1 & 2>" }),
        }
    }

    fn webhook(format: WebhookFormat) -> Webhook {
        Webhook {
            name: "ops".to_owned(),
            url: "http://hooks.test/a".to_owned(),
            events: vec![EventPattern::All],
            secret: Some(Secret::new("It's a Secret to Everybody")),
            format,
        }
    }

    #[test]
    fn a_message_says_what_was_when_and_who_and_is_signed() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let ask = message(&webhook(WebhookFormat::Json), 5, &event(), None, now, Duration::from_secs(1));
        let body: Value = serde_json::from_slice(ask.body.as_ref().unwrap()).unwrap();
        let text = "switch of shop by ops: blue 100 → green 100, reason: <1 & 2>";
        let expected = json!({ "id": 17, "at": "2026-11-05T10:00:00Z", "kind": "switch", "service": "shop", "actor": "ops",
            "detail": event().detail, "text": text, "delivery": 5, "sent_at": "2027-01-15T08:00:00Z",
            "approval_url": null });
        assert_eq!(body, expected);
        let field = |name: &str| ask.headers[name].to_str().unwrap();
        assert_eq!((field("x-pointsman-event"), field("x-pointsman-delivery")), ("switch", "5"));
        assert_eq!((field("x-pointsman-timestamp"), field("content-type")), ("1800000000", "application/json"));
        assert!(field("x-pointsman-signature").starts_with("sha256="));
        assert_eq!(field("x-pointsman-signature"), field("x-hub-signature-256"));
        assert_eq!((&ask.method, ask.url.as_str()), (&Method::POST, "http://hooks.test/a"));
    }

    #[test]
    fn the_signature_is_githubs() {
        // The example of GitHub's documentation on how to check its deliveries.
        let expected = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert_eq!(signature("It's a Secret to Everybody", "Hello, World!"), expected);
    }

    #[test]
    fn without_a_secret_nothing_is_signed() {
        let plain = Webhook { secret: None, ..webhook(WebhookFormat::Json) };
        let ask = message(&plain, 5, &event(), None, Timestamp::UNIX_EPOCH, Duration::from_secs(1));
        assert!(!ask.headers.contains_key("x-pointsman-signature"));
    }

    #[test]
    fn slack_gets_a_text_without_markup_of_its_own() {
        let text = "switch of shop by ops: blue 100 → green 100, reason: &lt;1 &amp; 2&gt;";
        let said = |link| body(WebhookFormat::Slack, 5, &event(), link, Timestamp::UNIX_EPOCH);
        assert_eq!(said(None), json!({ "text": text }));
        let link = format!("{text} <http://ops:7070/approve/r1?a=1&amp;b=2|Approve>");
        assert_eq!(said(Some("http://ops:7070/approve/r1?a=1&b=2")), json!({ "text": link }));
    }

    #[test]
    fn only_success_is_success_and_only_gone_is_for_good() {
        let judged = |status: u16| {
            let status = StatusCode::from_u16(status).unwrap();
            judged(&Answered { status, headers: HeaderMap::new(), body: bytes::Bytes::new() })
        };
        assert!([200, 202, 204].iter().all(|status| judged(*status).is_ok()));
        for status in [301, 302, 400, 401, 404, 429, 500, 503] {
            assert!(matches!(judged(status), Err(Failed::Again(why)) if why.contains(&status.to_string())), "{status}");
        }
        assert!(matches!(judged(410), Err(Failed::ForGood(_))));
    }
}
