//! How each kind of job is done.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Failed, notify, validate};
use crate::control::command::Rejected;
use crate::control::controller::Command;
use crate::control::rollouts;
use crate::control::running::Shared;
use crate::model::job::{Job, Kind, StartRollout};

/// How long a try may take; a validation may take what its plan says.
const PATIENCE: Duration = Duration::from_secs(10);

/// One try.
pub(super) async fn run(shared: &Arc<Shared>, commands: &mpsc::Sender<Command>, job: &Job) -> Result<(), Failed> {
    match &job.kind {
        Kind::Notify(told) => in_time(notify::deliver(shared, job.id, told, PATIENCE)).await,
        Kind::Validate(test) => validate::validate(shared, commands, job, test).await,
        Kind::StartRollout(start) => in_time(begin(shared, commands, job, start)).await,
    }
}

async fn in_time(done: impl Future<Output = Result<(), Failed>>) -> Result<(), Failed> {
    let late = |_| Err(Failed::Again(format!("it was not over within {PATIENCE:?}")));
    timeout(PATIENCE, done).await.unwrap_or_else(late)
}

/// Begins a rollout at the time that was named for it. What stands against it may pass, or may not.
async fn begin(
    shared: &Arc<Shared>,
    commands: &mpsc::Sender<Command>,
    job: &Job,
    start: &StartRollout,
) -> Result<(), Failed> {
    let begun = rollouts::begin_scheduled(shared, commands, job, start).await;
    begun.map_err(|why| match why {
        Rejected::CandidateUnhealthy { .. }
        | Rejected::HoldInProgress { .. }
        | Rejected::Store(_)
        | Rejected::ShuttingDown
        | Rejected::Upgrading => Failed::Again(why.to_string()),
        _ => Failed::ForGood(why.to_string()),
    })
}
