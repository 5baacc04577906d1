//! `rollout start`: the wish, as the command line has it, made into a request.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use http::Method;
use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde_json::{Map, Value, json};

use super::{following, last, shown};
use crate::admin::wire::{Rollout, Scheduled};
use crate::cli::Output;
use crate::cli::client::Client;
use crate::cli::output::{say, say_json, time};
use crate::cli::traffic::named;

/// From one look to the next at whether a scheduled rollout has begun.
const LOOK: Duration = Duration::from_millis(500);
/// A scheduled rollout that has not begun so long after its time will not be waited for.
const OVERDUE: Duration = Duration::from_secs(120);

/// What `rollout start` is told.
#[derive(Debug, Args)]
#[command(allow_missing_positional = true)]
pub struct StartArgs {
    /// One service, or several that move in lockstep: shop,api.
    #[arg(value_name = "SERVICES", required_unless_present = "all", conflicts_with = "all")]
    services: Option<String>,
    /// The group that is to get everything.
    group: String,
    /// All services.
    #[arg(long)]
    all: bool,
    /// Its shares in per cent, one after another, instead of the plan in the file: 10,25,50,100.
    #[arg(long, value_name = "SHARES")]
    steps: Option<String>,
    /// How long each share is kept at least: 10m.
    #[arg(long, value_name = "DURATION", requires = "steps")]
    every: Option<String>,
    /// Other keys of `rollout:` in the file, as JSON: '{"bake":"5m"}'.
    #[arg(long, value_name = "JSON")]
    plan: Option<String>,
    /// When it begins: 2026-11-05T22:00:00Z, or by this machine's clock "2026-11-05 22:00" or 22:00.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Begin, and go on, in spite of a freeze; that it was so is in the audit log.
    #[arg(long)]
    override_freeze: bool,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Wait until it has ended, or somebody has to do something.
    #[arg(long)]
    wait: bool,
}

pub(super) async fn run(args: StartArgs, client: &Client, output: Output) -> anyhow::Result<ExitCode> {
    let at = args.at.as_deref().map(|text| moment(text, &Zoned::now())).transpose()?;
    let mut body = overrides(&args)?;
    let services = named(args.services.as_deref(), client).await?;
    let first = services[0].clone();
    let before = if at.is_some() { last(&first, client).await? } else { None };
    body.insert("services".to_owned(), json!(services));
    body.insert("to".to_owned(), json!(args.group));
    body.insert("at".to_owned(), json!(at));
    body.insert("override_freeze".to_owned(), json!(args.override_freeze));
    body.insert("reason".to_owned(), json!(args.reason));
    let answer: Value = client.call(Method::POST, "/api/v1/rollouts", Some(&Value::Object(body))).await?;
    if answer.get("job").is_some() {
        let scheduled: Scheduled = serde_json::from_value(answer)?;
        if !args.wait || output == Output::Text {
            show_scheduled(&scheduled, output)?;
        }
        if !args.wait {
            return Ok(ExitCode::SUCCESS);
        }
        let id = begun(&first, before.as_ref(), &scheduled, client).await?;
        return following::follow(&first, &id, None, client, output).await;
    }
    let rollout: Rollout = serde_json::from_value(answer)?;
    if args.wait {
        return following::follow(&first, &rollout.id, None, client, output).await;
    }
    match output {
        Output::Json => say_json(&rollout)?,
        Output::Text => say(&format!("{} · look with: pointsman rollout status {first}\n", shown::line(&rollout)))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn show_scheduled(scheduled: &Scheduled, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Json => say_json(scheduled),
        Output::Text => {
            let when = scheduled.at.map(|at| format!(" at {}", time(at))).unwrap_or_default();
            Ok(say(&format!("it begins{when}, by job {} · look with: pointsman jobs\n", scheduled.job))?)
        }
    }
}

/// Waits until the scheduled rollout has begun; its number.
async fn begun(
    service: &str,
    before: Option<&Rollout>,
    scheduled: &Scheduled,
    client: &Client,
) -> anyhow::Result<String> {
    let wait = scheduled.at.map(|at| at.duration_since(Timestamp::now()));
    let wait = wait.and_then(|wait| Duration::try_from(wait).ok()).unwrap_or_default();
    let deadline = Instant::now() + wait + OVERDUE;
    while Instant::now() < deadline {
        let newest = last(service, client).await?;
        if let Some(new) = newest.filter(|new| before.is_none_or(|old| old.id != new.id)) {
            return Ok(new.id);
        }
        tokio::time::sleep(LOOK).await;
    }
    bail!("the rollout has not begun; `pointsman jobs --dead` says why, if job {} has failed", scheduled.job)
}

/// The keys of the plan that are to be another way.
fn overrides(args: &StartArgs) -> anyhow::Result<Map<String, Value>> {
    let mut plan = plan(args.plan.as_deref())?;
    if let Some(text) = &args.steps {
        plan.insert("steps".to_owned(), steps(text, args.every.as_deref())?);
    }
    Ok(plan)
}

/// What `--plan` says.
pub(super) fn plan(text: Option<&str>) -> anyhow::Result<Map<String, Value>> {
    let Some(text) = text else { return Ok(Map::new()) };
    serde_json::from_str(text).context("--plan is no JSON object; write it like '{\"bake\":\"5m\"}'")
}

fn steps(text: &str, every: Option<&str>) -> anyhow::Result<Value> {
    let step = |text: &str| {
        let number = text.trim().trim_end_matches('%').trim_end();
        let share: f64 =
            number.parse().with_context(|| format!("--steps: {text:?} is no share; write 10,25,50,100"))?;
        let mut step = json!({ "share": share });
        // At 100 % the bake follows, which has a time of its own.
        if let Some(every) = every.filter(|_| share < 100.0) {
            step["hold"] = json!(every);
        }
        Ok(step)
    };
    text.split(',').map(step).collect::<anyhow::Result<Vec<_>>>().map(Value::Array)
}

/// What `text` means to somebody who writes it `now`.
fn moment(text: &str, now: &Zoned) -> anyhow::Result<Timestamp> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    if let Ok(at) = text.parse::<Zoned>() {
        return Ok(at.timestamp());
    }
    let here = |at: DateTime, zone: &TimeZone| Ok(zone.to_timestamp(at)?);
    let unreadable = || format!("--at: {text:?} is no time; write it like 2026-11-05T22:00:00Z, or 22:00");
    if let Ok(clock) = text.parse::<Time>() {
        let today = here(now.date().to_datetime(clock), now.time_zone())?;
        if today > now.timestamp() {
            return Ok(today);
        }
        return here(now.date().tomorrow()?.to_datetime(clock), now.time_zone());
    }
    here(text.parse::<DateTime>().with_context(unreadable)?, now.time_zone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_steps_and_the_last_one_is_not_kept_for_a_time() {
        let plan = steps("10, 50%,100", Some("5m")).unwrap();
        assert_eq!(plan, json!([{"share": 10.0, "hold": "5m"}, {"share": 50.0, "hold": "5m"}, {"share": 100.0}]));
        assert_eq!(steps("100", None).unwrap(), json!([{"share": 100.0}]));
        let wrong = steps("10,x", None).unwrap_err().to_string();
        assert!(wrong.contains("\"x\"") && wrong.contains("10,25,50,100"), "{wrong}");
    }

    #[test]
    fn a_time_may_be_absolute_or_by_the_clock_on_the_wall() {
        let now: Zoned = "2026-11-05T20:00:00+01:00[Europe/Berlin]".parse().unwrap();
        for (text, meant) in [
            ("2026-11-05T22:00:00Z", "2026-11-05T22:00:00Z"),
            ("2026-11-05T22:00:00+01:00", "2026-11-05T21:00:00Z"),
            ("2026-11-05 22:00", "2026-11-05T21:00:00Z"),
            ("22:00", "2026-11-05T21:00:00Z"),
            ("08:30", "2026-11-06T07:30:00Z"),
        ] {
            assert_eq!(moment(text, &now).unwrap(), meant.parse().unwrap(), "{text}");
        }
        assert!(moment("tonight", &now).unwrap_err().to_string().contains("22:00"));
    }
}
