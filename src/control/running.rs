//! What is in force, and what goes on: the values that the controller writes and everybody else reads.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, broadcast, watch};

use super::command::Rejected;
use super::drains::{Farewells, Progresses};
use super::figures::Figures;
use super::hold::Holds;
use super::jobs::Jobs;
use super::outgoing::Client;
use super::prober::Board;
use super::registry::Registry;
use super::rollouts::Verdicts;
use super::view::{self, Readiness};
use super::window::Windows;
use crate::config::spec::Spec;
use crate::model::change::Desired;
use crate::routing::table::{Group, Table};
use crate::store;

/// Events that a slow receiver may be behind before it misses some.
const EVENTS_AHEAD: usize = 1024;

/// All that is in force, as of one publication. Replaced as a whole.
#[derive(Clone, Debug)]
pub(super) struct Running {
    /// The configuration, with what needs a restart as it was at the start.
    pub(super) spec: Arc<Spec>,
    /// The text that it was read from.
    pub(super) text: Arc<str>,
    /// The files to watch.
    pub(super) files: Arc<[PathBuf]>,
    pub(super) desired: Arc<Desired>,
    pub(super) registry: Arc<Registry>,
    /// Drains whose deadline has come: their tunnels are told to end. Gone with the process.
    pub(super) farewells: Arc<Farewells>,
    /// Services whose new requests wait. Gone with the process.
    pub(super) holds: Arc<Holds>,
    /// Published, and compiled from the above.
    pub(super) table: Arc<Table>,
}

/// What the controller and its neighbours share with those who ask.
#[derive(Debug)]
pub(super) struct Shared {
    /// Written by the controller after each publication.
    pub(super) running: ArcSwap<Running>,
    pub(super) board: Arc<Board>,
    pub(super) windows: Arc<Windows>,
    pub(super) figures: Figures,
    /// Sent to by the controller.
    pub(super) events: broadcast::Sender<view::Event>,
    /// Written by the journal.
    pub(super) store_trouble: watch::Receiver<Option<String>>,
    /// Whether the first health round is over. Written once.
    pub(super) first_round: watch::Receiver<bool>,
    /// Written by the journal; that one is begun, by the runner.
    pub(super) jobs: Arc<Jobs>,
    /// Asks others over HTTP.
    pub(super) client: Client,
    /// How drains are getting on. Written by the drainer, for those under way.
    pub(super) drains: Progresses,
    /// How rollouts are getting on. Written by the tasks that drive them.
    pub(super) verdicts: Verdicts,
    /// A place for one drill at a time.
    pub(super) drilling: Semaphore,
    /// Whether the process that this one has taken over from still has requests.
    pub(super) predecessor: AtomicBool,
    /// Whether the state is another process's, which also asks the hooks of drains. Written by the controller.
    pub(super) away: AtomicBool,
    /// Whether the state is this process's for good: nothing in it is gone on with while the process before this one may
    /// have it back.
    pub(super) is_owner: watch::Sender<bool>,
    /// The generation in force; sent by the controller after `running` was written.
    pub(super) published: watch::Sender<u64>,
    status: Mutex<Status>,
}

#[derive(Debug, Default)]
struct Status {
    accepting: bool,
    stopping: bool,
    /// A file has changed while another process was about to take over.
    missed_reload: bool,
    /// Why the last reload failed.
    reload_error: Option<String>,
}

impl Shared {
    pub(super) fn new(
        running: Arc<Running>,
        jobs: Arc<Jobs>,
        store_trouble: watch::Receiver<Option<String>>,
        first_round: watch::Receiver<bool>,
    ) -> Self {
        Self {
            client: Client::new(&running.spec.resolver.servers),
            running: ArcSwap::new(running),
            jobs,
            board: Arc::default(),
            windows: Arc::default(),
            figures: Figures::default(),
            events: broadcast::channel(EVENTS_AHEAD).0,
            store_trouble,
            first_round,
            drains: Progresses::default(),
            verdicts: Verdicts::default(),
            drilling: Semaphore::new(1),
            predecessor: AtomicBool::new(false),
            away: AtomicBool::new(false),
            is_owner: watch::channel(true).0,
            published: watch::channel(0).0,
            status: Mutex::default(),
        }
    }

    /// Waits until the state is this process's for good.
    pub(super) async fn owns(&self) {
        // The sender is a part of this.
        let _ = self.is_owner.subscribe().wait_for(|is_owner| *is_owner).await;
    }

    /// Tells everybody who listens.
    pub(super) fn announce(&self, events: Vec<store::Event>) {
        for event in events {
            // Nobody listening is fine.
            let _ = self.events.send(view::Event::from(event));
        }
    }

    /// The workers accept connections.
    pub(super) fn accepting(&self) {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).accepting = true;
    }

    /// The process is on its way down.
    pub(super) fn stopping(&self) {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).stopping = true;
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).stopping
    }

    /// A file has changed, and cannot be read now because another process is about to take over.
    pub(super) fn miss_a_reload(&self) -> Rejected {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).missed_reload = true;
        Rejected::Upgrading
    }

    /// Whether there is a reload to make up for; asked once.
    pub(super) fn missed_a_reload(&self) -> bool {
        std::mem::take(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner).missed_reload)
    }

    /// How the last reload went.
    pub(super) fn reloaded(&self, error: Option<String>) {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).reload_error = error;
    }

    pub(super) fn readiness(&self) -> Readiness {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let round_over = *self.first_round.borrow();
        let mut notes = Vec::new();
        let mut note = |holds: bool, text: &str| {
            if holds {
                notes.push(text.to_owned());
            }
        };
        note(status.stopping, "shutting down");
        note(!status.accepting && !status.stopping, "the workers do not accept connections yet");
        note(!round_over, "the first health round is not over yet");
        if let Some(why) = &*self.store_trouble.borrow() {
            notes.push(format!("the state cannot be written: {why}; rollbacks work, other changes are refused"));
        }
        notes.extend(status.reload_error.iter().map(|why| format!("the last reload failed: {why}")));
        notes.extend(self.unserved());
        Readiness {
            ready: status.accepting && round_over && !status.stopping,
            notes,
            last_reload_ok: status.reload_error.is_none(),
        }
    }

    /// Services that nobody can serve.
    fn unserved(&self) -> Vec<String> {
        let running = self.running.load();
        let dead = running.table.services.iter().filter(|service| {
            let takes_over = |i: usize| service.shares[i] > 0 || service.emergency == Some(i);
            let serves = |group: &Group| group.is_open() && group.can_serve();
            !service.groups.iter().enumerate().any(|(i, g)| takes_over(i) && serves(g))
        });
        dead.map(|s| format!("service {}: no group with a share has a healthy upstream", s.name)).collect()
    }
}

impl From<store::Verified> for view::Audit {
    fn from(verified: store::Verified) -> Self {
        match verified {
            store::Verified::Intact(lines) => Self::Intact { lines },
            store::Verified::Broken(line) => Self::Broken { line },
        }
    }
}

impl From<store::Event> for view::Event {
    fn from(event: store::Event) -> Self {
        let store::NewEvent { at, actor, kind, service, detail } = event.line;
        Self { id: event.id, at, actor, kind, service, detail }
    }
}
