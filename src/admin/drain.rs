//! Drains: begin one, look at it, call it off.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, header};
use serde::Deserialize;

use super::Desk;
use super::change::{force, group_name, service_name};
use super::extract::{Params, Payload, Segments};
use super::precondition::Asked;
use super::problem::ApiError;
use super::wire::{Drain, DrainReceipt, DrainRequest, Problem};
use crate::control::command::{DrainChange, DrainWish, Part};
use crate::model::period;

/// The longest time for a drain.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

type Acknowledged = ([(HeaderName, String); 1], Json<DrainReceipt>);

/// Which part of the group is meant.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    upstream: Option<String>,
}

/// Begins a drain: no new requests, those under way may end.
#[utoipa::path(post, path = "/api/v1/services/{service}/groups/{group}/drain", operation_id = "drain", tag = "traffic", request_body = DrainRequest,
    params(("service" = String, Path, description = "Its name"), ("group" = String, Path, description = "The group's name"),
           ("If-Match" = Option<String>, Header, description = "The version seen: \"12\""),
           ("Idempotency-Key" = Option<String>, Header, description = "The same key answers with the first receipt")),
    responses((status = 200, description = "It has begun", body = DrainReceipt), (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn begin(
    State(desk): State<Desk>,
    Segments((service, group)): Segments<(String, String)>,
    asked: Asked,
    Payload(body): Payload<DrainRequest>,
) -> Result<Acknowledged, ApiError> {
    let timeout = body.timeout.as_deref().map(timeout).transpose()?;
    let wish = DrainWish::Begin { timeout, force: force(body.force) };
    changed(&desk, (&service, &group), body.upstream, wish, asked, body.reason).await
}

/// Calls a drain off, or lifts one that has ended: requests may come again.
#[utoipa::path(delete, path = "/api/v1/services/{service}/groups/{group}/drain", operation_id = "cancel_drain", tag = "traffic",
    params(("service" = String, Path, description = "Its name"), ("group" = String, Path, description = "The group's name"),
           ("upstream" = Option<String>, Query, description = "Only this upstream of the group, by its URL"),
           ("If-Match" = Option<String>, Header, description = "The version seen: \"12\""),
           ("Idempotency-Key" = Option<String>, Header, description = "The same key answers with the first receipt")),
    responses((status = 200, description = "It is off", body = DrainReceipt), (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn cancel(
    State(desk): State<Desk>,
    Segments((service, group)): Segments<(String, String)>,
    Params(which): Params<Which>,
    asked: Asked,
) -> Result<Acknowledged, ApiError> {
    changed(&desk, (&service, &group), which.upstream, DrainWish::CallOff, asked, None).await
}

/// The last drain, under way or ended.
#[utoipa::path(get, path = "/api/v1/services/{service}/groups/{group}/drain", operation_id = "show_drain", tag = "traffic",
    params(("service" = String, Path, description = "Its name"), ("group" = String, Path, description = "The group's name"),
           ("upstream" = Option<String>, Query, description = "Only this upstream of the group, by its URL")),
    responses((status = 200, description = "The drain", body = Drain), (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show(
    State(desk): State<Desk>,
    Segments((service, group)): Segments<(String, String)>,
    Params(which): Params<Which>,
) -> Result<Json<Drain>, ApiError> {
    let service = service_name(&desk, &service).await?;
    let part = Part { group: group_name(&desk, &service, &group).await?, upstream: which.upstream };
    Ok(Json(desk.handle.drain_of(service.as_str(), &part)?.into()))
}

async fn changed(
    desk: &Desk,
    (service, group): (&str, &str),
    upstream: Option<String>,
    wish: DrainWish,
    asked: Asked,
    reason: Option<String>,
) -> Result<Acknowledged, ApiError> {
    let name = service_name(desk, service).await?;
    let part = Part { group: group_name(desk, &name, group).await?, upstream };
    let origin = asked.origin(desk, Some(service), reason).await?;
    let change = DrainChange { service: name.clone(), part: part.clone(), wish };
    let receipt = desk.handle.drain(change, origin).await?;
    let drain = desk.handle.drain_of(name.as_str(), &part)?.into();
    let body = DrainReceipt { version: receipt.version, changed: receipt.changed, drain };
    Ok(([(header::ETAG, format!("\"{}\"", receipt.version))], Json(body)))
}

fn timeout(text: &str) -> Result<Duration, ApiError> {
    let wrong = |why: &str| ApiError::InvalidDuration(format!("`timeout` is {text:?}: {why}"));
    match period::parse(text) {
        Err(why) => Err(wrong(&format!("it {why}"))),
        Ok(Duration::ZERO) => Err(wrong("a drain needs some time; write it like 45s")),
        Ok(time) if time > LONGEST => Err(wrong("what has not ended within a day does not end; write 24h or less")),
        Ok(time) => Ok(time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_more_than_nothing_and_no_more_than_a_day() {
        assert_eq!(timeout("45s").unwrap(), Duration::from_secs(45));
        assert_eq!(timeout("24h").unwrap(), LONGEST);
        for wrong in ["0s", "0ms", "8760h", "25h", "", "soon", "5", "-1s", "99999999999999999999h"] {
            let error = timeout(wrong).unwrap_err();
            assert_eq!((error.row().0.as_u16(), error.row().1), (422, "invalid_duration"), "{wrong}");
        }
    }
}
