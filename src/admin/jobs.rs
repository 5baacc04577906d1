//! Jobs: look at them, have dead ones tried again, and have those not done that nobody wants any more.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;

use super::Desk;
use super::extract::{Params, Payload, Segments};
use super::precondition::Asked;
use super::problem::ApiError;
use super::wire::{Job, JobRequest, Jobs, Problem};
use crate::model::job;

/// Jobs in a list where nothing is said.
const FEW: usize = 100;
/// Most jobs in a list.
const MANY: usize = 1000;

/// Which ones, and how many.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    kind: Option<String>,
    state: Option<String>,
    limit: Option<usize>,
}

/// The newest jobs: notifications, validations, rollouts that begin later.
#[utoipa::path(get, path = "/api/v1/jobs", operation_id = "list_jobs", tag = "jobs",
    params(("kind" = Option<String>, Query, description = "`notify`, `validate` or `start_rollout`; default: all"),
           ("state" = Option<String>, Query, description = "`waiting`, `running`, `done`, `dead` or `cancelled`; default: all"),
           ("limit" = Option<usize>, Query, description = "How many, 1 to 1000; default 100")),
    responses((status = 200, description = "The newest ones", body = Jobs),
              (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(State(desk): State<Desk>, Params(wanted): Params<Wanted>) -> Result<Json<Jobs>, ApiError> {
    let state = wanted.state.as_deref().map(state).transpose()?;
    let limit = wanted.limit.unwrap_or(FEW).clamp(1, MANY);
    let found = match wanted.kind.as_deref().map(kind).transpose()? {
        Some(kind) => desk.handle.jobs_of(kind, state, limit),
        None => desk.handle.jobs(state, limit),
    };
    let counts = desk.handle.job_counts().into_iter().map(|(state, count)| (state.label().to_owned(), count)).collect();
    Ok(Json(Jobs { jobs: found.into_iter().map(Into::into).collect(), counts }))
}

/// Has a dead job tried again, as often as at first.
#[utoipa::path(post, path = "/api/v1/jobs/{id}/retry", operation_id = "retry_job", tag = "jobs", request_body = JobRequest,
    params(("id" = String, Path, description = "Its number"),
           ("Idempotency-Key" = Option<String>, Header, description = "The same key retries once")),
    responses((status = 200, description = "It waits for its turn", body = Job),
              (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn retry(
    State(desk): State<Desk>,
    Segments(id): Segments<String>,
    asked: Asked,
    Payload(body): Payload<JobRequest>,
) -> Result<Json<Job>, ApiError> {
    let origin = asked.origin(&desk, None, body.reason).await?;
    Ok(Json(desk.handle.retry_job(number(&id)?, origin).await?.into()))
}

/// Has a job not done: one that waits, like a rollout that was to begin later, or one that is dead.
#[utoipa::path(delete, path = "/api/v1/jobs/{id}", operation_id = "cancel_job", tag = "jobs",
    params(("id" = String, Path, description = "Its number"),
           ("Idempotency-Key" = Option<String>, Header, description = "The same key cancels once")),
    responses((status = 200, description = "It will not be done", body = Job),
              (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn cancel(
    State(desk): State<Desk>,
    Segments(id): Segments<String>,
    asked: Asked,
    Payload(body): Payload<JobRequest>,
) -> Result<Json<Job>, ApiError> {
    let origin = asked.origin(&desk, None, body.reason).await?;
    Ok(Json(desk.handle.cancel_job(number(&id)?, origin).await?.into()))
}

fn kind(text: &str) -> Result<&'static str, ApiError> {
    let shown: String = text.chars().take(50).collect();
    let known = || job::Kind::LABELS.join(", ");
    let unknown = || ApiError::BadRequest(format!("{shown:?} is no kind of a job; the kinds are {}", known()));
    job::Kind::LABELS.into_iter().find(|label| *label == text).ok_or_else(unknown)
}

fn state(text: &str) -> Result<job::State, ApiError> {
    let shown: String = text.chars().take(50).collect();
    let known = || job::State::ALL.map(job::State::label).join(", ");
    let unknown = || ApiError::BadRequest(format!("{shown:?} is no state of a job; the states are {}", known()));
    job::State::from_label(text).ok_or_else(unknown)
}

fn number(text: &str) -> Result<u64, ApiError> {
    let shown: String = text.chars().take(50).collect();
    let wrong = |_| ApiError::BadRequest(format!("{shown:?} is no number of a job; write it like 17"));
    text.parse().map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::command::Rejected;

    #[test]
    fn what_is_no_number_and_no_state_is_said_with_what_would_be_one() {
        assert_eq!(number("17").unwrap(), 17);
        for wrong in ["", "-1", "x", "1.5"] {
            assert!(
                matches!(number(wrong), Err(ApiError::BadRequest(why)) if why.contains("write it like 17")),
                "{wrong}"
            );
        }
        assert_eq!(state("dead").unwrap(), job::State::Dead);
        assert!(
            matches!(state("lost"), Err(ApiError::BadRequest(why)) if why.contains("waiting, running, done, dead"))
        );
        assert_eq!(kind("start_rollout").unwrap(), "start_rollout");
        assert!(
            matches!(kind("lost"), Err(ApiError::BadRequest(why)) if why.contains("notify, validate, start_rollout"))
        );
        assert_eq!(ApiError::from(Rejected::UnknownJob(1)).row().1, "no_such_job");
    }
}
