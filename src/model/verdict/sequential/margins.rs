//! How likely a split of hits between two sides is, when only the sums are given.
//!
//! Of n_c and n_b trials at candidate and baseline together k are hits, of which x at the candidate. If a hit at the
//! candidate has m times the odds of one at the baseline, x has Fisher's noncentral hypergeometric distribution (Fisher
//! 1935; Harkness 1965): P_m(x) = C(n_c,x)·C(n_b,k−x)·m^x / Σ_j C(n_c,j)·C(n_b,k−j)·m^j. How often hits are at all
//! has dropped out. So the likelihood ratio against equal odds is m^x / E_1(m^x), and is exactly 1 on average if odds are
//! equal; with m > 1 it grows with x, so it is no more than 1 on average if the candidate hits less often.
//!
//! With many hits there are many terms to add up. Then the binomial distribution takes the place of the hypergeometric
//! one: a convex function of x, like m^x, is on average no smaller under it (Hoeffding 1963, theorem 4), so that the ratio
//! only becomes smaller.

use super::Counts;
use super::mixture::ALTERNATIVES;

/// Beyond so many terms the binomial distribution is taken.
const MOST_TERMS: u64 = 64;

/// The logarithms of the likelihood ratios of what was seen, for each of these multiples of the odds.
pub(super) fn log_ratios(candidate: Counts, baseline: Counts, multiples: &[f64; ALTERNATIVES]) -> [f64; ALTERNATIVES] {
    let hits = candidate.hits.saturating_add(baseline.hits);
    let least = hits.saturating_sub(baseline.trials);
    let most = hits.min(candidate.trials);
    if most.saturating_sub(least) >= MOST_TERMS {
        return binomial(candidate, baseline, multiples);
    }
    let chances = chances(candidate.trials, baseline.trials, hits, least, most);
    multiples.map(|multiple| {
        let more = (candidate.hits - least) as f64;
        more * multiple.ln() - ln_mean(&chances, multiple.ln())
    })
}

/// ln E(m^(x − least)) where x − least is 0, 1, 2… with these chances (as logarithms, up to a constant).
fn ln_mean(chances: &[f64], log_multiple: f64) -> f64 {
    let sum = |log_multiple: f64| {
        let terms = || chances.iter().enumerate().map(|(more, chance)| chance + more as f64 * log_multiple);
        let most = terms().fold(f64::NEG_INFINITY, f64::max);
        most + terms().map(|term| (term - most).exp()).sum::<f64>().ln()
    };
    sum(log_multiple) - sum(0.0)
}

/// ln of C(n_c,j)·C(n_b,k−j) for each possible j, up to a constant.
fn chances(candidate: u64, baseline: u64, hits: u64, least: u64, most: u64) -> Vec<f64> {
    let mut chance = 0.0;
    let mut all = vec![chance];
    for j in least..most {
        let more = (candidate - j) as f64 * (hits - j) as f64;
        let fewer = (j + 1) as f64 * (baseline - (hits - j) + 1) as f64;
        chance += (more / fewer).ln();
        all.push(chance);
    }
    all
}

fn binomial(candidate: Counts, baseline: Counts, multiples: &[f64; ALTERNATIVES]) -> [f64; ALTERNATIVES] {
    let part = candidate.trials as f64 / (candidate.trials as f64 + baseline.trials as f64);
    let hits = candidate.hits as f64 + baseline.hits as f64;
    multiples.map(|multiple| candidate.hits as f64 * multiple.ln() - hits * ((multiple - 1.0) * part).ln_1p())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MULTIPLES: [f64; ALTERNATIVES] = [1.0, 1.3, 2.0, 3.0, 5.0, 14.0, 40.0, 300.0, 1e4];

    /// P(x) of the hypergeometric distribution, from whole numbers.
    fn chance(candidate: u64, baseline: u64, hits: u64, x: u64) -> f64 {
        let choose = |n: u64, k: u64| (0..k).fold(1.0, |product, i| product * (n - i) as f64 / (i + 1) as f64);
        choose(candidate, x) * choose(baseline, hits - x) / choose(candidate + baseline, hits)
    }

    proptest! {
        #[test]
        fn a_ratio_is_one_on_average_where_hits_are_as_frequent_at_both(c in 1_u64..40, b in 1_u64..40, part in 0.0..1.0) {
            let hits = ((c + b) as f64 * part) as u64;
            let mut means = [0.0; ALTERNATIVES];
            for x in hits.saturating_sub(b)..=hits.min(c) {
                let ratios = log_ratios(Counts::new(c, x), Counts::new(b, hits - x), &MULTIPLES);
                (0..ALTERNATIVES).for_each(|i| means[i] += chance(c, b, hits, x) * ratios[i].exp());
            }
            for mean in means {
                prop_assert!((mean - 1.0).abs() < 1e-9, "{means:?}");
            }
        }

        #[test]
        fn the_more_of_the_hits_are_the_candidates_the_larger_is_a_ratio(c in 2_u64..300, b in 2_u64..300, hits in 1_u64..200) {
            let range = hits.saturating_sub(b)..=hits.min(c);
            let all: Vec<_> = range.map(|x| log_ratios(Counts::new(c, x), Counts::new(b, hits - x), &MULTIPLES)).collect();
            for (fewer, more) in all.iter().zip(all.iter().skip(1)) {
                prop_assert!((1..ALTERNATIVES).all(|i| fewer[i] < more[i]));
            }
        }

        #[test]
        fn with_many_hits_the_ratio_is_no_larger_than_the_exact_one(c in 100_u64..200, b in 100_u64..200, x in 20_u64..60) {
            let (candidate, baseline) = (Counts::new(c, x), Counts::new(b, 62 - x));
            let (exact, bound) = (log_ratios(candidate, baseline, &MULTIPLES), binomial(candidate, baseline, &MULTIPLES));
            // On average, not for each x: a bound of the mean that is divided by.
            let mean = |ratios: &[f64; ALTERNATIVES], i: usize| x as f64 * MULTIPLES[i].ln() - ratios[i];
            prop_assert!((0..ALTERNATIVES).all(|i| mean(&exact, i) <= mean(&bound, i) + 1e-9));
        }
    }
}
