//! How values look on the screen: JSON, colours, splits, durations.

use std::io::{IsTerminal, Write};

use serde::Serialize;

use crate::admin::wire::{Number, Shares};

/// Writes to standard output. A closed pipe is an error like any other, not a panic.
pub(super) fn say(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Writes the API's JSON, indented.
pub(super) fn say_json(value: &impl Serialize) -> anyhow::Result<()> {
    Ok(say(&format!("{}\n", serde_json::to_string_pretty(value)?))?)
}

/// What a word means for whoever has to act.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mood {
    Good,
    Bad,
    Unsure,
}

/// The word in the colour of its mood; plain where colours are not wanted (no terminal, `NO_COLOR`).
pub(super) fn painted(word: &str, mood: Mood) -> String {
    if !std::io::stdout().is_terminal() || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        return word.to_owned();
    }
    let colour = match mood {
        Mood::Good => 32,
        Mood::Bad => 31,
        Mood::Unsure => 33,
    };
    format!("\u{1b}[{colour}m{word}\u{1b}[0m")
}

/// `green 100`, `blue 75, green 25`: groups without a share are left out.
pub(super) fn split(shares: &Shares) -> String {
    let some = shares.iter().filter(|(_, share)| share.0 > 0.0);
    some.map(|(group, share)| format!("{group} {}", share.0)).collect::<Vec<_>>().join(", ")
}

/// `0.8 ms`, `41 ms`, `2.35 s`; a dash where there is none.
pub(super) fn duration(ms: Option<Number>) -> String {
    match ms {
        None => "-".to_owned(),
        Some(Number(ms)) if ms < 10.0 => format!("{ms:.1} ms"),
        Some(Number(ms)) if ms < 1000.0 => format!("{ms:.0} ms"),
        Some(Number(ms)) => format!("{:.2} s", ms / 1000.0),
    }
}

/// Text from elsewhere without control characters, which could steer the terminal.
pub(super) use crate::model::summary::plain;

/// `2026-11-05 10:00:00` in UTC.
pub(super) fn time(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_for_people() {
        let shares = [("blue", 75.0), ("green", 25.0), ("red", 0.0)];
        let shares = shares.into_iter().map(|(group, share)| (group.to_owned(), Number(share))).collect();
        assert_eq!(split(&shares), "blue 75, green 25");
        let written = [Some(0.84), Some(41.4), Some(2345.0), None].map(|ms| duration(ms.map(Number)));
        assert_eq!(written, ["0.8 ms", "41 ms", "2.35 s", "-"].map(str::to_owned));
        assert_eq!(plain("a\u{1b}[31mb\n"), "a [31mb ");
    }
}
