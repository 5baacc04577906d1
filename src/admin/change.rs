//! Changing traffic: split, shift, switch, rollback. One command each, decided by the controller.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, header};

use super::Desk;
use super::extract::{Payload, Segments};
use super::precondition::Asked;
use super::problem::ApiError;
use super::wire::{
    Problem, Receipt, RollbackRequest, RollbackServicesRequest, ShiftRequest, SplitRequest, SwitchRequest,
    SwitchServicesRequest,
};
use crate::control::command::{self, Force, Rejected, Replaced, Stable, TrafficChange};
use crate::model::names::{GroupName, ServiceName};
use crate::model::split::{Share, Split};

/// Services that one change may name; far more than one publication should move.
const MAX_SERVICES: usize = 1000;

type Acknowledged = ([(HeaderName, String); 1], Json<Receipt>);
type Answer = Result<Acknowledged, ApiError>;

fn acknowledged(receipt: command::Receipt) -> Acknowledged {
    ([(header::ETAG, format!("\"{}\"", receipt.version))], Json(receipt.into()))
}

/// Sets a service's split.
#[utoipa::path(put, path = "/api/v1/services/{service}/split", operation_id = "set_split", tag = "traffic", request_body = SplitRequest,
    params(("service" = String, Path, description = "Its name"), ("If-Match" = Option<String>, Header, description = "The version seen: \"12\""),
           ("Idempotency-Key" = Option<String>, Header, description = "The same key answers with the first receipt")),
    responses((status = 200, description = "The receipt", body = Receipt), (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn split(
    State(desk): State<Desk>,
    Segments(name): Segments<String>,
    asked: Asked,
    Payload(body): Payload<SplitRequest>,
) -> Answer {
    let service = service_name(&desk, &name).await?;
    let mut shares = Vec::new();
    for (group, percent) in &body.weights {
        let share = Share::from_percent(*percent).map_err(Rejected::from)?;
        shares.push((group_name(&desk, &service, group).await?, share));
    }
    let split = Split::new(shares).map_err(Rejected::from)?;
    let stable = if body.stable { Stable::Declared } else { Stable::ByRule };
    let origin = asked.origin(&desk, Some(&name), body.reason).await?;
    Ok(acknowledged(desk.handle.change(TrafficChange::Split { service, split, stable }, origin).await?))
}

/// Sets one group's share; the others keep their proportions.
#[utoipa::path(post, path = "/api/v1/services/{service}/shift", tag = "traffic", request_body = ShiftRequest,
    params(("service" = String, Path, description = "Its name"), ("If-Match" = Option<String>, Header, description = "The version seen: \"12\""),
           ("Idempotency-Key" = Option<String>, Header, description = "The same key answers with the first receipt")),
    responses((status = 200, description = "The receipt", body = Receipt), (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn shift(
    State(desk): State<Desk>,
    Segments(name): Segments<String>,
    asked: Asked,
    Payload(body): Payload<ShiftRequest>,
) -> Answer {
    let service = service_name(&desk, &name).await?;
    let group = group_name(&desk, &service, &body.group).await?;
    let share = Share::from_percent(body.to).map_err(Rejected::from)?;
    let origin = asked.origin(&desk, Some(&name), body.reason).await?;
    Ok(acknowledged(desk.handle.shift(service, group, share, origin).await?))
}

/// Sends everything to one group, at once.
#[utoipa::path(post, path = "/api/v1/services/{service}/switch", tag = "traffic", request_body = SwitchRequest,
    params(("service" = String, Path, description = "Its name"), ("If-Match" = Option<String>, Header, description = "The version seen: \"12\""),
           ("Idempotency-Key" = Option<String>, Header, description = "The same key answers with the first receipt")),
    responses((status = 200, description = "The receipt", body = Receipt), (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn switch(
    State(desk): State<Desk>,
    Segments(name): Segments<String>,
    asked: Asked,
    Payload(body): Payload<SwitchRequest>,
) -> Answer {
    let SwitchRequest { to, force, drain, hold, reason } = body;
    switched(&desk, asked, SwitchServicesRequest { services: vec![name], to, force, drain, hold, reason }).await
}

/// Sends everything of several services to one group, all or none.
#[utoipa::path(post, path = "/api/v1/switch", operation_id = "switch_services", tag = "traffic", request_body = SwitchServicesRequest,
    params(("If-Match" = Option<String>, Header, description = "The version seen: \"12\""),
           ("Idempotency-Key" = Option<String>, Header, description = "The same key answers with the first receipt")),
    responses((status = 200, description = "The receipt", body = Receipt), (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn switch_several(
    State(desk): State<Desk>,
    asked: Asked,
    Payload(body): Payload<SwitchServicesRequest>,
) -> Answer {
    switched(&desk, asked, body).await
}

async fn switched(desk: &Desk, asked: Asked, body: SwitchServicesRequest) -> Answer {
    let hold = body.hold.as_deref().map(command::hold_time).transpose()?;
    let services = service_names(desk, &body.services).await?;
    let to = group_name(desk, &services[0], &body.to).await?;
    let origin = asked.origin(desk, single(&body.services), body.reason).await?;
    let replaced = if body.drain { Replaced::Drained } else { Replaced::Kept };
    let change = TrafficChange::Switch { services, to, force: force(body.force), replaced };
    let receipt = match hold {
        Some(hold) => desk.handle.change_held(change, hold, origin).await?,
        None => desk.handle.change(change, origin).await?,
    };
    Ok(acknowledged(receipt))
}

/// Goes back to the stable split, at once.
#[utoipa::path(post, path = "/api/v1/services/{service}/rollback", tag = "traffic", request_body = RollbackRequest,
    params(("service" = String, Path, description = "Its name"), ("If-Match" = Option<String>, Header, description = "The version seen: \"12\""),
           ("Idempotency-Key" = Option<String>, Header, description = "The same key answers with the first receipt")),
    responses((status = 200, description = "The receipt", body = Receipt), (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn rollback(
    State(desk): State<Desk>,
    Segments(name): Segments<String>,
    asked: Asked,
    Payload(body): Payload<RollbackRequest>,
) -> Answer {
    let RollbackRequest { force, reason } = body;
    rolled_back(&desk, asked, RollbackServicesRequest { services: vec![name], force, reason }).await
}

/// Takes several services back to their stable splits, all or none.
#[utoipa::path(post, path = "/api/v1/rollback", operation_id = "rollback_services", tag = "traffic", request_body = RollbackServicesRequest,
    params(("If-Match" = Option<String>, Header, description = "The version seen: \"12\""),
           ("Idempotency-Key" = Option<String>, Header, description = "The same key answers with the first receipt")),
    responses((status = 200, description = "The receipt", body = Receipt), (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn rollback_several(
    State(desk): State<Desk>,
    asked: Asked,
    Payload(body): Payload<RollbackServicesRequest>,
) -> Answer {
    rolled_back(&desk, asked, body).await
}

async fn rolled_back(desk: &Desk, asked: Asked, body: RollbackServicesRequest) -> Answer {
    let services = service_names(desk, &body.services).await?;
    let origin = asked.origin(desk, single(&body.services), body.reason).await?;
    let change = TrafficChange::Rollback { services, force: force(body.force) };
    Ok(acknowledged(desk.handle.change(change, origin).await?))
}

/// The one service that a change is about.
pub(super) fn single(services: &[String]) -> Option<&str> {
    match services {
        [one] => Some(one),
        _ => None,
    }
}

pub(super) fn force(asked: bool) -> Force {
    if asked { Force::Yes } else { Force::No }
}

/// Names of services, at least one, each once.
pub(super) async fn service_names(desk: &Desk, texts: &[String]) -> Result<Vec<ServiceName>, ApiError> {
    if texts.is_empty() || texts.len() > MAX_SERVICES {
        return Err(ApiError::BadRequest(format!("`services` must name 1 to {MAX_SERVICES} services")));
    }
    let mut names = Vec::new();
    for text in texts {
        let name = service_name(desk, text).await?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// A text that cannot be a name is the name of no service: the controller says so, and which there are.
pub(super) async fn service_name(desk: &Desk, text: &str) -> Result<ServiceName, ApiError> {
    match ServiceName::new(text) {
        Ok(name) => Ok(name),
        Err(_) => Ok(desk.handle.service(text).await?.name),
    }
}

pub(super) async fn group_name(desk: &Desk, service: &ServiceName, text: &str) -> Result<GroupName, ApiError> {
    if let Ok(name) = GroupName::new(text) {
        return Ok(name);
    }
    let groups = desk.handle.service(service.as_str()).await?.groups;
    let known = groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>().join(", ");
    Err(Rejected::UnknownGroup { service: service.clone(), name: text.to_owned(), known }.into())
}
