//! How large a fraction may be of which so much was seen.

use super::Counts;
use super::rate::divergence;

/// Halvings until the bound is exact to 1e-12.
const HALVINGS: u32 = 40;

/// The fraction that the true one does not exceed, now or at any other moment, but with a chance of
/// `exp(-log_certainty)`. 1 of nothing.
///
/// Whoever bets by the fraction seen so far (the mixture of Krichevsky and Trofimov 1981) falls behind the best fraction
/// in hindsight by no more than ½·ln n + ln 2, and wins 1/chance from the true one with this chance at the most: so
/// n·KL(seen, true) ≤ ln(1/chance) + ½·ln n + ln 2 holds at all n together.
#[must_use]
pub fn upper_bound(seen: Counts, log_certainty: f64) -> f64 {
    let Some(fraction) = seen.fraction() else { return 1.0 };
    let trials = seen.trials as f64;
    let most = log_certainty + trials.ln() / 2.0 + std::f64::consts::LN_2;
    let (mut low, mut high) = (fraction, 1.0);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if trials * divergence(fraction, middle) > most { high = middle } else { low = middle }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_nine_of_ten_series_the_true_fraction_never_exceeds_a_bound_of_nine_tenths() {
        let mut rng = fastrand::Rng::with_seed(1);
        let exceeds = |rng: &mut fastrand::Rng| {
            let mut seen = Counts::default();
            (0..400).any(|_| {
                seen = seen.and(Counts::new(1, u64::from(rng.f64() < 0.1)));
                upper_bound(seen, 10_f64.ln()) < 0.1
            })
        };
        let exceeding = (0..100).filter(|_| exceeds(&mut rng)).count();
        assert!(exceeding <= 10, "{exceeding} of 100");
    }

    #[test]
    fn the_more_was_seen_the_closer_is_the_bound() {
        let bounds: Vec<_> = [1, 10, 100, 10_000].map(|n| upper_bound(Counts::new(10 * n, n), 7.0)).into();
        assert!(bounds.is_sorted_by(|a, b| a > b) && bounds[3] > 0.1 && bounds[3] < 0.105, "{bounds:?}");
        assert!((upper_bound(Counts::default(), 7.0) - 1.0).abs() < f64::EPSILON);
    }
}
