//! Slow start: how much of its work an upstream gets that has come back.
//!
//! Its caches are cold and its pools empty; with all of its work at once it might go down again.

use std::time::Duration;

/// What it begins with.
const FIRST: f64 = 0.1;

/// The part of its weight that counts for an upstream that came back so long ago: from a tenth to all of it, in a
/// straight line `over` this time.
#[must_use]
pub fn part(ago: Duration, over: Duration) -> f64 {
    if ago >= over { 1.0 } else { FIRST + (1.0 - FIRST) * (ago.as_secs_f64() / over.as_secs_f64()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_begins_with_a_tenth_and_ends_with_all() {
        let over = Duration::from_secs(30);
        let after = |secs| part(Duration::from_secs(secs), over);
        assert!((after(0) - 0.1).abs() < 1e-9 && (after(15) - 0.55).abs() < 1e-9);
        assert!(after(30) >= 1.0 && after(31) >= 1.0);
        assert!(part(Duration::ZERO, Duration::ZERO) >= 1.0, "no slow start at all");
    }

    proptest! {
        #[test]
        fn it_never_falls_and_is_a_part_of_the_whole(early in 0_u64..100_000, later in 0_u64..100_000, over in 0_u64..90_000) {
            let at = |ms| part(Duration::from_millis(ms), Duration::from_millis(over));
            let (first, second) = (at(early), at(early + later));
            prop_assert!((FIRST..=1.0).contains(&first) && (first..=1.0).contains(&second), "{} {}", first, second);
        }
    }
}
