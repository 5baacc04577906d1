//! What it takes to read a calendar: the fields of a crontab, and time zones. Neither looks at a clock.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::near;
use super::yaml::quote;

/// Longest text of a crontab, in bytes: every minute of an hour has a place in it.
const LONGEST: usize = 500;

/// Reads the five fields of a crontab(5): minute, hour, day of the month, month, day of the week. Where both days are
/// restricted, either will do.
///
/// # Errors
/// What is wrong, and what would be right.
pub fn cron(text: &str) -> Result<Cron, String> {
    const RIGHT: &str = "write minute, hour, day, month and weekday, like \"0 18 * * FRI\"";
    if text.len() > LONGEST {
        return Err(format!("{} is longer than {LONGEST} characters; {RIGHT}", quote(text)));
    }
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    let cron = parser.parse(text).map_err(|error| {
        let why = error.to_string();
        format!("{} is no time in a crontab ({}); {RIGHT}", quote(text), why.trim_end_matches('.'))
    })?;
    // A leap day comes within eight years, whatever the century.
    let start = jiff::civil::date(2096, 3, 1).at(0, 0, 0, 0);
    match cron.find_next_occurrence(&start, true) {
        Ok(_) => Ok(cron),
        Err(_) => Err(format!("{} never comes; {RIGHT}", quote(text))),
    }
}

/// A time zone by its IANA name. The system's database comes first, as it may be newer than ours.
///
/// # Errors
/// What is wrong, and what would be right.
pub fn zone(name: &str) -> Result<TimeZone, String> {
    let ours = TimeZoneDatabase::bundled();
    jiff::tz::db().get(name).or_else(|_| ours.get(name)).map_err(|_| {
        let known: Vec<_> = ours.available().map(|name| name.to_string()).collect();
        let right = match near::nearest(name, &known.iter().map(String::as_str).collect::<Vec<_>>()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "write its IANA name, like UTC or Europe/Berlin".to_owned(),
        };
        format!("there is no time zone {}; {right}", quote(name))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_crontab_is_read_as_cron_reads_it() {
        for sound in
            ["0 18 * * FRI", "*/15 9-17 1,15 JAN-MAR mon-fri", "0 0 29 2 *", "5 4 * * 7", "0 0 13 * 5", "@daily"]
        {
            assert!(cron(sound).is_ok(), "{sound}: {:?}", cron(sound));
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_what_is_read_comes_again(
            text in "([0-9*/,A-Za-z#?+@-]{1,6} ){4}[0-9*/,A-Za-z#?+-]{1,6}|.{0,30}|([0-5]?[0-9]|\\*)( ([1-9]|\\*|\\*/[1-9])){3} [0-7+]{1,2}"
        ) {
            let at = jiff::civil::date(2026, 11, 20).at(12, 0, 0, 0);
            match cron(&text) {
                Ok(cron) => prop_assert!(cron.find_previous_occurrence(&at, true).is_ok(), "{}", text),
                Err(wrong) => prop_assert!(wrong.contains("; write minute"), "{}", wrong),
            }
        }
    }

    #[test]
    fn zones_are_known_without_a_database_of_the_system() {
        let ours = TimeZoneDatabase::bundled();
        for name in ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"] {
            assert!(ours.get(name).is_ok(), "{name} is not built in: is jiff's feature tzdb-bundle-always on?");
            assert!(zone(name).is_ok(), "{name}");
        }
    }
}
