//! A report as Markdown: tables that read well as they are, and rendered.

use std::fmt::Write;

use serde_json::Value;

use super::wire::{Drain, Figure, Number, Report, Stay};

/// The whole report.
pub(super) fn text(report: &Report) -> String {
    let rollout = &report.rollout;
    let mut out = format!(
        "# Rollout {}: {}, {} → {}\n\n",
        rollout.id,
        plain(&rollout.services.join(", ")),
        plain(&rollout.from),
        plain(&rollout.to)
    );
    let how = match rollout.state.as_str() {
        "done" => "Done".to_owned(),
        "rolled_back" => "Rolled back".to_owned(),
        "failed" => "Failed".to_owned(),
        other => format!("Under way ({})", other.replace('_', " ")),
    };
    let last = rollout.timeline.last().map(|entry| format!(": {}", plain(&entry.cause))).unwrap_or_default();
    let _ = writeln!(out, "**{how}** after {}{last}.\n", seconds(report.took_seconds.0));
    out += &head(report);
    for (title, table) in [
        ("Steps", steps(&report.stays)),
        ("What the guards said", figures(report)),
        ("Approvals", approvals(report)),
        ("Timeline", timeline(report)),
        ("Drains", drains(&rollout.drains)),
        ("Plan", plan(&rollout.plan)),
    ] {
        if !table.rows.is_empty() {
            let _ = write!(out, "\n## {title}\n\n{}", table.text());
        }
    }
    let _ = writeln!(out, "\nMade {} by {}.", time(report.made_at), report.made_by);
    out
}

fn head(report: &Report) -> String {
    let rollout = &report.rollout;
    let mut table = Table::new(&["What", "Value"]);
    table.row(["Started".to_owned(), format!("{} by {}", time(rollout.started_at), rollout.started_by)]);
    table.row(["Ended".to_owned(), rollout.ended_at.map_or("not yet".to_owned(), time)]);
    table.row(["Why".to_owned(), rollout.reason.clone().unwrap_or_else(|| "not said".to_owned())]);
    table.row(["Share now".to_owned(), format!("{} %", rollout.share.0)]);
    if let Some(verdict) = &rollout.verdict {
        table.row(["Verdict now".to_owned(), verdict.status.clone()]);
    }
    if let Some(what) = &rollout.waits_for {
        table.row(["Waits for".to_owned(), what.clone()]);
    }
    if rollout.override_freeze {
        table.row(["Freezes".to_owned(), "overridden by whoever started it".to_owned()]);
    }
    table.text()
}

fn steps(stays: &[Stay]) -> Table {
    let mut table = Table::new(&["Step", ">Share", "From", ">For", "Ended by"]);
    for stay in stays {
        let lasted = stay.seconds.map_or("goes on".to_owned(), |s| seconds(s.0));
        let end = stay.ended_by.clone().unwrap_or_else(|| "-".to_owned());
        table.row([stay.name.clone(), format!("{} %", stay.share.0), time(stay.began_at), lasted, end]);
    }
    table
}

fn figures(report: &Report) -> Table {
    let columns = ["Step", "Guard", "Says", ">Candidate", ">Baseline", ">Limit", ">Requests", "Why"];
    let several = report.rollout.services.len() > 1;
    let mut table = Table::new(&columns);
    for (stay, figure) in report.stays.iter().flat_map(|stay| stay.figures.iter().map(move |f| (stay, f))) {
        let Figure { service, guard, status, candidate, baseline, limit, unit, requests, why } = figure;
        let guard = if several { format!("{service} {guard}") } else { guard.clone() };
        let [candidate, baseline, limit] = [candidate, baseline, limit].map(|value| measured(*value, unit));
        let (name, requests) = (stay.name.clone(), requests.to_string());
        table.row([name, guard, status.clone(), candidate, baseline, limit, requests, why.clone()]);
    }
    table
}

fn approvals(report: &Report) -> Table {
    let mut table = Table::new(&["Asked", ">At share", "Answered", "By", "Answer", "In what words"]);
    for approval in &report.approvals {
        let answer = match approval.agreed {
            Some(true) => "agreed",
            Some(false) => "not agreed",
            None => "open",
        };
        let said = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let answered = approval.answered_at.map_or("not yet".to_owned(), time);
        let (asked, share) = (time(approval.asked_at), format!("{} %", approval.share.0));
        table.row([asked, share, answered, said(&approval.by), answer.to_owned(), said(&approval.cause)]);
    }
    table
}

fn timeline(report: &Report) -> Table {
    let mut table = Table::new(&["When", "State", ">Share", "Who", "Why"]);
    for entry in &report.rollout.timeline {
        let (state, share) = (entry.state.replace('_', " "), format!("{} %", entry.share.0));
        table.row([time(entry.at), state, share, entry.actor.clone(), entry.cause.clone()]);
    }
    table
}

fn drains(drains: &[Drain]) -> Table {
    let mut table = Table::new(&["Service", "Group", "State", "From", ">For", ">Left behind", "Why"]);
    for drain in drains {
        let lasted = drain.ended_at.map(|end| seconds(end.duration_since(drain.started_at).as_secs_f64()));
        let left = format!("{} requests, {} tunnels", drain.in_flight, drain.tunnels);
        let state = drain.state.replace('_', " ");
        let lasted = lasted.unwrap_or_else(|| "goes on".to_owned());
        let (service, group, why) = (drain.service.clone(), drain.group.clone(), drain.why.clone());
        table.row([service, group, state, time(drain.started_at), lasted, left, why]);
    }
    table
}

/// A row for each key that says something.
fn plan(plan: &Value) -> Table {
    let mut table = Table::new(&["Key", "Value"]);
    for (key, value) in plan.as_object().into_iter().flatten().filter(|(_, value)| says_something(value)) {
        match value.as_object().filter(|_| key == "guards") {
            Some(guards) => {
                for (guard, limit) in guards.iter().filter(|(_, limit)| says_something(limit)) {
                    table.row([format!("guards.{guard}"), flow(limit)]);
                }
            }
            None => table.row([key.clone(), flow(value)]),
        }
    }
    table
}

fn says_something(value: &Value) -> bool {
    !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty())
}

/// As it would stand in the file, in one line: `[{ share: 10, hold: 10m }, { share: 100 }]`.
fn flow(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let pairs: Vec<_> = map.iter().map(|(key, value)| format!("{key}: {}", flow(value))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        other => other.to_string(),
    }
}

/// A figure of a guard with its unit.
fn measured(value: Option<Number>, unit: &str) -> String {
    let Some(Number(value)) = value else { return "-".to_owned() };
    match unit {
        "fraction" => format!("{:.2} %", value * 100.0),
        "ms" => format!("{value:.1} ms"),
        "s" => seconds(value),
        _ => value.to_string(),
    }
}

/// `1.5 s`, `90 s`, `16 min 30 s`, `2 h 5 min`.
fn seconds(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        0..10 => format!("{seconds:.1} s"),
        10..120 => format!("{seconds:.0} s"),
        120..7200 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole / 60 % 60),
    }
}

fn time(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Text from elsewhere in one line, without what Markdown or HTML would make something else of.
fn plain(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let escaped = line.chars().fold(String::new(), |mut out, c| {
        if "\\`*<>|~".contains(c) {
            out.push('\\');
        }
        out.push(c);
        out
    });
    // No links; brackets alone are none, and plans have many.
    escaped.replace("](", "]\\(")
}

/// A table whose columns are as wide as their widest cell, so that it reads well as it is.
struct Table {
    columns: Vec<(String, Side)>,
    rows: Vec<Vec<String>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Left,
    Right,
}

impl Table {
    /// With these headings; a heading that begins with `>` stands over a column of numbers.
    fn new(headings: &[&str]) -> Self {
        let column = |h: &&str| match h.strip_prefix('>') {
            Some(name) => (name.to_owned(), Side::Right),
            None => ((*h).to_owned(), Side::Left),
        };
        Self { columns: headings.iter().map(column).collect(), rows: Vec::new() }
    }

    fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.iter().map(|cell| plain(cell)).collect());
    }

    fn text(&self) -> String {
        let wide = |text: &str| text.chars().count();
        let width = |i: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(i)).map(|cell| wide(cell));
            cells.chain([wide(&self.columns[i].0), 3]).max().unwrap_or(3)
        };
        let widths: Vec<_> = (0..self.columns.len()).map(width).collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let cells = cells.zip(&widths).zip(&self.columns).map(|((cell, width), (_, side))| {
                let fill = " ".repeat(width - wide(cell));
                if *side == Side::Right { format!(" {fill}{cell} ") } else { format!(" {cell}{fill} ") }
            });
            format!("|{}|\n", cells.collect::<Vec<_>>().join("|"))
        };
        let rule = self.columns.iter().zip(&widths).map(|((_, side), width)| match side {
            Side::Left => "-".repeat(width + 2),
            Side::Right => format!("{}:", "-".repeat(width + 1)),
        });
        let rule = format!("|{}|\n", rule.collect::<Vec<_>>().join("|"));
        let head = line(&mut self.columns.iter().map(|(name, _)| name.as_str()));
        let rows = self.rows.iter().map(|row| line(&mut row.iter().map(String::as_str)));
        head + &rule + &rows.collect::<String>()
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::report_samples::rollout;
    use super::*;

    #[test]
    fn a_report_tells_the_whole_story_in_tables() {
        let text = text(&Report::new(rollout(), jiff::Timestamp::UNIX_EPOCH));
        for line in [
            "# Rollout r3: shop, blue → green",
            "**Rolled back** after 16 min 30 s: guard error_rate has failed.",
            "| What      | Value                          |",
            "| Started   | 2026-11-05 10:00:00 UTC by ops |",
            "| Why       | 2.5.0 \\*with\\* \\<new\\> carts   |",
            "| Step   | Share | From                    |         For | Ended by                    |",
            "| step 1 |  10 % | 2026-11-05 10:05:00 UTC | 10 min 0 s | every guard has passed      |",
            "| step 2 |  50 % | 2026-11-05 10:15:00 UTC |       90 s | guard error_rate has failed |",
            "| step 2 | error_rate | fail |   10.00 % |   0.10 % | 5.00 % |      310 | 31 of 310 have failed \\| more than 5 % |",
            "| guards.error_rate | { above: 5% } |",
        ] {
            let squeezed = |l: &str| l.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(text.lines().any(|l| squeezed(l) == squeezed(line)), "{line}\nis not in\n{text}");
        }
        assert!(!text.contains("validate") && !text.contains("## Drains"), "{text}");
    }

    #[test]
    fn the_columns_of_a_table_line_up() {
        let mut table = Table::new(&["Group", ">Share"]);
        table.row(["grün".to_owned(), "100 %".to_owned()]);
        table.row(["b".to_owned(), "0 %".to_owned()]);
        let expected = "| Group | Share |\n|-------|------:|\n| grün  | 100 % |\n| b     |   0 % |\n";
        assert_eq!(table.text(), expected);
    }
}
