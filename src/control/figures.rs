//! Counts of what the controller did, for metrics.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::names::ServiceName;
use crate::routing::hold::HoldTotals;

/// Upper bounds of the buckets for durations, in seconds.
const BOUNDS: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, f64::INFINITY];

/// The same for drains, which take as long as the slowest request or tunnel.
const DRAIN_BOUNDS: [f64; 12] = [0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, f64::INFINITY];

/// Counts of what the controller did. Written by the controller, read by whoever asks for metrics.
#[derive(Debug, Default)]
pub(super) struct Figures(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    switches: Timings<{ BOUNDS.len() }>,
    drains: Timings<{ DRAIN_BOUNDS.len() }>,
    rollbacks: BTreeMap<(ServiceName, &'static str), u64>,
    attempts: BTreeMap<(&'static str, &'static str), u64>,
    holds: BTreeMap<ServiceName, Arc<HoldTotals>>,
}

/// How long something took, by bucket.
#[derive(Debug)]
struct Timings<const N: usize> {
    buckets: [u64; N],
    seconds: f64,
    count: u64,
}

impl<const N: usize> Default for Timings<N> {
    fn default() -> Self {
        Self { buckets: [0; N], seconds: 0.0, count: 0 }
    }
}

impl<const N: usize> Timings<N> {
    fn add(&mut self, bounds: [f64; N], seconds: f64) {
        let bucket = bounds.iter().position(|bound| seconds <= *bound).unwrap_or(N - 1);
        self.buckets[bucket] += 1;
        self.seconds += seconds;
        self.count += 1;
    }

    /// Buckets (upper bound, count of its own), sum of seconds, count.
    fn shown(&self, bounds: [f64; N]) -> (Vec<(f64, u64)>, f64, u64) {
        (bounds.into_iter().zip(self.buckets).collect(), self.seconds, self.count)
    }
}

impl Figures {
    /// Counts a switch or rollback that took `seconds`.
    pub(super) fn switched(&self, seconds: f64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).switches.add(BOUNDS, seconds);
    }

    /// Counts a drain that took `seconds` to its end.
    pub(super) fn drained(&self, seconds: f64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).drains.add(DRAIN_BOUNDS, seconds);
    }

    /// Counts a rollback of `service`.
    pub(super) fn rolled_back(&self, service: &ServiceName, cause: &'static str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.rollbacks.entry((service.clone(), cause)).or_default() += 1;
    }

    /// Counts a try at a job of this kind, by how it has ended.
    pub(super) fn attempted(&self, kind: &'static str, outcome: &'static str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.attempts.entry((kind, outcome)).or_default() += 1;
    }

    /// What all holds of `service` have come to.
    pub(super) fn holds_of(&self, service: &ServiceName) -> Arc<HoldTotals> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(counts.holds.entry(service.clone()).or_default())
    }

    /// Buckets (upper bound, count of its own), sum of seconds, count.
    pub(super) fn switch_seconds(&self) -> (Vec<(f64, u64)>, f64, u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).switches.shown(BOUNDS)
    }

    /// The same of drains.
    pub(super) fn drain_seconds(&self) -> (Vec<(f64, u64)>, f64, u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).drains.shown(DRAIN_BOUNDS)
    }

    /// Tries at jobs by kind and outcome.
    pub(super) fn job_attempts(&self) -> Vec<(&'static str, &'static str, u64)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.attempts.iter().map(|((kind, outcome), n)| (*kind, *outcome, *n)).collect()
    }

    /// By service and cause.
    pub(super) fn rollbacks(&self) -> Vec<(String, &'static str, u64)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.rollbacks.iter().map(|((service, cause), n)| (service.to_string(), *cause, *n)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_the_bucket_whose_bound_they_do_not_exceed() {
        let figures = Figures::default();
        for seconds in [0.0005, 0.001, 0.003, 70.0] {
            figures.switched(seconds);
        }
        let (buckets, sum, count) = figures.switch_seconds();
        assert_eq!((buckets[0], buckets[2], buckets[11].1), ((0.001, 2), (0.005, 1), 1));
        assert_eq!((buckets.iter().map(|b| b.1).sum::<u64>(), count), (4, 4));
        assert!((sum - 70.0045).abs() < 1e-9);
    }
}
