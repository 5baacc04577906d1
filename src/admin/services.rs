//! Reading services.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use super::Desk;
use super::extract::Segments;
use super::problem::ApiError;
use super::wire::{Problem, Service, Services};

/// All services in the order of the file.
#[utoipa::path(get, path = "/api/v1/services", operation_id = "list_services", tag = "services",
    responses((status = 200, description = "All of them", body = Services), (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(State(desk): State<Desk>) -> Json<Services> {
    // The version first: a service that is newer than it makes If-Match fail, which is the safe side.
    let version = desk.handle.version();
    let services = desk.handle.services().await.into_iter().map(Into::into).collect();
    Json(Services { version, services })
}

/// One service; its version is the `ETag`.
#[utoipa::path(get, path = "/api/v1/services/{service}", operation_id = "get_service", tag = "services",
    params(("service" = String, Path, description = "Its name")),
    responses((status = 200, description = "The service", body = Service, headers(("ETag" = String, description = "The version, for If-Match"))),
              (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn one(
    State(desk): State<Desk>,
    Segments(name): Segments<String>,
) -> Result<impl IntoResponse, ApiError> {
    let service = Service::from(desk.handle.service(&name).await?);
    Ok(([(header::ETAG, format!("\"{}\"", service.version))], Json(service)))
}
