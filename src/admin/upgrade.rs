//! Upgrades: another process takes over, and this one leaves.
//!
//! Only the question and the answer are here. Whoever owns the process holds the other end of [`Upgrades`].

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::Desk;
use super::extract::Payload;
use super::precondition::Asked;
use super::problem::ApiError;
use super::wire::{Problem, UpgradeRequest, Upgraded};
use crate::control::command::{Origin, Rejected};

/// Asks for upgrades, one at a time.
#[derive(Clone, Debug)]
pub struct Upgrades {
    wishes: mpsc::Sender<UpgradeWish>,
    place: Arc<Semaphore>,
}

/// Somebody wishes an upgrade.
#[derive(Debug)]
pub struct UpgradeWish {
    /// The program; none: the one that runs.
    pub binary: Option<PathBuf>,
    /// The configuration file; none: the one in use.
    pub config: Option<PathBuf>,
    /// Who wishes it, and why.
    pub origin: Origin,
    /// Takes the answer. Whoever waited may be gone; that does not undo anything.
    pub reply: oneshot::Sender<Result<Upgraded, UpgradeError>>,
    _place: OwnedSemaphorePermit,
}

/// Why there was no upgrade. The old process serves as before.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum UpgradeError {
    /// One at a time.
    #[error("an upgrade is under way; wait until it is over")]
    InProgress,
    /// Nothing was tried.
    #[error(transparent)]
    Refused(#[from] Rejected),
    /// The new process did not come up, or could not be given what it needs.
    #[error("{why}; this process serves as before")]
    Failed {
        /// What went wrong.
        why: String,
        /// What the new process has said, line by line.
        errors: Vec<String>,
    },
}

impl Upgrades {
    /// The end that asks, and the end that does it.
    #[must_use]
    pub fn channel() -> (Self, mpsc::Receiver<UpgradeWish>) {
        let (wishes, wished) = mpsc::channel(1);
        (Self { wishes, place: Arc::new(Semaphore::new(1)) }, wished)
    }

    async fn ask(&self, request: UpgradeRequest, origin: Origin) -> Result<Upgraded, UpgradeError> {
        let Ok(place) = Arc::clone(&self.place).try_acquire_owned() else { return Err(UpgradeError::InProgress) };
        let (reply, answer) = oneshot::channel();
        let UpgradeRequest { binary, config, .. } = request;
        let (binary, config) = (binary.map(PathBuf::from), config.map(PathBuf::from));
        let wish = UpgradeWish { binary, config, origin, reply, _place: place };
        let nobody = || UpgradeError::Failed { why: "nobody can upgrade this process".to_owned(), errors: Vec::new() };
        // There is room: whoever has the place is alone.
        self.wishes.try_send(wish).map_err(|_| nobody())?;
        answer.await.map_err(|_| nobody())?
    }
}

/// Starts a new process, of another binary or with another file where one is named, hands it the sockets and the
/// state, and leaves. Answers when the new one is ready, or has failed and nothing has changed.
#[utoipa::path(post, path = "/api/v1/upgrade", tag = "process", request_body = UpgradeRequest,
    params(("If-Match" = Option<String>, Header, description = "The version seen: \"12\"")),
    responses((status = 200, description = "The new process serves", body = Upgraded), (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn upgrade(
    State(desk): State<Desk>,
    asked: Asked,
    Payload(body): Payload<UpgradeRequest>,
) -> Result<Json<Upgraded>, ApiError> {
    let origin = asked.origin(&desk, None, body.reason.clone()).await?;
    let current = desk.handle.version();
    if let Some(expected) = origin.expected_version.filter(|v| *v != current) {
        return Err(Rejected::StaleVersion { what: "the state".to_owned(), expected, current }.into());
    }
    Ok(Json(desk.upgrades.ask(body, origin).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn there_is_one_upgrade_at_a_time_and_none_where_nobody_does_it() {
        let (upgrades, mut wished) = Upgrades::channel();
        let ask = |upgrades: Upgrades| async move { upgrades.ask(UpgradeRequest::default(), Origin::default()).await };
        let first = tokio::spawn(ask(upgrades.clone()));
        let wish = wished.recv().await.unwrap();
        assert_eq!(ask(upgrades.clone()).await, Err(UpgradeError::InProgress));
        let failed = UpgradeError::Failed { why: "no".to_owned(), errors: Vec::new() };
        let UpgradeWish { reply, _place: place, .. } = wish;
        reply.send(Err(failed.clone())).unwrap();
        drop(place);
        assert_eq!(first.await.unwrap(), Err(failed));
        drop(wished);
        assert!(matches!(ask(upgrades).await, Err(UpgradeError::Failed { .. })));
    }
}
