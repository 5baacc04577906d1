//! The buckets of a latency histogram, and what can be read from the counts in them.
//!
//! Log-linear: each power of two of microseconds is cut into eight equal buckets, so that a quantile is off by 6 % at
//! the most, from 16 µs to 134 s. Who counts (and in which memory) is not this file's business.

/// Buckets for each power of two.
const PER_OCTAVE: u32 = 8;
/// Everything below 2^4 µs falls into the first bucket.
const FIRST_OCTAVE: u32 = 4;
/// Everything from 2^27 µs (134 s) falls into the last bucket.
const LAST_OCTAVE: u32 = 27;
/// How many buckets there are.
pub const BUCKETS: usize = ((LAST_OCTAVE - FIRST_OCTAVE) * PER_OCTAVE) as usize + 2;

/// The bucket of a duration in microseconds.
#[must_use]
pub fn bucket(micros: u64) -> usize {
    if micros < 1 << FIRST_OCTAVE {
        return 0;
    }
    let octave = micros.ilog2();
    if octave >= LAST_OCTAVE {
        return BUCKETS - 1;
    }
    let within = (micros >> (octave - 3)) as u32 & (PER_OCTAVE - 1);
    ((octave - FIRST_OCTAVE) * PER_OCTAVE + within) as usize + 1
}

/// The upper end of a bucket in microseconds (exclusive); infinity for the last one.
#[must_use]
pub fn upper_bound(bucket: usize) -> f64 {
    if bucket == 0 {
        return f64::from(1 << FIRST_OCTAVE);
    }
    if bucket >= BUCKETS - 1 {
        return f64::INFINITY;
    }
    let (octave, within) = ((bucket as u32 - 1) / PER_OCTAVE + FIRST_OCTAVE, (bucket as u32 - 1) % PER_OCTAVE);
    f64::from(1_u32 << octave) * (1.0 + f64::from(within + 1) / f64::from(PER_OCTAVE))
}

/// The duration in microseconds below which the fraction `q` (0 to 1) of the counted durations lies, interpolated
/// within its bucket. `None` when nothing was counted.
#[must_use]
pub fn quantile(counts: &[u64], q: f64) -> Option<f64> {
    let total: u64 = counts.iter().sum();
    if total == 0 {
        return None;
    }
    let rank = q * total as f64;
    let mut below = 0.0;
    for (i, &count) in counts.iter().enumerate() {
        let count = count as f64;
        if count > 0.0 && below + count >= rank {
            let low = if i == 0 { 0.0 } else { upper_bound(i - 1) };
            let high = if i == BUCKETS - 1 { low } else { upper_bound(i) };
            return Some(low + (high - low) * ((rank - below) / count).clamp(0.0, 1.0));
        }
        below += count;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_lies_below_the_upper_bound_of_its_bucket_and_above_the_one_before() {
        for micros in (0..200_000).chain((20..60).map(|b| 1_u64 << b)) {
            let b = bucket(micros);
            assert!((micros as f64) < upper_bound(b), "{micros} in {b}");
            assert!(b == 0 || micros as f64 >= upper_bound(b - 1), "{micros} in {b}");
        }
    }

    #[test]
    fn a_quantile_is_off_by_less_than_a_bucket() {
        let mut counts = vec![0; BUCKETS];
        (1..=10_000).for_each(|micros| counts[bucket(micros)] += 1);
        for q in [0.01, 0.5, 0.95, 0.99] {
            let (found, true_value) = (quantile(&counts, q).unwrap(), q * 10_000.0);
            assert!((found / true_value - 1.0).abs() < 0.07, "{q}: {found}");
        }
        assert_eq!(quantile(&[0; BUCKETS], 0.5), None);
    }
}
