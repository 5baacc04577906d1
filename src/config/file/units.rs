//! Durations, sizes and percentages as people write them.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::config::yaml::{Text, quote};
use crate::model::period;
use crate::model::split::Share;

/// A duration: `250ms`, `5s`, `10m`, `1h`, or several in a row, `1h30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct Period(pub(in crate::config) Duration);

impl Period {
    /// Reads `text`.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub(in crate::config) fn parse(text: &str) -> Result<Self, String> {
        period::parse(text).map(Self).map_err(|wrong| format!("{} {wrong}", quote(text)))
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&Text::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl JsonSchema for Period {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^([0-9]+(ms|s|m|h))+$|\$\{.+\}",
            "description": "A duration: 250ms, 5s, 10m, 1h",
        })
    }
}

/// A size in bytes: `512B`, `64KiB`, `10MiB`, `2GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct Size(pub(in crate::config) u64);

impl Size {
    /// Reads `text`.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub(in crate::config) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{} is not a size; write it like 512B, 64KiB, 10MiB or 2GiB", quote(text));
        let digits = text.find(|c: char| !c.is_ascii_digit()).filter(|n| *n > 0).ok_or_else(wrong)?;
        let shift = match &text[digits..] {
            "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            _ => return Err(wrong()),
        };
        let bytes = text[..digits].parse::<u64>().ok().and_then(|n| n.checked_mul(1 << shift));
        bytes.map(Self).ok_or_else(|| format!("{} is more than can be counted; write less", quote(text)))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&Text::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^[0-9]+([KMG]i)?B$|\$\{.+\}",
            "description": "A size: 512B, 64KiB, 10MiB, 2GiB",
        })
    }
}

/// A part of the whole in per cent: `20`, `99.9`, `20%`; to four decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct Percentage(pub(in crate::config) Share);

impl Percentage {
    /// Reads `text`.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub(in crate::config) fn parse(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('%').unwrap_or(text).trim_end();
        let decimals = number.split_once('.').map_or("", |(_, decimals)| decimals).trim_end_matches('0');
        let is_decimal = number.bytes().any(|b| b.is_ascii_digit())
            && number.bytes().all(|b| b.is_ascii_digit() || b == b'.')
            && number.bytes().filter(|b| *b == b'.').count() < 2;
        match number.parse::<f64>() {
            Ok(percent) if is_decimal && decimals.len() <= 4 => {
                Share::from_percent(percent).map(Self).map_err(|e| format!("{e}; write it like 25 or 99.9"))
            }
            Ok(_) if is_decimal => Err(format!("{} has more than 4 decimals; round it", quote(text))),
            _ => Err(format!("{} is not a percentage from 0 to 100; write it like 25 or 99.9", quote(text))),
        }
    }
}

impl<'de> Deserialize<'de> for Percentage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&Text::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl JsonSchema for Percentage {
    fn schema_name() -> Cow<'static, str> {
        "Percentage".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A percentage with up to 4 decimals: 25, 99.9, 20%",
            "anyOf": [
                { "type": "number", "minimum": 0, "maximum": 100 },
                { "type": "string", "pattern": r"^[0-9]+(\.[0-9]{1,4})? ?%?$|\$\{.+\}" },
            ],
        })
    }
}

/// By how much something is larger, in per cent of what it is compared to: `50%`, `200%`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::config) struct Increase(pub(in crate::config) f64);

impl Increase {
    /// Reads `text`.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub(in crate::config) fn parse(text: &str) -> Result<Self, String> {
        let percent = text.strip_suffix('%').unwrap_or(text).trim_end();
        let fraction = percent.parse::<f64>().ok().filter(|_| percent.starts_with(|c: char| c.is_ascii_digit()));
        match fraction {
            // Beyond, nothing that still answers would ever be too slow.
            Some(percent) if percent <= 100_000.0 => Ok(Self(percent / 100.0)),
            _ => Err(format!("{} is not an increase in per cent; write it like 50% or 200%", quote(text))),
        }
    }
}

impl<'de> Deserialize<'de> for Increase {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&Text::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl JsonSchema for Increase {
    fn schema_name() -> Cow<'static, str> {
        "Increase".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An increase in per cent: 50%, 200%",
            "anyOf": [
                { "type": "number", "minimum": 0 },
                { "type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?%?$|\$\{.+\}" },
            ],
        })
    }
}

/// A number, perhaps with a fraction: `0.01`, `-3`, `1e6`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::config) struct Number(pub(in crate::config) f64);

impl Number {
    /// Reads `text`.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub(in crate::config) fn parse(text: &str) -> Result<Self, String> {
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
        number.map(Self).ok_or_else(|| format!("{} is not a number; write it like 0.01 or 250", quote(text)))
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&Text::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl JsonSchema for Number {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Number".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_an_end() {
        for (text, millis) in [("250ms", 250), ("5s", 5000), ("10m", 600_000), ("1h30m", 5_400_000), ("0s", 0)] {
            assert_eq!(Period::parse(text), Ok(Period(Duration::from_millis(millis))), "{text}");
        }
        for text in ["", "5", "s", "5 s", "5sec", "1.5s", "-1s", "5s ", "5d", "ms5"] {
            let right = format!("{text:?} is not a duration; write it like 250ms, 5s, 10m or 1h");
            assert_eq!(Period::parse(text), Err(right));
        }
        for text in ["8761h", "99999999999999999999h", "18446744073709551615ms"] {
            assert_eq!(Period::parse(text), Err(format!("{text:?} is longer than a year; write less")));
        }
    }

    #[test]
    fn sizes_count_in_powers_of_two_and_say_so() {
        for (text, bytes) in [("0B", 0), ("512B", 512), ("64KiB", 65_536), ("10MiB", 10 << 20), ("2GiB", 2 << 30)] {
            assert_eq!(Size::parse(text), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "5", "KiB", "64 KiB", "64KB", "64k", "64kib", "1.5MiB", "-1B", "1TiB", "64MiB "] {
            let right = format!("{text:?} is not a size; write it like 512B, 64KiB, 10MiB or 2GiB");
            assert_eq!(Size::parse(text), Err(right));
        }
        for text in ["18446744073709551616B", "99999999999999GiB"] {
            assert_eq!(Size::parse(text), Err(format!("{text:?} is more than can be counted; write less")));
        }
    }

    #[test]
    fn percentages_have_at_most_four_decimals() {
        for (text, ppm) in [("0", 0), ("100", 1_000_000), ("99.9", 999_000), ("20%", 200_000), ("33.3333", 333_333)] {
            assert_eq!(Percentage::parse(text).map(|p| p.0.ppm()), Ok(ppm), "{text}");
        }
        assert_eq!(Percentage::parse("1.50000").map(|p| p.0.ppm()), Ok(15_000));
        for (text, wrong) in [
            ("101", "a share is a percentage from 0 to 100, not 101; write it like 25 or 99.9"),
            ("1.23456", "\"1.23456\" has more than 4 decimals; round it"),
            ("-1", "\"-1\" is not a percentage from 0 to 100; write it like 25 or 99.9"),
            ("nan", "\"nan\" is not a percentage from 0 to 100; write it like 25 or 99.9"),
            ("1e1", "\"1e1\" is not a percentage from 0 to 100; write it like 25 or 99.9"),
            (".", "\".\" is not a percentage from 0 to 100; write it like 25 or 99.9"),
            ("", "\"\" is not a percentage from 0 to 100; write it like 25 or 99.9"),
        ] {
            assert_eq!(Percentage::parse(text), Err(wrong.to_owned()));
        }
    }

    #[test]
    fn increases_go_beyond_the_whole_and_numbers_anywhere() {
        for (text, fraction) in [("50%", 0.5), ("0", 0.0), ("12.5", 0.125), ("200 %", 2.0)] {
            assert_eq!(Increase::parse(text), Ok(Increase(fraction)), "{text}");
        }
        for text in ["", "%", "-1", "nan", "inf", "+5", "1e9", "5s"] {
            let right = format!("{text:?} is not an increase in per cent; write it like 50% or 200%");
            assert_eq!(Increase::parse(text), Err(right));
        }
        for (text, number) in [("0.01", 0.01), ("-3", -3.0), ("1e6", 1e6)] {
            assert_eq!(Number::parse(text), Ok(Number(number)), "{text}");
        }
        for text in ["", "nan", "inf", "1e999", "1%"] {
            assert_eq!(Number::parse(text), Err(format!("{text:?} is not a number; write it like 0.01 or 250")));
        }
    }
}
