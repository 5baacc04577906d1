//! How a rollout looks on the screen.

use std::fmt::Write;

use crate::admin::wire::{Entry, Guard, Number, PlanStep, Rollout};
use crate::cli::output::{Mood, duration, painted, plain, time};
use crate::cli::table::Table;

/// Entries of the timeline that are shown.
const LAST: usize = 8;

/// `r3 shop blue → green`.
fn title(rollout: &Rollout) -> String {
    format!("{} {} {} → {}", rollout.id, rollout.services.join(","), rollout.from, rollout.to)
}

/// `shifting, step 2 of 4 (25 %)`.
fn place(rollout: &Rollout) -> String {
    let state = match &rollout.paused_in {
        Some(phase) => format!("{} in {}", rollout.state, phase.replace('_', " ")),
        None => rollout.state.replace('_', " "),
    };
    let state = painted(&state, mood(&rollout.state));
    match rollout.step {
        Some(step) => format!("{state}, step {step} of {} ({} %)", rollout.steps.len(), rollout.share.0),
        None => format!("{state} ({} %)", rollout.share.0),
    }
}

fn mood(state: &str) -> Mood {
    match state {
        "done" | "pass" => Mood::Good,
        "failed" | "rolled_back" | "rolling_back" | "fail" => Mood::Bad,
        _ => Mood::Unsure,
    }
}

/// In one line: where it is and what it waits for.
pub(super) fn line(rollout: &Rollout) -> String {
    let waits = rollout.waits_for.as_ref().map(|what| format!(" · waits for {}", plain(what)));
    let unchanged = if rollout.changed == Some(false) { " · nothing changed" } else { "" };
    format!("{}: {}{}{unchanged}", title(rollout), place(rollout), waits.unwrap_or_default())
}

/// For `status`.
pub(in crate::cli) fn remark(rollout: &Rollout) -> String {
    format!("rollout {}", line(rollout))
}

/// The line that is written over while somebody waits. Its times stand at its end.
pub(super) fn under_way(rollout: &Rollout) -> String {
    let left = rollout.left_seconds.map_or("…".to_owned(), |left| format!("{} left", seconds(left.0)));
    format!("{} · {left}", line(rollout))
}

/// A transition in one line.
pub(super) fn transition(rollout: &Rollout, entry: &Entry) -> String {
    let state = painted(&format!("{:<17}", entry.state.replace('_', " ")), mood(&entry.state));
    let (at, share) = (time(entry.at), format!("{} %", entry.share.0));
    format!("{at}  {}  {state}  {share:>6}  {}: {}", rollout.id, plain(&entry.actor), plain(&entry.cause))
}

/// What is said at the end of a wait.
pub(super) fn ending(rollout: &Rollout) -> String {
    let took = rollout.ended_at.unwrap_or(rollout.since).duration_since(rollout.started_at).as_secs_f64();
    let why = if rollout.paused_in.is_some() { stays(rollout) } else { String::new() };
    format!("{}: {} after {}\n{why}{}", title(rollout), place(rollout), seconds(took), next(rollout).join("\n"))
}

/// Why it is paused, and that it stays so.
fn stays(rollout: &Rollout) -> String {
    let paused = rollout.timeline.iter().rev().find(|entry| entry.state == "paused");
    let why = paused.map(|entry| format!(" by {}: {}", plain(&entry.actor), plain(&entry.cause))).unwrap_or_default();
    let verb = if rollout.paused_in.as_deref() == Some("awaiting_approval") { "agrees" } else { "resumes it" };
    format!("paused{why}; it stays there until somebody {verb}:\n")
}

/// What can be done now.
fn next(rollout: &Rollout) -> Vec<String> {
    let service = &rollout.service;
    let verb = |verb: &str, what: &str| format!("  pointsman rollout {verb} {service}  # {what}");
    let abort = || verb("abort", "back to the stable split, at once");
    let report = || format!("  pointsman report {}  # all of it in one file", rollout.id);
    match rollout.state.as_str() {
        "done" => vec![report(), format!("  pointsman rollback {}  # the way back", rollout.services.join(","))],
        "rolled_back" | "failed" => vec![report()],
        "awaiting_approval" => vec![verb("approve --wait", "agree that it goes on"), abort()],
        "paused" if rollout.paused_in.as_deref() == Some("awaiting_approval") => {
            vec![verb("approve --wait", "agree that it goes on"), abort()]
        }
        "paused" => vec![
            verb("resume --wait", "it goes on by its plan"),
            verb("advance", "the next step, without a verdict"),
            abort(),
        ],
        "rolling_back" | "checking" | "warming" => vec![abort()],
        _ => vec![verb("pause", "stay at this share"), verb("advance", "the next step at once"), abort()],
    }
}

/// All that somebody wants to know who has to decide.
pub(super) fn text(rollout: &Rollout) -> String {
    let mut out = format!("{}: {}\n", title(rollout), place(rollout));
    let why = rollout.reason.as_ref().map(|why| format!(": {}", plain(why))).unwrap_or_default();
    let _ = writeln!(out, "started {} by {}{why}", time(rollout.started_at), plain(&rollout.started_by));
    if let Some(end) = rollout.ended_at {
        let took = end.duration_since(rollout.started_at).as_secs_f64();
        let _ = writeln!(out, "ended   {} after {}", time(end), seconds(took));
    }
    let _ = writeln!(out, "steps   {}", steps(rollout));
    if let Some(what) = &rollout.waits_for {
        let left = rollout.left_seconds.map(|left| format!(" · {} left", seconds(left.0))).unwrap_or_default();
        let _ = writeln!(out, "waits   for {}{left}", plain(what));
    }
    out += &verdict(rollout);
    out += "\nWHAT HAPPENED\n";
    let skipped = rollout.timeline.len().saturating_sub(LAST);
    if skipped > 0 {
        let _ = writeln!(out, "… {skipped} earlier; all of them: pointsman report {}", rollout.id);
    }
    for entry in &rollout.timeline[skipped..] {
        let _ = writeln!(out, "{}", transition(rollout, entry));
    }
    let url = rollout.approval_url.as_ref().map(|url| format!("  {}  # or by this link, once", plain(url)));
    let next: Vec<_> = next(rollout).into_iter().chain(url).collect();
    out + "\nNEXT\n" + &next.join("\n") + "\n"
}

/// `10 % for 10m · [25 % for 10m] · 100 %`: the one in force in brackets.
fn steps(rollout: &Rollout) -> String {
    let step = |(i, step): (usize, &PlanStep)| {
        let hold = if step.hold == "0s" { String::new() } else { format!(" for {}", step.hold) };
        let text = format!("{} %{hold}", step.share.0);
        let in_force = rollout.ended_at.is_none() && rollout.step == Some(i + 1);
        if in_force { format!("[{text}]") } else { text }
    };
    let bake = rollout.plan.get("bake").and_then(|bake| bake.as_str()).filter(|bake| *bake != "0s");
    let bake = bake.map(|bake| format!("bake for {bake}"));
    rollout.steps.iter().enumerate().map(step).chain(bake).collect::<Vec<_>>().join(" · ")
}

fn verdict(rollout: &Rollout) -> String {
    let Some(verdict) = &rollout.verdict else { return String::new() };
    let several = rollout.services.len() > 1;
    let mut table = Table::new(&["GUARD", "SAYS", ">CANDIDATE", ">BASELINE", ">LIMIT", ">REQUESTS", ">NEEDS"]);
    let mut why = String::new();
    for guard in &verdict.guards {
        let name = if several { format!("{} {}", guard.service, guard.guard) } else { guard.guard.clone() };
        let figures = [guard.candidate, guard.baseline, guard.limit].map(|value| figure(value, &guard.unit));
        let [candidate, baseline, limit] = figures;
        let says = painted(&guard.status, mood(&guard.status));
        table.row(vec![plain(&name), says, candidate, baseline, limit, guard.requests.to_string(), needs(guard)]);
        if guard.status != "pass" {
            let _ = writeln!(why, "{}: {}", plain(&name), plain(&guard.why));
        }
    }
    format!("\nVERDICT: {}\n{}{why}", painted(&verdict.status, mood(&verdict.status)), table.text())
}

fn needs(guard: &Guard) -> String {
    match (guard.needs, guard.needs_seconds) {
        (0, _) => "-".to_owned(),
        (needs, None) => format!("~{needs}"),
        (needs, Some(left)) => format!("~{needs} (~{})", seconds(left.0)),
    }
}

/// A guard's figure with its unit.
pub(in crate::cli) fn figure(value: Option<Number>, unit: &str) -> String {
    let Some(Number(value)) = value else { return "-".to_owned() };
    match unit {
        "fraction" => format!("{:.2} %", value * 100.0),
        "ms" => duration(Some(Number(value))),
        "s" => seconds(value),
        _ => format!("{value}"),
    }
}

/// `0.4 s`, `12 s`, `9 min`, `2.5 h`.
fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

#[cfg(test)]
pub(super) mod samples {
    use super::*;

    /// A rollout in its second step.
    pub(in crate::cli::rollout) fn rollout() -> Rollout {
        serde_json::from_value(serde_json::json!({
            "id": "r3", "service": "shop", "services": ["shop"], "from": "blue", "to": "green",
            "from_splits": {"shop": {"blue": 100, "green": 0}}, "state": "shifting", "paused_in": null,
            "waits_for": "the verdict of error_rate (about 120 more requests)", "step": 2, "share": 25,
            "steps": [{"share": 10, "hold": "10m"}, {"share": 25, "hold": "10m"}, {"share": 100, "hold": "0s"}],
            "started_at": "2026-11-05T10:00:00Z", "started_by": "ops", "reason": "2.5.0",
            "since": "2026-11-05T10:10:00Z", "ended_at": null, "spent_seconds": 360, "left_seconds": 240,
            "verdict": {"status": "undecided", "guards": [
                {"service": "shop", "guard": "error_rate", "status": "undecided", "hard": false, "candidate": 0.0012,
                 "baseline": 0.001, "limit": 0.05, "unit": "fraction", "requests": 310, "needs": 120,
                 "needs_seconds": 40, "evidence": 1, "fails_at": 1000, "why": "too few requests"},
                {"service": "shop", "guard": "unhealthy_for", "status": "pass", "hard": true, "candidate": 0,
                 "baseline": null, "limit": 30, "unit": "s", "requests": 310, "needs": 0,
                 "needs_seconds": null, "evidence": 1, "fails_at": 0, "why": "it is healthy"}]},
            "timeline": [
                {"at": "2026-11-05T10:00:00Z", "state": "checking", "share": 0, "actor": "ops", "cause": "it was started", "figures": []},
                {"at": "2026-11-05T10:10:00Z", "state": "shifting", "share": 25, "actor": "pointsman", "cause": "every guard has passed", "figures": []}],
            "drains": [], "plan": {"bake": "5m"}, "override_freeze": false, "version": 12
        }))
        .unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollout_shows_where_it_is_what_its_guards_say_and_what_can_be_done() {
        let text = text(&samples::rollout());
        for line in [
            "r3 shop blue → green: shifting, step 2 of 3 (25 %)",
            "started 2026-11-05 10:00:00Z by ops: 2.5.0",
            "steps   10 % for 10m · [25 % for 10m] · 100 % · bake for 5m",
            "waits   for the verdict of error_rate (about 120 more requests) · 4 min left",
            "VERDICT: undecided",
            "GUARD          SAYS       CANDIDATE  BASELINE   LIMIT  REQUESTS         NEEDS",
            "error_rate     undecided     0.12 %    0.10 %  5.00 %       310  ~120 (~40 s)",
            "unhealthy_for  pass           0.0 s         -    30 s       310             -",
            "error_rate: too few requests",
            "2026-11-05 10:10:00Z  r3  shifting             25 %  pointsman: every guard has passed",
            "  pointsman rollout abort shop  # back to the stable split, at once",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\nis not in\n{text}");
        }
    }

    #[test]
    fn what_waits_for_somebody_says_for_whom_and_how() {
        let mut rollout = samples::rollout();
        "awaiting_approval".clone_into(&mut rollout.state);
        rollout.approval_url = Some("/rollouts/r3/approve?token=x".to_owned());
        let text = text(&rollout);
        assert!(text.contains("awaiting approval") && text.contains("pointsman rollout approve --wait shop"), "{text}");
        assert!(text.contains("/rollouts/r3/approve?token=x"), "{text}");
    }
}
