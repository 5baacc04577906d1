//! The report of a rollout, as JSON for programs and as Markdown for people.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Deserialize;

use super::Desk;
use super::extract::{Params, Segments};
use super::markdown;
use super::problem::ApiError;
use super::rollout::rollout_id;
use super::wire::{Problem, Report, Rollout};

/// In which form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Json,
    Md,
}

/// In which form it is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    #[serde(default)]
    format: Format,
}

/// All there is to be said about a rollout: who, when, why, the plan, what the guards said at the end of each step,
/// approvals, the timeline and the drains.
#[utoipa::path(get, path = "/api/v1/rollouts/{id}/report", operation_id = "get_report", tag = "rollouts",
    params(("id" = String, Path, description = "Its number, `r12` or `12`"),
           ("format" = Option<String>, Query, description = "`json`, the default, or `md`: Markdown")),
    responses((status = 200, description = "The report", content((Report = "application/json"), (String = "text/markdown"))),
              (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn report(
    State(desk): State<Desk>,
    Segments(id): Segments<String>,
    Params(Wanted { format }): Params<Wanted>,
) -> Result<Response, ApiError> {
    let view = desk.handle.rollout(rollout_id(&id)?).await?;
    let first = view.rollout.services.first().map(|m| m.service.to_string()).unwrap_or_default();
    // A service that is not configured any more has no version.
    let version = desk.handle.service(&first).await.map_or_else(|_| desk.handle.version(), |service| service.version);
    let report = Report::new(Rollout::new(view, version), Timestamp::now());
    let markdown: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "text/markdown; charset=utf-8")];
    Ok(match format {
        Format::Json => Json(report).into_response(),
        Format::Md => (markdown, markdown::text(&report)).into_response(),
    })
}
