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
const ALONE: u64 = 10;

/// A test of whether a candidate is dead on arrival.
#[derive(Clone, Debug, Default)]
pub(super) struct Arrival {
    seen: Sides,
    /// What came to the candidate since something came to the baseline. It may speak for the candidate, not yet against it.
    alone: Counts,
    /// The evidence at the end.
    end: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sides {
    candidate: Counts,
    baseline: Counts,
}

impl Arrival {
    /// What has come at both.
    pub(super) fn observe(&mut self, candidate: Counts, baseline: Counts) {
        self.alone = self.alone.and(candidate);
        if baseline.trials > 0 {
            self.seen = self.seen.and(std::mem::take(&mut self.alone), baseline);
        }
        if self.alone.trials >= ALONE {
            self.end();
        }
    }

    /// The candidate's share is another one from now on.
    pub(super) fn end(&mut self) {
        self.end = Some(self.log_evidence());
    }

    /// The logarithm of the evidence.
    pub(super) fn log_evidence(&self) -> f64 {
        let now = || self.seen.log_ratio().min(self.seen.and(self.alone, Counts::default()).log_ratio());
        self.end.unwrap_or_else(now)
    }
}

impl Sides {
    fn and(self, candidate: Counts, baseline: Counts) -> Self {
        Self { candidate: self.candidate.and(candidate), baseline: self.baseline.and(baseline) }
    }

    fn log_ratio(self) -> f64 {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The mean evidence over all orders of sides, where each trial is the candidate's with this chance and trials hit as
    /// given, and somebody looks after each of them and stops at the first evidence of more than 2.
    fn mean(share: f64, hits: &[bool], arrival: &Arrival) -> f64 {
        let Some((hit, rest)) = hits.split_first() else { return arrival.log_evidence().exp() };
        let one = Counts::new(1, u64::from(*hit));
        let side = |candidate: Counts, baseline: Counts| {
            let mut next = arrival.clone();
            next.observe(candidate, baseline);
            let evidence = next.log_evidence().exp();
            if evidence > 2.0 { evidence } else { mean(share, rest, &next) }
        };
        share * side(one, Counts::default()) + (1.0 - share) * side(Counts::default(), one)
    }

    #[test]
    fn evidence_is_no_more_than_one_on_average_wherever_hits_are_and_whenever_one_stops() {
        for pattern in 0_u32..64 {
            let hits: Vec<bool> = (0..9).map(|i| pattern.rotate_left(pattern % 4) >> i & 1 == 1).collect();
            for share in [0.05, 0.3, 0.5, 0.9] {
                let mean = mean(share, &hits, &Arrival::default());
                assert!(mean <= 1.0 + 1e-9, "{mean} at {share}: {hits:?}");
            }
        }
    }

    #[test]
    fn five_hits_of_five_beside_a_baseline_that_does_well_are_plain_and_a_success_speaks_against_it() {
        let mut arrival = Arrival::default();
        arrival.observe(Counts::new(5, 5), Counts::new(45, 0));
        assert!(arrival.log_evidence() > 15.0);
        let dead = arrival.log_evidence();
        arrival.observe(Counts::new(1, 0), Counts::new(9, 0));
        assert!(arrival.log_evidence() < dead - 3.0);
    }

    #[test]
    fn what_fails_while_nothing_comes_to_the_baseline_is_not_held_against_the_candidate() {
        let mut arrival = Arrival::default();
        arrival.observe(Counts::new(3, 0), Counts::new(30, 0));
        let before = arrival.log_evidence();
        (0..30).for_each(|_| arrival.observe(Counts::new(1, 1), Counts::default()));
        (0..30).for_each(|_| arrival.observe(Counts::new(1, 1), Counts::new(9, 0)));
        assert!(arrival.log_evidence() <= before);
    }
}
