//! The claim protocol, model-checked: every interleaving and every reordering that the memory model allows.
//!
//! `src/routing/claim.rs` is compiled here a second time with loom's atomics in the place of the real ones.

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering, fence};
}
#[path = "../src/routing/claim.rs"]
#[allow(unreachable_pub, reason = "public where it is at home")]
mod claim;

use claim::{Slot, is_current, supersede};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

#[test]
fn once_a_count_taken_after_a_publication_is_zero_nobody_reaches_the_old_group() {
    loom::model(|| {
        let published = Arc::new(AtomicU64::new(1));
        let old_group = Arc::new(Slot::default());
        let reached = Arc::new(AtomicU64::new(0));
        let worker = {
            let (published, old_group, reached) = (published.clone(), old_group.clone(), reached.clone());
            thread::spawn(move || {
                // The worker has chosen the old group by generation 1.
                old_group.enter();
                if is_current(&published, 1) {
                    reached.store(1, Ordering::Relaxed);
                    old_group.leave();
                } else {
                    old_group.leave();
                }
            })
        };
        supersede(&published, 2);
        if old_group.count() == 0 {
            let before = reached.load(Ordering::Relaxed);
            worker.join().unwrap();
            assert_eq!(reached.load(Ordering::Relaxed), before, "a request reached the drained group");
        } else {
            worker.join().unwrap();
        }
        assert_eq!(old_group.count(), 0, "every claim is given back");
    });
}
