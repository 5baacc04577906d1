//! The callers' end of the controller: what `admin` holds.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, broadcast, mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use super::command::{Force, HoldReceipt, Origin, Receipt, Rejected, TrafficChange};
use super::controller::Command;
use super::drift;
use super::explain;
use super::gather;
use super::hold::{Ask, HoldAsked};
use super::journal::{SharedStore, locked};
use super::receipts::Request;
use super::reload::Asked;
pub use super::rollouts::{Drill, Link};
use super::running::Shared;
use super::source::Source;
use super::view::{
    AdmissionView, Audit, Drift, Event, Explanation, HoldCounts, ListenerView, Question, Readiness, ReloadReport,
    ServiceView,
};
use crate::model::names::{GroupName, ServiceName};
use crate::model::split::Share;
use crate::routing::table::{Group, Table};
use crate::store::{EventQuery, Store, StoreError};

/// How long a command may wait for a place in the controller's queue. Once it has one it is answered: the controller
/// waits for nothing but the store, and for that not long.
const QUEUED: Duration = Duration::from_secs(10);

/// How long a read from the store, or of the file, may take.
const READING: Duration = Duration::from_secs(10);

/// Reads from the store at a time; a store that hangs must not tie up every blocking thread.
const READS: usize = 4;

/// Events that one call gives at the most.
const MOST_EVENTS: usize = 1000;

/// What waiting for a first verdict may take beyond the time-out of a probe.
const VERDICT_GRACE: Duration = Duration::from_secs(2);

/// Asks the controller and looks at the living counters. Clone freely.
#[derive(Clone)]
pub struct Handle {
    pub(super) shared: Arc<Shared>,
    pub(super) commands: mpsc::Sender<Command>,
    reloads: mpsc::Sender<Asked>,
    source: Arc<dyn Source>,
    store: SharedStore,
    reads: Arc<Semaphore>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("version", &self.version()).finish_non_exhaustive()
    }
}

impl Handle {
    pub(super) fn new(
        shared: Arc<Shared>,
        commands: mpsc::Sender<Command>,
        reloads: mpsc::Sender<Asked>,
        source: Arc<dyn Source>,
        store: SharedStore,
    ) -> Self {
        Self { shared, commands, reloads, source, store, reads: Arc::new(Semaphore::new(READS)) }
    }

    /// All services in the order of the file.
    #[allow(clippy::unused_async, reason = "the border leaves room for views that have to be waited for")]
    pub async fn services(&self) -> Vec<ServiceView> {
        gather::services(&self.shared)
    }

    /// One service.
    ///
    /// # Errors
    /// [`Rejected::UnknownService`].
    #[allow(clippy::unused_async, reason = "the border leaves room for views that have to be waited for")]
    pub async fn service(&self, name: &str) -> Result<ServiceView, Rejected> {
        let running = self.shared.running.load();
        let service = running.table.service(name);
        service.and_then(|s| gather::service(&self.shared, &running, s)).ok_or_else(|| unknown(&running.table, name))
    }

    /// Changes traffic. A switch to a group whose health is unknown waits for its first verdict before anything is
    /// touched. Returns when the change is durable and published.
    ///
    /// # Errors
    /// [`Rejected`]; nothing was changed.
    pub async fn change(&self, change: TrafficChange, origin: Origin) -> Result<Receipt, Rejected> {
        self.await_verdict(&change).await;
        self.ask(Request::Change(change), origin).await
    }

    /// The same, while new requests of the services wait, for `hold` at the most: the change is made when nothing is
    /// under way any more at the groups that lose their share, or when the time is over.
    ///
    /// # Errors
    /// [`Rejected`]; nothing was changed, and nobody waits any more.
    pub async fn change_held(
        &self,
        change: TrafficChange,
        hold: Duration,
        origin: Origin,
    ) -> Result<Receipt, Rejected> {
        self.await_verdict(&change).await;
        self.ask(Request::Held(change, hold), origin).await
    }

    /// Keeps new requests of `service` waiting, for `time` or as long as the file says.
    ///
    /// # Errors
    /// [`Rejected`]; nothing was changed.
    pub async fn hold(
        &self,
        service: ServiceName,
        time: Option<Duration>,
        origin: Origin,
    ) -> Result<HoldReceipt, Rejected> {
        self.ask_hold(service, Ask::Hold(time), origin).await
    }

    /// Lets those go who wait. A switch that waits behind the hold is given up.
    ///
    /// # Errors
    /// [`Rejected`]; nothing was changed.
    pub async fn release(&self, service: ServiceName, origin: Origin) -> Result<HoldReceipt, Rejected> {
        self.ask_hold(service, Ask::Release, origin).await
    }

    async fn ask_hold(&self, service: ServiceName, ask: Ask, origin: Origin) -> Result<HoldReceipt, Rejected> {
        let (reply, answer) = oneshot::channel();
        let asked = Box::new(HoldAsked { service, ask, origin, reply });
        match timeout(QUEUED, self.commands.send(Command::Hold(asked))).await {
            Ok(Ok(())) => answer.await.map_err(|_| Rejected::ShuttingDown)?,
            Ok(Err(_)) => Err(Rejected::ShuttingDown),
            Err(_) => Err(Rejected::Store("too many changes are waiting for it".to_owned())),
        }
    }

    /// `group` gets `share`, the others keep their proportions (computed by the controller on its current split).
    ///
    /// # Errors
    /// [`Rejected`]; nothing was changed.
    pub async fn shift(
        &self,
        service: ServiceName,
        group: GroupName,
        share: Share,
        origin: Origin,
    ) -> Result<Receipt, Rejected> {
        self.ask(Request::Shift { service, group, share }, origin).await
    }

    pub(super) async fn send(&self, command: Command) -> Result<(), Rejected> {
        match timeout(QUEUED, self.commands.send(command)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Rejected::ShuttingDown),
            Err(_) => Err(Rejected::Store("too many changes are waiting for it".to_owned())),
        }
    }

    async fn ask(&self, request: Request, origin: Origin) -> Result<Receipt, Rejected> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Change { request, origin, arrived: Instant::now(), reply }).await?;
        answer.await.map_err(|_| Rejected::ShuttingDown)?
    }

    /// Waits until every group that `change` leads to has a verdict, or has had its time for one.
    async fn await_verdict(&self, change: &TrafficChange) {
        let mut turns = self.shared.board.turns();
        let mut deadline = None;
        loop {
            let patience = self.undecided(change);
            let Some(patience) = patience else { return };
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + patience + VERDICT_GRACE);
            // The controller looks again, whatever has come.
            if timeout_at(deadline, turns.changed()).await.is_err() {
                return;
            }
        }
    }

    /// How long a verdict on the groups that `change` leads to may take; none when there is nothing to wait for.
    fn undecided(&self, change: &TrafficChange) -> Option<Duration> {
        let running = self.shared.running.load();
        let (services, to) = match change {
            TrafficChange::Switch { services, to, force: Force::No, .. } => (services, Some(to)),
            TrafficChange::Rollback { services, force: Force::No } => (services, None),
            _ => return None,
        };
        let waits = services.iter().filter(|name| {
            let Some(state) = running.desired.services.get(name.as_str()) else { return false };
            let Some(service) = running.table.service(name.as_str()) else { return false };
            let leads_to = |group: &Group| match to {
                Some(to) => group.name == *to && state.split.share(to) < Share::ALL,
                None => state.split != state.stable && state.stable.share(&group.name) > Share::NONE,
            };
            service.groups.iter().filter(|g| leads_to(g)).any(gather::is_undecided)
        });
        let names: Vec<_> = waits.collect();
        let specs = running.spec.services.iter().filter(|s| names.contains(&&s.name));
        specs.map(|s| s.health.timeout).max()
    }

    /// Where a request like this would go.
    ///
    /// # Errors
    /// [`Rejected::UnknownService`].
    #[allow(clippy::unused_async, reason = "the border leaves room for answers that have to be waited for")]
    pub async fn explain(&self, service: &str, question: &Question) -> Result<Explanation, Rejected> {
        let table = Arc::clone(&self.shared.running.load().table);
        let found = table.service(service).ok_or_else(|| unknown(&table, service))?;
        Ok(explain::explain(found, question))
    }

    /// Reads the file again and applies it, or changes nothing.
    ///
    /// # Errors
    /// [`Rejected::InvalidConfig`] with everything that is wrong; [`Rejected::StaleVersion`], [`Rejected::Store`].
    pub async fn reload(&self, origin: Origin) -> Result<ReloadReport, Rejected> {
        let (reply, answer) = oneshot::channel();
        match timeout(QUEUED, self.reloads.send(Asked { origin, reply })).await {
            Ok(Ok(())) => answer.await.map_err(|_| Rejected::ShuttingDown)?,
            Ok(Err(_)) => Err(Rejected::ShuttingDown),
            Err(_) => Err(Rejected::InvalidConfig(vec!["too many reloads are waiting already".to_owned()])),
        }
    }

    /// What differs between the file as it is on disk now and what is running.
    ///
    /// # Errors
    /// [`Rejected::InvalidConfig`] when the file is wrong, [`Rejected::Store`] when the history cannot be read.
    pub async fn drift(&self) -> Result<Vec<Drift>, Rejected> {
        let (source, running) = (Arc::clone(&self.source), self.shared.running.load_full());
        let reading = tokio::task::spawn_blocking(move || source.load());
        let loaded = match timeout(READING, reading).await {
            Ok(Ok(loaded)) => loaded.map_err(Rejected::InvalidConfig)?,
            Ok(Err(panicked)) => return Err(Rejected::InvalidConfig(vec![panicked.to_string()])),
            Err(_) => return Err(Rejected::InvalidConfig(vec![format!("reading it took longer than {READING:?}")])),
        };
        let drift = drift::drift(&running, &loaded);
        self.read(move |store| drift::with_history(drift, store)).await
    }

    /// The running configuration as the text of a YAML file, with the splits of now; secrets stay `${NAME}`.
    ///
    /// # Errors
    /// None at present.
    #[allow(clippy::unused_async, reason = "the border leaves room for answers that have to be waited for")]
    pub async fn export(&self) -> Result<String, Rejected> {
        let running = self.shared.running.load();
        let splits = running.spec.services.iter().filter_map(|s| {
            let state = running.desired.services.get(s.name.as_str())?;
            Some((s.name.clone(), state.split.clone()))
        });
        Ok(self.source.export(&running.text, &splits.collect::<Vec<_>>()))
    }

    /// Version of the desired state.
    pub fn version(&self) -> u64 {
        self.shared.running.load().desired.version
    }

    /// Up to `limit` events after number `since`, oldest first, of one service where one is named. A call gives a
    /// thousand at the most.
    ///
    /// # Errors
    /// [`Rejected::Store`] when they cannot be read.
    pub async fn events(&self, since: u64, limit: usize, service: Option<&str>) -> Result<Vec<Event>, Rejected> {
        let query = EventQuery { since, limit: limit.min(MOST_EVENTS), service: service.map(ToOwned::to_owned) };
        let found = self.read(move |store| store.events(&query)).await?;
        Ok(found.into_iter().map(Event::from).collect())
    }

    /// Checks the whole audit log: whether each line still follows from the one before.
    ///
    /// # Errors
    /// [`Rejected::Store`] when it cannot be read.
    pub async fn verify_audit(&self) -> Result<Audit, Rejected> {
        self.read(|store| store.verify()).await.map(Audit::from)
    }

    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Rejected> {
        let (store, reads) = (Arc::clone(&self.store), Arc::clone(&self.reads));
        let reading = async {
            let permit = reads.acquire_owned().await.map_err(|e| e.to_string())?;
            let task = tokio::task::spawn_blocking(move || {
                let result = read(&mut **locked(&store));
                drop(permit);
                result
            });
            task.await.map_err(|e| e.to_string())?.map_err(|e| e.to_string())
        };
        let result = timeout(READING, reading).await;
        result.unwrap_or_else(|_| Err(format!("it did not answer within {READING:?}"))).map_err(Rejected::Store)
    }

    /// Events from now on. A slow receiver is told how many it has missed and reads them with [`Handle::events`].
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }

    /// Listeners in the order of the file.
    pub fn listeners(&self) -> Vec<ListenerView> {
        gather::listeners(&self.shared.running.load())
    }

    /// Services with a limit of requests under way, in the order of the file.
    pub fn admissions(&self) -> Vec<AdmissionView> {
        gather::admissions(&self.shared.running.load())
    }

    /// What holds have come to, of each service, in the order of the file.
    pub fn holds(&self) -> Vec<HoldCounts> {
        gather::holds(&self.shared, &self.shared.running.load())
    }

    /// Requests under way and tunnels open, at all groups.
    pub fn under_way(&self) -> u64 {
        let running = self.shared.running.load();
        let groups = running.table.services.iter().flat_map(|service| &service.groups);
        groups.map(|group| group.live.in_flight() + group.live.tunnels()).sum()
    }

    /// Whether traffic can be served.
    pub fn readiness(&self) -> Readiness {
        self.shared.readiness()
    }

    /// Resolves when every upstream has a verdict, or has had its time for one: connections may be accepted then.
    pub async fn first_health_round(&self) {
        let mut over = self.shared.first_round.clone();
        // Its sender is gone at a shutdown only; nobody should wait for it then.
        let _ = over.wait_for(|over| *over).await;
    }

    /// The process is on its way down: lets go of all listening sockets, so that a port is closed as soon as the
    /// workers have stopped accepting at it, and takes no reload any more.
    pub async fn close_ports(&self) {
        self.shared.stopping();
        let (done, closed) = oneshot::channel();
        // A controller that is gone has let go of them already.
        if let Ok(Ok(())) = timeout(QUEUED, self.commands.send(Command::ClosePorts(done))).await {
            let _ = timeout(QUEUED, closed).await;
        }
    }

    /// The workers accept connections from now on: the last condition of readiness.
    pub fn accepting(&self) {
        self.shared.accepting();
    }

    /// Durations of switches and rollbacks so far, seconds, from arrival to publication, as (upper bound, count of
    /// this bucket alone), the last bound being infinity, plus sum and count.
    pub fn switch_seconds(&self) -> (Vec<(f64, u64)>, f64, u64) {
        self.shared.figures.switch_seconds()
    }

    /// Durations of drains so far, in the same form.
    pub fn drain_seconds(&self) -> (Vec<(f64, u64)>, f64, u64) {
        self.shared.figures.drain_seconds()
    }

    /// Rollbacks so far by service and cause (`operator`, `monitor`).
    pub fn rollbacks(&self) -> Vec<(String, &'static str, u64)> {
        self.shared.figures.rollbacks()
    }
}

pub(super) fn unknown(table: &Table, name: &str) -> Rejected {
    let known = table.services.iter().map(|s| s.name.to_string()).collect::<Vec<_>>().join(", ");
    Rejected::UnknownService { name: name.to_owned(), known }
}
