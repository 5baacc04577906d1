//! What anyone may ask: is it alive, is it ready, and where to go from here.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::Desk;
use super::wire::Readiness;

/// For whoever opens the port in a browser or with curl.
const HINT: &str = "\
pointsman: the admin port. Try:

  pointsman status                       (or: curl HERE/api/v1/services)
  pointsman switch SERVICE GROUP         everything to GROUP, at once
  pointsman rollback SERVICE             back, at once

  HERE/api/v1/openapi.json               all there is
  HERE/metrics                           for Prometheus
  HERE/readyz                            whether traffic can be served
";

/// A short text with what to type.
pub(super) async fn hint() -> &'static str {
    HINT
}

/// The process answers.
#[utoipa::path(get, path = "/healthz", tag = "process", security(()), responses((status = 200, description = "It does")))]
pub(super) async fn healthz() -> Json<serde_json::Value> {
    Json(serde_json::json!({"status": "ok", "version": env!("CARGO_PKG_VERSION"), "pid": std::process::id()}))
}

/// Whether traffic can be served: 200 or 503, and what is wrong.
#[utoipa::path(get, path = "/readyz", tag = "process", security(()),
    responses((status = 200, description = "Ready", body = Readiness), (status = 503, description = "Not ready", body = Readiness)))]
pub(super) async fn readyz(State(desk): State<Desk>) -> (StatusCode, Json<Readiness>) {
    let readiness = desk.handle.readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness.into()))
}
