//! Jobs: what is to be done once at least, also over a restart, and who does it.
//!
//! What becomes of a job is decided in [`crate::model::job`]; that it is to be done is durable with what made it
//! necessary (the journal sees to that). Here one task begins those that are due, a few at a time, each as a task of its
//! own; how a try has ended goes to the controller, who writes it down. Jobs are only done where the state is ours.

mod board;
mod change;
mod notify;
mod place;
mod run;
mod validate;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::sleep;

pub(super) use board::Jobs;
pub(super) use change::JobCommand;

use super::controller::Command;
use super::running::Shared;
use crate::model::job::Job;

/// The clock may be set: what is due is looked for this often at least.
const LOOK: Duration = Duration::from_secs(30);

/// A try at a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    /// The job's number.
    pub(super) id: u64,
    /// Which try it is.
    pub(super) number: u32,
}

/// Why a try has failed, for people; without secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// It may succeed later.
    Again(String),
    /// It will not.
    ForGood(String),
}

/// Begins jobs as they come due, for as long as the process lives.
pub(super) async fn run(shared: Arc<Shared>, commands: mpsc::Sender<Command>) {
    shared.owns().await;
    let mut changed = shared.jobs.changes();
    let mut tasks = JoinSet::new();
    let mut attempts: HashMap<Id, (Attempt, AbortHandle)> = HashMap::new();
    loop {
        changed.mark_unchanged();
        if shared.jobs.are_away() {
            // They begin again where the state is.
            tasks.shutdown().await;
            attempts.clear();
        }
        while let Some(job) = shared.jobs.take(Timestamp::now()) {
            let attempt = Attempt { id: job.id, number: job.attempts };
            let task = tasks.spawn(tried(Arc::clone(&shared), commands.clone(), attempt, job));
            attempts.insert(task.id(), (attempt, task));
        }
        // Nobody wants to know any more how they end.
        attempts.values().filter(|(attempt, _)| !shared.jobs.is_under_way(*attempt)).for_each(|(_, task)| task.abort());
        tokio::select! {
            changed = changed.changed() => if changed.is_err() { return },
            () = sleep(until_due(&shared.jobs)) => {}
            Some(ended) = tasks.join_next_with_id() => {
                let task = ended.as_ref().map_or_else(tokio::task::JoinError::id, |(task, ())| *task);
                let attempt = attempts.remove(&task).map(|(attempt, _)| attempt);
                if let (Some(attempt), Err(panicked)) = (attempt, ended) {
                    over(&commands, attempt, Err(Failed::Again(panicked.to_string()))).await;
                }
            }
        }
    }
}

fn until_due(jobs: &Jobs) -> Duration {
    let now = Timestamp::now();
    let due = jobs.next_due(now).map(|due| Duration::try_from(due.duration_since(now)).unwrap_or_default());
    due.map_or(LOOK, |due| due.min(LOOK))
}

async fn tried(shared: Arc<Shared>, commands: mpsc::Sender<Command>, attempt: Attempt, job: Job) {
    let ran = if job.is_late(Timestamp::now()) {
        Err(Failed::ForGood("its time was over before it could be done".to_owned()))
    } else {
        run::run(&shared, &commands, &job).await
    };
    over(&commands, attempt, ran).await;
}

async fn over(commands: &mpsc::Sender<Command>, attempt: Attempt, ran: Result<(), Failed>) {
    // Where the controller is gone, it is tried again after the restart.
    let _ = commands.send(Command::Job(JobCommand::Over { attempt, ran })).await;
}

#[cfg(test)]
mod tests;
