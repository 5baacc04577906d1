//! Durations by buckets: adding them up, and what the baseline's were until now.

use std::time::Duration;

use jiff::Timestamp;

use super::terms::Elapsed;
use crate::model::histogram::{self, BUCKETS, upper_bound};

/// No bucket counts beyond this, so that sums over all of them stay within a u64.
const MOST: u64 = 1 << 48;
/// After so long, and from so many on, the newer durations stand for themselves.
const LONG: Duration = Duration::from_secs(5 * 60);
const ENOUGH: u64 = 1000;

/// The lower end of a bucket in microseconds.
#[must_use]
pub(super) fn lower_bound(bucket: usize) -> f64 {
    if bucket == 0 { 0.0 } else { upper_bound(bucket - 1) }
}

/// Counts by buckets.
#[derive(Clone, Debug)]
pub(super) struct Durations(Vec<u64>);

impl Default for Durations {
    fn default() -> Self {
        Self(vec![0; BUCKETS])
    }
}

impl Durations {
    pub(super) fn add(&mut self, more: &[u64]) {
        for (count, more) in self.0.iter_mut().zip(more) {
            *count = count.saturating_add(*more).min(MOST);
        }
    }

    pub(super) fn counts(&self) -> &[u64] {
        &self.0
    }

    pub(super) fn quantile_ms(&self, q: f64) -> Option<f64> {
        histogram::quantile(&self.0, q).map(|micros| micros / 1e3)
    }

    pub(super) fn mean_ms(&self) -> Option<f64> {
        mean(&self.0).map(|micros| micros / 1e3)
    }
}

/// How many there are.
pub(super) fn total(counts: &[u64]) -> u64 {
    counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
}

/// How many are in later buckets than this.
pub(super) fn beyond(counts: &[u64], bucket: usize) -> u64 {
    total(counts.get(bucket + 1..).unwrap_or_default())
}

/// Their mean in microseconds, each taken for the middle of its bucket. `None` of nothing.
pub(super) fn mean(counts: &[u64]) -> Option<f64> {
    let middle = |bucket| {
        let (low, high) = (lower_bound(bucket), upper_bound(bucket));
        if high.is_finite() { f64::midpoint(low, high) } else { low }
    };
    let all: f64 = counts.iter().map(|&count| count as f64).sum();
    let sum: f64 = counts.iter().enumerate().filter(|(_, count)| **count > 0).map(|(b, &n)| middle(b) * n as f64).sum();
    (all > 0.0).then(|| sum / all)
}

/// What the baseline's durations were until now: those of the last minutes, or of longer where these are too few.
#[derive(Clone, Debug)]
pub(super) struct Reference {
    elapsed: Elapsed,
    newer_for: Duration,
    newer: Durations,
    all: Durations,
}

impl Default for Reference {
    fn default() -> Self {
        Self {
            elapsed: Elapsed::new(LONG),
            newer_for: Duration::ZERO,
            newer: Durations::default(),
            all: Durations::default(),
        }
    }
}

impl Reference {
    pub(super) fn add(&mut self, at: Timestamp, more: &[u64]) {
        self.newer_for = self.newer_for.saturating_add(self.elapsed.since(at));
        if self.newer_for >= LONG && total(self.newer.counts()) >= ENOUGH {
            self.all = std::mem::take(&mut self.newer);
            self.newer_for = Duration::ZERO;
        }
        self.newer.add(more);
        self.all.add(more);
    }

    pub(super) fn counts(&self) -> &[u64] {
        self.all.counts()
    }
}
