//! The living side of a group: requests, tunnels, retries and how long answers took.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Bell, Count, Fuse, Latest, Padded, Slot, Tally, TallySlot};
use crate::model::histogram;
use crate::model::outcome::{Outcome, TunnelEnd};

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
    /// When the last request came.
    pub last: Latest,
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
    /// What users did here.
    pub tally: TallySlot,
    codes: Box<[Count]>,
    durations: Box<[Count]>,
    micros: Count,
}

impl Default for GroupSlot {
    fn default() -> Self {
        let counts = |n| (0..n).map(|_| Count::default()).collect();
        Self {
            in_flight: Slot::default(),
            last: Latest::default(),
            turns: Count::default(),
            tunnels: Slot::default(),
            streams: Slot::default(),
            retries: Count::default(),
            tunnel_ends: Default::default(),
            retry_tokens: RetryTokens::default(),
            tally: TallySlot::default(),
            codes: counts(CODES),
            durations: counts(histogram::BUCKETS),
            micros: Count::default(),
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
    /// Attempts of users that ended well or badly; for this and the next three see [`Tally`].
    pub attempts: u64,
    /// Those that ended badly.
    pub failures: u64,
    /// WebSocket handshakes of users that ended well or badly.
    pub handshakes: u64,
    /// Those that ended badly.
    pub handshakes_failed: u64,
    /// Retries caused.
    pub retries: u64,
    /// Tunnels that have ended, by [`TunnelEnd`].
    pub tunnel_ends: [u64; TunnelEnd::ALL.len()],
}

/// The living side of a group.
#[derive(Debug)]
pub struct GroupLive {
    slots: Box<[Padded<GroupSlot>]>,
    fuse: Padded<Fuse>,
    bell: Padded<Bell>,
}

impl GroupLive {
    /// A new one with a slot for each worker.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        let slots = (0..workers).map(|_| Padded::default()).collect();
        Self { slots, fuse: Padded::default(), bell: Padded::default() }
    }

    /// The slot of one worker.
    #[must_use]
    pub fn slot(&self, worker: usize) -> &GroupSlot {
        &self.slots[worker].0
    }

    /// Counts attempts of users that cannot connect.
    #[must_use]
    pub fn fuse(&self) -> &Fuse {
        &self.fuse.0
    }

    /// Attempts of users in a row, up to now and over all workers, that could not connect.
    #[must_use]
    pub fn connect_failures(&self) -> u32 {
        self.fuse.0.failures()
    }

    /// Users may come again. Only the control plane calls this: ahead of a publication that sets the fuse.
    pub fn reset_fuse(&self) {
        self.fuse.0.reset();
    }

    /// Rung by workers when an attempt of a user fails here while the table has a fuse for the group.
    #[must_use]
    pub fn bell(&self) -> &Bell {
        &self.bell.0
    }

    /// An attempt of a user has failed in this way, by a table that has this `fuse` for the group.
    pub fn note_failure(&self, outcome: Outcome, fuse: Option<u32>) {
        if outcome == Outcome::ConnectFailed {
            self.fuse.0.failed(fuse);
        }
        if fuse.is_some() {
            self.bell.0.ring();
        }
    }

    /// What users did here since the group exists, over all workers.
    #[must_use]
    pub fn tally(&self) -> Tally {
        Tally::of(self.slots.iter().map(|s| &s.0.tally))
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

    /// When the last request came, in seconds since 1970; 0: there was none.
    #[must_use]
    pub fn last_request(&self) -> u64 {
        self.slots.iter().map(|s| s.0.last.get()).max().unwrap_or(0)
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
        let Tally { attempts, failures, handshakes, handshakes_failed, .. } = self.tally();
        GroupTotals {
            codes: (0..CODES).map(|i| (i as u16 + 100, sum(&|s| s.codes[i].get()))).filter(|(_, n)| *n > 0).collect(),
            durations: (0..histogram::BUCKETS).map(|i| sum(&|s| s.durations[i].get())).collect(),
            micros: sum(&|s| s.micros.get()),
            attempts,
            failures,
            handshakes,
            handshakes_failed,
            retries: sum(&|s| s.retries.get()),
            tunnel_ends: TunnelEnd::ALL.map(|end| sum(&|s| s.tunnel_ends[end as usize].get())),
        }
    }
}
