//! Floor 5: composition. Configuration → store → controller → workers → admin port, and the way down again.
//!
//! Owns the process: its runtimes, its signals, its exit code. Knows what everything is for, and how nothing works.

mod demo;
mod handing_over;
mod leaving;
mod serving;
mod signals;
mod source;
mod systemd;
mod upgrade;

use std::process::ExitCode;

use anyhow::Context;

pub use demo::demo;

use crate::cli::RunArgs;
use crate::control::source::Loaded;
use crate::routing::inherited::Inherited;
use handing_over::Upgrade;
use leaving::Occasion;
use serving::{Event, Serving};
use signals::{Signals, Wish};
use source::FileSource;
use upgrade::{Heir, Program};

/// Niceness of the control plane's threads; workers have 0.
const CONTROL_NICENESS: i32 = -10;

/// `pointsman run`: serves until a signal ends it, or another process takes over.
///
/// # Errors
/// Whatever keeps it from serving, as a sentence for people.
pub fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    // First of all, while there is one thread and no other descriptor.
    let program = Program::here(&args.config);
    let (heir, inherited) = match Heir::of_old_process()? {
        Some((heir, inherited)) => (Some(heir), inherited),
        None => (None, systemd::sockets()?),
    };
    let source = FileSource::new(&args.config);
    let loaded = match read(&source) {
        Ok(loaded) => loaded,
        Err(error) => {
            if let Some(heir) = &heir {
                heir.fail(&error);
            }
            return Err(error);
        }
    };
    control_runtime()?.block_on(async {
        let mut signals = Signals::install()?;
        let serving = tokio::select! {
            serving = started(source, loaded, inherited, heir) => serving?,
            // Nobody is served yet, so there is nothing to finish.
            () = signals.stop() => return Ok(ExitCode::SUCCESS),
        };
        serving.announce();
        serve(serving, &program, signals).await
    })
}

fn read(source: &FileSource) -> anyhow::Result<Loaded> {
    let loaded = source.read()?;
    crate::telemetry::logging::init(&loaded.spec.telemetry.log)?;
    Ok(loaded)
}

/// In the place of another process, where there is one.
async fn started(
    source: FileSource,
    loaded: Loaded,
    inherited: Inherited,
    heir: Option<Heir>,
) -> anyhow::Result<Serving> {
    let Some(heir) = heir else { return Serving::start(source, loaded, inherited).await };
    Serving::succeed(source, loaded, inherited, heir).await.map_err(|(error, heir)| {
        heir.fail(&error);
        error
    })
}

async fn serve(mut serving: Serving, program: &Program, mut signals: Signals) -> anyhow::Result<ExitCode> {
    let occasion = loop {
        match signals.next(serving.event()).await {
            Wish::Reload => serving.reload(),
            Wish::Stop => break Occasion::Told,
            Wish::Other(Event::Failed) => anyhow::bail!("the controller ended by itself; see the log"),
            Wish::Other(Event::Upgrade(wish)) => {
                match handing_over::upgrade(&serving, program, wish, &mut signals).await {
                    Upgrade::Done(done) => break Occasion::Succeeded(done),
                    Upgrade::Failed => {}
                    Upgrade::Interrupted => break Occasion::Told,
                }
            }
        }
    };
    Ok(leaving::leave(serving, occasion, signals).await)
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
