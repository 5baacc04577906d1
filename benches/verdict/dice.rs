//! Random draws that are the same in every run: durations by buckets, failures, shares.

use pointsman::model::histogram::{BUCKETS, upper_bound};

/// Slots of an alias table: a power of two, at least as many as there are buckets.
const SLOTS: usize = 256;
/// What a slot's part is counted in.
const PARTS: f64 = 4096.0;

/// How one group answers: how often badly, and how fast.
#[derive(Clone)]
pub(crate) struct Manner {
    failure: u64,
    slots: Vec<(u64, u8, u8)>,
}

/// What became of one attempt.
pub(crate) struct Drawn {
    pub(crate) failed: bool,
    pub(crate) bucket: usize,
}

impl Manner {
    /// So many of all fail, and this part of all is answered within so many microseconds.
    pub(crate) fn new(failure: f64, within: impl Fn(f64) -> f64) -> Self {
        let chances = (0..BUCKETS).map(|bucket| {
            let low = if bucket == 0 { 0.0 } else { within(upper_bound(bucket - 1)) };
            let high = if bucket == BUCKETS - 1 { 1.0 } else { within(upper_bound(bucket)) };
            (high - low).max(0.0)
        });
        Self { failure: (failure * (1_u64 << 24) as f64).round() as u64, slots: alias(&chances.collect::<Vec<_>>()) }
    }

    /// By 44 random bits.
    pub(crate) fn draw(&self, bits: u64) -> Drawn {
        let (part, own, other) = self.slots[bits as usize % SLOTS];
        let bucket = if (bits >> 8) % (PARTS as u64) < part { own } else { other };
        Drawn { failed: (bits >> 20) % (1 << 24) < self.failure, bucket: usize::from(bucket) }
    }
}

/// Walker's alias table (1977), as Vose fills it: one draw, one comparison.
fn alias(chances: &[f64]) -> Vec<(u64, u8, u8)> {
    let sum: f64 = chances.iter().sum();
    let mut parts: Vec<f64> = chances.iter().map(|chance| chance / sum * SLOTS as f64).collect();
    parts.resize(SLOTS, 0.0);
    let mut slots: Vec<_> = (0..SLOTS).map(|slot| (PARTS as u64, slot as u8, slot as u8)).collect();
    let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..SLOTS).partition(|&slot| parts[slot] < 1.0);
    while let (Some(poor), Some(&rich)) = (small.pop(), large.last()) {
        slots[poor] = ((parts[poor] * PARTS).round() as u64, poor as u8, rich as u8);
        parts[rich] -= 1.0 - parts[poor];
        if parts[rich] < 1.0 {
            large.pop();
            small.push(rich);
        }
    }
    slots
}

/// Lognormal: half are answered within `median` microseconds.
pub(crate) fn lognormal(median: f64, sigma: f64) -> impl Fn(f64) -> f64 + Clone {
    move |micros| normal((micros / median).ln() / sigma)
}

/// The standard normal distribution (Abramowitz and Stegun 7.1.26, off by less than 1e-7).
fn normal(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let poly =
        t * (0.254_829_592 + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    let erf = 1.0 - poly * (-x * x).exp();
    if z < 0.0 { (1.0 - erf) / 2.0 } else { f64::midpoint(1.0, erf) }
}
