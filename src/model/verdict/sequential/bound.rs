//! How large a fraction may be of which so much was seen.

use super::Counts;
use super::rate::divergence;

/// Halvings until the bound is exact to 1e-12.
const HALVINGS: u32 = 40;

/// The fraction that the true one does not exceed but with a chance of `exp(-log_certainty)`: Chernoff's bound
/// (Hoeffding 1963, theorem 1, in its sharpest form), n·KL(seen, bound) = ln(1/chance). 1 of nothing.
#[must_use]
pub fn upper_bound(seen: Counts, log_certainty: f64) -> f64 {
    let Some(fraction) = seen.fraction() else { return 1.0 };
    let (mut low, mut high) = (fraction, 1.0);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if seen.trials as f64 * divergence(fraction, middle) > log_certainty { high = middle } else { low = middle }
    }
    high
}
