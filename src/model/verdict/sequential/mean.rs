//! Evidence against "at most m on average", for values that are never negative.
//!
//! The capital of a bet on each value x is 1 + λ·(x − m), with λ from 0 to 1/m: never negative, and no more than 1 on
//! average while the mean is at most m (Waudby-Smith and Ramdas, "Estimating means of bounded random variables by
//! betting", 2024; only a bound from below is needed for a claim from above). With λ = c/m it is 1 − c + c·x/m. Of a
//! duration only its bucket is known: the bucket's lower end is taken, so that a claim is never held to be wrong by
//! rounding.

use super::super::durations::lower_bound;
use super::mixture::{ALTERNATIVES, Mixture};
use crate::model::histogram::BUCKETS;

/// What part of the capital is staked on each value.
const STAKES: [f64; ALTERNATIVES] = [0.01, 0.03, 0.08, 0.15, 0.25, 0.4, 0.55, 0.7, 0.85];
/// The bound is rounded up to a step of 1 %, so that a bound that follows the baseline seldom changes.
const STEP: f64 = 0.01;

/// A test of a mean.
#[derive(Clone, Debug)]
pub struct Mean {
    at_most: f64,
    /// ln(1 − c + c·x/m) for each stake and bucket.
    factors: Vec<[f64; ALTERNATIVES]>,
    mixture: Mixture,
}

impl Mean {
    /// A test without a bound: it learns nothing.
    #[must_use]
    pub fn new(ceiling: f64) -> Self {
        Self { at_most: 0.0, factors: Vec::new(), mixture: Mixture::new([1.0; ALTERNATIVES], ceiling) }
    }

    /// The bound for what comes from now on, by what is known now.
    pub fn set_bound(&mut self, at_most: f64) {
        let rounded = ((at_most.max(1.0).ln() / STEP).ceil() * STEP).exp();
        if (rounded - self.at_most).abs() <= f64::EPSILON * rounded {
            return;
        }
        self.at_most = rounded;
        self.factors = (0..BUCKETS)
            .map(|bucket| STAKES.map(|stake| (stake * (lower_bound(bucket) / rounded - 1.0)).ln_1p()))
            .collect();
    }

    /// What has come, by buckets.
    pub fn observe(&mut self, durations: &[u64]) {
        if self.factors.is_empty() || durations.is_empty() {
            return;
        }
        let sums = self.log_factors(durations);
        self.mixture.settle(|alternative| sums[alternative]);
    }

    /// See [`Mixture::begin_epoch`].
    pub fn begin_epoch(&mut self) {
        self.mixture.begin_epoch();
    }

    /// The logarithm of the evidence.
    #[must_use]
    pub fn log_evidence(&self) -> f64 {
        self.mixture.log_evidence()
    }

    /// By how much the logarithm grows with each value when they are as these.
    #[must_use]
    pub fn growth(&self, durations: &[u64]) -> f64 {
        let total: f64 = durations.iter().map(|&count| count as f64).sum();
        if self.factors.is_empty() || total <= 0.0 {
            return 0.0;
        }
        self.log_factors(durations).into_iter().fold(0.0, f64::max) / total
    }

    fn log_factors(&self, durations: &[u64]) -> [f64; ALTERNATIVES] {
        let mut sums = [0.0; ALTERNATIVES];
        for (&count, factors) in durations.iter().zip(&self.factors).filter(|(count, _)| **count > 0) {
            for (sum, factor) in sums.iter_mut().zip(factors) {
                *sum += count as f64 * factor;
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::histogram;

    fn durations(micros: &[u64]) -> Vec<u64> {
        let mut counts = vec![0; BUCKETS];
        for &micros in micros {
            counts[histogram::bucket(micros)] += 1;
        }
        counts
    }

    fn evidence(micros: &[u64], times: usize) -> f64 {
        let mut mean = Mean::new(1e3);
        mean.set_bound(100_000.0);
        (0..times).for_each(|_| mean.observe(&durations(micros)));
        mean.log_evidence()
    }

    #[test]
    fn a_mean_above_the_bound_is_seen_and_one_at_the_bound_is_not() {
        assert!(evidence(&[200_000], 60) > 20.0);
        assert!(evidence(&[10_000, 10_000, 10_000, 370_000], 100) <= 0.0, "its mean is 100 ms");
        assert!(evidence(&[10_000, 10_000, 10_000, 1_000_000], 40) > 10.0);
    }

    #[test]
    fn without_a_bound_nothing_is_learnt() {
        let mut mean = Mean::new(1e3);
        mean.observe(&durations(&[1, 1_000_000_000]));
        assert!(mean.log_evidence().abs() < 1e-9);
    }
}
