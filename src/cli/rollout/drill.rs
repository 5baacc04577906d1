//! `rollout drill`: whether the guards would notice a bad candidate, tried out ahead of the release.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use http::Method;
use serde_json::json;

use super::{path, start};
use crate::admin::wire::{DrillRun, Drilled, DrilledGuard};
use crate::cli::Output;
use crate::cli::client::Client;
use crate::cli::output::{Mood, painted, plain, say, say_json, split};
use crate::cli::table::Table;

/// What `rollout drill` is told.
#[derive(Debug, Args)]
pub struct DrillArgs {
    /// The service.
    service: String,
    /// The group that would get everything.
    group: String,
    /// Path and query that are asked for; default: what the warm-up or the health check asks for.
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// Path and query of a WebSocket, for the guard `websocket_success`.
    #[arg(long, value_name = "PATH")]
    websocket_path: Option<String>,
    /// The part of the candidate's requests that a fault hits, in per cent.
    #[arg(long, value_name = "PERCENT", default_value_t = 50.0)]
    share: f64,
    /// Requests to either group for each fault, at the most.
    #[arg(long, value_name = "N", default_value_t = 300)]
    requests: u64,
    /// Other keys of `rollout:` in the file, as JSON: '{"guards":{"error_rate":{"above":"1%"}}}'.
    #[arg(long, value_name = "JSON")]
    plan: Option<String>,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub(super) async fn run(args: DrillArgs, client: &Client, output: Output) -> anyhow::Result<ExitCode> {
    let mut body = start::plan(args.plan.as_deref())?;
    for (key, value) in [
        ("to", json!(args.group)),
        ("path", json!(args.path)),
        ("websocket_path", json!(args.websocket_path)),
        ("share", json!(args.share)),
        ("requests", json!(args.requests)),
        ("reason", json!(args.reason)),
    ] {
        body.insert(key.to_owned(), value);
    }
    let path = format!("{}/drill", path(&args.service));
    let drilled: Drilled = client.call(Method::POST, &path, Some(&serde_json::Value::Object(body))).await?;
    match output {
        Output::Json => say_json(&drilled)?,
        Output::Text => say(&text(&drilled))?,
    }
    Ok(if drilled.as_expected { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn text(drilled: &Drilled) -> String {
    let Drilled { service, to, baseline, path, share, seconds, .. } = drilled;
    let mut out = format!(
        "{service}: {to} against {baseline}, GET {}; faults hit {} % of the requests to {to}; {} s\n\n",
        plain(path),
        share.0,
        seconds.0
    );
    let mut table = Table::new(&["FAULT", ">SENT", ">HIT", "GUARD", "IT", "AFTER", "WHY"]);
    for run in &drilled.runs {
        let shown = run.guards.iter().filter(|g| run.fault == "none" || g.is_meant || g.fired_after.is_some());
        for (i, guard) in shown.enumerate() {
            let first = if i == 0 { run.fault.clone() } else { String::new() };
            let [sent, hit] = [run.sent, run.hit].map(|n| if i == 0 { n.to_string() } else { String::new() });
            let (it, after, why) = (verdict(run, guard), after(guard), plain(&guard.why));
            table.row(vec![first, sent, hit, plain(&guard.guard), it, after, why]);
        }
    }
    out += &table.text();
    for guard in &drilled.not_drilled {
        let _ = writeln!(out, "not drilled: {}: {}", plain(&guard.guard), plain(&guard.why));
    }
    for run in drilled.runs.iter().filter(|run| !run.complete) {
        let _ = writeln!(out, "there was not time enough for {}", run.fault);
    }
    if let Some(then) = &drilled.on_failure {
        let _ = writeln!(out, "a failed guard leads to: {}, {}", then.state.replace('_', " "), split(&then.split));
    }
    out + &conclusion(drilled)
}

fn conclusion(drilled: &Drilled) -> String {
    if drilled.as_expected {
        return painted("every guard that was drilled has noticed its fault, and none has cried wolf", Mood::Good)
            + "\n";
    }
    let wrong = drilled.runs.iter().filter(|run| !run.as_expected).map(|run| match run.fault.as_str() {
        "none" => "a guard fails the candidate as it is".to_owned(),
        fault => format!("{fault}: not noticed; lower the limit, or see what is needed with more --requests"),
    });
    let wrong = wrong.map(|line| painted(&line, Mood::Bad) + "\n");
    wrong.collect()
}

fn verdict(run: &DrillRun, guard: &DrilledGuard) -> String {
    match (run.fault.as_str(), guard.fired_after) {
        ("none", None) => painted("is quiet", Mood::Good),
        ("none", Some(_)) => painted("fails", Mood::Bad),
        (_, Some(_)) => painted("fires", Mood::Good),
        (_, None) => painted("is silent", Mood::Bad),
    }
}

fn after(guard: &DrilledGuard) -> String {
    let unit = if guard.guard == "unhealthy_for" { "s" } else { "requests" };
    guard.fired_after.map_or_else(|| "-".to_owned(), |n| format!("{n} {unit}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drilled(noticed: Option<u64>) -> Drilled {
        let guard = |fired: Option<u64>, is_meant: bool| json!({"guard": "error_rate", "is_meant": is_meant, "fired_after": fired, "status": "pass", "why": "so it is"});
        serde_json::from_value(json!({
            "service": "shop", "to": "green", "baseline": "blue", "path": "/", "share": 50, "seconds": 0.4,
            "as_expected": noticed.is_some(), "on_failure": {"state": "rolled_back", "split": {"blue": 100, "green": 0}},
            "not_drilled": [{"guard": "carts", "why": "it asks somebody outside"}],
            "runs": [
                {"fault": "none", "sent": 300, "hit": 0, "complete": true, "as_expected": true, "guards": [guard(None, false)]},
                {"fault": "errors", "sent": 14, "hit": 7, "complete": true, "as_expected": noticed.is_some(),
                 "guards": [guard(noticed, true)]}]
        }))
        .unwrap()
    }

    #[test]
    fn a_drill_says_which_guard_noticed_what_and_after_how_many_requests() {
        let good = text(&drilled(Some(14)));
        for line in [
            "none     300    0  error_rate  is quiet  -            so it is",
            "errors    14    7  error_rate  fires     14 requests  so it is",
            "not drilled: carts: it asks somebody outside",
            "a failed guard leads to: rolled back, blue 100",
            "every guard that was drilled has noticed its fault, and none has cried wolf",
        ] {
            assert!(good.lines().any(|l| l == line), "{line}\nis not in\n{good}");
        }
        let bad = text(&drilled(None));
        assert!(bad.contains("is silent") && bad.contains("errors: not noticed") && !bad.contains("cried"), "{bad}");
    }
}
