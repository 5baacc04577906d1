//! Whoever tests a candidate calls back and says what was found.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, header};

use super::Desk;
use super::extract::{Payload, Segments};
use super::precondition::Asked;
use super::problem::ApiError;
use super::rollout::rollout_id;
use super::wire::{Problem, Rollout, ValidationRequest};
use crate::control::command::Validated;

/// Says what a test of the candidate has found, instead of an answer to the question: the rollout goes on, or ends.
#[utoipa::path(post, path = "/api/v1/rollouts/{id}/validation", operation_id = "validated", tag = "rollouts", request_body = ValidationRequest,
    params(("id" = String, Path, description = "The rollout's number, `r12`"),
           ("Idempotency-Key" = Option<String>, Header, description = "The same key answers with the first receipt")),
    responses((status = 200, description = "It was heard", body = Rollout),
              (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn validated(
    State(desk): State<Desk>,
    Segments(id): Segments<String>,
    asked: Asked,
    Payload(body): Payload<ValidationRequest>,
) -> Result<([(HeaderName, String); 1], Json<Rollout>), ApiError> {
    let (id, found) = (rollout_id(&id)?, found(&body.status)?);
    let origin = asked.origin(&desk, None, body.reason).await?;
    let receipt = desk.handle.validated(id, found, origin).await?;
    let rollout = Rollout::new(desk.handle.rollout(receipt.id).await?, receipt.version);
    let etag = [(header::ETAG, format!("\"{}\"", receipt.version))];
    Ok((etag, Json(Rollout { changed: Some(receipt.changed), ..rollout })))
}

fn found(status: &str) -> Result<Validated, ApiError> {
    let shown: String = status.chars().take(50).collect();
    let known = [Validated::Passed, Validated::Failed].into_iter().find(|found| found.label() == status);
    known.ok_or_else(|| ApiError::BadRequest(format!("`status` is {shown:?}; write passed or failed")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_has_passed_or_failed_and_nothing_else() {
        assert_eq!((found("passed").unwrap(), found("failed").unwrap()), (Validated::Passed, Validated::Failed));
        for wrong in ["", "ok", "Passed", "success"] {
            assert!(
                matches!(found(wrong), Err(ApiError::BadRequest(why)) if why.contains("passed or failed")),
                "{wrong}"
            );
        }
    }
}
