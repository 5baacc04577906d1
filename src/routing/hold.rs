//! A hold: new requests of a service wait for a moment, and nobody is refused.
//!
//! Shared by all workers. It is in the table for as long as it lasts and no longer, so that a service without one pays
//! nothing. A request waits before it has chosen its group, and chooses by the table of the moment in which it is let
//! go. Bounded by time, by number and by bytes; the time ends by itself, whatever becomes of the control plane.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// How much a hold may keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Requests that wait.
    pub requests: u32,
    /// Bytes that have come of them.
    pub bytes: u64,
}

/// What all holds of a service have come to. Outlives each of them.
#[derive(Debug, Default)]
pub struct HoldTotals {
    refused: AtomicU64,
    expired: AtomicU64,
}

/// New requests of a service wait. Ended by the controller, after it has published a table without it; for those who
/// wait, by its time at the latest.
#[derive(Debug)]
pub struct Hold {
    until: Instant,
    room: Room,
    stand: watch::Sender<Stand>,
    waiting: AtomicU32,
    most: AtomicU32,
    bytes: AtomicU64,
    refused: AtomicU64,
    totals: Arc<HoldTotals>,
}

/// How a hold stands, by the controller's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    On,
    LetGo,
    /// Its time was over, and nobody had let go.
    Over,
}

/// Why a request was not let go to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotLetGo {
    /// As many wait already as may, or there is no room for more of them; it goes on for so long.
    Full(Duration),
    /// It was over before anybody ended it.
    Expired,
}

impl HoldTotals {
    /// Requests that there was no room for.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Requests that had waited when the time was over.
    #[must_use]
    pub fn expired(&self) -> u64 {
        self.expired.load(Ordering::Relaxed)
    }
}

impl Hold {
    /// Until `until`, and for as many as there is `room` for.
    #[must_use]
    pub fn new(until: Instant, room: Room, totals: Arc<HoldTotals>) -> Self {
        Self {
            until,
            room,
            stand: watch::Sender::new(Stand::On),
            waiting: AtomicU32::new(0),
            most: AtomicU32::new(0),
            bytes: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            totals,
        }
    }

    /// Whether new requests wait.
    #[must_use]
    pub fn is_on(&self) -> bool {
        *self.stand.borrow() == Stand::On && Instant::now() < self.until
    }

    /// When it ends by itself.
    #[must_use]
    pub fn until(&self) -> Instant {
        self.until
    }

    /// Lets everybody go who waits. Only the controller calls this; the published table has no hold any more, or
    /// another one.
    pub fn end(&self) {
        self.stand.send_replace(Stand::LetGo);
    }

    /// Ends it because its time is over: who still waits is too late. As [`Hold::end`].
    pub fn expire(&self) {
        self.stand.send_replace(Stand::Over);
    }

    /// Waits until the request is let go; so many bytes have come of it.
    ///
    /// # Errors
    /// [`NotLetGo::Full`] at once, [`NotLetGo::Expired`] when the time is over.
    pub async fn wait(&self, bytes: u64) -> Result<(), NotLetGo> {
        let Some(_waiting) = Waiting::begin(self, bytes) else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            self.totals.refused.fetch_add(1, Ordering::Relaxed);
            return Err(NotLetGo::Full(self.until.saturating_duration_since(Instant::now())));
        };
        let mut stand = self.stand.subscribe();
        // The controller's clock may be a little ahead of this worker's: it must not make a difference to anybody.
        let ended = timeout_at(self.until, stand.wait_for(|stand| *stand != Stand::On)).await;
        if ended.is_ok_and(|stand| stand.is_ok_and(|stand| *stand == Stand::LetGo)) {
            return Ok(());
        }
        self.totals.expired.fetch_add(1, Ordering::Relaxed);
        Err(NotLetGo::Expired)
    }

    /// Requests that wait.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// The most that have waited at a time.
    #[must_use]
    pub fn most(&self) -> u32 {
        self.most.load(Ordering::Relaxed)
    }

    /// Bytes that have come of those that wait.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Requests that there was no room for.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// Counts as waiting while it lives: until the request is let go, the time is over, or the client has gone.
struct Waiting<'a> {
    hold: &'a Hold,
    bytes: u64,
}

impl<'a> Waiting<'a> {
    fn begin(hold: &'a Hold, bytes: u64) -> Option<Self> {
        let Room { requests, bytes: room } = hold.room;
        let fits = |sum: u64| sum.checked_add(bytes).filter(|sum| *sum <= room);
        hold.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        let one_more = |n: u32| (n < requests).then_some(n + 1);
        let Ok(before) = hold.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more) else {
            hold.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return None;
        };
        hold.most.fetch_max(before + 1, Ordering::Relaxed);
        Some(Self { hold, bytes })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.hold.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.hold.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(10);

    fn hold(requests: u32, bytes: u64) -> Arc<Hold> {
        Arc::new(Hold::new(Instant::now() + TIME, Room { requests, bytes }, Arc::default()))
    }

    fn wait(hold: &Arc<Hold>, bytes: u64) -> tokio::task::JoinHandle<Result<(), NotLetGo>> {
        let hold = Arc::clone(hold);
        tokio::spawn(async move { hold.wait(bytes).await })
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_are_let_go_together_and_a_hold_that_has_ended_holds_nobody() {
        let hold = hold(9, 900);
        let waits = [wait(&hold, 10), wait(&hold, 20), wait(&hold, 30)];
        tokio::time::sleep(TIME / 2).await;
        assert!(hold.is_on() && waits.iter().all(|w| !w.is_finished()));
        assert_eq!((hold.waiting(), hold.bytes()), (3, 60));
        hold.end();
        for waits in waits {
            assert_eq!(waits.await.unwrap(), Ok(()));
        }
        assert_eq!((hold.is_on(), hold.waiting(), hold.bytes(), hold.most()), (false, 0, 0, 3));
        assert_eq!(hold.wait(1).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn its_time_ends_by_itself() {
        let hold = hold(9, 900);
        let begun = Instant::now();
        assert_eq!(hold.wait(1).await, Err(NotLetGo::Expired));
        assert_eq!((begun.elapsed().as_secs(), hold.is_on(), hold.totals.expired()), (TIME.as_secs(), false, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_when_it_is_said_to_be_over_is_too_late() {
        let hold = hold(9, 900);
        let waits = wait(&hold, 1);
        tokio::task::yield_now().await;
        hold.expire();
        assert_eq!(waits.await.unwrap(), Err(NotLetGo::Expired));
        assert_eq!((hold.is_on(), hold.totals.expired()), (false, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_number_or_bytes_nobody_waits_and_whoever_leaves_makes_room() {
        let hold = hold(2, 100);
        let first = wait(&hold, 60);
        tokio::task::yield_now().await;
        assert_eq!(hold.wait(41).await, Err(NotLetGo::Full(TIME)), "too many bytes");
        let second = wait(&hold, 40);
        tokio::task::yield_now().await;
        assert_eq!(hold.wait(0).await, Err(NotLetGo::Full(TIME)), "too many requests");
        assert_eq!((hold.waiting(), hold.bytes(), hold.refused(), hold.totals.refused()), (2, 100, 2, 2));
        first.abort();
        assert!(first.await.is_err());
        assert_eq!((hold.waiting(), hold.bytes()), (1, 40));
        let third = wait(&hold, 60);
        tokio::task::yield_now().await;
        hold.end();
        assert_eq!((second.await.unwrap(), third.await.unwrap()), (Ok(()), Ok(())));
    }
}
