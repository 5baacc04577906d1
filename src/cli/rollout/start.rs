//! `rollout start`: the wish, as the command line has it, made into a request.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;
use http::Method;
use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde_json::{Map, Value, json};

use super::following::INTERRUPTED;
use super::{following, path, shown};
use crate::admin::wire::{Jobs, Rollout, Rollouts, Scheduled};
use crate::cli::Output;
use crate::cli::client::Client;
use crate::cli::output::{plain, say, say_json, time};
use crate::cli::traffic::named;

/// From one look to the next at whether a scheduled rollout has begun.
const LOOK: Duration = Duration::from_millis(500);

/// What is said where the proxy cannot be asked any more.
const UNSEEN: &str = "the rollout begins at its time without being watched from here";

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
        return match begun(&first, scheduled.job, client).await? {
            Some(id) => following::follow(&first, &id, None, client, output).await,
            None => Ok(ExitCode::from(INTERRUPTED)),
        };
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

/// Waits until the scheduled rollout has begun; its number. Whoever interrupts that leaves it scheduled.
async fn begun(service: &str, job: u64, client: &Client) -> anyhow::Result<Option<String>> {
    let begins = async {
        loop {
            // The job first: what it has begun is there when it is done.
            let state = looked_at(job, client).await?;
            if let Some(id) = begun_by(service, job, client).await? {
                return Ok(Some(id));
            }
            ensure!(
                matches!(state.as_str(), "waiting" | "running"),
                "job {job} is {state}, and the rollout that it has begun is not among the last ones"
            );
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        id = begins => id,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            eprintln!("\ninterrupted; the rollout begins all the same: call it off with `pointsman jobs cancel {job}`");
            Ok(None)
        }
    }
}

/// The state of the job; says why, where it will not begin anything any more.
async fn looked_at(job: u64, client: &Client) -> anyhow::Result<String> {
    let found: Jobs =
        following::patiently("/api/v1/jobs?kind=start_rollout&limit=1000", client).await.context(UNSEEN)?;
    let Some(found) = found.jobs.into_iter().find(|found| found.id == job) else {
        bail!("the rollout was not begun: there is no job {job} any more");
    };
    if let "dead" | "cancelled" = found.state.as_str() {
        let why = found.last_error.as_deref().unwrap_or("nobody has said why");
        bail!("the rollout was not begun; job {job} is {}: {}", found.state, plain(why));
    }
    Ok(found.state)
}

/// The rollout that this job has begun, among others that somebody may have begun meanwhile.
async fn begun_by(service: &str, job: u64, client: &Client) -> anyhow::Result<Option<String>> {
    let last: Rollouts = following::patiently(&format!("{}?limit=100", path(service)), client).await.context(UNSEEN)?;
    Ok(last.rollouts.into_iter().find(|rollout| is_begun_by(rollout, job)).map(|rollout| rollout.id))
}

/// Whether the first thing that happened to it was this job.
fn is_begun_by(rollout: &Rollout, job: u64) -> bool {
    let cause = rollout.timeline.first().map_or("", |entry| entry.cause.as_str());
    let rest = cause.strip_prefix(&format!("it was started as scheduled by job {job}"));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
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
    fn of_all_rollouts_one_is_begun_by_the_job_that_its_first_entry_names() {
        let by = |cause: &str| {
            let mut rollout = shown::samples::rollout();
            cause.clone_into(&mut rollout.timeline[0].cause);
            is_begun_by(&rollout, 17)
        };
        assert!(by("it was started as scheduled by job 17") && by("it was started as scheduled by job 17: 2.0"));
        assert!(!by("it was started: as scheduled by job 17") && !by("it was started as scheduled by job 170"));
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
