//! Capital that is spread over several alternatives and over the time at which a fault may begin.
//!
//! **Alternatives.** Nobody knows how bad a bad candidate is, so a part of the capital is bet on each of several
//! degrees. An average of supermartingales is one (the method of mixtures: Robbins 1970), and falls behind the best of
//! its parts by no more than the logarithm of that part's weight.
//!
//! **Change.** Who bets on a fault through hours of good work has lost everything by the time it begins. So only half
//! is bet at the start; of the rest, some is bet at the begin of each epoch: S ← S + w for the k-th, and S ← S·L for
//! each factor L. Let R be what has not been bet yet. At an epoch's begin w moves from R to S, which leaves S + R as it
//! was; a factor L whose expectation is at most 1 given the past makes E(S·L + R) ≤ S + R. So S + R is a non-negative
//! supermartingale from 1 on as long as the claim holds, provided that an epoch begins by what was known before: when
//! the candidate begins to look suspicious ([`super::suspicion`]). After k epochs R is 1/2·(k+1)^(−1/4), so that the
//! k-th gets about k^(−5/4)/8: it loses 4 to 8 of the logarithm of its evidence for the first hundred, and R never
//! runs out. This is the Shiryaev-Roberts scheme with a prior that can be used up: Shin, Ramdas and Rinaldo,
//! "E-detectors" (2024), bound the time between false alarms; a rollout ends, and bounds their chance.
//!
//! **A ceiling.** Capital beyond what settles the matter is thrown away, which no supermartingale minds; so that what an
//! outage an hour ago has shown of candidate and baseline alike is forgotten after some hundred good attempts.

/// How many alternatives are bet on.
pub const ALTERNATIVES: usize = 9;

/// What is bet on the start; the rest is for later epochs.
const AT_THE_START: f64 = 0.75;
/// After k epochs (k+1) to this power is left of the rest.
const LEFT: f64 = -0.25;
/// Beyond these no logarithm goes: far from what could matter, far from infinity.
const FINITE: f64 = 1e12;

/// Capital, as logarithms.
#[derive(Clone, Debug)]
pub struct Mixture {
    weights: [f64; ALTERNATIVES],
    /// ln of what is bet on each alternative by now.
    bets: [f64; ALTERNATIVES],
    epochs: u64,
    ceiling: f64,
    /// ln(S + R), kept because it is asked for more often than it changes.
    evidence: f64,
}

impl Mixture {
    /// The capital 1, spread by these weights, that never grows beyond `exp(ceiling)`.
    #[must_use]
    pub fn new(weights: [f64; ALTERNATIVES], ceiling: f64) -> Self {
        let sum: f64 = weights.iter().sum();
        let weights = weights.map(|weight| (weight / sum).ln());
        let bets = weights.map(|weight| weight + AT_THE_START.ln());
        Self { weights, bets, epochs: 0, ceiling, evidence: 0.0 }
    }

    /// Settles one bet: by the logarithm of each alternative's factor.
    pub fn settle(&mut self, log_factor: impl Fn(usize) -> f64) {
        for (alternative, bet) in self.bets.iter_mut().enumerate() {
            let factor = log_factor(alternative);
            *bet = (*bet + if factor.is_nan() { 0.0 } else { factor }).clamp(-FINITE, FINITE);
        }
        self.evidence = self.sum();
        let above = self.evidence - self.ceiling;
        if above > 0.0 {
            self.bets.iter_mut().for_each(|bet| *bet -= above);
            self.evidence = self.sum().min(self.ceiling);
        }
    }

    /// From here on a fault may begin that was not there before.
    pub fn begin_epoch(&mut self) {
        let before = left_after(self.epochs);
        self.epochs += 1;
        let more = (before - left_after(self.epochs)).ln();
        for (bet, weight) in self.bets.iter_mut().zip(self.weights) {
            *bet = ln_sum(&[*bet, weight + more]);
        }
        self.evidence = self.sum().min(self.ceiling);
    }

    /// The logarithm of the evidence: 0 is none.
    #[must_use]
    pub fn log_evidence(&self) -> f64 {
        self.evidence
    }

    fn sum(&self) -> f64 {
        let mut terms = [0.0; ALTERNATIVES + 1];
        terms[..ALTERNATIVES].copy_from_slice(&self.bets);
        terms[ALTERNATIVES] = left_after(self.epochs).ln();
        ln_sum(&terms)
    }
}

/// What has not been bet yet after so many epochs.
fn left_after(epochs: u64) -> f64 {
    (1.0 - AT_THE_START) * (epochs as f64 + 1.0).powf(LEFT)
}

/// ln Σ exp.
pub(super) fn ln_sum(terms: &[f64]) -> f64 {
    let most = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if most.is_infinite() {
        return most;
    }
    most + terms.iter().map(|term| (term - most).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAR: f64 = 1e3;

    #[test]
    fn an_epoch_moves_capital_and_makes_none() {
        let mut mixture = Mixture::new([1.0; ALTERNATIVES], FAR);
        for epoch in 0..10_000 {
            mixture.begin_epoch();
            assert!(mixture.log_evidence().abs() < 1e-6, "{} after {epoch}", mixture.log_evidence());
        }
        mixture.settle(|_| 2_f64.ln());
        assert!(
            mixture.log_evidence() < 2_f64.ln() && mixture.log_evidence() > 1.8_f64.ln(),
            "what is left is not bet"
        );
    }

    #[test]
    fn who_has_lost_everything_begins_anew_with_an_epoch() {
        let mut mixture = Mixture::new([1.0; ALTERNATIVES], FAR);
        mixture.settle(|_| -FAR);
        mixture.settle(|_| 50.0);
        assert!(mixture.log_evidence() < 0.0);
        mixture.begin_epoch();
        mixture.settle(|_| 50.0);
        assert!(mixture.log_evidence() > 45.0, "{}", mixture.log_evidence());
    }

    #[test]
    fn beyond_the_ceiling_nothing_is_kept() {
        let mut mixture = Mixture::new([1.0; ALTERNATIVES], 12.0);
        (0..1000).for_each(|_| mixture.settle(|_| 5.0));
        assert!(mixture.log_evidence() <= 12.0);
        mixture.settle(|_| -12.0);
        assert!(mixture.log_evidence() < 0.5, "{}", mixture.log_evidence());
    }

    #[test]
    fn a_factor_that_is_no_number_settles_nothing() {
        let mut mixture = Mixture::new([1.0; ALTERNATIVES], FAR);
        mixture.settle(|alternative| if alternative == 0 { f64::NAN } else { f64::NEG_INFINITY });
        assert!(mixture.log_evidence().is_finite());
    }
}
