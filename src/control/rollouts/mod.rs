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

use tokio::sync::mpsc;
use tokio::task::{Id, JoinSet};

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

/// Drives rollouts for as long as the process lives.
pub(super) async fn run(shared: Arc<Shared>, commands: mpsc::Sender<Command>, reader: Reader) {
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
            let driver = drive::Driver::new(Arc::clone(&shared), commands.clone(), reader.clone(), id);
            driven.insert(id, tasks.spawn(driver.run()).id());
        }
        tokio::select! {
            changed = published.changed() => if changed.is_err() { return },
            Some(ended) = tasks.join_next_with_id() => if let Err(panicked) = ended {
                tracing::error!(%panicked, "driving a rollout failed; it begins again");
                driven.retain(|_, task| *task != panicked.id());
            }
        }
    }
}
