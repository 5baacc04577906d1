//! Claims: the protocol that makes "drained" believable.
//!
//! A worker adds one to its slot of the group's count, then looks again whether the table it chose by is still the
//! published one; if not, it gives the claim back and starts over. The publisher stores the new generation, then sums
//! the slots. Both sides store first and load second with a sequentially consistent fence in between (Dekker's
//! pattern), so at least one of them sees the other: once a sum taken after a publication is 0, no request can reach
//! the old group any more. `tests/claims.rs` checks every interleaving of this very file.

use super::atomic::{AtomicU64, Ordering, fence};

/// One worker's count of claims. Only that worker writes it; anyone reads it.
#[derive(Debug)]
pub struct Slot(AtomicU64);

impl Default for Slot {
    fn default() -> Self {
        Self(AtomicU64::new(0))
    }
}

impl Slot {
    /// Adds one. Not yet believable: [`is_current`] has to follow.
    pub fn enter(&self) {
        // A plain add: the slot has a single writer.
        self.0.store(self.0.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Takes one off.
    pub fn leave(&self) {
        self.0.store(self.0.load(Ordering::Relaxed) - 1, Ordering::Release);
    }

    /// The count.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// The worker's second look: whether `chosen_by` is still the published generation. Call after [`Slot::enter`].
pub fn is_current(published: &AtomicU64, chosen_by: u64) -> bool {
    fence(Ordering::SeqCst);
    published.load(Ordering::Relaxed) == chosen_by
}

/// The publisher's side: from here on, every claim that was not counted yet will be given back.
pub fn supersede(published: &AtomicU64, generation: u64) {
    published.store(generation, Ordering::Release);
    fence(Ordering::SeqCst);
}
