//! Reloads: one task reads the file when somebody asks or when it has changed, binds and loads what is new, and hands
//! it to the controller. So the controller never waits for a file, and no two reloads overtake each other.
//!
//! A reload that fails changes nothing and says everything that is wrong.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::command::{Origin, Rejected};
use super::controller::{Apply, Command};
use super::events;
use super::registry::Registry;
use super::running::Shared;
use super::source::{Loaded, Source};
use super::view::ReloadReport;
use super::watch::{Files, Watched};
use crate::config::spec::{Spec, Tls};

/// How long reading files and binding sockets may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Somebody asks for a reload.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) origin: Origin,
    pub(super) reply: Reply,
}

type Reply = oneshot::Sender<Result<ReloadReport, Rejected>>;

/// Reads configurations and hands them to the controller.
pub(super) struct Reloader {
    pub(super) source: Arc<dyn Source>,
    pub(super) shared: Arc<Shared>,
    pub(super) commands: mpsc::Sender<Command>,
}

impl Reloader {
    /// Reloads when asked to, and when a file has changed where `watch` says so, until nobody can ask any more.
    pub(super) async fn run(self, mut asked: mpsc::Receiver<Asked>, watch: Watch) {
        let mut files = match watch {
            Watch::Nothing => None,
            Watch::Files => Some(Files::new(self.files()).await),
        };
        if files.is_some() {
            self.catch_up().await;
        }
        loop {
            let changed = async {
                match &mut files {
                    Some(files) => files.changed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                asked = asked.recv() => {
                    let Some(Asked { origin, reply }) = asked else { return };
                    self.reload_for(&origin, reply, files.as_mut()).await;
                }
                () = changed => self.reload_for_file().await,
            }
            if let Some(files) = &mut files {
                // What is watched from now on was read a moment ago.
                while files.set(self.files()).await == Watched::New {
                    self.catch_up().await;
                }
            }
        }
    }

    /// The file and the certificates may have changed after they were read and before they were watched.
    async fn catch_up(&self) {
        let (source, running) = (Arc::clone(&self.source), self.shared.running.load_full());
        let same = move || {
            prepared(&*source, &running.registry).is_ok_and(|(loaded, registry)| {
                *loaded.text == *running.text && registry.exchanged_certificates(&running.registry).is_empty()
            })
        };
        if !matches!(timeout(PATIENCE, tokio::task::spawn_blocking(same)).await, Ok(Ok(true))) {
            self.reload_for_file().await;
        }
    }

    async fn reload_for(&self, origin: &Origin, reply: Reply, files: Option<&mut Files>) {
        match self.recall(origin).await {
            Ok(None) => {}
            answered => {
                if let Err(rejected) = &answered {
                    self.refused(origin, rejected).await;
                }
                let _ = reply.send(answered.map(Option::unwrap_or_default));
                return;
            }
        }
        // Looked at before it is read: what changes after that has to be noticed.
        let contents = match &files {
            Some(files) => Some(files.now().await),
            None => None,
        };
        let result = self.reload(origin).await;
        if !matches!(result, Err(Rejected::StaleVersion { .. }))
            && let Some((files, contents)) = files.zip(contents)
        {
            files.see(contents);
        }
        // A caller that went away does not undo what was done.
        let _ = reply.send(result);
    }

    async fn reload_for_file(&self) {
        let origin = Origin { actor: "file".to_owned(), ..Origin::default() };
        // How it went is in the log, in the audit log and in the readiness.
        let _ = self.reload(&origin).await;
    }

    async fn reload(&self, origin: &Origin) -> Result<ReloadReport, Rejected> {
        let result = self.attempt(origin).await;
        match &result {
            Ok(report) => {
                tracing::info!(changes = ?report.changes, needs_restart = ?report.needs_restart, "reloaded");
                self.shared.reloaded(None);
            }
            Err(rejected) => self.refused(origin, rejected).await,
        }
        result
    }

    /// What was answered to the same request before.
    async fn recall(&self, origin: &Origin) -> Result<Option<ReloadReport>, Rejected> {
        if origin.idempotency_key.is_none() {
            return Ok(None);
        }
        let (reply, answer) = oneshot::channel();
        let recall = Command::Recall { origin: origin.clone(), reply };
        self.commands.send(recall).await.map_err(|_| Rejected::ShuttingDown)?;
        answer.await.map_err(|_| Rejected::ShuttingDown)?
    }

    async fn refused(&self, origin: &Origin, rejected: &Rejected) {
        match rejected {
            Rejected::ShuttingDown => return,
            Rejected::Upgrading => {
                return tracing::info!("an upgrade is under way: the file is read again if it fails");
            }
            _ => {}
        }
        tracing::error!(error = %rejected, "the reload failed and has changed nothing");
        // A caller's own mistake says nothing about the file.
        if !matches!(rejected, Rejected::StaleVersion { .. } | Rejected::IdempotencyKeyReused(_)) {
            self.shared.reloaded(Some(rejected.to_string()));
        }
        let errors = match rejected {
            Rejected::InvalidConfig(errors) => errors.clone(),
            other => vec![other.to_string()],
        };
        let note = Command::Note(events::reload_refused(&errors, origin));
        // A controller that is gone keeps no log.
        let _ = self.commands.send(note).await;
    }

    async fn attempt(&self, origin: &Origin) -> Result<ReloadReport, Rejected> {
        let (source, registry) = (Arc::clone(&self.source), Arc::clone(&self.shared.running.load().registry));
        let prepare = tokio::task::spawn_blocking(move || prepared(&*source, &registry));
        let (loaded, registry) = match timeout(PATIENCE, prepare).await {
            Ok(Ok(prepared)) => prepared.map_err(Rejected::InvalidConfig)?,
            Ok(Err(panicked)) => return Err(Rejected::InvalidConfig(vec![panicked.to_string()])),
            Err(_) => {
                return Err(Rejected::InvalidConfig(vec![format!("reading its files took longer than {PATIENCE:?}")]));
            }
        };
        let (reply, answer) = oneshot::channel();
        let apply = Apply { loaded, registry, origin: origin.clone(), reply };
        self.commands.send(Command::Apply(Box::new(apply))).await.map_err(|_| Rejected::ShuttingDown)?;
        answer.await.map_err(|_| Rejected::ShuttingDown)?
    }

    /// All files whose change is a reason to reload.
    fn files(&self) -> Vec<PathBuf> {
        let running = self.shared.running.load();
        let files: BTreeSet<_> = running.files.iter().cloned().chain(certificate_files(&running.spec)).collect();
        files.into_iter().collect()
    }
}

fn prepared(source: &dyn Source, registry: &Registry) -> Result<(Loaded, Registry), Vec<String>> {
    let loaded = source.load()?;
    let registry = registry.renewed(&loaded.spec)?;
    Ok((loaded, registry))
}

fn certificate_files(spec: &Spec) -> Vec<PathBuf> {
    let of = |tls: &Tls| {
        let pairs = tls.certificates.iter().flat_map(|c| [c.cert.clone(), c.key.clone()]);
        pairs.chain(tls.client_ca.clone()).collect::<Vec<_>>()
    };
    let ports = spec.listeners.iter().filter_map(|l| l.tls.as_ref()).flat_map(of);
    let upstreams = spec.services.iter().flat_map(|s| &s.groups).flat_map(|g| &g.upstreams);
    ports.chain(upstreams.filter_map(|u| u.endpoint.ca.clone())).collect()
}

/// Whether changes of files are a reason to reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Watch {
    /// The files that were read, and certificates.
    #[default]
    Files,
    /// Only when asked to.
    Nothing,
}

#[cfg(test)]
#[path = "reload_tests.rs"]
mod tests;
