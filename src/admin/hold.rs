//! Holds: new requests of a service wait for a moment, and are let go.

use axum::Json;
use axum::extract::State;

use super::Desk;
use super::change::service_name;
use super::extract::{Payload, Segments};
use super::precondition::Asked;
use super::problem::ApiError;
use super::wire::{HoldReceipt, HoldRequest, Problem, ReleaseRequest};
use crate::control::command;

type Answer = Result<Json<HoldReceipt>, ApiError>;

/// Keeps new requests waiting; nobody is refused as long as there is room.
#[utoipa::path(post, path = "/api/v1/services/{service}/hold", operation_id = "hold", tag = "traffic", request_body = HoldRequest,
    params(("service" = String, Path, description = "Its name"), ("If-Match" = Option<String>, Header, description = "The version seen: \"12\""),
           ("Idempotency-Key" = Option<String>, Header, description = "The same key answers with the first receipt")),
    responses((status = 200, description = "The receipt", body = HoldReceipt), (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn hold(
    State(desk): State<Desk>,
    Segments(name): Segments<String>,
    asked: Asked,
    Payload(body): Payload<HoldRequest>,
) -> Answer {
    let service = service_name(&desk, &name).await?;
    let time = body.time.as_deref().map(command::hold_time).transpose()?;
    let origin = asked.origin(&desk, Some(&name), body.reason).await?;
    Ok(Json(desk.handle.hold(service, time, origin).await?.into()))
}

/// Lets those go who wait. A switch that waits behind the hold is given up.
#[utoipa::path(delete, path = "/api/v1/services/{service}/hold", operation_id = "release", tag = "traffic", request_body = ReleaseRequest,
    params(("service" = String, Path, description = "Its name"), ("If-Match" = Option<String>, Header, description = "The version seen: \"12\""),
           ("Idempotency-Key" = Option<String>, Header, description = "The same key answers with the first receipt")),
    responses((status = 200, description = "The receipt", body = HoldReceipt), (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn release(
    State(desk): State<Desk>,
    Segments(name): Segments<String>,
    asked: Asked,
    Payload(body): Payload<ReleaseRequest>,
) -> Answer {
    let service = service_name(&desk, &name).await?;
    let origin = asked.origin(&desk, Some(&name), body.reason).await?;
    Ok(Json(desk.handle.release(service, origin).await?.into()))
}
