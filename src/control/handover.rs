//! How the state passes to another process, and back if that one fails.
//!
//! One process at a time owns desired state and the audit log. From the beginning of an upgrade no configuration is
//! put to work any more, so that what is handed over stays what it is; then everything is written, the store is
//! closed, and no change is taken. Once the other process serves, this one follows: it publishes what the other one
//! has published, for the requests that it still has.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::command::{Origin, Rejected};
use super::controller::{Command, Controller};
use super::events;
use super::handle::Handle;
use super::journal::Otherwise;
use super::running::{Running, Shared};
use crate::config::spec::Shutdown;
use crate::model::change::{Desired, ServiceState};
use crate::model::cohort::Salt;
use crate::model::drain::{Drain, Drains, Part};
use crate::model::names::{ListenerName, ServiceName};
use crate::model::split::Split;
use crate::routing::sockets::Sockets;
use crate::store::{Batch, RolloutRow, Store, Stored};

/// How long a step may take: longer than the store in all its parts, so that it is known what has become of it.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long the store may take for one part of a step.
const STORING: Duration = Duration::from_secs(5);

/// Why a rollout has failed that the other process has begun.
const NOT_OVER: &str = "the process that began it could not take over";

/// Whose the state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeping {
    /// Ours.
    Ours,
    /// Ours, and about to be handed over: changes of traffic are taken, configurations and holds are not.
    Packed,
    /// Another process's.
    Away,
}

/// A step of a handover.
pub(super) enum Step {
    Pack,
    HandOver,
    /// Without a store: it was not handed over yet.
    TakeBack(Option<Box<dyn Store>>),
    Follow(State),
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Pack => "Pack",
            Step::HandOver => "HandOver",
            Step::TakeBack(_) => "TakeBack",
            Step::Follow(_) => "Follow",
        })
    }
}

/// What another process has published, as far as it concerns one that only has old requests left.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Version of the desired state.
    pub version: u64,
    /// What concerns each service.
    pub services: Vec<Followed>,
}

/// What another process has published of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct Followed {
    /// The service.
    pub name: ServiceName,
    /// Who gets its requests.
    pub split: Split,
    /// Where a rollback leads.
    pub stable: Split,
    /// Which users come first; none: a version of pointsman that does not say.
    pub salt: Option<Salt>,
    /// Its drains.
    pub drains: Drains,
}

/// A listener's sockets, to be handed over.
#[derive(Debug)]
pub struct Listening {
    /// The listener.
    pub name: ListenerName,
    /// Its sockets.
    pub sockets: Arc<Sockets>,
}

/// Whom we take over from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predecessor {
    /// Its process.
    pub pid: u32,
    /// Its version of pointsman.
    pub version: String,
}

/// While this lives, the process before this one does.
#[derive(Debug)]
pub struct HasPredecessor(Arc<Shared>);

impl Drop for HasPredecessor {
    fn drop(&mut self) {
        self.0.predecessor.store(false, Ordering::Release);
    }
}

impl Handle {
    /// An upgrade begins: no configuration is put to work, and nobody is held, until it has failed.
    ///
    /// # Errors
    /// [`Rejected::HoldInProgress`] while a service is held; then nothing has changed.
    pub async fn pack(&self) -> Result<(), Rejected> {
        self.step(Step::Pack).await
    }

    /// Writes all that is to be written, closes the store, and takes no changes from now on.
    ///
    /// # Errors
    /// [`Rejected::Store`] when something cannot be written; then nothing has changed.
    pub async fn hand_over(&self) -> Result<(), Rejected> {
        self.step(Step::HandOver).await
    }

    /// The upgrade has failed: goes on as before, with `store` where it had been handed over.
    ///
    /// # Errors
    /// [`Rejected::Store`] when the store does not say what is in it; changes that it does not take are refused then.
    pub async fn take_back(&self, store: Option<Box<dyn Store>>) -> Result<(), Rejected> {
        let taken = self.step(Step::TakeBack(store)).await;
        if self.shared.missed_a_reload() {
            let origin = Origin { actor: "file".to_owned(), ..Origin::default() };
            // How it went is in the log, in the audit log and in the readiness.
            let _ = self.reload(origin).await;
        }
        taken
    }

    /// Publishes what the process has published that has taken over.
    ///
    /// # Errors
    /// [`Rejected::ShuttingDown`].
    pub async fn follow(&self, state: State) -> Result<(), Rejected> {
        self.step(Step::Follow(state)).await
    }

    async fn step(&self, step: Step) -> Result<(), Rejected> {
        let (reply, answer) = oneshot::channel();
        let asking = async {
            self.commands.send(Command::Handover { step, reply }).await.map_err(|_| Rejected::ShuttingDown)?;
            answer.await.map_err(|_| Rejected::ShuttingDown)?
        };
        let late = |_| Err(Rejected::Store(format!("it did not answer within {PATIENCE:?}")));
        timeout(PATIENCE, asking).await.unwrap_or_else(late)
    }

    /// What is published now.
    pub fn state(&self) -> State {
        let desired = &self.shared.running.load().desired;
        let services = desired.services.iter().map(|(name, s)| {
            let ServiceState { split, stable, salt, drains, .. } = s.clone();
            Followed { name: name.clone(), split, stable, salt: Some(salt), drains }
        });
        State { version: desired.version, services: services.collect() }
    }

    /// The sockets of all listeners.
    pub fn listening(&self) -> Vec<Listening> {
        let running = self.shared.running.load();
        let of = |listener: &crate::config::spec::Listener| {
            let sockets = running.registry.port(listener).sockets.clone()?;
            Some(Listening { name: listener.name.clone(), sockets })
        };
        running.spec.listeners.iter().filter_map(of).collect()
    }

    /// We have taken over, for good: rollouts and jobs go on, and there is a line in the audit log.
    pub async fn has_taken_over(&self, from: &Predecessor, origin: &Origin) {
        self.shared.is_owner.send_replace(true);
        let detail = json!({
            "from": { "pid": from.pid, "pointsman": from.version },
            "to": { "pid": std::process::id(), "pointsman": env!("CARGO_PKG_VERSION") },
            "version": self.version(),
        });
        self.note(events::upgraded("upgrade", detail, origin)).await;
    }

    /// The process that was to take over did not: a line in the audit log.
    pub async fn was_not_taken_over(&self, why: &str, origin: &Origin) {
        self.note(events::upgraded("upgrade.failed", json!({ "error": why }), origin)).await;
    }

    /// The process before this one still has requests, as [`Before::Predecessor`](super::Before) has said, until this
    /// is dropped: nothing counts as drained here that may still be in use there.
    #[must_use]
    pub fn has_predecessor(&self) -> HasPredecessor {
        HasPredecessor(Arc::clone(&self.shared))
    }

    /// Waits until the process before this one has left: it listens to this one only, and would be forgotten.
    ///
    /// # Errors
    /// [`Rejected::Upgrading`] when it is still there after `within`.
    pub async fn predecessor_gone(&self, within: Duration) -> Result<(), Rejected> {
        let gone = async {
            while self.shared.predecessor.load(Ordering::Acquire) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(within, gone).await.map_err(|_| Rejected::Upgrading)
    }

    async fn note(&self, event: crate::store::NewEvent) {
        // A controller that is gone keeps no log.
        let _ = timeout(PATIENCE, self.commands.send(Command::Note(event))).await;
    }

    /// How the process is to leave.
    pub fn shutdown(&self) -> Shutdown {
        self.shared.running.load().spec.shutdown
    }

    /// The process will leave soon: it is not ready from now on, and puts no configuration to work.
    pub fn stopping(&self) {
        self.shared.stopping();
    }
}

impl Controller {
    pub(super) async fn take_step(&mut self, step: Step) -> Result<(), Rejected> {
        match step {
            Step::Pack => {
                // Whoever waits here would be let go by the way, and go to where they were not to go yet.
                self.may_be_held(&self.running.holds.keys().collect::<Vec<_>>())?;
                self.keep(Keeping::Packed);
            }
            Step::HandOver => {
                // None is begun after the first step; if there were one, nobody should wait in vain.
                self.give_up_switches(&Rejected::Upgrading).await;
                self.end_all_holds().await;
                self.journal.flush(&self.running.desired, STORING).await.map_err(Rejected::Store)?;
                self.journal.part("another process has it", STORING).await.map_err(Rejected::Store)?;
                self.keep(Keeping::Away);
                self.shared.away.store(true, Ordering::Release);
            }
            Step::TakeBack(store) => {
                self.shared.away.store(false, Ordering::Release);
                let put_right = match store {
                    Some(store) => self.goes_on_with(store).await,
                    None => Ok(()),
                };
                self.keep(Keeping::Ours);
                put_right?;
            }
            Step::Follow(state) => self.follow(state),
        }
        Ok(())
    }

    fn keep(&mut self, keeping: Keeping) {
        self.keeping = keeping;
        self.shared.jobs.keep(keeping);
    }

    async fn goes_on_with(&mut self, store: Box<dyn Store>) -> Result<(), Rejected> {
        self.shared.jobs.none_runs();
        let stored = self.journal.exchange(store, STORING).await.map_err(Rejected::Store)?;
        // A store that cannot say what is in it is as empty as a new one.
        if stored != Stored::default() {
            self.shared.jobs.load(stored.jobs.clone(), stored.last_job);
        }
        self.put_right(stored).await;
        Ok(())
    }

    /// The other process may have written a state that has never come into force: then ours is written again, with a
    /// version that nobody has seen. What it has begun is called off.
    async fn put_right(&mut self, stored: Stored) {
        let old = Arc::clone(&self.running);
        let ours = |name: &ServiceName| old.desired.services.get(name).or_else(|| old.desired.retired.get(name));
        let other = |(name, state): (&ServiceName, &ServiceState)| ours(name) != Some(state);
        let is_same = same_rollouts(&stored.desired, &old.desired);
        if stored.desired.version <= old.desired.version && !stored.desired.services.iter().any(other) && is_same {
            return;
        }
        let version = stored.desired.version.max(old.desired.version) + 1;
        let desired = Desired { version, ..(*old.desired).clone() };
        let why = "an upgrade has failed; the state in force was written again";
        let line = events::own("store.corrected", json!({ "version": version, "reason": why }));
        let jobs = self.shared.jobs.validations(&desired);
        let mut batch = Batch { events: vec![line], jobs, ..Batch::whole(&desired) };
        let begun = stored.desired.rollouts.into_values().filter(|r| !desired.rollouts.contains_key(&r.id));
        batch.rollouts.extend(begun.map(|r| RolloutRow::called_off(r, Timestamp::now(), NOT_OVER)));
        let numbered = self.journal.numbered(&batch.events);
        let events = self.journal.write(&desired, batch, STORING, Otherwise::Keep).await.unwrap_or(numbered);
        self.publish(Running { desired: Arc::new(desired), ..(*old).clone() });
        self.shared.announce(events);
    }

    fn follow(&mut self, state: State) {
        let old = Arc::clone(&self.running);
        let mut desired = Desired { version: state.version, ..(*old.desired).clone() };
        for Followed { name, split, stable, salt, drains } in state.services {
            if let Some(ours) = desired.services.get_mut(&name).filter(|s| same_groups(&s.split, &split)) {
                ours.drains = drains.into_iter().map(|(part, drain)| followed(&ours.drains, part, drain)).collect();
                (ours.split, ours.stable) = (split, stable);
                // A rollout there begins with other users than the last one.
                ours.salt = salt.unwrap_or(ours.salt);
            }
        }
        self.publish(Running { desired: Arc::new(desired), ..(*old).clone() });
    }
}

/// Whether the rollouts under way are where ours are. Ours are read as they would be written: texts have fewer digits.
fn same_rollouts(stored: &Desired, ours: &Desired) -> bool {
    let under_way = Batch::whole(ours).rollouts.into_iter().filter(|row| !row.ended);
    under_way.filter_map(|row| row.read().ok()).eq(stored.rollouts.values().cloned())
}

/// A service whose groups are others over there has nothing to follow here.
fn same_groups(ours: &Split, theirs: &Split) -> bool {
    ours.iter().map(|(group, _)| group).eq(theirs.iter().map(|(group, _)| group))
}

/// A drain over there as it is to be here. What is over there is not over here: tunnels are still to be told to end.
fn followed(ours: &Drains, part: Part, theirs: Drain) -> (Part, Drain) {
    let drain = match ours.get(&part) {
        Some(same) if same.began == theirs.began && theirs.keeps_out() => same.clone(),
        _ if theirs.keeps_out() => Drain { end: None, ..theirs },
        _ => theirs,
    };
    (part, drain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::command::{Force, Replaced, TrafficChange};
    use crate::control::controller::tests::{Paper, Plane, loaded, prepared, two_services};
    use crate::control::samples::eventually;
    use crate::control::{Before, StartOptions, Watch, start};
    use crate::model::change::decide;
    use crate::model::change::samples::{begun, group, now, service, set, split, started};
    use crate::model::job::State as JobState;
    use crate::model::job::samples::notification;
    use crate::model::rollout::{self, RolloutId, State as At};
    use crate::store::sqlite::Sqlite;

    fn switch(to: &str) -> TrafficChange {
        TrafficChange::Switch {
            services: vec![service("shop")],
            to: group(to),
            force: Force::No,
            replaced: Replaced::Kept,
        }
    }

    async fn switched(plane: &Plane, to: &str) -> Result<u64, Rejected> {
        plane.handle.change(switch(to), Origin::default()).await.map(|receipt| receipt.version)
    }

    #[tokio::test]
    async fn packed_it_takes_changes_and_no_configuration_and_handed_over_neither() {
        let plane = Plane::new().await;
        plane.handle.pack().await.unwrap();
        switched(&plane, "green").await.unwrap();
        assert_eq!(plane.handle.reload(Origin::default()).await, Err(Rejected::Upgrading));
        plane.handle.hand_over().await.unwrap();
        assert_eq!(switched(&plane, "blue").await, Err(Rejected::Upgrading));
        assert!(matches!(plane.handle.events(0, 10, None).await, Err(Rejected::Store(_))));
        plane.handle.take_back(Some(Box::new(Sqlite::in_memory().unwrap()))).await.unwrap();
        switched(&plane, "blue").await.unwrap();
        plane.handle.reload(Origin::default()).await.unwrap();
    }

    #[tokio::test]
    async fn while_a_service_is_held_nothing_is_packed_and_packed_nothing_is_held() {
        let plane = Plane::new().await;
        let hold = async || plane.handle.hold(service("shop"), None, Origin::default()).await.map(|_| ());
        hold().await.unwrap();
        assert_eq!(plane.handle.pack().await, Err(Rejected::HoldInProgress { service: service("shop") }));
        plane.handle.reload(Origin::default()).await.expect("nothing has changed");
        plane.handle.release(service("shop"), Origin::default()).await.unwrap();
        plane.handle.pack().await.unwrap();
        assert_eq!(hold().await, Err(Rejected::Upgrading));
        plane.handle.take_back(None).await.unwrap();
        hold().await.unwrap();
    }

    #[tokio::test]
    async fn a_state_that_has_never_come_into_force_is_written_over_when_the_store_comes_back() {
        let plane = Plane::new().await;
        let before = switched(&plane, "green").await.unwrap();
        plane.handle.hand_over().await.unwrap();
        let mut store = Sqlite::in_memory().unwrap();
        let mut other = decide(&started("blue 100 green 0"), &set("blue 30 green 70"), now()).unwrap().desired;
        other.version = before + 7;
        store.commit(&Batch::whole(&other)).unwrap();
        plane.handle.take_back(Some(Box::new(store))).await.unwrap();
        assert_eq!((plane.shares("shop"), plane.handle.version()), (vec![0.0, 100.0], before + 8));
        assert_eq!(plane.kinds(None).await, ["store.corrected"]);
        assert_eq!(switched(&plane, "blue").await, Ok(before + 9));
    }

    #[tokio::test]
    async fn rollouts_are_where_they_were_and_what_the_other_process_has_begun_is_called_off() {
        let mut store = Sqlite::in_memory().unwrap();
        let mut desired = begun(&started("blue 100 green 0"), RolloutId(1));
        rollout::pause_all(&mut desired, now());
        store.commit(&Batch::whole(&desired)).unwrap();
        let (spec, upstreams) = two_services().await;
        let plane = Plane::with(spec, upstreams, Box::new(store)).await;
        plane.handle.hand_over().await.unwrap();
        let ours = plane.handle.shared.running.load().desired.clone();
        let mut other = (*ours).clone();
        let mut second = other.rollouts[&RolloutId(1)].clone();
        second.id = RolloutId(2);
        other.rollouts.insert(second.id, second);
        let ended = other.rollouts.get_mut(&RolloutId(1)).unwrap();
        (ended.state, ended.ended_at) = (At::Done, Some(now()));
        let mut store = Sqlite::in_memory().unwrap();
        store.commit(&Batch::whole(&other)).unwrap();
        plane.handle.take_back(Some(Box::new(store))).await.unwrap();
        assert_eq!(plane.kinds(None).await, ["store.corrected"]);
        let rows = plane.handle.read(|store| store.load()).await.unwrap().desired.rollouts;
        assert_eq!(rows, ours.rollouts, "what is stored is what is in force");
        let second = plane.handle.rollout(RolloutId(2)).await.unwrap().rollout;
        assert_eq!((second.state, &*second.timeline.last().unwrap().cause), (At::Failed, NOT_OVER));
    }

    #[tokio::test]
    async fn rollouts_and_jobs_go_on_when_the_process_before_cannot_have_the_state_back() {
        let mut store = Sqlite::in_memory().unwrap();
        let desired = begun(&started("blue 100 green 0"), RolloutId(1));
        store.commit(&Batch { jobs: vec![notification(1)], ..Batch::whole(&desired) }).unwrap();
        let (spec, _upstreams) = two_services().await;
        let options = StartOptions {
            prepared: prepared(loaded(&spec)).await,
            source: Arc::new(Paper(std::sync::Mutex::new(Ok(loaded(&spec))))),
            store: Box::new(store),
            watch: Watch::Nothing,
            before: Before::Predecessor,
        };
        let (handle, _reader, joiner) = start(options).await.unwrap();
        handle.first_health_round().await;
        let place = || (handle.rollout(RolloutId(1)), handle.jobs(None, 1).remove(0).state);
        let (rollout, job) = place();
        assert_eq!((rollout.await.unwrap().rollout.state.label(), job), ("checking", JobState::Waiting));
        let from = Predecessor { pid: 1, version: "1".to_owned() };
        handle.has_taken_over(&from, &Origin::default()).await;
        eventually("the job was tried", || place().1 != JobState::Waiting).await;
        let checking = || handle.shared.running.load().desired.rollouts[&RolloutId(1)].state.label() == "checking";
        eventually("the rollout goes on", || !checking()).await;
        joiner.stop().await;
    }

    #[tokio::test]
    async fn a_store_that_comes_back_as_it_was_changes_nothing() {
        let plane = Plane::new().await;
        let before = switched(&plane, "green").await.unwrap();
        plane.handle.pack().await.unwrap();
        plane.handle.take_back(None).await.unwrap();
        assert_eq!((plane.shares("shop"), plane.handle.version()), (vec![0.0, 100.0], before));
        assert!(!plane.kinds(None).await.contains(&"store.corrected".to_owned()));
    }

    #[tokio::test]
    async fn what_the_other_process_publishes_is_followed_where_the_groups_are_the_same() {
        let plane = Plane::new().await;
        plane.handle.hand_over().await.unwrap();
        let (shop, api) = (split("blue 25 green 75"), split("blue 50 red 50"));
        let services = [("shop", shop), ("api", api.clone()), ("new", api)];
        let of = |(name, split): (&str, Split)| Followed {
            name: service(name),
            stable: split.clone(),
            split,
            salt: Some(Salt(7)),
            drains: Drains::new(),
        };
        let services = services.into_iter().map(of).collect();
        plane.handle.follow(State { version: 40, services }).await.unwrap();
        assert_eq!((plane.shares("shop"), plane.shares("api")), (vec![25.0, 75.0], vec![100.0, 0.0]));
        assert_eq!(plane.handle.version(), 40);
        let table = plane.reader.current();
        let salts = table.services.iter().filter(|s| s.salt == Salt(7)).map(|s| s.name.as_str());
        assert_eq!(salts.collect::<Vec<_>>(), ["shop"]);
    }
}
