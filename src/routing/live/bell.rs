//! A bell: workers tell the control plane that something has failed, so that it need not ask all the time.
//!
//! However much fails, it is rung once until somebody has come: one system call for each look of the control plane, and
//! none where nothing fails. Nothing is missed: ringing and coming both exchange the one flag, so whoever comes either
//! finds it set, and sees all that was counted before it was set, or has come before, and is woken.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Rung by any worker; one task waits for it.
#[derive(Debug, Default)]
pub struct Bell {
    rung: AtomicBool,
    waiting: Notify,
}

impl Bell {
    /// Wakes whoever waits. What was counted before is seen by it.
    pub fn ring(&self) {
        // Exchanged, not looked at first: who finds it set must still be seen by whoever takes it back next.
        if !self.rung.swap(true, Ordering::AcqRel) {
            // Kept for whoever comes later where nobody waits.
            self.waiting.notify_one();
        }
    }

    /// Resolves when it has been rung since the last time. May be dropped and called again; one task at a time.
    pub async fn rung(&self) {
        while !self.rung.swap(false, Ordering::AcqRel) {
            self.waiting.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;
    use std::task::Poll;
    use std::time::Duration;

    use super::*;

    const ROUNDS: u64 = 20_000;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whatever_was_counted_is_heard_of_across_threads_and_runtimes() {
        let (bell, count, seen) = (Arc::new(Bell::default()), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let worker = {
            let (bell, count, seen) = (Arc::clone(&bell), Arc::clone(&count), Arc::clone(&seen));
            std::thread::spawn(move || {
                for round in 1..=ROUNDS {
                    count.store(round, Ordering::Relaxed);
                    bell.ring();
                    // Now and then it waits until it was heard: a ring that is lost would end the test.
                    while round % 8 == 0 && seen.load(Ordering::Acquire) < round {
                        std::thread::yield_now();
                    }
                }
            })
        };
        let heard = async {
            while seen.load(Ordering::Relaxed) < ROUNDS {
                bell.rung().await;
                seen.store(count.load(Ordering::Relaxed), Ordering::Release);
            }
        };
        tokio::time::timeout(Duration::from_secs(60), heard).await.expect("a ring was lost");
        worker.join().unwrap();
    }

    #[tokio::test]
    async fn many_rings_are_one_and_one_that_nobody_waited_for_is_kept() {
        let bell = Bell::default();
        (0..10).for_each(|_| bell.ring());
        bell.rung().await;
        let mut again = Box::pin(bell.rung());
        assert_eq!(std::future::poll_fn(|cx| Poll::Ready(again.as_mut().poll(cx))).await, Poll::Pending);
        bell.ring();
        // Who was woken and went away takes nothing along.
        drop(again);
        bell.rung().await;
    }
}
