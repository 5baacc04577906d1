//! Floor 5: composition. Configuration → store → controller → workers → admin port, and the way down again.
//!
//! Owns the process: its runtimes, its signals, its exit code. Knows what everything is for, and how nothing works.

mod demo;
mod serving;
mod signals;
mod source;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;

pub use demo::demo;

use crate::cli::RunArgs;
use crate::config;
use serving::Serving;
use signals::{Signals, Wish};
use source::FileSource;

/// Niceness of the control plane's threads; workers have 0.
const CONTROL_NICENESS: i32 = -10;

/// `pointsman run`: serves until a signal ends it.
///
/// # Errors
/// Whatever keeps it from serving, as a sentence for people.
pub fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let source = FileSource::new(&args.config);
    let loaded = source.read()?;
    crate::telemetry::logging::init(&loaded.spec.telemetry.log)?;
    control_runtime()?.block_on(async {
        let mut signals = Signals::install()?;
        let mut serving = tokio::select! {
            serving = Serving::start(source, loaded) => serving?,
            // Nobody is served yet, so there is nothing to finish.
            () = signals.stop() => return Ok(ExitCode::SUCCESS),
        };
        serving.announce();
        loop {
            match signals.next(serving.failed()).await {
                Wish::Reload => serving.reload(),
                Wish::Stop => break,
                Wish::Failed => anyhow::bail!("the controller ended by itself; see the log"),
            }
        }
        stop(serving, signals).await
    })
}

/// Down in order; a second signal ends at once.
async fn stop(serving: Serving, mut signals: Signals) -> anyhow::Result<ExitCode> {
    tokio::select! {
        () = serving.stop() => Ok(ExitCode::SUCCESS),
        () = signals.stop() => {
            tracing::warn!("told to stop twice: ending at once");
            // Not by returning: that would wait for the workers.
            std::process::exit(1)
        }
    }
}

/// The control plane's own small runtime: it answers while the workers are saturated.
fn control_runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .on_thread_start(prefer)
        .enable_all()
        .build()
        .context("the runtime could not be started")
}

/// Asks the scheduler to prefer this thread to the workers, who may keep every core busy: an operator's command is
/// rare, small and waited for. Needs root or CAP_SYS_NICE; without, the thread is treated as any other.
fn prefer() {
    // On Linux the priority is a thread's own (setpriority(2), "C library/kernel differences").
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), CONTROL_NICENESS);
}

/// Reads and checks the file; every mistake is in the error.
fn read(path: &Path) -> Result<config::Loaded, config::ConfigError> {
    config::load(path, &|name| std::env::var(name).ok())
}
