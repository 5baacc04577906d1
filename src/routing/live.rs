//! Live counters: what goes on at each group and upstream right now.
//!
//! They belong to the identity of a group (service and name) or an upstream (group and endpoint) and outlive tables.
//! Each worker writes its own padded slot with plain loads and stores (a slot has one writer); the control plane
//! sums the slots whenever somebody asks. Health is written by the prober only.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering, fence};
use std::time::{Duration, Instant};

use super::addresses::Addresses;
use super::claim::Slot;
use super::seldom::Seldom;
use crate::config::spec::{Address, Endpoint};
pub use crate::model::health::Health;
use crate::model::histogram;
use crate::model::outcome::{Outcome, TunnelEnd};

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

/// One worker's counts for an upstream.
#[derive(Debug, Default)]
pub struct UpstreamSlot {
    /// Attempts under way.
    pub in_flight: Slot,
    /// Tunnels open.
    pub tunnels: Slot,
    /// Finished attempts by [`Outcome`].
    pub attempts: [Count; Outcome::ALL.len()],
}

/// Who may come to a group or an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Entrance {
    /// Everybody.
    #[default]
    Open = 0,
    /// Validation traffic: it has been drained, and what is put there next wants to be tested before users come.
    ToValidation = 1,
    /// Nobody: it is being drained.
    Closed = 2,
}

/// The living side of an upstream.
#[derive(Debug)]
pub struct UpstreamLive {
    /// Its number, never given twice in a process: key of the workers' pools.
    pub id: u64,
    /// Its identity.
    pub endpoint: Endpoint,
    /// Where its name leads; none where it is configured by an IP address or a socket's path.
    pub addresses: Option<Addresses>,
    health: AtomicU8,
    born: Instant,
    /// Milliseconds from `born` to the moment in which it came back, plus one; 0: it has been there all the time.
    /// Written by the prober, read when an upstream is chosen.
    back: AtomicU64,
    /// Whether its next first verdict is a coming back: it joins a group that is at work already.
    late: AtomicBool,
    /// Written by the controller ahead of a publication, read when an upstream is chosen.
    entrance: AtomicU8,
    slots: Box<[Padded<UpstreamSlot>]>,
}

impl UpstreamLive {
    /// A new one with unknown health and a slot for each worker.
    #[must_use]
    pub fn new(id: u64, endpoint: Endpoint, workers: usize) -> Self {
        let slots = (0..workers).map(|_| Padded::default()).collect();
        let health = AtomicU8::new(Health::Unknown as u8);
        let addresses = match &endpoint.address {
            Address::Tcp { host, .. } if host.parse::<IpAddr>().is_err() => Some(Addresses::default()),
            Address::Tcp { .. } | Address::Unix(_) => None,
        };
        Self {
            id,
            endpoint,
            addresses,
            health,
            born: Instant::now(),
            back: AtomicU64::new(0),
            late: AtomicBool::new(false),
            entrance: AtomicU8::new(Entrance::Open as u8),
            slots,
        }
    }

    /// The prober's verdict.
    #[must_use]
    pub fn health(&self) -> Health {
        match self.health.load(Ordering::Acquire) {
            1 => Health::Healthy,
            2 => Health::Unhealthy,
            _ => Health::Unknown,
        }
    }

    /// Only the prober calls this.
    pub fn set_health(&self, health: Health) {
        self.health.store(health as u8, Ordering::Release);
    }

    /// Who may come. Read afresh for every choice, also by requests that hold an older table.
    #[must_use]
    pub fn entrance(&self) -> Entrance {
        match self.entrance.load(Ordering::Acquire) {
            0 => Entrance::Open,
            1 => Entrance::ToValidation,
            _ => Entrance::Closed,
        }
    }

    /// Only the controller calls this. Believable once every worker has acknowledged the publication that follows
    /// (see [`super::publish::Reader::acknowledged`]): until then a request may be on its way from its choice here.
    pub fn set_entrance(&self, entrance: Entrance) {
        self.entrance.store(entrance as u8, Ordering::Release);
    }

    /// It is new to a group that is at work, or somebody else is behind its name: being well for the first time, it
    /// counts as one that has come back.
    pub fn joins_late(&self) {
        self.late.store(true, Ordering::Release);
    }

    /// It is well at `now`, after this was thought of it. Only the prober calls this.
    pub fn comes_back(&self, from: Health, now: Instant) {
        if self.late.swap(false, Ordering::AcqRel) || from == Health::Unhealthy {
            let millis = now.saturating_duration_since(self.born).as_millis() as u64;
            self.back.store(millis + 1, Ordering::Release);
        }
    }

    /// How long ago at `now` it came back; none where it has been there all the time.
    #[must_use]
    pub fn back_for(&self, now: Instant) -> Option<Duration> {
        let back = self.back.load(Ordering::Acquire).checked_sub(1)?;
        Some(now.saturating_duration_since(self.born).saturating_sub(Duration::from_millis(back)))
    }

    /// The slot of one worker.
    #[must_use]
    pub fn slot(&self, worker: usize) -> &UpstreamSlot {
        &self.slots[worker].0
    }

    /// Attempts under way, over all workers.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.slots.iter().map(|s| s.0.in_flight.count()).sum()
    }

    /// Tunnels open, over all workers. A request that becomes one is in both counts for a moment, never in none.
    #[must_use]
    pub fn tunnels(&self) -> u64 {
        self.slots.iter().map(|s| s.0.tunnels.count()).sum()
    }

    /// Finished attempts with this outcome, over all workers.
    #[must_use]
    pub fn attempts(&self, outcome: Outcome) -> u64 {
        self.slots.iter().map(|s| s.0.attempts[outcome as usize].get()).sum()
    }
}

/// Tokens for retries: each request brings a fraction of one, each retry takes a whole one. Counted in millionths.
/// One writer, like [`Count`].
#[derive(Debug)]
pub struct RetryTokens(AtomicU64);

/// A few retries are always allowed: the tokens are filled up to this now and then.
const RESERVE: u64 = 10_000_000;
/// Tokens do not pile up beyond this.
const MOST: u64 = 100_000_000;

impl Default for RetryTokens {
    fn default() -> Self {
        Self(AtomicU64::new(RESERVE))
    }
}

impl RetryTokens {
    /// A request brings `ppm` millionths of a token.
    pub fn deposit(&self, ppm: u32) {
        let tokens = self.0.load(Ordering::Relaxed) + u64::from(ppm);
        self.0.store(tokens.min(MOST), Ordering::Relaxed);
    }

    /// Takes a token for a retry; `false` when there is none.
    #[must_use]
    pub fn withdraw(&self) -> bool {
        let Some(left) = self.0.load(Ordering::Relaxed).checked_sub(1_000_000) else { return false };
        self.0.store(left, Ordering::Relaxed);
        true
    }

    /// Fills up the reserve; the worker does so every few seconds.
    pub fn refill(&self) {
        let tokens = self.0.load(Ordering::Relaxed);
        self.0.store(tokens.max(RESERVE), Ordering::Relaxed);
    }
}

/// How many status codes are counted one by one: 100 to 599.
const CODES: usize = 500;

/// One worker's counts for a group.
#[derive(Debug)]
pub struct GroupSlot {
    /// Requests under way, from the choice of the group to the last byte of the answer.
    pub in_flight: Slot,
    /// Requests that were balanced in turn so far.
    pub turns: Count,
    /// Tunnels open.
    pub tunnels: Slot,
    /// Streams among the requests under way: answers of events, or that have been on their way for long.
    pub streams: Slot,
    /// Retries that were sent because an attempt at this group failed.
    pub retries: Count,
    /// Tunnels that have ended, by [`TunnelEnd`].
    pub tunnel_ends: [Count; TunnelEnd::ALL.len()],
    /// What retries are paid with.
    pub retry_tokens: RetryTokens,
    codes: Box<[Count]>,
    durations: Box<[Count]>,
    micros: Count,
    failures: Count,
}

impl Default for GroupSlot {
    fn default() -> Self {
        let counts = |n| (0..n).map(|_| Count::default()).collect();
        Self {
            in_flight: Slot::default(),
            turns: Count::default(),
            tunnels: Slot::default(),
            streams: Slot::default(),
            retries: Count::default(),
            tunnel_ends: Default::default(),
            retry_tokens: RetryTokens::default(),
            codes: counts(CODES),
            durations: counts(histogram::BUCKETS),
            micros: Count::default(),
            failures: Count::default(),
        }
    }
}

impl GroupSlot {
    /// Counts a request that was answered with `code` after `micros` (to the response's head).
    pub fn answered(&self, code: u16, micros: u64) {
        self.codes[usize::from(code.clamp(100, 599) - 100)].add(1);
        self.durations[histogram::bucket(micros)].add(1);
        self.micros.add(micros);
    }

    /// Counts a finished attempt for the window of figures.
    pub fn attempted(&self, outcome: Outcome) {
        if outcome.is_failure() {
            self.failures.add(1);
        }
    }
}

/// A group's counts summed over all workers, since the group exists.
#[derive(Clone, Debug, Default)]
pub struct GroupTotals {
    /// Answered requests by status code, only those that occurred.
    pub codes: Vec<(u16, u64)>,
    /// Durations to the response's head by bucket of [`histogram`].
    pub durations: Vec<u64>,
    /// Sum of those durations in microseconds.
    pub micros: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// Retries caused.
    pub retries: u64,
    /// Tunnels that have ended, by [`TunnelEnd`].
    pub tunnel_ends: [u64; TunnelEnd::ALL.len()],
}

/// The living side of a group.
#[derive(Debug)]
pub struct GroupLive {
    slots: Box<[Padded<GroupSlot>]>,
}

impl GroupLive {
    /// A new one with a slot for each worker.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self { slots: (0..workers).map(|_| Padded::default()).collect() }
    }

    /// The slot of one worker.
    #[must_use]
    pub fn slot(&self, worker: usize) -> &GroupSlot {
        &self.slots[worker].0
    }

    /// Requests under way, over all workers. After a publication that took the group's share away, 0 means that no
    /// further request will reach it (see [`super::claim`]).
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.slots.iter().map(|s| s.0.in_flight.count()).sum()
    }

    /// Tunnels open, over all workers.
    #[must_use]
    pub fn tunnels(&self) -> u64 {
        self.slots.iter().map(|s| s.0.tunnels.count()).sum()
    }

    /// Streams among the requests under way, over all workers: those that a drain will wait for in vain.
    #[must_use]
    pub fn streams(&self) -> u64 {
        self.slots.iter().map(|s| s.0.streams.count()).sum()
    }

    /// Everything counted so far, over all workers.
    #[must_use]
    pub fn totals(&self) -> GroupTotals {
        let sum = |of: &dyn Fn(&GroupSlot) -> u64| self.slots.iter().map(|s| of(&s.0)).sum::<u64>();
        GroupTotals {
            codes: (0..CODES).map(|i| (i as u16 + 100, sum(&|s| s.codes[i].get()))).filter(|(_, n)| *n > 0).collect(),
            durations: (0..histogram::BUCKETS).map(|i| sum(&|s| s.durations[i].get())).collect(),
            micros: sum(&|s| s.micros.get()),
            failures: sum(&|s| s.failures.get()),
            retries: sum(&|s| s.retries.get()),
            tunnel_ends: TunnelEnd::ALL.map(|end| sum(&|s| s.tunnel_ends[end as usize].get())),
        }
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
