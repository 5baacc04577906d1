//! Admission: how many requests of a service are under way at a time, and who waits for a place.
//!
//! Shared by all workers, so the number is exact; a service without a limit has none of this and pays nothing. Places
//! are given in the order of asking, and nobody who comes later overtakes those who wait. Belongs to the service and
//! outlives tables while its limits are unchanged.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Lets requests in, so many at a time.
///
/// A request asks before it chooses its group, so that one that had to wait goes by the table of the moment in which
/// it gets its place:
///
/// ```ignore
/// let admitted = match admission.try_enter() {
///     Some(admitted) => admitted,
///     None => admission.wait(service.timeouts.response).await.map_err(|Full| ProxyError::Overloaded)?,
/// };
/// // … kept with the request; dropping it gives the place back.
/// ```
#[derive(Debug)]
pub struct Admission {
    free: Arc<Semaphore>,
    waiting: AtomicU32,
    refused: AtomicU64,
    places: u32,
    queue: u32,
}

/// A request's place, given back when dropped (which takes the semaphore's own lock for a moment, because somebody may
/// wait for it).
#[derive(Debug)]
pub struct Admitted {
    place: OwnedSemaphorePermit,
}

/// There is no place, and no room to wait for one or not in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Admission {
    /// With `places` for requests under way, and room for `queue` that wait.
    #[must_use]
    pub fn new(places: u32, queue: u32) -> Self {
        let free = Arc::new(Semaphore::new(places as usize));
        Self { free, waiting: AtomicU32::new(0), refused: AtomicU64::new(0), places, queue }
    }

    /// Whether it was made with these numbers.
    #[must_use]
    pub fn is_of(&self, places: u32, queue: u32) -> bool {
        (self.places, self.queue) == (places, queue)
    }

    /// A place at once, where one is free and nobody waits for it. Takes no lock.
    #[must_use]
    pub fn try_enter(&self) -> Option<Admitted> {
        Arc::clone(&self.free).try_acquire_owned().ok().map(|place| Admitted { place })
    }

    /// A place within `patience`, for a request that found none free.
    ///
    /// # Errors
    /// [`Full`] at once when as many wait already as may, or when none became free in time.
    pub async fn wait(&self, patience: Duration) -> Result<Admitted, Full> {
        self.wait_behind(self.queue, patience).await
    }

    /// The same for a request that was held: those who waited together come together, and the hold has seen to it that
    /// they are not too many.
    ///
    /// # Errors
    /// [`Full`] when none became free in time.
    pub async fn wait_after_hold(&self, patience: Duration) -> Result<Admitted, Full> {
        self.wait_behind(u32::MAX, patience).await
    }

    async fn wait_behind(&self, most: u32, patience: Duration) -> Result<Admitted, Full> {
        let waited = self.wait_in_queue(most, patience).await;
        if waited.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        waited
    }

    async fn wait_in_queue(&self, most: u32, patience: Duration) -> Result<Admitted, Full> {
        let _waiting = Waiting::begin(self, most)?;
        match tokio::time::timeout(patience, Arc::clone(&self.free).acquire_owned()).await {
            Ok(Ok(place)) => Ok(Admitted { place }),
            // The semaphore is never closed; being late is the same to the client.
            Ok(Err(_)) | Err(_) => Err(Full),
        }
    }

    /// Requests that wait.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Requests that got no place, since this exists.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Requests that have a place.
    #[must_use]
    pub fn entered(&self) -> u32 {
        self.places - self.free.available_permits() as u32
    }
}

impl Admitted {
    /// Whether the place is one of this admission's.
    #[must_use]
    pub fn is_of(&self, admission: &Admission) -> bool {
        Arc::ptr_eq(self.place.semaphore(), &admission.free)
    }
}

/// Counts as waiting while it lives: until there is a place, the time is over, or the client has gone.
struct Waiting<'a>(&'a Admission);

impl<'a> Waiting<'a> {
    fn begin(admission: &'a Admission, most: u32) -> Result<Self, Full> {
        let one_more = |n: u32| (n < most).then_some(n + 1);
        let begun = admission.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        begun.map(|_| Self(admission)).map_err(|_| Full)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn as_many_as_there_are_places_enter_and_a_place_given_back_is_given_again() {
        let admission = Admission::new(2, 0);
        let (first, _second) = (admission.try_enter().unwrap(), admission.try_enter().unwrap());
        assert!(admission.try_enter().is_none() && admission.entered() == 2);
        assert_eq!(admission.wait(LONG).await.unwrap_err(), Full);
        drop(first);
        let _third = admission.try_enter().unwrap();
        assert_eq!((admission.entered(), admission.waiting(), admission.refused()), (2, 0, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_are_served_in_their_order_and_nobody_overtakes_them() {
        let admission = Arc::new(Admission::new(1, 2));
        let held = admission.try_enter().unwrap();
        let wait = || {
            let admission = Arc::clone(&admission);
            tokio::spawn(async move { admission.wait(LONG).await })
        };
        let first = wait();
        tokio::task::yield_now().await;
        let second = wait();
        tokio::task::yield_now().await;
        assert_eq!(admission.waiting(), 2);
        assert_eq!(admission.wait(LONG).await.unwrap_err(), Full, "the queue is full");
        drop(held);
        assert!(admission.try_enter().is_none(), "the place belongs to the one who waits");
        let held = first.await.unwrap().unwrap();
        assert!(!second.is_finished());
        drop(held);
        drop(second.await.unwrap().unwrap());
        assert_eq!((admission.entered(), admission.waiting()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_were_held_wait_even_where_nobody_else_may() {
        let admission = Arc::new(Admission::new(1, 0));
        let place = admission.try_enter().unwrap();
        let wait = || {
            let admission = Arc::clone(&admission);
            tokio::spawn(async move { admission.wait_after_hold(LONG).await })
        };
        let (first, second) = (wait(), wait());
        tokio::task::yield_now().await;
        assert_eq!((admission.waiting(), admission.wait(LONG).await.unwrap_err()), (2, Full));
        drop(place);
        drop(first.await.unwrap().unwrap());
        drop(second.await.unwrap().unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_too_long_or_leaves_makes_room_for_others() {
        let admission = Admission::new(1, 1);
        let held = admission.try_enter().unwrap();
        let begun = tokio::time::Instant::now();
        assert_eq!(admission.wait(LONG).await.unwrap_err(), Full);
        assert_eq!(begun.elapsed().as_secs(), LONG.as_secs());
        let gone = tokio::time::timeout(Duration::from_secs(1), admission.wait(LONG));
        assert!(gone.await.is_err() && admission.waiting() == 0);
        drop(held);
        assert!(admission.wait(LONG).await.unwrap().is_of(&admission));
        assert!(!admission.try_enter().unwrap().is_of(&Admission::new(1, 1)));
    }
}
