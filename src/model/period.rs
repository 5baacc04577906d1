//! Durations as people write them: `250ms`, `5s`, `10m`, `1h`, or several in a row, `1h30m`.

use std::time::Duration;

/// The longest accepted duration, a year: added to any point in time, it cannot overflow.
pub const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Why a text is no duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPeriod {
    /// It is written in another way.
    #[error("is not a duration; write it like 250ms, 5s, 10m or 1h")]
    Unreadable,
    /// It is longer than [`LONGEST`].
    #[error("is longer than a year; write less")]
    TooLong,
}

/// Reads `text`.
///
/// # Errors
/// What is wrong, and what would be right; to be put behind the text.
pub fn parse(text: &str) -> Result<Duration, NoPeriod> {
    let (mut sum, mut rest) = (Duration::ZERO, text);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|n| *n > 0).ok_or(NoPeriod::Unreadable)?;
        let (number, behind) = rest.split_at(digits);
        let unit = behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len());
        let millis = match &behind[..unit] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(NoPeriod::Unreadable),
        };
        let millis = number.parse::<u64>().ok().and_then(|n| n.checked_mul(millis)).ok_or(NoPeriod::TooLong)?;
        sum = sum.checked_add(Duration::from_millis(millis)).filter(|s| *s <= LONGEST).ok_or(NoPeriod::TooLong)?;
        rest = &behind[unit..];
    }
    if text.is_empty() { Err(NoPeriod::Unreadable) } else { Ok(sum) }
}

/// `8s`, `1m30s`, `250ms`: [`parse`] reads it again. What is less than a millisecond is left out.
#[must_use]
pub fn written(period: Duration) -> String {
    let mut left = period.as_millis();
    let mut text = String::new();
    for (unit, millis) in [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
        if left >= millis {
            text.push_str(&(left / millis).to_string());
            text.push_str(unit);
            left %= millis;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_in_every_form_and_nothing_else_is() {
        for (text, millis) in [("250ms", 250), ("5s", 5000), ("10m", 600_000), ("1h30m", 5_400_000), ("0s", 0)] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "s", "5 s", "5sec", "1.5s", "-1s", "5s ", "5d", "ms5"] {
            assert_eq!(parse(text), Err(NoPeriod::Unreadable), "{text}");
        }
        for text in ["8761h", "99999999999999999999h", "18446744073709551615ms"] {
            assert_eq!(parse(text), Err(NoPeriod::TooLong), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same(millis in 0_u64..=31_536_000_000) {
            let period = Duration::from_millis(millis);
            prop_assert_eq!(parse(&written(period)), Ok(period));
        }
    }
}
