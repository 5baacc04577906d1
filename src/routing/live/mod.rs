//! Live counters: what goes on at each group and upstream right now.
//!
//! They belong to the identity of a group (service and name) or an upstream (group and endpoint) and outlive tables.
//! Each worker writes its own padded slot with plain loads and stores (a slot has one writer); the control plane
//! sums the slots whenever somebody asks. Health is written by the prober only. What workers share, a [`Fuse`] and a
//! [`Bell`], they write only where something fails.

mod bell;
mod fuse;
mod group;
mod tally;
mod upstream;

use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Instant;

use super::claim::Slot;
use super::seldom::Seldom;
pub use crate::model::health::Health;
pub use bell::Bell;
pub use fuse::Fuse;
pub use group::{GroupLive, GroupSlot, GroupTotals, RetryTokens};
pub use tally::{Tally, TallySlot};
pub use upstream::{Entrance, UpstreamLive, UpstreamSlot};

/// Keeps a value on memory lines of its own (128 bytes: adjacent-line prefetch counts as sharing).
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Padded<T>(pub T);

/// A counter with one writing thread.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds `n`. Only the slot's worker may call this.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// The count so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A moment in seconds since 1970, with one writing thread; 0: never.
#[derive(Debug, Default)]
pub struct Latest(AtomicU64);

impl Latest {
    /// It is now. Only the slot's worker may call this.
    pub fn set(&self, seconds: u64) {
        self.0.store(seconds, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The living side of a listener: connections open, by worker.
#[derive(Debug)]
pub struct ListenerLive {
    slots: Box<[Padded<Slot>]>,
    /// What keeps workers from accepting is said once a second, whichever worker it is.
    pub trouble: Seldom,
}

impl ListenerLive {
    /// A new one with a slot for each worker.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self { slots: (0..workers).map(|_| Padded::default()).collect(), trouble: Seldom::new(Instant::now()) }
    }

    /// Counts a connection of this worker, unless `most` are open already. Exact over all workers: each adds first and
    /// sums second (as in [`super::claim`]), so of two that come at once at least one sees the other. It may be that
    /// both see each other and neither gets the last place; so ask again.
    #[must_use]
    pub fn try_enter(&self, worker: usize, most: Option<u32>) -> bool {
        let slot = &self.slots[worker].0;
        slot.enter();
        let Some(most) = most else { return true };
        fence(Ordering::SeqCst);
        let fits = self.connections() <= u64::from(most);
        if !fits {
            slot.leave();
        }
        fits
    }

    /// A connection that this worker has counted has ended.
    pub fn leave(&self, worker: usize) {
        self.slots[worker].0.leave();
    }

    /// Connections open, over all workers.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.slots.iter().map(|s| s.0.count()).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[test]
    fn workers_that_accept_at_once_never_exceed_the_limit_together() {
        const MOST: u32 = 3;
        let (live, open) = (ListenerLive::new(4), AtomicU32::new(0));
        let entered: u32 = std::thread::scope(|scope| {
            let worker = |index| {
                let (live, open) = (&live, &open);
                scope.spawn(move || {
                    let mut mine = 0;
                    for round in 0..20_000 {
                        if live.try_enter(index, Some(MOST)) {
                            assert!(open.fetch_add(1, Ordering::SeqCst) < MOST);
                            mine += 1;
                            if round % 3 == 0 {
                                std::thread::yield_now();
                            }
                            open.fetch_sub(1, Ordering::SeqCst);
                            live.leave(index);
                        }
                    }
                    mine
                })
            };
            let workers: Vec<_> = (0..4).map(worker).collect();
            workers.into_iter().map(|w| w.join().unwrap()).sum()
        });
        assert!(entered > 0 && live.connections() == 0);
        assert!((0..MOST).all(|_| live.try_enter(0, Some(MOST))) && !live.try_enter(1, Some(MOST)));
        assert!(live.try_enter(1, None));
    }
}
