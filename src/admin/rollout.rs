//! Rollouts: begin one, look at it, steer it.

use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::Value;

use super::Desk;
use super::auth::Caller;
use super::change::{group_name, service_name, service_names, single};
use super::extract::{Params, Payload, Segments};
use super::precondition::Asked;
use super::problem::ApiError;
use super::wire::{Problem, Rollout, RolloutRequest, RolloutServicesRequest, Rollouts, Scheduled, SteerRequest};
use crate::config::spec::Role;
use crate::control::command::{Freezes, Rejected, RolloutId, RolloutStart, RolloutStarted, RolloutWish};
use crate::control::view::RolloutView;
use crate::model::names::ServiceName;

/// Rollouts in a list where nothing is said.
const FEW: usize = 20;
/// Most rollouts in a list.
const MANY: usize = 100;

type Acknowledged = ([(HeaderName, String); 1], Json<Rollout>);

/// Begins a rollout of a service.
#[utoipa::path(post, path = "/api/v1/services/{service}/rollouts", operation_id = "start_rollout", tag = "rollouts", request_body = RolloutRequest,
    params(("service" = String, Path, description = "Its name"), ("If-Match" = Option<String>, Header, description = "The version seen: \"12\""),
           ("Idempotency-Key" = Option<String>, Header, description = "The same key answers with the first rollout")),
    responses((status = 201, description = "It has begun", body = Rollout, headers(("Location" = String, description = "Where it is"))),
              (status = 202, description = "It will begin", body = Scheduled),
              (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn start(
    State(desk): State<Desk>,
    Segments(name): Segments<String>,
    Extension(caller): Extension<Caller>,
    asked: Asked,
    Payload(body): Payload<RolloutRequest>,
) -> Result<Response, ApiError> {
    let RolloutRequest { to, reason, at, override_freeze, overrides } = body;
    let services = vec![name];
    let body = RolloutServicesRequest { services, to, reason, at, override_freeze, overrides };
    started(&desk, &caller, asked, body).await
}

/// Begins a rollout of several services in lockstep: a guard that fails for one takes all of them back.
#[utoipa::path(post, path = "/api/v1/rollouts", operation_id = "start_rollout_of_services", tag = "rollouts", request_body = RolloutServicesRequest,
    params(("If-Match" = Option<String>, Header, description = "The version seen: \"12\""),
           ("Idempotency-Key" = Option<String>, Header, description = "The same key answers with the first rollout")),
    responses((status = 201, description = "It has begun", body = Rollout, headers(("Location" = String, description = "Where it is"))),
              (status = 202, description = "It will begin", body = Scheduled),
              (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn start_several(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    asked: Asked,
    Payload(body): Payload<RolloutServicesRequest>,
) -> Result<Response, ApiError> {
    started(&desk, &caller, asked, body).await
}

async fn started(
    desk: &Desk,
    caller: &Caller,
    asked: Asked,
    body: RolloutServicesRequest,
) -> Result<Response, ApiError> {
    let services = service_names(desk, &body.services).await?;
    let to = group_name(desk, &services[0], &body.to).await?;
    let origin = asked.origin(desk, single(&body.services), body.reason).await?;
    let freeze = if body.override_freeze { Freezes::Overridden } else { Freezes::Heeded };
    let overrides = Value::Object(body.overrides.into_iter().collect());
    let first = services[0].clone();
    let start = RolloutStart { services, to, overrides, freeze, at: body.at };
    match desk.handle.start_rollout(start, origin).await? {
        RolloutStarted::Begun { id, version } => {
            let rollout = shown(desk, caller, desk.handle.rollout(id).await?, version);
            let place = [(header::LOCATION, format!("/api/v1/services/{first}/rollouts/{id}")), etag(version)];
            Ok((StatusCode::CREATED, place, Json(Rollout { changed: Some(true), ..rollout })).into_response())
        }
        RolloutStarted::Scheduled { job, version } => {
            Ok((StatusCode::ACCEPTED, [etag(version)], Json(Scheduled { job, at: body.at, version })).into_response())
        }
    }
}

/// How many.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    limit: Option<usize>,
}

/// The last rollouts of a service, newest first.
#[utoipa::path(get, path = "/api/v1/services/{service}/rollouts", operation_id = "list_rollouts", tag = "rollouts",
    params(("service" = String, Path, description = "Its name"),
           ("limit" = Option<usize>, Query, description = "How many, 1 to 100; default 20")),
    responses((status = 200, description = "The last ones", body = Rollouts),
              (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(
    State(desk): State<Desk>,
    Segments(name): Segments<String>,
    Params(wanted): Params<Wanted>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Rollouts>, ApiError> {
    // The version first: what is newer than it makes If-Match fail, which is the safe side.
    let version = desk.handle.service(&name).await?.version;
    let found = desk.handle.rollouts(&name, wanted.limit.unwrap_or(FEW).clamp(1, MANY)).await?;
    Ok(Json(Rollouts { rollouts: found.into_iter().map(|view| shown(&desk, &caller, view, version)).collect() }))
}

/// One rollout; the service's version is the `ETag`.
#[utoipa::path(get, path = "/api/v1/services/{service}/rollouts/{id}", operation_id = "get_rollout", tag = "rollouts",
    params(("service" = String, Path, description = "Its name"),
           ("id" = String, Path, description = "Its number, `r12` or `12`; or `current`, the one under way")),
    responses((status = 200, description = "The rollout", body = Rollout, headers(("ETag" = String, description = "The version, for If-Match"))),
              (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn one(
    State(desk): State<Desk>,
    Segments((name, id)): Segments<(String, String)>,
    Extension(caller): Extension<Caller>,
) -> Result<Acknowledged, ApiError> {
    let version = desk.handle.service(&name).await?.version;
    let view = match &*id {
        "current" => desk.handle.current_rollout(&name)?,
        number => {
            let found = desk.handle.rollout(rollout_id(number)?).await?;
            if !found.rollout.moves(&name) {
                return Err(Rejected::NoRollout(format!("service {name} has no rollout {}", found.rollout.id)).into());
            }
            found
        }
    };
    Ok(([etag(version)], Json(shown(&desk, &caller, view, version))))
}

/// Steers the rollout under way: `approve`, `pause`, `resume`, `advance` or `abort`.
#[utoipa::path(post, path = "/api/v1/services/{service}/rollouts/current/{wish}", operation_id = "steer_rollout", tag = "rollouts", request_body = SteerRequest,
    params(("service" = String, Path, description = "Its name"),
           ("wish" = String, Path, description = "`approve`, `pause`, `resume`, `advance` or `abort`"),
           ("If-Match" = Option<String>, Header, description = "The version seen: \"12\""),
           ("Idempotency-Key" = Option<String>, Header, description = "The same key answers with the first receipt")),
    responses((status = 200, description = "The rollout as it is now", body = Rollout),
              (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn steer(
    State(desk): State<Desk>,
    Segments((name, wish)): Segments<(String, String)>,
    Extension(caller): Extension<Caller>,
    asked: Asked,
    Payload(body): Payload<SteerRequest>,
) -> Result<Acknowledged, ApiError> {
    let service = service_name(&desk, &name).await?;
    let wish = meant(&service, &wish)?;
    let origin = asked.origin(&desk, Some(&name), body.reason).await?;
    let receipt = desk.handle.steer_rollout(service, wish, origin).await?;
    let rollout = shown(&desk, &caller, desk.handle.rollout(receipt.id).await?, receipt.version);
    Ok(([etag(receipt.version)], Json(Rollout { changed: Some(receipt.changed), ..rollout })))
}

fn meant(service: &ServiceName, text: &str) -> Result<RolloutWish, ApiError> {
    use RolloutWish::{Abort, Advance, Approve, Pause, Resume};
    let found = [Approve, Pause, Resume, Advance, Abort].into_iter().find(|wish| wish.label() == text);
    let text: String = text.chars().take(50).collect();
    found.ok_or_else(|| ApiError::NoSuchPath(format!("/api/v1/services/{service}/rollouts/current/{text}")))
}

/// The number of a rollout.
pub(super) fn rollout_id(text: &str) -> Result<RolloutId, ApiError> {
    let shown: String = text.chars().take(50).collect();
    let none = || Rejected::NoRollout(format!("{shown:?} is the number of no rollout; write it like r12")).into();
    RolloutId::parse(text).ok_or_else(none)
}

/// As `caller` may see it: who has the link may agree, so only those get it who may.
fn shown(desk: &Desk, caller: &Caller, view: RolloutView, version: u64) -> Rollout {
    let link = if caller.may(Role::Operator).is_ok() { desk.handle.approval_link(&view) } else { None };
    Rollout { approval_url: link, ..Rollout::new(view, version) }
}

fn etag(version: u64) -> (HeaderName, String) {
    (header::ETAG, format!("\"{version}\""))
}
