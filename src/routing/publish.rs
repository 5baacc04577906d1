//! One pointer, one writer, many readers.
//!
//! The [`Publisher`] is not clonable and belongs to the controller. A [`Reader`] gives whole tables; each worker keeps
//! its own copy of the pointer in a [`Snapshots`] and renews it when the generation has moved: one load a request, of
//! a memory line that is only written by a publication.

use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::claim;
use super::live::Padded;
use super::table::Table;

#[derive(Debug)]
struct Shared {
    table: ArcSwap<Table>,
    /// The generation of `table`; stored after it.
    generation: Padded<AtomicU64>,
    /// What each worker has acknowledged; those whose worker is gone are left out. Locked when a worker begins, and
    /// by the control plane.
    acknowledged: Mutex<Vec<Weak<Padded<AtomicU64>>>>,
}

/// Puts a new table in place of the old one. There is one.
#[derive(Debug)]
pub struct Publisher {
    shared: Arc<Shared>,
    changed: watch::Sender<u64>,
    next: u64,
}

/// Reads the published table. Clone freely.
#[derive(Clone, Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    changed: watch::Receiver<u64>,
}

/// A publisher whose first table is `table`, and a reader of it.
#[must_use]
pub fn channel(mut table: Table) -> (Publisher, Reader) {
    table.generation = 1;
    let shared = Arc::new(Shared {
        table: ArcSwap::from_pointee(table),
        generation: Padded(AtomicU64::new(1)),
        acknowledged: Mutex::default(),
    });
    let (changed, receiver) = watch::channel(1);
    (Publisher { shared: Arc::clone(&shared), changed, next: 2 }, Reader { shared, changed: receiver })
}

impl Publisher {
    /// Publishes `table` and gives back the one it replaced. Every request that starts after this returns is routed
    /// by `table`, and every claim made by the replaced one is either visible in the counts or will be given back.
    pub fn publish(&mut self, mut table: Table) -> Arc<Table> {
        let generation = self.next;
        self.next += 1;
        table.generation = generation;
        let replaced = self.shared.table.swap(Arc::new(table));
        claim::supersede(&self.shared.generation.0, generation);
        // Readers that wait for it (workers' housekeeping, waiters for health) are woken; nobody listening is fine.
        self.changed.send_replace(generation);
        replaced
    }

    /// The published table.
    #[must_use]
    pub fn current(&self) -> Arc<Table> {
        self.shared.table.load_full()
    }
}

impl Reader {
    /// The published table.
    #[must_use]
    pub fn current(&self) -> Arc<Table> {
        self.shared.table.load_full()
    }

    /// Resolves when a table has been published since the last call. `false` when there will be no more.
    pub async fn changed(&mut self) -> bool {
        self.changed.changed().await.is_ok()
    }

    /// This worker's view; not to be shared among threads.
    #[must_use]
    pub fn snapshots(&self) -> Snapshots {
        let acknowledged = Arc::default();
        let mut all = self.shared.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|one| one.strong_count() > 0);
        all.push(Arc::downgrade(&acknowledged));
        drop(all);
        Snapshots { shared: Arc::clone(&self.shared), cached: Rc::new(self.current()).into(), acknowledged }
    }

    /// The newest generation that every worker has acknowledged: whatever a worker did by an older one in one go,
    /// without waiting, has been done. The published one where there are no workers.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        let all = self.shared.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        let workers = all.iter().filter_map(Weak::upgrade).map(|one| one.0.load(Ordering::Acquire));
        workers.min().unwrap_or_else(|| self.shared.generation.0.load(Ordering::Acquire))
    }
}

/// A table as one request sees it, from its start to its end.
pub type Snapshot = Rc<Arc<Table>>;

/// One worker's cached pointer to the published table.
#[derive(Debug)]
pub struct Snapshots {
    shared: Arc<Shared>,
    cached: std::cell::RefCell<Snapshot>,
    acknowledged: Arc<Padded<AtomicU64>>,
}

impl Snapshots {
    /// The published table. Costs one shared load and no shared write.
    #[must_use]
    pub fn load(&self) -> Snapshot {
        let generation = self.shared.generation.0.load(Ordering::Acquire);
        let mut cached = self.cached.borrow_mut();
        if cached.generation < generation {
            *cached = Rc::new(self.shared.table.load_full());
        }
        Rc::clone(&cached)
    }

    /// Says that the published table has been seen. Called by a task of the worker's own: on one thread, no other task
    /// is in the middle of anything then.
    pub fn acknowledge(&self) {
        self.acknowledged.0.store(self.load().generation, Ordering::Release);
    }

    /// Whether `snapshot` is still the published one; call after entering a claim (see [`claim`]).
    #[must_use]
    pub fn is_current(&self, snapshot: &Snapshot) -> bool {
        claim::is_current(&self.shared.generation.0, snapshot.generation)
    }
}
