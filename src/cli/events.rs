//! `events` and `history`: the audit log, as it was and as it grows.

use std::time::Duration;

use clap::Args;
use http_body_util::BodyExt;
use tokio::time::{sleep, timeout};

use super::Output;
use super::client::{CallError, Client, segment};
use super::output::{say, say_json, time};
use super::stream::Parser;
use super::table::Table;
use crate::admin::wire::{Event, Events};
use crate::model::summary::{plain, summary};

/// The port gives a sign of life every 15 s; after this long without one the stream is opened again.
const QUIET: Duration = Duration::from_secs(60);
/// Pause before a stream is opened again.
const AGAIN: Duration = Duration::from_secs(1);
/// Most events that are asked for.
const MAX: u64 = 1000;

/// Which events.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Only of this service.
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// Only after this number; else the last ones.
    #[arg(long, value_name = "N")]
    since: Option<u64>,
    /// How many.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=MAX))]
    limit: u64,
    /// Go on as they happen, until interrupted.
    #[arg(long, short)]
    follow: bool,
}

/// Whose changes.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Only of this service.
    service: Option<String>,
    /// How many events are looked through.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=MAX))]
    limit: u64,
}

pub(super) async fn events(args: &EventsArgs, client: &Client, output: Output) -> anyhow::Result<()> {
    let service = args.service.as_deref();
    if args.follow {
        return follow(args.since, service, client, output).await;
    }
    let which =
        args.since.map_or(format!("tail={}", args.limit), |since| format!("since={since}&limit={}", args.limit));
    let page: Events = client.get(&path(&which, service)).await?;
    if output == Output::Json {
        return say_json(&page);
    }
    Ok(say(&page.events.iter().map(line).collect::<String>())?)
}

pub(super) async fn history(args: &HistoryArgs, client: &Client, output: Output) -> anyhow::Result<()> {
    let mut page: Events = client.get(&path(&format!("tail={}", args.limit), args.service.as_deref())).await?;
    page.events.retain(is_change);
    if output == Output::Json {
        return say_json(&page);
    }
    let mut table = Table::new(&[">#", "WHEN", "WHO", "WHAT", "SERVICE", "DETAILS"]);
    for event in &page.events {
        let service = event.service.clone().unwrap_or_default();
        let cells = [
            event.id.to_string(),
            time(event.at),
            event.actor.clone(),
            event.kind.clone(),
            service,
            summary(&event.detail),
        ];
        table.row(cells.map(|cell| plain(&cell)).into());
    }
    let text = if table.is_empty() { "nothing was changed yet\n".to_owned() } else { table.text() };
    Ok(say(&text)?)
}

/// Changes that were made or refused; what merely happened (health, start, stop) is not history.
fn is_change(event: &Event) -> bool {
    let kind = event.kind.strip_suffix(".refused").unwrap_or(&event.kind);
    !matches!(kind, "health" | "start" | "stop")
}

fn path(which: &str, service: Option<&str>) -> String {
    let service = service.map(|name| format!("&service={}", segment(name))).unwrap_or_default();
    format!("/api/v1/events?{which}{service}")
}

/// One event in a line.
fn line(event: &Event) -> String {
    let service = event.service.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
    let text = format!(
        "{:>6}  {}  {}{service} by {}  {}",
        event.id,
        time(event.at),
        event.kind,
        event.actor,
        summary(&event.detail)
    );
    format!("{}\n", plain(text.trim_end()))
}

/// Shows events until interrupted. A stream that breaks off is taken up again after the last event that was shown;
/// only a first connection that fails, and a refusal, end it.
async fn follow(since: Option<u64>, service: Option<&str>, client: &Client, output: Output) -> anyhow::Result<()> {
    let path = path("", service).replace("?&", "?");
    // Known from the start, so that a stream that breaks off before its first event leaves no gap either.
    let mut last = match since {
        Some(since) => Some(since),
        None => Some(client.get::<Events>(&self::path("tail=1", service)).await?.next),
    };
    let mut connected = false;
    loop {
        match client.open(&path, last).await {
            Ok(body) => {
                connected = true;
                shown(body, &mut last, output).await?;
            }
            Err(error @ CallError::Refused { .. }) => return Err(error.into()),
            Err(error) if !connected => return Err(error.into()),
            Err(error) => eprintln!("{error}"),
        }
        eprintln!("the stream ended; taking it up again");
        sleep(AGAIN).await;
    }
}

/// Shows what comes until the stream ends; an error is one of this side.
async fn shown(mut body: hyper::body::Incoming, last: &mut Option<u64>, output: Output) -> anyhow::Result<()> {
    let mut parser = Parser::default();
    while let Ok(Some(Ok(frame))) = timeout(QUIET, body.frame()).await {
        let bytes = frame.into_data().unwrap_or_default();
        for data in parser.push(&bytes)? {
            let event: Event = serde_json::from_str(&data)?;
            *last = Some(event.id);
            match output {
                Output::Json => say(&format!("{data}\n"))?,
                Output::Text => say(&line(&event))?,
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str) -> Event {
        serde_json::from_value(serde_json::json!({
            "id": 7, "at": "2026-11-05T10:00:00Z", "actor": "ops", "kind": kind, "service": "shop",
            "detail": {"version": 3, "before": {"blue": 100, "green": 0}, "after": {"blue": 75, "green": 25}, "asked": {"to": "green"},
                "reason": "a\u{1b}b", "x": null, "together": ["shop", "api"]},
        }))
        .unwrap()
    }

    #[test]
    fn an_event_is_a_line_with_all_that_is_known_and_no_control_characters() {
        let expected = "     7  2026-11-05 10:00:00Z  switch shop by ops  blue 100 → blue 75, green 25, reason: a b, together: shop; api\n";
        assert_eq!(line(&event("switch")), expected);
    }

    #[test]
    fn history_is_what_was_changed_or_refused() {
        let kinds = ["switch", "split.refused", "rollback", "reload", "health", "start", "stop"];
        let kept: Vec<_> = kinds.into_iter().filter(|kind| is_change(&event(kind))).collect();
        assert_eq!(kept, ["switch", "split.refused", "rollback", "reload"]);
    }

    #[test]
    fn the_path_names_the_service_where_one_is_named() {
        assert_eq!(path("tail=5", Some("a b")), "/api/v1/events?tail=5&service=a%20b");
        assert_eq!(path("", None), "/api/v1/events?");
    }
}
