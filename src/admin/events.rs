//! The audit log: a page of it, or as a stream of what happens.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::Desk;
use super::extract::Params;
use super::follow;
use super::problem::ApiError;
use super::wire::{Events, Problem};
use crate::control::command::Rejected;
use crate::control::handle::Handle;
use crate::control::view::Event;

/// Events on a page where nothing is said.
const PAGE: usize = 100;
/// Most events on a page.
const MAX_PAGE: usize = 1000;
/// Windows of [`MAX_PAGE`] numbers that are looked through for the last events of one service.
const MAX_WINDOWS: usize = 50;

/// Query of `GET /events`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    since: Option<u64>,
    limit: Option<usize>,
    service: Option<String>,
    tail: Option<usize>,
}

/// A page of the audit log, oldest first; with `Accept: text/event-stream` every event from `since` (or
/// `Last-Event-ID`, or now) on, as it happens.
#[utoipa::path(get, path = "/api/v1/events", operation_id = "list_events", tag = "events",
    params(("since" = Option<u64>, Query, description = "Only events after this number"),
           ("limit" = Option<usize>, Query, description = "Events on a page, 1 to 1000; default 100"),
           ("service" = Option<String>, Query, description = "Only events of this service"),
           ("tail" = Option<usize>, Query, description = "The last so many events instead, up to 1000"),
           ("Last-Event-ID" = Option<u64>, Header, description = "For streams: the last event received")),
    responses((status = 200, description = "A page, or the stream", content((Events = "application/json"), (String = "text/event-stream"))),
              (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn events(
    State(desk): State<Desk>,
    Params(wanted): Params<Wanted>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if wants_stream(&headers) {
        return stream(&desk, &headers, wanted);
    }
    let limit = wanted.limit.unwrap_or(PAGE).clamp(1, MAX_PAGE);
    let since = wanted.since.unwrap_or(0);
    let service = wanted.service.as_deref();
    let found = match wanted.tail {
        Some(tail) => last(&desk.handle, tail.clamp(1, MAX_PAGE), service).await?,
        None => desk.handle.events(since, limit, service).await?,
    };
    let next = found.last().map_or(since, |event| event.id);
    Ok(Json(Events { events: found.into_iter().map(Into::into).collect(), next }).into_response())
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accept
        .flat_map(|line| line.split(','))
        .any(|kind| kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/event-stream"))
}

fn stream(desk: &Desk, headers: &HeaderMap, wanted: Wanted) -> Result<Response, ApiError> {
    let place = Arc::clone(&desk.streams).try_acquire_owned().map_err(|_| ApiError::TooManyStreams)?;
    let since = last_event_id(headers)?.or(wanted.since);
    let lines = follow::lines(desk.handle.clone(), since, wanted.service, desk.closing.clone(), place);
    let kind = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((kind, Body::new(lines)).into_response())
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let Some(field) = headers.get("last-event-id").filter(|field| !field.is_empty()) else { return Ok(None) };
    let number = field.to_str().ok().and_then(|text| text.trim().parse().ok());
    number.map(Some).ok_or_else(|| ApiError::BadRequest("Last-Event-ID takes the number of an event".to_owned()))
}

/// The last `count` events, oldest first. Numbers have no gaps, so a window of them bounds what is read at a time.
async fn last(handle: &Handle, count: usize, service: Option<&str>) -> Result<Vec<Event>, Rejected> {
    let mut end = newest(handle).await?;
    let window = if service.is_none() { count } else { MAX_PAGE };
    let mut found = Vec::new();
    for _ in 0..MAX_WINDOWS {
        let start = end.saturating_sub(window as u64);
        let mut page = handle.events(start, window, service).await?;
        // What happened meanwhile is not part of this window.
        page.retain(|event| event.id <= end);
        page.append(&mut found);
        found = page;
        if found.len() >= count || start == 0 {
            break;
        }
        end = start;
    }
    let surplus = found.len().saturating_sub(count);
    Ok(found.split_off(surplus))
}

/// The number of the newest event. Numbers have no gaps, so doubling and halving find it in a few reads of one line.
async fn newest(handle: &Handle) -> Result<u64, Rejected> {
    let mut low = 0;
    let mut high = 1;
    while let Some(event) = handle.events(high, 1, None).await?.first() {
        low = event.id;
        high = event.id * 2;
    }
    // Some event is after `low - 1`, none is after `high`.
    while low < high {
        let middle = low + (high - low) / 2;
        match handle.events(middle, 1, None).await?.first() {
            Some(event) => low = event.id,
            None => high = middle,
        }
    }
    Ok(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_asked_for_by_accept() {
        for (accept, expected) in [
            ("text/event-stream", true),
            ("application/json, Text/Event-Stream;q=1", true),
            ("*/*", false),
            ("", false),
        ] {
            let headers = [(header::ACCEPT, accept.parse().unwrap())].into_iter().collect();
            assert_eq!(wants_stream(&headers), expected, "{accept}");
        }
    }

    #[test]
    fn a_stream_resumes_after_the_last_event_received() {
        let id = |text: &str| {
            last_event_id(&[("last-event-id".parse().unwrap(), text.parse().unwrap())].into_iter().collect())
        };
        assert_eq!(id("41").unwrap(), Some(41));
        assert_eq!(id("").unwrap(), None);
        assert!(id("x").is_err());
        assert_eq!(last_event_id(&HeaderMap::new()).unwrap(), None);
    }
}
