//! Evidence against "of these trials, at most the fraction p are hits".
//!
//! The alternatives are fractions q with m times the odds of p, for a few m. The likelihood ratio of x hits in n trials
//! is (q/p)^x·((1−q)/(1−p))^(n−x), and with q = m·p/(1+(m−1)·p) its logarithm is x·ln m − n·ln(1+(m−1)·p): Wald (1945).
//! For a true fraction below p it is smaller on average, since it grows with each hit; so it is fair evidence against
//! all of "at most p".

use super::Counts;
use super::mixture::{ALTERNATIVES, Mixture};

/// How many times the odds, and how much is bet on it. From "a quarter more" to "nearly all".
const MULTIPLES: [(f64, f64); ALTERNATIVES] =
    [(1.3, 1.0), (1.6, 1.0), (2.1, 1.0), (3.0, 1.0), (4.5, 1.0), (7.5, 1.0), (14.0, 1.0), (30.0, 1.0), (200.0, 1.0)];

/// A test of one fraction.
#[derive(Clone, Debug)]
pub struct Rate {
    at_most: f64,
    costs: Costs,
    mixture: Mixture,
}

impl Rate {
    /// Against "at most this fraction".
    #[must_use]
    pub fn new(at_most: f64, ceiling: f64) -> Self {
        Self { at_most, costs: Costs::of(at_most), mixture: spread(ceiling) }
    }

    /// What has come.
    pub fn observe(&mut self, counts: Counts) {
        if counts.trials > 0 {
            self.mixture.settle(|alternative| self.costs.log_factor(alternative, counts));
        }
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

    /// By how much the logarithm grows with each trial when this fraction of them are hits.
    #[must_use]
    pub fn growth(&self, fraction: f64) -> f64 {
        growth(fraction, self.at_most)
    }
}

/// Capital over the alternatives.
pub(super) fn spread(ceiling: f64) -> Mixture {
    Mixture::new(MULTIPLES.map(|(_, weight)| weight), ceiling)
}

/// What one trial costs each alternative: ln(1+(m−1)·p).
#[derive(Clone, Debug)]
pub(super) struct Costs([f64; ALTERNATIVES]);

impl Costs {
    pub(super) fn of(fraction: f64) -> Self {
        Self(MULTIPLES.map(|(multiple, _)| ((multiple - 1.0) * fraction.clamp(0.0, 1.0)).ln_1p()))
    }

    pub(super) fn log_factor(&self, alternative: usize, counts: Counts) -> f64 {
        counts.hits as f64 * MULTIPLES[alternative].0.ln() - counts.trials as f64 * self.0[alternative]
    }
}

/// The divergence of Kullback and Leibler between two fractions, where the first is the larger one; else 0.
pub(super) fn growth(fraction: f64, at_most: f64) -> f64 {
    if fraction <= at_most { 0.0 } else { divergence(fraction, at_most) }
}

/// p·ln(p/q) + (1−p)·ln((1−p)/(1−q)).
pub(super) fn divergence(p: f64, q: f64) -> f64 {
    let part = |p: f64, q: f64| if p <= 0.0 { 0.0 } else { p * (p / q.max(f64::MIN_POSITIVE)).ln() };
    part(p, q) + part(1.0 - p, 1.0 - q)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_factor_is_above_one_on_average_up_to_the_limit(at_most in 0.0..1.0_f64, part in 0.0..1.0_f64) {
            let (costs, fraction) = (Costs::of(at_most), part * at_most);
            for alternative in 0..ALTERNATIVES {
                let factor = |hits| costs.log_factor(alternative, Counts::new(1, hits)).exp();
                prop_assert!(fraction * factor(1) + (1.0 - fraction) * factor(0) <= 1.0 + 1e-9);
            }
        }

        #[test]
        fn one_look_at_many_is_worth_as_much_as_many_looks(looks in proptest::collection::vec((0..50_u64, 0..50_u64), 1..20)) {
            let looks: Vec<_> = looks.into_iter().map(|(trials, hits)| Counts::new(trials, hits)).collect();
            let (mut one, mut many) = (Rate::new(0.05, 1e6), Rate::new(0.05, 1e6));
            for counts in &looks {
                many.observe(*counts);
            }
            one.observe(looks.iter().fold(Counts::default(), |sum, counts| sum.and(*counts)));
            prop_assert!((one.log_evidence() - many.log_evidence()).abs() < 1e-6);
        }
    }

    #[test]
    fn a_limit_of_nothing_is_broken_by_a_few_and_one_of_everything_by_none() {
        let evidence = |at_most| {
            let mut rate = Rate::new(at_most, 1e3);
            rate.observe(Counts::new(10, 3));
            rate.log_evidence()
        };
        assert!(evidence(0.0) > 10.0 && evidence(1.0) <= 0.0);
    }
}
