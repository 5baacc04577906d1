//! A deadline that costs next to nothing to move.
//!
//! A timer of the runtime is put into a wheel and taken out again for each wait; for a wait that every request has,
//! that is most of the work of waiting. An alarm leaves its timer where it is when the deadline moves further away,
//! and looks at the true deadline when the timer goes off.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::time::{Sleep, sleep_until};

/// Wakes at a deadline that may be moved with each look.
#[derive(Debug, Default)]
pub(super) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready when `due` has passed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, due: Instant) -> Poll<()> {
        let due = tokio::time::Instant::from_std(due);
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if sleep.deadline() > due {
            sleep.as_mut().reset(due);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= due {
                // The next wait begins with a timer of its own: this one has gone off.
                self.0 = None;
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_goes_off_at_the_last_deadline_whichever_way_it_was_moved() {
        let begun = tokio::time::Instant::now().into_std();
        let mut alarm = Alarm::default();
        let at = |seconds| begun + Duration::from_secs(seconds);
        for (first, then) in [(5, 9), (20, 12), (13, 13)] {
            let early = poll_fn(|cx| Poll::Ready(alarm.poll(cx, at(first)))).await;
            assert!(early.is_pending());
            poll_fn(|cx| alarm.poll(cx, at(then))).await;
            assert_eq!(tokio::time::Instant::now().into_std(), at(then), "{first} {then}");
        }
    }
}
