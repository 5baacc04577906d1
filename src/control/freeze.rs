//! Freezes: whether something new may begin at a moment, by the calendar of a rollout's plan.
//!
//! Pure: the moment is an argument. A freeze begins when clocks in its zone show a time of its crontab, and lasts so
//! long by a stopwatch. A time that clocks leap over counts as soon as they have; one that they show twice, the first
//! time.

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use crate::config::calendar;
use crate::model::rollout::plan::Freeze;

/// What forbids that something begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// Not before then. Another freeze, or the same one again, may have begun by that time.
    pub until: Timestamp,
    /// Which of the freezes.
    pub freeze: usize,
}

/// The freeze at that moment; of several, the one that ends last. One that cannot be read, which the configuration
/// refuses, forbids nothing.
#[must_use]
pub fn frozen(freezes: &[Freeze], at: Timestamp) -> Option<Frozen> {
    let ends = freezes.iter().enumerate().filter_map(|(i, freeze)| Some(Frozen { until: end(freeze, at)?, freeze: i }));
    ends.filter(|frozen| at < frozen.until).max_by_key(|frozen| frozen.until)
}

/// The end of what began last, up to that moment.
fn end(freeze: &Freeze, at: Timestamp) -> Option<Timestamp> {
    let zone = calendar::zone(&freeze.zone).ok()?;
    let cron = calendar::cron(&freeze.cron).ok()?;
    let (latest, inclusive) = latest_shown(&zone, at);
    let begin = cron.find_previous_occurrence(&latest, inclusive).ok()?;
    first_shown(&zone, begin)?.checked_add(SignedDuration::try_from(freeze.length).ok()?).ok()
}

/// The latest time that clocks have shown up to that moment, and whether that very time was shown. It is what they show
/// now, unless they were put back and have not caught up.
fn latest_shown(zone: &TimeZone, at: Timestamp) -> (DateTime, bool) {
    let now = zone.to_datetime(at);
    let put = zone.preceding(at).next().and_then(|change| {
        let before = change.timestamp().checked_sub(SignedDuration::from_nanos(1)).ok()?;
        Some(zone.to_offset(before).to_datetime(change.timestamp()))
    });
    match put {
        Some(put) if put > now => (put, false),
        _ => (now, true),
    }
}

/// When clocks first showed that time, or leapt over it.
fn first_shown(zone: &TimeZone, time: DateTime) -> Option<Timestamp> {
    let moments = zone.to_ambiguous_timestamp(time);
    let offset = moments.offset();
    let first = moments.earlier().ok()?;
    match offset {
        AmbiguousOffset::Gap { .. } => Some(zone.following(first).next()?.timestamp()),
        _ => Some(first),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn freeze(cron: &str, minutes: u64, zone: &str) -> Freeze {
        Freeze { cron: cron.to_owned(), length: Duration::from_secs(minutes * 60), zone: zone.to_owned() }
    }

    fn moment(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// Whether and until when it is frozen at each of these moments.
    fn each(freeze: &Freeze, table: &[(&str, Option<&str>)]) {
        for (at, until) in table {
            let expected = until.map(|until| Frozen { until: moment(until), freeze: 0 });
            assert_eq!(frozen(std::slice::from_ref(freeze), moment(at)), expected, "{freeze:?} at {at}");
        }
    }

    #[test]
    fn a_freeze_lasts_from_its_begin_to_just_before_its_end() {
        // 2026-11-20 is a Friday.
        let weekend = freeze("0 18 * * FRI", 62 * 60, "UTC");
        let end = Some("2026-11-23T08:00:00Z");
        each(
            &weekend,
            &[
                ("2026-11-20T17:59:59.999Z", None),
                ("2026-11-20T18:00:00Z", end),
                ("2026-11-22T12:34:56.789Z", end),
                ("2026-11-23T07:59:59.999Z", end),
                ("2026-11-23T08:00:00Z", None),
            ],
        );
    }

    #[test]
    fn a_freeze_goes_by_the_clocks_of_its_zone_in_winter_and_in_summer() {
        let evening = freeze("0 18 * * *", 60, "Europe/Berlin");
        each(
            &evening,
            &[
                ("2026-01-10T16:30:00Z", None),
                ("2026-01-10T17:30:00Z", Some("2026-01-10T18:00:00Z")),
                ("2026-07-10T16:30:00Z", Some("2026-07-10T17:00:00Z")),
                ("2026-07-10T17:30:00Z", None),
            ],
        );
    }

    #[test]
    fn a_time_that_clocks_leap_over_counts_as_soon_as_they_have() {
        // On 2026-03-29 clocks in Berlin went from 2:00 to 3:00, at 1:00 UTC.
        let end = Some("2026-03-29T05:00:00Z");
        for cron in ["30 2 * * *", "30 2,14 * * *", "*/30 2 * * SUN"] {
            let early = freeze(cron, 4 * 60, "Europe/Berlin");
            each(
                &early,
                &[
                    ("2026-03-29T00:59:59Z", None),
                    ("2026-03-29T01:00:00Z", end),
                    ("2026-03-29T04:59:59Z", end),
                    ("2026-03-29T05:00:00Z", None),
                ],
            );
        }
    }

    #[test]
    fn a_time_that_clocks_show_twice_counts_once() {
        // On 2026-10-25 clocks in Berlin went from 3:00 back to 2:00, at 1:00 UTC.
        let early = freeze("30 2 * * *", 45, "Europe/Berlin");
        let end = Some("2026-10-25T01:15:00Z");
        each(
            &early,
            &[
                ("2026-10-25T00:29:59Z", None),
                ("2026-10-25T00:30:00Z", end),
                // Clocks show 2:10 for the second time.
                ("2026-10-25T01:10:00Z", end),
                ("2026-10-25T01:15:00Z", None),
                ("2026-10-25T01:30:00Z", None),
                ("2026-10-25T02:00:00Z", None),
            ],
        );
        // What clocks had not reached when they were put back is still to come.
        let later = freeze("0 3 * * *", 30, "Europe/Berlin");
        each(
            &later,
            &[
                ("2026-10-25T01:10:00Z", None),
                ("2026-10-25T01:59:59Z", None),
                ("2026-10-25T02:00:00Z", Some("2026-10-25T02:30:00Z")),
            ],
        );
    }

    #[test]
    fn either_day_will_do_where_both_are_restricted() {
        // 2026-11-13 is a Friday, 2026-11-20 one more, 2026-12-13 a Sunday.
        let unlucky = freeze("0 0 13 * FRI", 60, "UTC");
        for (day, is_frozen) in
            [("2026-11-13", true), ("2026-11-20", true), ("2026-12-13", true), ("2026-11-14", false)]
        {
            let at = moment(&format!("{day}T00:30:00Z"));
            assert_eq!(frozen(std::slice::from_ref(&unlucky), at).is_some(), is_frozen, "{day}");
        }
    }

    #[test]
    fn of_several_freezes_the_one_that_ends_last_is_named() {
        let freezes =
            [freeze("0 12 * * *", 60, "UTC"), freeze("30 12 * * *", 60, "UTC"), freeze("0 0 1 1 *", 60, "UTC")];
        let frozen = |at: &str| frozen(&freezes, moment(at)).map(|f| (f.freeze, f.until.to_string()));
        assert_eq!(frozen("2026-11-20T12:15:00Z"), Some((0, "2026-11-20T13:00:00Z".to_owned())));
        assert_eq!(frozen("2026-11-20T12:45:00Z"), Some((1, "2026-11-20T13:30:00Z".to_owned())));
        assert_eq!(frozen("2026-11-20T13:30:00Z"), None);
        assert_eq!(super::frozen(&[], moment("2026-11-20T12:15:00Z")), None);
    }

    #[test]
    fn a_freeze_that_cannot_be_read_forbids_nothing() {
        let broken = [freeze("every day", 60, "UTC"), freeze("* * * * *", 60, "Nowhere/Land")];
        assert_eq!(frozen(&broken, moment("2026-11-20T12:15:00Z")), None);
    }

    proptest! {
        #[test]
        fn at_any_moment_it_is_frozen_when_clocks_showed_the_time_within_its_length(
            second in 1_700_000_000_i64..1_900_000_000, hour in 0_u8..24, minute in 0_u8..60, minutes in 1_u64..2000,
            zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]),
        ) {
            let at = Timestamp::from_second(second).unwrap();
            let daily = freeze(&format!("{minute} {hour} * * *"), minutes, zone);
            // By hand: the first moment of each day, of the last few, at which clocks show that time or a later one.
            let clocks = TimeZone::get(zone).unwrap();
            let today = clocks.to_datetime(at).date();
            let begins = (0..4).map(|days| {
                let day = today.checked_sub(jiff::Span::new().days(days)).unwrap();
                let shown = day.at(hour.cast_signed(), minute.cast_signed(), 0, 0);
                let midnight = clocks.to_zoned(day.at(0, 0, 0, 0)).unwrap().timestamp();
                let mut moments = (0..=26 * 60).map(|m| midnight + SignedDuration::from_mins(m));
                moments.find(|moment| clocks.to_datetime(*moment) >= shown).unwrap()
            });
            let last = begins.filter(|begin| *begin <= at).max().unwrap();
            let until = last + SignedDuration::from_mins(i64::try_from(minutes).unwrap());
            let expected = (at < until).then_some(Frozen { until, freeze: 0 });
            prop_assert_eq!(frozen(&[daily], at), expected);
        }
    }
}
