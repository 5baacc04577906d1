//! Drains: what watches over each of them, and what the controller does about them.
//!
//! That something is drained is desired state ([`crate::model::drain`]). Here is who finds out that everything has
//! gone, asks the application's hook, and says when the time is over: one task for each drain under way, so that a
//! restart in the middle of one goes on with it. Counts of requests and tunnels are the data plane's own.

mod asked;
mod change;
mod facts;
mod hook;
mod one;
mod progress;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinSet};

pub use asked::{DrainChange, DrainReceipt, DrainWish};
pub(super) use change::{DrainCommand, set_entrances};
pub(super) use facts::view;
pub(super) use progress::Progresses;

use super::controller::Command;
use super::running::{Running, Shared};
use crate::model::drain::{Drain, Part};
use crate::model::names::ServiceName;
use crate::routing::publish::Reader;

/// A drain: the same part may be drained again later.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct DrainKey {
    pub(super) service: ServiceName,
    pub(super) part: Part,
    pub(super) began: Timestamp,
}

/// Drains whose deadline has come.
pub(super) type Farewells = BTreeSet<DrainKey>;

impl Running {
    /// The drain with this key, while it is under way.
    fn drain(&self, key: &DrainKey) -> Option<&Drain> {
        let drain = self.desired.services.get(key.service.as_str())?.drains.get(&key.part)?;
        (drain.is_under_way() && drain.began == key.began).then_some(drain)
    }

    /// The drains that have ended and still keep users out.
    fn ended_drains(&self) -> impl Iterator<Item = DrainKey> {
        self.desired.services.iter().flat_map(|(service, state)| {
            let ended = state.drains.iter().filter(|(_, drain)| !drain.is_under_way() && drain.keeps_out());
            ended.map(|(part, drain)| DrainKey { service: service.clone(), part: part.clone(), began: drain.began })
        })
    }

    /// Whether users may come again where this drain had kept them out.
    fn is_lifted(&self, key: &DrainKey) -> bool {
        let state = self.desired.services.get(key.service.as_str());
        state.is_some_and(|state| state.drains.get(&key.part).is_none_or(|drain| !drain.keeps_out()))
    }

    /// The drains under way.
    fn drains(&self) -> impl Iterator<Item = DrainKey> {
        self.desired.services.iter().flat_map(|(service, state)| {
            let under_way = state.drains.iter().filter(|(_, drain)| drain.is_under_way());
            under_way.map(|(part, drain)| DrainKey { service: service.clone(), part: part.clone(), began: drain.began })
        })
    }
}

/// Watches over drains for as long as the process lives.
pub(super) async fn run(shared: Arc<Shared>, commands: mpsc::Sender<Command>, reader: Reader) {
    let mut published = shared.published.subscribe();
    let mut tasks = JoinSet::new();
    // Tasks by their drains, until these are over: a task that has ended has said so, and is not begun again.
    let mut watched: HashMap<DrainKey, Id> = HashMap::new();
    // Those that have ended and still keep users out: their applications are told when they are lifted.
    let mut ended = HashSet::new();
    loop {
        published.mark_unchanged();
        // Not kept while waiting: it keeps ports open.
        let begun = {
            let running = shared.running.load();
            watched.retain(|key, _| running.drain(key).is_some());
            for key in std::mem::replace(&mut ended, running.ended_drains().collect()) {
                if running.is_lifted(&key) {
                    let one = one::Watched::new(Arc::clone(&shared), commands.clone(), reader.clone(), key);
                    tasks.spawn(one.lift());
                }
            }
            running.drains().filter(|key| !watched.contains_key(key)).collect::<Vec<_>>()
        };
        for key in begun {
            let one = one::Watched::new(Arc::clone(&shared), commands.clone(), reader.clone(), key.clone());
            watched.insert(key, tasks.spawn(one.run()).id());
        }
        tokio::select! {
            changed = published.changed() => if changed.is_err() { return },
            Some(ended) = tasks.join_next_with_id() => if let Err(panicked) = ended {
                tracing::error!(%panicked, "watching over a drain failed; it begins again");
                watched.retain(|_, task| *task != panicked.id());
            }
        }
    }
}
