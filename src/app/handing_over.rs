//! An upgrade as a whole, in the old process: every step, and the way back where one of them fails.

use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::serving::{Serving, open_store};
use super::signals::Signals;
use super::systemd;
use super::upgrade::{Attempt, Failure, Program, Successor};
use crate::admin::wire::Upgraded;
use crate::admin::{Orders, UpgradeWish};
use crate::control::command::Rejected;
use crate::store::{Store, StoreError};

/// An upgrade waits so long for the process before the last one to leave.
const PREDECESSOR_WITHIN: Duration = Duration::from_secs(15);
/// A process that was ended may hold the state for a moment.
const RELEASED_WITHIN: Duration = Duration::from_secs(10);

/// What came of a wish.
#[derive(Debug)]
pub(super) enum Upgrade {
    /// Another process is in our place.
    Done(Box<Done>),
    /// All is as it was.
    Failed,
    /// All is as it was, and the process was told to stop meanwhile.
    Interrupted,
}

/// An upgrade that is done, but not answered yet.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) successor: Successor,
    wish: UpgradeWish,
    started: Instant,
}

impl Done {
    /// Tells whoever wished it: from now on all new connections are the other process's.
    pub(super) fn answer(self) -> Successor {
        let Self { successor, wish, started } = self;
        let (pid, version, old_pid) = (successor.pid, successor.version.clone(), std::process::id());
        let ms = started.elapsed().as_secs_f64() * 1000.0;
        // Whoever waited may be gone.
        let _ = wish.reply.send(Ok(Upgraded { pid, version, old_pid, ms }));
        successor
    }
}

/// Tries to put another process in our place; answers whoever wished it where that has failed.
pub(super) async fn upgrade(serving: &Serving, program: &Program, wish: UpgradeWish, signals: &mut Signals) -> Upgrade {
    let started = Instant::now();
    let ready = async {
        serving.handle.predecessor_gone(PREDECESSOR_WITHIN).await?;
        serving.handle.pack().await
    };
    let packed = tokio::select! {
        packed = ready => packed,
        () = signals.stop() => {
            let _ = wish.reply.send(Err(Rejected::ShuttingDown.into()));
            return Upgrade::Interrupted;
        }
    };
    if let Err(rejected) = packed {
        tracing::warn!(actor = wish.origin.actor, error = %rejected, "the upgrade was refused");
        serving.handle.was_not_taken_over(&rejected.to_string(), &wish.origin).await;
        let _ = wish.reply.send(Err(rejected.into()));
        return Upgrade::Failed;
    }
    tracing::info!(actor = wish.origin.actor, binary = ?wish.binary, config = ?wish.config, "an upgrade begins");
    let (interrupt, interrupted) = watch::channel(false);
    let (result, stopped) = {
        let mut attempt = pin!(attempted(serving, program, &wish, interrupted));
        tokio::select! {
            result = attempt.as_mut() => (result, false),
            // Not cut off in the middle: the state comes back first.
            () = signals.stop() => {
                interrupt.send_replace(true);
                (attempt.await, true)
            }
        }
    };
    match result {
        Ok(successor) => Upgrade::Done(Box::new(Done { successor, wish, started })),
        Err(failure) => {
            let told = failure.told();
            tracing::error!(error = told, "the upgrade has failed; this process serves as before");
            serving.handle.was_not_taken_over(&told, &wish.origin).await;
            let _ = wish.reply.send(Err(failure.into()));
            if stopped { Upgrade::Interrupted } else { Upgrade::Failed }
        }
    }
}

async fn attempted(
    serving: &Serving,
    program: &Program,
    wish: &UpgradeWish,
    interrupted: watch::Receiver<bool>,
) -> Result<Successor, Failure> {
    let handle = &serving.handle;
    let result = match Attempt::start(program, wish, serving.sockets(), interrupted).await {
        Ok(attempt) => handed_over(serving, attempt).await,
        Err(failure) => Err((failure, None)),
    };
    match result {
        Ok(successor) => {
            systemd::taken_over(successor.pid);
            let sockets = serving.sockets();
            let taken = sockets.iter().filter(|(_, sockets)| successor.has_taken(sockets));
            taken.for_each(|(_, sockets)| sockets.leave_file());
            Ok(successor)
        }
        Err((failure, store)) => {
            if let Err(error) = handle.take_back(store).await {
                tracing::error!(%error, "the state was not taken back as it should");
            }
            serving.admin.orders.send_replace(Orders::Accept);
            Err(failure)
        }
    }
}

/// What went wrong, and the state where it had been given away.
type Back = (Failure, Option<Box<dyn Store>>);

async fn handed_over(serving: &Serving, attempt: Attempt) -> Result<Successor, Back> {
    // Who connects from now on is answered by the process that counts then.
    serving.admin.orders.send_replace(Orders::Hold);
    if let Err(rejected) = serving.handle.hand_over().await {
        return Err((attempt.given_up(Failure::new(rejected.to_string())).await, None));
    }
    match attempt.finish().await {
        Ok(successor) => Ok(successor),
        Err(failure) => Err((failure, Some(reopened(serving).await))),
    }
}

async fn reopened(serving: &Serving) -> Box<dyn Store> {
    let path = &serving.state;
    let deadline = Instant::now() + RELEASED_WITHIN;
    loop {
        let here = path.clone();
        let opened = tokio::task::spawn_blocking(move || open_store(&here)).await;
        let error = match opened {
            Ok(Ok(store)) => return store,
            Ok(Err(error)) => error,
            Err(panicked) => panicked.into(),
        };
        if Instant::now() >= deadline {
            tracing::error!(%error, "the state cannot be had back; changes are refused");
            let what = format!("{error:#}");
            return Box::new(crate::store::Unavailable::new(&StoreError::Failed { what }));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
