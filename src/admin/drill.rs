//! Drills: whether the guards of a plan would notice a bad candidate, tried out with marked requests of our own.

use axum::Json;
use axum::extract::State;
use serde_json::Value;

use super::Desk;
use super::change::{group_name, service_name};
use super::extract::{Payload, Segments};
use super::precondition::Asked;
use super::problem::ApiError;
use super::wire::{DrillRequest, Drilled, Problem};
use crate::control::command::Rejected;
use crate::control::handle::Drill;
use crate::model::split::Share;

/// Requests to either group for each fault where nothing is said: enough for limits as they usually are.
const ENOUGH: u64 = 300;
/// A drill is no load test.
const MOST: u64 = 2000;
/// The part of the requests that a fault hits where nothing is said.
const HALF: f64 = 50.0;

/// Tries out whether the guards of a plan would notice a bad candidate: faults are put into the answers to marked
/// requests of our own. Moves nobody and changes nothing.
#[utoipa::path(post, path = "/api/v1/services/{service}/rollouts/drill", operation_id = "drill_rollout", tag = "rollouts", request_body = DrillRequest,
    params(("service" = String, Path, description = "Its name")),
    responses((status = 200, description = "What the guards said", body = Drilled),
              (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn drill(
    State(desk): State<Desk>,
    Segments(name): Segments<String>,
    asked: Asked,
    Payload(body): Payload<DrillRequest>,
) -> Result<Json<Drilled>, ApiError> {
    let DrillRequest { to, path, websocket_path, requests, share, reason, overrides } = body;
    let service = service_name(&desk, &name).await?;
    let to = group_name(&desk, &service, &to).await?;
    let requests = requests.unwrap_or(ENOUGH);
    if !(1..=MOST).contains(&requests) {
        return Err(ApiError::BadRequest(format!("`requests` must be 1 to {MOST}; a drill is no load test")));
    }
    for path in path.iter().chain(&websocket_path) {
        if !path.starts_with('/') || path.contains(char::is_whitespace) {
            return Err(ApiError::BadRequest(format!("{path:?} is no path; it begins with / and has no blanks")));
        }
    }
    let share = Share::from_percent(share.unwrap_or(HALF)).map_err(Rejected::from)?;
    let overrides = Value::Object(overrides.into_iter().collect());
    let origin = asked.origin(&desk, Some(&name), reason).await?;
    let drill = Drill { service, to, overrides, path, websocket_path, requests, share };
    Ok(Json(desk.handle.drill(drill, origin).await?.into()))
}
