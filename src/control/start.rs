//! The way up and down of the control plane: stored state meets the file, sockets are bound, the first table is
//! published, and the tasks that keep all that alive begin; every one of them is owned by the [`Joiner`].

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};

use super::compile::{compile, file_services};
use super::controller::Controller;
use super::drains::Farewells;
use super::handle::Handle;
use super::handover::Keeping;
use super::hold::Holds;
use super::inbox::{Commands, Inbox};
use super::jobs::Jobs;
use super::journal::{Journal, Otherwise, SharedStore, locked};
use super::prober::{self, Report, targets};
use super::registry::Registry;
use super::reload::{Reloader, Watch};
use super::running::{Running, Shared};
use super::source::{Loaded, Source};
use super::{drains, events, fuses, gather, jobs, resolver, rollouts};
use crate::model::adoption::{Adoption, adopt};
use crate::model::change::Desired;
use crate::model::cohort::Salt;
use crate::model::job::Job;
use crate::model::rollout;
use crate::routing::inherited::Inherited;
use crate::routing::publish::{self, Publisher, Reader};
use crate::store::{Batch, Store, StoreError, Stored};

/// How long the store may take to say what is in it.
const LOADING: Duration = Duration::from_secs(30);

/// How long the first events may take to be written.
const WRITING: Duration = Duration::from_secs(5);

/// What the first health round may take beyond the longest time-out of a probe.
const ROUND_GRACE: Duration = Duration::from_secs(1);

/// How long the controller may take to finish at a shutdown.
const FINISHING: Duration = Duration::from_secs(10);

/// Commands that wait for the controller at the most.
const COMMANDS: usize = 64;

/// Turns of health that wait for the controller at the most.
const TURNS: usize = 1024;

/// Reloads that wait at the most.
const RELOADS: usize = 8;

/// A configuration with its sockets bound and its certificates loaded: nothing in it can fail any more.
#[derive(Debug)]
pub struct Prepared {
    loaded: Loaded,
    registry: Registry,
}

/// What the control plane begins with.
pub struct StartOptions {
    /// The configuration, read, with all that it needs.
    pub prepared: Prepared,
    /// Where it is read again.
    pub source: Arc<dyn Source>,
    /// Where state is kept.
    pub store: Box<dyn Store>,
    /// Whether changes of files are a reason to reload.
    pub watch: Watch,
    /// Who may still have requests when we begin.
    pub before: Before,
}

/// Whether there is a process whose place we take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Nobody.
    Nobody,
    /// One that finishes what it has, until the [`HasPredecessor`](super::handover::HasPredecessor) is dropped.
    Predecessor,
}

/// Why the control plane did not start. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Sockets that cannot be bound, certificates that cannot be read: one line each.
    #[error("the configuration cannot be put to work, {} error(s):\n{}", .0.len(), .0.join("\n"))]
    Config(Vec<String>),
    /// The stored state cannot be read.
    #[error("the stored state cannot be read")]
    Store(#[source] StoreError),
    /// It could not be read in time, or reading it failed in an unforeseen way.
    #[error("the stored state cannot be read: {0}")]
    StoreGone(String),
}

/// Owns the tasks of the control plane.
#[derive(Debug)]
pub struct Joiner {
    shutdown: watch::Sender<bool>,
    shared: Arc<Shared>,
    controller: JoinHandle<()>,
    /// Prober, reloader, sampler; stopped when dropped.
    others: JoinSet<()>,
}

impl Joiner {
    /// Resolves when the controller has ended although nobody asked it to: a fault that cannot be mended while
    /// running. The data plane goes on with its last table.
    pub async fn failed(&mut self) {
        // How it ended is in the log; that it ended is what counts.
        let _ = (&mut self.controller).await;
    }

    /// Ends everything: what is left in the queue is refused, what is unwritten is written if the store takes it.
    pub async fn stop(mut self) {
        self.shared.stopping();
        self.shutdown.send_replace(true);
        self.others.shutdown().await;
        if !self.controller.is_finished() && timeout(FINISHING, &mut self.controller).await.is_err() {
            tracing::error!("the controller did not finish in time; its last events may be missing");
            self.controller.abort();
        }
    }
}

/// Starts the control plane on the current runtime.
///
/// # Errors
/// [`StartError`]; nothing stays bound and no task is left.
pub async fn start(options: StartOptions) -> Result<(Handle, Reader, Joiner), StartError> {
    let StartOptions { prepared, source, store, watch, before } = options;
    let store: SharedStore = Arc::new(Mutex::new(store));
    let stored = load(&store).await?;
    let mut adoption = adopt(&stored.desired, &file_services(&prepared.loaded.spec), fresh_salt);
    rollout::fail_without(&mut adoption.desired, Timestamp::now());
    if before == Before::Nobody {
        rollout::pause_all(&mut adoption.desired, Timestamp::now());
    }
    let (publisher, reader, running) = first_publication(prepared, &adoption.desired);
    let jobs = Arc::<Jobs>::default();
    jobs.load(stored.jobs.clone(), stored.last_job);
    jobs.tell(&running.spec.webhooks);
    let mut journal = Journal::new(Arc::clone(&store), stored.last_event, stored.last_rollout, Arc::clone(&jobs));
    let round = watch::channel(false);
    let shared = Arc::new(Shared::new(Arc::clone(&running), jobs, journal.trouble(), round.1));
    // Ahead of whoever watches over drains: his first look must not find that all have gone.
    shared.predecessor.store(before == Before::Predecessor, Ordering::Release);
    shared.is_owner.send_replace(before == Before::Nobody);
    let validations = shared.jobs.validations(&adoption.desired);
    let events = write_start(&mut journal, &stored, &adoption, validations).await;
    shared.announce(events);

    let (targets, targets_seen) = watch::channel(targets(&running.spec, &running.table));
    let (shutdown, down) = watch::channel(false);
    let (commands, commands_in) = mpsc::channel(COMMANDS);
    let (turns, turns_in) = mpsc::channel(TURNS);
    let (reloads, reloads_in) = mpsc::channel(RELOADS);
    let report = Report { board: Arc::clone(&shared.board), turns };
    let mut others = JoinSet::new();
    others.spawn(resolver::run(targets_seen.clone(), running.spec.resolver.servers.clone().into()));
    others.spawn(prober::run(targets_seen, report));
    others.spawn(Arc::clone(&shared.windows).sample(reader.clone()));
    others.spawn(first_round(Arc::clone(&shared), round.0));
    others.spawn(jobs::run(Arc::clone(&shared), commands.clone()));
    others.spawn(drains::run(Arc::clone(&shared), commands.clone(), reader.clone()));
    others.spawn(rollouts::run(Arc::clone(&shared), commands.clone(), reader.clone()));
    let reloader = Reloader { source: Arc::clone(&source), shared: Arc::clone(&shared), commands: commands.clone() };
    others.spawn(reloader.run(reloads_in, watch));
    let (shared_too, keeping) = (Arc::clone(&shared), Keeping::Ours);
    let controller =
        Controller { publisher, running, journal, shared: shared_too, keeping, targets, switches: Vec::new() };
    let inbox = Inbox { commands: Commands::new(commands_in), turns: turns_in, shutdown: down };
    let controller = tokio::spawn(controller.run(inbox));
    let handle = Handle::new(Arc::clone(&shared), commands, reloads, source, store);
    Ok((handle, reader, Joiner { shutdown, shared, controller, others }))
}

async fn load(store: &SharedStore) -> Result<Stored, StartError> {
    let store = Arc::clone(store);
    let loading = tokio::task::spawn_blocking(move || locked(&store).load());
    match timeout(LOADING, loading).await {
        Ok(Ok(stored)) => stored.map_err(StartError::Store),
        Ok(Err(panicked)) => Err(StartError::StoreGone(panicked.to_string())),
        Err(_) => Err(StartError::StoreGone(format!("it did not answer within {LOADING:?}"))),
    }
}

/// Binds, or takes what `inherited` has, and loads certificates. What is left of `inherited` comes back.
///
/// # Errors
/// [`StartError::Config`]; nothing stays bound.
pub async fn prepare(loaded: Loaded, mut inherited: Inherited) -> Result<(Prepared, Inherited), StartError> {
    let preparing = tokio::task::spawn_blocking(move || {
        let registry = Registry::new(loaded.spec.workers).renewed_with(&loaded.spec, &mut inherited);
        registry.map(|registry| (Prepared { loaded, registry }, inherited))
    });
    let panicked = |e: tokio::task::JoinError| StartError::Config(vec![e.to_string()]);
    preparing.await.map_err(panicked)?.map_err(StartError::Config)
}

/// Compiles and publishes.
fn first_publication(prepared: Prepared, desired: &Desired) -> (Publisher, Reader, Arc<Running>) {
    let Prepared { loaded, registry } = prepared;
    let spec = Arc::new(loaded.spec);
    let table = compile(&spec, desired, &registry, &Farewells::new(), &Holds::new(), &fuses::of(desired));
    drains::set_entrances(&table, desired);
    let (publisher, reader) = publish::channel(table);
    let running = Running {
        spec,
        text: loaded.text.into(),
        files: loaded.files.into(),
        desired: Arc::new(desired.clone()),
        registry: Arc::new(registry),
        farewells: Arc::default(),
        holds: Arc::default(),
        table: publisher.current(),
    };
    (publisher, reader, Arc::new(running))
}

/// Writes what the file has changed, and that we are here. A store that was read but does not take writes is no
/// reason not to serve.
async fn write_start(
    journal: &mut Journal,
    stored: &Stored,
    adoption: &Adoption,
    jobs: Vec<Job>,
) -> Vec<crate::store::Event> {
    let mut batch = Batch { jobs, ..Batch::between(&stored.desired, &adoption.desired) };
    let version = adoption.desired.version;
    batch.events.extend(events::rollouts(&stored.desired, &adoption.desired));
    batch.events.push(events::own("start", json!({ "pointsman": env!("CARGO_PKG_VERSION"), "version": version })));
    for moved in &adoption.moves {
        let why = events::file_reason(moved.reason);
        tracing::warn!(service = %moved.service, before = %moved.before, after = %moved.after, "{why}");
        batch.events.push(events::moved_by_file(moved, "file", version));
    }
    let numbered = journal.numbered(&batch.events);
    journal.write(&adoption.desired, batch, WRITING, Otherwise::Keep).await.unwrap_or(numbered)
}

/// Says when every upstream has a verdict, or has had its time for one.
async fn first_round(shared: Arc<Shared>, over: watch::Sender<bool>) {
    let longest = {
        let running = shared.running.load();
        running.spec.services.iter().map(|s| s.health.timeout).max().unwrap_or_default()
    };
    let deadline = Instant::now() + longest + ROUND_GRACE;
    let mut turns = shared.board.turns();
    while gather::has_unknown(&shared.running.load().table) {
        if timeout_at(deadline, turns.changed()).await.is_err() {
            tracing::warn!("not every upstream has a verdict yet; serving begins with those that have");
            break;
        }
    }
    over.send_replace(true);
    // The task lives on, so that nobody takes its end for an accident.
    std::future::pending::<()>().await;
}

/// A new key of the cohort hash.
pub(super) fn fresh_salt() -> Salt {
    let mut bytes = [0; 16];
    // The system's source of randomness is there once the machine has booted; without it, a lesser one will do: the
    // salt only has to be unknown to clients.
    if ::aws_lc_rs::rand::fill(&mut bytes).is_err() {
        bytes = fastrand::u128(..).to_be_bytes();
    }
    Salt(u128::from_be_bytes(bytes))
}
