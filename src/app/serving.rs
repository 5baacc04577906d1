//! A proxy that serves: all its parts in the order in which they come up, and go down.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::source::FileSource;
use crate::admin;
use crate::config::spec::{Bind, Spec};
use crate::control::command::Origin;
use crate::control::handle::Handle;
use crate::control::source::Loaded;
use crate::control::{self, Joiner, StartOptions, Watch, tls};
use crate::proxy::{self, Workers};
use crate::store::sqlite::Sqlite;
use crate::store::{Store, StoreError, Unavailable};
use crate::telemetry::access_log;

/// Requests under way have this long when the process goes down.
const FINISH_WITHIN: Duration = Duration::from_secs(30);

/// All parts of a running proxy.
pub(super) struct Serving {
    handle: Handle,
    joiner: Joiner,
    workers: Workers,
    admin: Admin,
    log: Option<access_log::Writer>,
    address: String,
}

/// The admin port's task, and what ends it.
struct Admin {
    task: JoinHandle<Result<(), admin::ServeError>>,
    stop: oneshot::Sender<()>,
}

impl Serving {
    /// Starts everything. Workers accept once the first health round is over, so that nobody is sent to an upstream
    /// that nobody has looked at; until then connections wait in the kernel's queue.
    pub(super) async fn start(source: FileSource, loaded: Loaded) -> anyhow::Result<Self> {
        let spec = loaded.spec.clone();
        let store = open_store(&spec.state.path)?;
        let port = admin::Listener::bind(&spec.admin.listen)?;
        let address = port.local_address().map_or_else(|| shown(&spec.admin.listen), |a| a.to_string());
        let settings = settings(&spec)?;
        let (sink, log) = spec.telemetry.access_log.as_ref().map(access_log::start).transpose()?.unzip();
        let options = StartOptions { loaded, source: Arc::new(source), store, watch: Watch::Files };
        let (handle, reader, joiner) = control::start(options).await?;
        let (stop, stopped) = oneshot::channel();
        let stopped = async {
            // An owner that is gone wants it stopped, too.
            let _ = stopped.await;
        };
        let serving = admin::serve(port, settings, handle.clone(), stopped);
        // Said at once: whoever waits for the port should not have to stop the process to learn why it is not there.
        let task = tokio::spawn(async move {
            serving.await.inspect_err(|error| tracing::error!(%error, "the admin port does not serve"))
        });
        handle.first_health_round().await;
        let workers = proxy::start(&reader, spec.workers, sink.as_ref()).context("the workers could not be started")?;
        handle.accepting();
        Ok(Self { handle, joiner, workers, admin: Admin { task, stop }, log, address })
    }

    /// Says where it serves.
    pub(super) fn announce(&self) {
        for listener in self.handle.listeners() {
            tracing::info!(listener = %listener.name, address = %listener.address, "serving");
        }
        tracing::info!(address = %self.address, "admin port");
    }

    /// Resolves when the control plane has failed beyond repair.
    pub(super) async fn failed(&mut self) {
        self.joiner.failed().await;
    }

    /// SIGHUP: the file is read again, the access log opened anew.
    pub(super) fn reload(&self) {
        if let Some(log) = &self.log {
            log.reopen();
        }
        let handle = self.handle.clone();
        // On its own, so that a slow reload does not keep a stop waiting; its outcome is in the log and the audit log.
        tokio::spawn(async move {
            let origin = Origin { actor: "signal".to_owned(), reason: Some("SIGHUP".to_owned()), ..Origin::default() };
            let _ = handle.reload(origin).await;
        });
    }

    /// Down again: no new requests, then no new commands, then the store.
    pub(super) async fn stop(self) {
        tracing::info!("stopping");
        self.handle.close_ports().await;
        let workers = tokio::task::spawn_blocking(move || self.workers.stop(FINISH_WITHIN));
        if workers.await.is_err() {
            tracing::error!("stopping the workers failed");
        }
        let _ = self.admin.stop.send(());
        match self.admin.task.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the admin port had failed"),
            Err(error) => tracing::error!(%error, "the admin port had failed"),
        }
        self.joiner.stop().await;
        if let Some(log) = self.log {
            let _ = tokio::task::spawn_blocking(move || log.finish()).await;
        }
    }
}

/// The stored state. One that cannot be read is no reason not to serve: then the file's splits count, loudly. One that
/// another process uses is: two would overwrite each other.
fn open_store(path: &Path) -> anyhow::Result<Box<dyn Store>> {
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

fn shown(bind: &Bind) -> String {
    match bind {
        Bind::Tcp(address) => address.to_string(),
        Bind::Unix(path) => format!("unix:{}", path.display()),
    }
}
