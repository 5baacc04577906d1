//! How each kind of job is done.

use std::time::Duration;

use tokio::time::timeout;

use super::{Failed, notify};
use crate::control::running::Shared;
use crate::model::job::{Job, Kind};

/// How long a try may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// One try.
pub(super) async fn run(shared: &Shared, job: &Job) -> Result<(), Failed> {
    let done = async {
        match &job.kind {
            Kind::Notify(notify) => notify::deliver(shared, job.id, notify, PATIENCE).await,
            // Nobody asks for these yet; one that a later version has written is kept for it.
            Kind::Validate(_) | Kind::StartRollout(_) => {
                Err(Failed::ForGood(format!("this version of pointsman does not do {}", job.kind.label())))
            }
        }
    };
    let late = |_| Err(Failed::Again(format!("it was not over within {PATIENCE:?}")));
    timeout(PATIENCE, done).await.unwrap_or_else(late)
}
