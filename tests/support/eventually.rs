//! Waiting for conditions, never for time.

use std::time::{Duration, Instant};

/// How long a condition may take by default. Generous: it is spent only where the test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// From one look to the next.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What a look at a condition may come to.
pub trait Look {
    /// What is handed back once the condition holds.
    type Found;
    /// The find; or, while it does not hold yet, what was seen instead.
    fn found(self) -> Result<Self::Found, String>;
}

impl Look for bool {
    type Found = ();
    fn found(self) -> Result<(), String> {
        if self { Ok(()) } else { Err("false".to_owned()) }
    }
}

impl<T> Look for Option<T> {
    type Found = T;
    fn found(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing".to_owned())
    }
}

impl<T, E: std::fmt::Display> Look for Result<T, E> {
    type Found = T;
    fn found(self) -> Result<T, String> {
        self.map_err(|e| e.to_string())
    }
}

/// Looks until `look` finds what it looks for, for 20 s; a panic then says `what` was waited for and what the last
/// look saw. Level-triggered: it asks again and again, so nothing is missed between two looks. A look may give a
/// `bool`, an `Option`, or a `Result` whose error says what was seen instead.
#[track_caller]
pub fn eventually<L: Look, F: Future<Output = L>>(
    what: &str,
    look: impl FnMut() -> F,
) -> impl Future<Output = L::Found> {
    eventually_within(PATIENCE, what, look)
}

/// As [`eventually`], with a bound of its own.
#[track_caller]
pub fn eventually_within<L: Look, F: Future<Output = L>>(
    within: Duration,
    what: &str,
    mut look: impl FnMut() -> F,
) -> impl Future<Output = L::Found> {
    let caller = std::panic::Location::caller();
    async move {
        let started = Instant::now();
        let mut last = "the first look did not come to an end".to_owned();
        loop {
            let left = within.saturating_sub(started.elapsed());
            match tokio::time::timeout(left, look()).await.map(Look::found) {
                Ok(Ok(found)) => return found,
                Ok(Err(seen)) => last = seen,
                Err(_) => {}
            }
            // Asked apart from the timeout above, which a look that never waits does not reach.
            assert!(started.elapsed() < within, "{caller}: waited {within:?} for: {what}; last seen: {last}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
