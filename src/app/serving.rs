//! A proxy that serves: all its parts in the order in which they come up. How they go down is in [`super::leaving`].

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use anyhow::Context;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::source::FileSource;
use super::systemd;
use super::upgrade::{self, Heir};
use crate::admin::{self, Orders, UpgradeWish, Upgrades};
use crate::config::spec::Spec;
use crate::control::command::Origin;
use crate::control::handle::Handle;
use crate::control::source::Loaded;
use crate::control::{self, Before, Joiner, Prepared, StartOptions, Watch, tls};
use crate::proxy::{self, Departure, Idle, Workers};
use crate::routing::inherited::Inherited;
use crate::routing::publish::Reader;
use crate::routing::sockets::Sockets;
use crate::store::sqlite::Sqlite;
use crate::store::{Store, StoreError, Unavailable};
use crate::telemetry::access_log;

/// All parts of a running proxy.
pub(super) struct Serving {
    pub(super) handle: Handle,
    pub(super) joiner: Joiner,
    pub(super) workers: Workers,
    pub(super) admin: Admin,
    pub(super) log: Option<access_log::Writer>,
    /// Tells the process that we have taken over from what is published here.
    pub(super) telling: Option<JoinHandle<()>>,
    /// Where the state is kept.
    pub(super) state: PathBuf,
    address: String,
}

/// The admin port's task, and what it is told.
pub(super) struct Admin {
    pub(super) task: JoinHandle<Result<(), admin::ServeError>>,
    pub(super) orders: watch::Sender<Orders>,
    /// For as long as the port is open.
    pub(super) sockets: Weak<Sockets>,
    /// What it is asked for and cannot do by itself.
    pub(super) wishes: mpsc::Receiver<UpgradeWish>,
}

/// Workers of a process that may not take over after all: what they have accepted is finished then.
struct Beginners(Option<Workers>);

impl Drop for Beginners {
    /// Blocks: the process ends right after it, and what it has accepted with it.
    fn drop(&mut self) {
        if let Some(workers) = self.0.take() {
            let cut = workers.leave(Departure { within: upgrade::FINISHING, idle: Idle::Dismissed }).wait();
            tracing::info!(cut, "it was not to be: what was accepted is finished");
        }
    }
}

/// What is ready before there is a state: nothing in it can fail any more.
struct Made {
    prepared: Prepared,
    port: admin::Listener,
    settings: admin::Settings,
    spec: Spec,
    sink: Option<access_log::Sink>,
    log: Option<access_log::Writer>,
    /// Where sockets listen that were taken over.
    taken: Vec<String>,
}

impl Serving {
    /// Starts everything. Workers accept once the first health round is over, so that nobody is sent to an upstream
    /// that nobody has looked at; until then connections wait in the kernel's queue.
    pub(super) async fn start(source: FileSource, loaded: Loaded, inherited: Inherited) -> anyhow::Result<Self> {
        let store = open_store(&loaded.spec.state.path)?;
        let made = made(loaded, inherited).await?;
        let (spec, sink) = (made.spec, made.sink);
        let options = options(made.prepared, source, store, Before::Nobody);
        let (handle, reader, joiner) = control::start(options).await?;
        let (admin, address) = Admin::open(made.port, made.settings, &handle, &spec);
        handle.first_health_round().await;
        let workers = workers(&reader, &spec, sink.as_ref())?;
        handle.accepting();
        Ok(Self { handle, joiner, workers, admin, log: made.log, telling: None, state: spec.state.path, address })
    }

    /// As [`Serving::start`], in the place of another process, which hands over its state when nothing can fail any
    /// more. The admin port answers when the other process knows that this one serves.
    pub(super) async fn succeed(
        source: FileSource,
        loaded: Loaded,
        inherited: Inherited,
        heir: Heir,
    ) -> Result<Self, (anyhow::Error, Heir)> {
        match Self::taking_over(source, loaded, inherited, &heir).await {
            Ok((mut serving, reader)) => {
                serving.handle.has_taken_over(&heir.from, &heir.origin).await;
                serving.telling = Some(tokio::spawn(heir.tell(serving.handle.clone(), reader)));
                Ok(serving)
            }
            Err(error) => Err((error, heir)),
        }
    }

    async fn taking_over(
        source: FileSource,
        loaded: Loaded,
        inherited: Inherited,
        heir: &Heir,
    ) -> anyhow::Result<(Self, Reader)> {
        let made = made(loaded, inherited).await?;
        heir.wait_for_state(made.taken).await?;
        let (spec, sink) = (made.spec, made.sink);
        let store = open_store(&spec.state.path)?;
        let options = options(made.prepared, source, store, Before::Predecessor);
        let (handle, reader, joiner) = control::start(options).await?;
        handle.first_health_round().await;
        let mut beginners = Beginners(Some(workers(&reader, &spec, sink.as_ref())?));
        handle.accepting();
        heir.wait_for_go().await?;
        handle.listening().iter().for_each(|one| one.sockets.own_file());
        made.port.sockets().upgrade().iter().for_each(|sockets| sockets.own_file());
        let (admin, address) = Admin::open(made.port, made.settings, &handle, &spec);
        let (log, state) = (made.log, spec.state.path);
        let workers = beginners.0.take().context("the workers are gone")?;
        Ok((Self { handle, joiner, workers, admin, log, telling: None, state, address }, reader))
    }

    /// Says where it serves.
    pub(super) fn announce(&self) {
        for listener in self.handle.listeners() {
            tracing::info!(listener = %listener.name, address = %listener.address, "serving");
        }
        tracing::info!(address = %self.address, "admin port");
        systemd::ready();
    }

    /// All that is listened at, with the names that it goes by.
    pub(super) fn sockets(&self) -> Vec<upgrade::Named> {
        let listening = self.handle.listening().into_iter().map(|one| (one.name.to_string(), one.sockets));
        let admin = self.admin.sockets.upgrade().map(|sockets| (admin::Listener::NAME.to_owned(), sockets));
        listening.chain(admin).collect()
    }

    /// Resolves when the control plane has failed beyond repair, or an upgrade is wished.
    pub(super) async fn event(&mut self) -> Event {
        tokio::select! {
            () = self.joiner.failed() => Event::Failed,
            Some(wish) = self.admin.wishes.recv() => Event::Upgrade(wish),
        }
    }

    /// SIGHUP: the file is read again, the access log opened anew.
    pub(super) fn reload(&self) {
        if let Some(log) = &self.log {
            log.reopen();
        }
        let handle = self.handle.clone();
        // On its own, so that a slow reload does not keep a stop waiting; its outcome is in the log and the audit log.
        tokio::spawn(async move {
            systemd::reloading();
            let origin = Origin { actor: "signal".to_owned(), reason: Some("SIGHUP".to_owned()), ..Origin::default() };
            let _ = handle.reload(origin).await;
            systemd::ready();
        });
    }
}

/// What a serving proxy cannot see to by itself.
#[derive(Debug)]
pub(super) enum Event {
    Failed,
    Upgrade(UpgradeWish),
}

impl Admin {
    /// Begins to answer. Gives the address with it.
    fn open(port: admin::Listener, settings: admin::Settings, handle: &Handle, spec: &Spec) -> (Self, String) {
        let address = port.local_address().map_or_else(|| spec.admin.listen.to_string(), |a| a.to_string());
        let sockets = port.sockets();
        let (orders, ordered) = watch::channel(Orders::Accept);
        let (upgrades, wishes) = Upgrades::channel();
        let serving = admin::serve(port, settings, (handle.clone(), upgrades), ordered);
        // Said at once: whoever waits for the port should not have to stop the process to learn why it is not there.
        let task = tokio::spawn(async move {
            serving.await.inspect_err(|error| tracing::error!(%error, "the admin port does not serve"))
        });
        (Self { task, orders, sockets, wishes }, address)
    }
}

async fn made(loaded: Loaded, mut inherited: Inherited) -> anyhow::Result<Made> {
    let spec = loaded.spec.clone();
    let port = admin::Listener::bind(&spec.admin.listen, &mut inherited)?;
    let settings = settings(&spec)?;
    let (sink, log) = spec.telemetry.access_log.as_ref().map(access_log::start).transpose()?.unzip();
    let (prepared, inherited) = control::prepare(loaded, inherited).await?;
    for place in inherited.left() {
        tracing::warn!(%place, "a socket was handed over for which there is no listener; it is closed");
    }
    Ok(Made { prepared, port, settings, spec, sink, log, taken: inherited.taken() })
}

fn options(prepared: Prepared, source: FileSource, store: Box<dyn Store>, before: Before) -> StartOptions {
    StartOptions { prepared, source: Arc::new(source), store, watch: Watch::Files, before }
}

fn workers(reader: &Reader, spec: &Spec, sink: Option<&access_log::Sink>) -> anyhow::Result<Workers> {
    proxy::start(reader, spec.workers, sink).context("the workers could not be started")
}

/// The stored state. One that cannot be read is no reason not to serve: then the file's splits count, loudly. One that
/// another process uses is: two would overwrite each other.
pub(super) fn open_store(path: &Path) -> anyhow::Result<Box<dyn Store>> {
    let opened = Sqlite::open(path).and_then(|mut store| store.load().map(|_| store));
    match opened {
        Ok(store) => Ok(Box::new(store)),
        Err(error @ StoreError::InUse { .. }) => Err(error.into()),
        Err(error) => {
            tracing::error!(%error, "serving by the file's splits, and refusing changes that cannot be kept");
            Ok(Box::new(Unavailable::new(&error)))
        }
    }
}

fn settings(spec: &Spec) -> anyhow::Result<admin::Settings> {
    let config = spec.admin.tls.as_ref().map(|t| tls::server_config(t, &[b"http/1.1"])).transpose();
    let tls = config.map_err(|errors| anyhow::anyhow!("admin.tls: {}", errors.join("; ")))?;
    Ok(admin::Settings { admin: spec.admin.clone(), tls })
}
