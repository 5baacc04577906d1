//! The living side of an upstream: its health, who may come, and what goes on there.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Count, Health, Latest, Padded, Slot};
use crate::config::spec::{Address, Endpoint};
use crate::model::outcome::Outcome;
use crate::routing::addresses::Addresses;

/// One worker's counts for an upstream.
#[derive(Debug, Default)]
pub struct UpstreamSlot {
    /// Attempts under way.
    pub in_flight: Slot,
    /// Tunnels open.
    pub tunnels: Slot,
    /// Finished attempts by [`Outcome`].
    pub attempts: [Count; Outcome::ALL.len()],
    /// When the last attempt began.
    pub last: Latest,
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

    /// When the last attempt began, in seconds since 1970; 0: there was none.
    #[must_use]
    pub fn last_request(&self) -> u64 {
        self.slots.iter().map(|s| s.0.last.get()).max().unwrap_or(0)
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
