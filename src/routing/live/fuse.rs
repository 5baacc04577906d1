//! A fuse: attempts of users at a group in a row, over all workers, that could not connect, and whether these were so
//! many that users are kept away.
//!
//! The one count that workers share, and so it is written only where something fails, and by the first that gets
//! through again. Blown, it stays so until the control plane puts it right: answers to what was sent before say nothing.

use std::sync::atomic::{AtomicU32, Ordering};

/// Set beside the count.
const BLOWN: u32 = 1 << 31;

/// Attempts in a row that could not connect. Any worker writes, anyone reads.
#[derive(Debug, Default)]
pub struct Fuse(AtomicU32);

impl Fuse {
    /// An attempt could not connect. So many in a row blow it; none: nothing does.
    pub fn failed(&self, blows_at: Option<u32>) {
        self.change(|stand| {
            let failures = (stand & !BLOWN).saturating_add(1).min(BLOWN - 1);
            let blown = if blows_at.is_some_and(|most| failures >= most) { BLOWN } else { stand & BLOWN };
            Some(failures | blown)
        });
    }

    /// An attempt could connect, or has got an answer. Costs one load where all is well.
    pub fn reached(&self) {
        if self.0.load(Ordering::Relaxed) != 0 {
            self.change(|stand| (stand & BLOWN == 0).then_some(0));
        }
    }

    /// Attempts in a row that could not connect, up to now.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.0.load(Ordering::Relaxed) & !BLOWN
    }

    /// Whether it has blown.
    #[must_use]
    pub fn has_blown(&self) -> bool {
        self.0.load(Ordering::Relaxed) & BLOWN != 0
    }

    /// Begins anew. Only the control plane calls this.
    pub fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn change(&self, next: impl FnMut(u32) -> Option<u32>) {
        // An error says that there was nothing to change.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_failures_in_a_row_count_and_who_gets_through_begins_a_new_row() {
        let fuse = Fuse::default();
        for _ in 0..5 {
            fuse.failed(Some(3));
            fuse.failed(Some(3));
            assert_eq!((fuse.failures(), fuse.has_blown()), (2, false));
            fuse.reached();
            assert_eq!(fuse.failures(), 0);
        }
        (0..100).for_each(|_| fuse.failed(None));
        assert_eq!((fuse.failures(), fuse.has_blown()), (100, false));
    }

    #[test]
    fn once_blown_it_stays_so_until_it_is_put_right() {
        let fuse = Fuse::default();
        (0..3).for_each(|_| fuse.failed(Some(3)));
        assert!(fuse.has_blown());
        fuse.reached();
        fuse.failed(None);
        assert_eq!((fuse.failures(), fuse.has_blown()), (4, true));
        fuse.reset();
        assert_eq!((fuse.failures(), fuse.has_blown()), (0, false));
    }

    #[test]
    fn failures_of_all_workers_at_once_make_one_row_and_none_is_lost() {
        let fuse = Fuse::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| fuse.failed(Some(40_000))));
            }
        });
        assert_eq!((fuse.failures(), fuse.has_blown()), (40_000, true));
    }
}
