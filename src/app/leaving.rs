//! The way down: told to stop, or with another process in our place. What is under way finishes within its time; what
//! was cut is said, and is the exit code.

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use tokio::sync::mpsc;

use super::handing_over::Done;
use super::serving::{Admin, Serving};
use super::signals::Signals;
use super::systemd;
use crate::admin::Orders;
use crate::control::Joiner;
use crate::control::handle::Handle;
use crate::control::handover::State;
use crate::proxy::{Departure, Idle, Leaving, UnderWay, Workers};
use crate::telemetry::access_log;

/// Why the process leaves.
#[derive(Debug)]
pub(super) enum Occasion {
    /// It was told to.
    Told,
    /// Another process is in its place.
    Succeeded(Box<Done>),
}

/// Leaves in order; a further signal ends it at once. The exit code says whether anything was cut.
pub(super) async fn leave(serving: Serving, occasion: Occasion, mut signals: Signals) -> ExitCode {
    let under_way = Arc::new(OnceLock::new());
    let handle = serving.handle.clone();
    let succeeded = matches!(occasion, Occasion::Succeeded(_));
    let mut leaving = std::pin::pin!(go(serving, occasion, Arc::clone(&under_way)));
    if succeeded {
        // Whoever stops a service stops all its processes: this one is on its way already.
        tokio::select! {
            cut = &mut leaving => return code(cut),
            () = signals.stop() => tracing::info!("told to stop: leaving already, since another process has taken over"),
        }
    }
    tokio::select! {
        cut = leaving => code(cut),
        () = signals.stop() => {
            // The workers do not count yet as long as it is only announced that we leave.
            let counted = under_way.get().map(|under_way: &Arc<UnderWay>| under_way.count());
            let cut = counted.unwrap_or_else(|| usize::try_from(handle.under_way()).unwrap_or(usize::MAX));
            tracing::warn!(cut, "told to stop twice: ending at once; so many connections had something under way");
            // Not by returning: that would wait for the workers.
            std::process::exit(i32::from(cut > 0))
        }
    }
}

fn code(cut: usize) -> ExitCode {
    if cut == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// No new requests, then no new commands, then the store. Gives the number of connections that were cut.
async fn go(serving: Serving, occasion: Occasion, under_way: Arc<OnceLock<Arc<UnderWay>>>) -> usize {
    let Serving { handle, joiner, workers, admin, log, telling, .. } = serving;
    let cut = match occasion {
        Occasion::Told => {
            let cut = finish(&handle, workers, &under_way).await;
            close(admin).await;
            cut
        }
        Occasion::Succeeded(done) => {
            // Who asks now, asks the other process.
            let closing = tokio::spawn(close(admin));
            let cut = fade(&handle, workers, *done, &under_way).await;
            let _ = closing.await;
            cut
        }
    };
    end(joiner, log).await;
    // Not before: until then it counts here that the process before this one still has requests.
    if let Some(telling) = telling {
        telling.abort();
    }
    if cut > 0 {
        tracing::warn!(cut, "the time was up: so many connections had a request or a WebSocket under way and were cut");
    }
    tracing::info!(cut, "ended");
    cut
}

/// Told to stop: load balancers may notice first; then nobody new is let in.
async fn finish(handle: &Handle, workers: Workers, under_way: &OnceLock<Arc<UnderWay>>) -> usize {
    let times = handle.shutdown();
    tracing::info!(lame_duck = ?times.lame_duck, timeout = ?times.timeout, "stopping");
    systemd::stopping();
    handle.stopping();
    tokio::time::sleep(times.lame_duck).await;
    handle.close_ports().await;
    over(begun(workers, Departure { within: times.timeout, idle: Idle::Dismissed }, under_way)).await
}

/// Another process accepts from the same queues: what is left here is finished, by what that one publishes.
async fn fade(handle: &Handle, workers: Workers, done: Done, under_way: &OnceLock<Arc<UnderWay>>) -> usize {
    let within = handle.shutdown().timeout;
    let states = done.successor.states();
    handle.close_ports().await;
    let leaving = begun(workers, Departure { within, idle: Idle::Awaited }, under_way);
    leaving.under_way().all_told().await;
    // The line to it is kept until all is over.
    let successor = done.answer();
    let (pid, version) = (successor.pid, &successor.version);
    tracing::info!(pid, version, timeout = ?within, "another process has taken over: leaving");
    tokio::select! {
        cut = over(leaving) => cut,
        () = follow(handle, states) => unreachable!("it follows for as long as it is polled"),
    }
}

async fn follow(handle: &Handle, mut states: mpsc::Receiver<State>) {
    while let Some(state) = states.recv().await {
        let version = state.version;
        match handle.follow(state).await {
            Ok(()) => tracing::debug!(version, "following the other process"),
            Err(error) => tracing::warn!(%error, version, "what the other process publishes cannot be followed"),
        }
    }
    std::future::pending::<()>().await;
}

fn begun(workers: Workers, departure: Departure, under_way: &OnceLock<Arc<UnderWay>>) -> Leaving {
    let leaving = workers.leave(departure);
    // Set once: workers leave once.
    let _ = under_way.set(leaving.under_way());
    leaving
}

async fn over(leaving: Leaving) -> usize {
    tokio::task::spawn_blocking(move || leaving.wait()).await.unwrap_or_else(|error| {
        tracing::error!(%error, "stopping the workers failed");
        1
    })
}

async fn close(admin: Admin) {
    admin.orders.send_replace(Orders::Close);
    match admin.task.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "the admin port had failed"),
        Err(error) => tracing::error!(%error, "the admin port had failed"),
    }
}

async fn end(joiner: Joiner, log: Option<access_log::Writer>) {
    joiner.stop().await;
    if let Some(log) = log {
        let _ = tokio::task::spawn_blocking(move || log.finish()).await;
    }
}
