//! Rollouts: what drives each of them, and what the controller does about them.
//!
//! Where a rollout is, is desired state ([`crate::model::rollout`]). Here is who finds out whether the candidate is
//! well, asks those who test it, judges it while it has users, and watches the time: one task for each rollout under
//! way, so that a restart in the middle of one goes on with it. Whatever is found is said to the controller, which
//! makes it durable and publishes it.

mod asked;
mod bench;
mod change;
mod drill;
mod drive;
mod history;
mod link;
mod outside;
mod progress;
mod ready;
mod scheduled;
mod validated;
mod wishes;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{Id, JoinSet};
use tokio::time::sleep;

pub use asked::{RolloutReceipt, RolloutStart, RolloutStarted, RolloutWish, Validated};
pub(super) use change::RolloutCommand;
pub use drill::{Consequence, Drill, DrillRun, DrillView, DrilledGuard, Fault, Undrilled};
pub use link::Link;
pub(super) use progress::Verdicts;
pub(super) use scheduled::begin_scheduled;

use super::controller::Command;
use super::drains;
use super::running::{Running, Shared};
use super::view::RolloutView;
use crate::model::drain::{Drain, Part};
use crate::model::rollout::{Rollout, RolloutId};
use crate::routing::publish::Reader;

/// A rollout, under way or ended, with all that is known beside it.
pub(super) fn view(shared: &Shared, running: &Running, rollout: &Rollout) -> RolloutView {
    let progress = shared.verdicts.of(rollout.id);
    let drains = rollout.services.iter().flat_map(|moving| {
        let state = running.desired.services.get(moving.service.as_str());
        let table = running.table.service(moving.service.as_str());
        let pair = state.zip(table);
        moving.from.iter().filter_map(move |(group, _)| {
            let (state, table) = pair?;
            let part = Part { group: group.clone(), upstream: None };
            let is_its_own = |drain: &&Drain| {
                drain.began >= rollout.started_at && rollout.ended_at.is_none_or(|ended| drain.began <= ended)
            };
            let drain = state.drains.get(&part).filter(is_its_own)?;
            Some(drains::view(shared, table, &part, drain))
        })
    });
    RolloutView {
        rollout: rollout.clone(),
        verdict: progress.as_ref().and_then(|p| p.verdict.clone()),
        spent: progress.map(|p| p.spent.as_secs_f64()),
        drains: drains.collect(),
    }
}

impl Running {
    /// The rollout with this number, while it is under way.
    fn rollout(&self, id: RolloutId) -> Option<&Rollout> {
        self.desired.rollouts.get(&id).filter(|rollout| !rollout.state.is_over())
    }
}

/// One whose driver has failed is left alone for so long: whatever it was should not keep the machine busy.
const DRIVEN_AGAIN: Duration = Duration::from_secs(1);

/// Drives rollouts for as long as the process lives.
pub(super) async fn run(shared: Arc<Shared>, commands: mpsc::Sender<Command>, reader: Reader) {
    shared.owns().await;
    let drive = |id| drive::Driver::new(Arc::clone(&shared), commands.clone(), reader.clone(), id).run();
    keep_driven(&shared, drive).await;
}

/// Has each rollout under way driven by a task of its own.
async fn keep_driven<D>(shared: &Shared, drive: impl Fn(RolloutId) -> D)
where
    D: Future<Output = ()> + Send + 'static,
{
    let mut published = shared.published.subscribe();
    let mut tasks = JoinSet::new();
    let mut driven: HashMap<RolloutId, Id> = HashMap::new();
    loop {
        published.mark_unchanged();
        let begun = {
            let running = shared.running.load();
            driven.retain(|id, _| running.rollout(*id).is_some());
            shared.verdicts.keep(|id| running.desired.rollouts.contains_key(&id));
            let under_way = running.desired.rollouts.values().filter(|r| !r.state.is_over());
            under_way.map(|r| r.id).filter(|id| !driven.contains_key(id)).collect::<Vec<_>>()
        };
        for id in begun {
            driven.insert(id, tasks.spawn(drive(id)).id());
        }
        tokio::select! {
            changed = published.changed() => if changed.is_err() { return },
            Some(ended) = tasks.join_next_with_id() => match ended {
                Ok((task, ())) => driven.retain(|_, driver| *driver != task),
                Err(panicked) => {
                    tracing::error!(%panicked, "driving a rollout failed; it begins again");
                    let task = panicked.id();
                    if let Some(driver) = driven.values_mut().find(|driver| **driver == task) {
                        *driver = tasks.spawn(sleep(DRIVEN_AGAIN)).id();
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::time::Instant;

    use super::*;
    use crate::control::controller::tests::{Plane, two_services};
    use crate::control::samples::eventually;
    use crate::model::change::samples::{begun, started};
    use crate::store::sqlite::Sqlite;
    use crate::store::{Batch, Store};

    #[tokio::test]
    async fn one_whose_driver_fails_at_once_is_driven_again_after_a_pause() {
        let mut store = Sqlite::in_memory().unwrap();
        store.commit(&Batch::whole(&begun(&started("blue 100 green 0"), RolloutId(1)))).unwrap();
        let (spec, upstreams) = two_services().await;
        let plane = Plane::with(spec, upstreams, Box::new(store)).await;
        let (shared, begins) = (Arc::clone(&plane.handle.shared), Arc::new(Mutex::new(Vec::new())));
        let begun = Arc::clone(&begins);
        let driving = tokio::spawn(async move {
            keep_driven(&shared, |_| {
                begun.lock().unwrap().push(Instant::now());
                async { panic!("on purpose") }
            })
            .await;
        });
        eventually("it is driven again, and again", || begins.lock().unwrap().len() > 2).await;
        driving.abort();
        let begins = begins.lock().unwrap();
        assert!(begins.windows(2).all(|two| two[1] - two[0] >= DRIVEN_AGAIN), "{begins:?}");
    }
}
