//! Says the same thing once a second at most, whoever says it: a log must not fill up because something goes wrong
//! again and again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// From one time to the next.
const PAUSE: Duration = Duration::from_secs(1);

/// Lets something be said once a second at most. Any thread may ask.
#[derive(Debug)]
pub struct Seldom {
    began: Instant,
    /// Milliseconds since it began from which on something may be said again.
    next: AtomicU64,
}

impl Seldom {
    /// Nothing was said so far.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { began: now, next: AtomicU64::new(0) }
    }

    /// Whether it may be said at `now`; whoever is told so says it.
    #[must_use]
    pub fn may_speak(&self, now: Instant) -> bool {
        let now = now.saturating_duration_since(self.began).as_millis() as u64;
        let next = self.next.load(Ordering::Relaxed);
        let then = now + PAUSE.as_millis() as u64;
        now >= next && self.next.compare_exchange(next, then, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_wrong_again_and_again_is_said_once_a_second() {
        let begin = Instant::now();
        let seldom = Seldom::new(begin);
        let said = (0..5000_u64).filter(|ms| seldom.may_speak(begin + Duration::from_millis(*ms)));
        assert_eq!(said.collect::<Vec<_>>(), [0, 1000, 2000, 3000, 4000]);
    }
}
