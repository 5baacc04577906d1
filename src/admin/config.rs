//! The configuration: what is running, what differs from the file, and reading the file again.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::Desk;
use super::extract::Params;
use super::precondition::Asked;
use super::problem::ApiError;
use super::wire::{Config, DriftReport, Problem, Reload};

/// What `GET /config` can be asked for.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Format {
    Json,
    Yaml,
}

/// Query of `GET /config`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Show {
    format: Option<Format>,
}

/// The running configuration: in short as JSON, or all of it as a YAML file with the splits of now.
#[utoipa::path(get, path = "/api/v1/config", operation_id = "get_config", tag = "config",
    params(("format" = Option<String>, Query, description = "json (the default) or yaml; or say it with Accept")),
    responses((status = 200, description = "What is running", content((Config = "application/json"), (String = "application/yaml"))),
              (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show(
    State(desk): State<Desk>,
    Params(query): Params<Show>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if format(&query, &headers) == Format::Yaml {
        let text = desk.handle.export().await?;
        return Ok(([(header::CONTENT_TYPE, "application/yaml; charset=utf-8")], text).into_response());
    }
    let version = desk.handle.version();
    let listeners = desk.handle.listeners().into_iter().map(Into::into).collect();
    let services = desk.handle.services().await.into_iter().map(Into::into).collect();
    Ok(Json(Config { version, listeners, services }).into_response())
}

fn format(query: &Show, headers: &HeaderMap) -> Format {
    let wants_yaml = || {
        let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        accept.split(',').any(|kind| {
            let kind = kind.split(';').next().unwrap_or_default().trim();
            ["application/yaml", "application/x-yaml", "text/yaml"].iter().any(|yaml| kind.eq_ignore_ascii_case(yaml))
        })
    };
    query.format.unwrap_or_else(|| if wants_yaml() { Format::Yaml } else { Format::Json })
}

/// Every difference between the file on disk and what is running.
#[utoipa::path(get, path = "/api/v1/config/drift", operation_id = "get_drift", tag = "config",
    responses((status = 200, description = "Every difference", body = DriftReport), (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn drift(State(desk): State<Desk>) -> Result<Json<DriftReport>, ApiError> {
    Ok(Json(desk.handle.drift().await?.into()))
}

/// Reads the file again and applies it, or changes nothing and says everything that is wrong.
#[utoipa::path(post, path = "/api/v1/config/reload", tag = "config",
    params(("If-Match" = Option<String>, Header, description = "The version seen: \"12\""),
           ("Idempotency-Key" = Option<String>, Header, description = "The same key answers with the first outcome")),
    responses((status = 200, description = "What was done", body = Reload), (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn reload(State(desk): State<Desk>, asked: Asked) -> Result<Json<Reload>, ApiError> {
    let origin = asked.origin(&desk, None, None).await?;
    Ok(Json(desk.handle.reload(origin).await?.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_is_asked_for_by_query_or_by_accept() {
        for (query, accept, expected) in [
            (None, "*/*", Format::Json),
            (None, "application/yaml", Format::Yaml),
            (None, "text/html, Application/YAML;q=0.9", Format::Yaml),
            (Some(Format::Json), "application/yaml", Format::Json),
            (Some(Format::Yaml), "", Format::Yaml),
        ] {
            let headers = [(header::ACCEPT, accept.parse().unwrap())].into_iter().collect();
            assert_eq!(format(&Show { format: query }, &headers), expected, "{query:?} {accept}");
        }
    }
}
