//! Evidence that a candidate is dead on arrival: all of its trials hit, from the first one on, and none of the
//! baseline's.
//!
//! The commonest fault of all is to be seen after very few trials, in which blocks (see [`super::comparison`]) are still
//! too coarse. If a hit says nothing about its side, sides are independent draws, each the candidate's with the chance
//! s, its share of the traffic, whatever hits do over time. The alternative is that nearly every hit is the candidate's,
//! and nearly everything else is not. The ratio of its likelihood to the largest that any s gives to the same sides is
//! no more than the ratio for the true s, so that it is no more than 1 on average at any moment: universal inference
//! (Wasserman, Ramdas and Balakrishnan, 2020). All hangs on s being constant. So this ends with the first step, and where
//! nothing comes to the baseline any more.

use super::Counts;

/// How likely a hit is the candidate's, if it is dead.
const OF_HITS: f64 = 0.999;
/// How likely anything else is.
const OF_OTHERS: f64 = 0.001;
/// With so many trials at the candidate in a row and none at the baseline, the share is not what it was.
const ALONE: u64 = 20;

/// A test of whether a candidate is dead on arrival.
#[derive(Clone, Debug, Default)]
pub(super) struct Arrival {
    candidate: Counts,
    baseline: Counts,
    since_baseline: u64,
    is_over: bool,
}

impl Arrival {
    /// What has come at both.
    pub(super) fn observe(&mut self, candidate: Counts, baseline: Counts) {
        let before = if baseline.trials > 0 { 0 } else { self.since_baseline };
        self.since_baseline = before.saturating_add(candidate.trials);
        self.is_over |= baseline.trials == 0 && self.since_baseline >= ALONE;
        if !self.is_over {
            self.candidate = self.candidate.and(candidate);
            self.baseline = self.baseline.and(baseline);
        }
    }

    /// The candidate's share is another one from now on.
    pub(super) fn end(&mut self) {
        self.is_over = true;
    }

    /// The logarithm of the evidence.
    pub(super) fn log_evidence(&self) -> f64 {
        let (here, there) = (self.candidate.trials as f64, self.baseline.trials as f64);
        let (hits_here, hits_there) = (self.candidate.hits as f64, self.baseline.hits as f64);
        let of_hits = hits_here * OF_HITS.ln() + hits_there * (1.0 - OF_HITS).ln();
        let of_others = (here - hits_here) * OF_OTHERS.ln() + (there - hits_there) * (1.0 - OF_OTHERS).ln();
        of_hits + of_others - most_likely(here, there)
    }
}

/// The logarithm of the largest likelihood of so many trials here and there.
fn most_likely(here: f64, there: f64) -> f64 {
    let part = |trials: f64| if trials > 0.0 { trials * (trials / (here + there)).ln() } else { 0.0 };
    part(here) + part(there)
}
