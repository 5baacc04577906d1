//! `rollout`: starts the gradual way from one group to another, looks at it and steers it.
//!
//! What a rollout is, what it waits for and how it ends is the proxy's business; here it is asked for and shown.

mod drill;
mod following;
mod scheduled;
mod shown;
mod start;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::json;

use super::Output;
use super::client::{Client, segment};
use super::output::{say, say_json};
use crate::admin::wire::{Rollout, Rollouts};

pub(super) use scheduled::{begins, scheduled};
pub(super) use shown::remark;

/// What the end of a wait says to pipelines.
const CODES: &str = "Exit codes of --wait: 0 done, 1 failed, 2 rolled back, 3 waiting for approval, \
4 paused until somebody resumes it (no verdict for want of traffic, a restart, a pause by hand), 130 interrupted (the rollout goes on).";

/// What is to be done about rollouts.
#[derive(Debug, Subcommand)]
pub enum RolloutVerb {
    /// Begin one: GROUP gets more and more while its guards watch it, and nothing at once when one of them fails.
    #[command(after_help = CODES)]
    Start(start::StartArgs),
    /// Try out whether the guards would notice a bad GROUP: faults are put into marked test requests. Moves nobody.
    #[command(after_help = "Exit code 0 when every guard noticed its fault and none failed without one, 1 otherwise.")]
    Drill(drill::DrillArgs),
    /// Where it is, what its guards say, what it waits for.
    #[command(after_help = CODES)]
    Status(LookArgs),
    /// Agree that it goes on.
    #[command(after_help = CODES)]
    Approve(SteerArgs),
    /// It stays at its share; guards go on.
    #[command(after_help = CODES)]
    Pause(SteerArgs),
    /// It goes on after a pause.
    #[command(after_help = CODES)]
    Resume(SteerArgs),
    /// It takes the next step at once, whatever it waits for; approvals are not skipped.
    #[command(after_help = CODES)]
    Advance(SteerArgs),
    /// It ends, and everything goes back to the stable split, at once.
    #[command(after_help = CODES)]
    Abort(SteerArgs),
}

/// Whose rollout is looked at.
#[derive(Debug, Args)]
pub struct LookArgs {
    /// The service.
    service: String,
    /// Go on until it has ended, or somebody has to do something.
    #[arg(long)]
    wait: bool,
}

/// Whose rollout is steered.
#[derive(Debug, Args)]
pub struct SteerArgs {
    /// The service.
    service: String,
    /// Then wait until it has ended, or somebody has to do something.
    #[arg(long)]
    wait: bool,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub(super) async fn run(verb: RolloutVerb, client: &Client, output: Output) -> anyhow::Result<ExitCode> {
    match verb {
        RolloutVerb::Start(args) => start::run(args, client, output).await,
        RolloutVerb::Drill(args) => drill::run(args, client, output).await,
        RolloutVerb::Status(args) => look(&args, client, output).await,
        RolloutVerb::Approve(args) => steer("approve", &args, client, output).await,
        RolloutVerb::Pause(args) => steer("pause", &args, client, output).await,
        RolloutVerb::Resume(args) => steer("resume", &args, client, output).await,
        RolloutVerb::Advance(args) => steer("advance", &args, client, output).await,
        RolloutVerb::Abort(args) => steer("abort", &args, client, output).await,
    }
}

/// The last rollout of a service, under way or not.
pub(super) async fn last(service: &str, client: &Client) -> anyhow::Result<Option<Rollout>> {
    let found: Rollouts = client.get(&format!("{}?limit=1", path(service))).await?;
    Ok(found.rollouts.into_iter().next())
}

fn path(service: &str) -> String {
    format!("/api/v1/services/{}/rollouts", segment(service))
}

async fn look(args: &LookArgs, client: &Client, output: Output) -> anyhow::Result<ExitCode> {
    let rollout = last(&args.service, client).await?;
    if let Some(rollout) = rollout.as_ref().filter(|_| args.wait) {
        return following::follow(&rollout.service, &rollout.id, None, client, output).await;
    }
    if output == Output::Json {
        say_json(&rollout)?;
        return Ok(ExitCode::SUCCESS);
    }
    let text = match rollout {
        None => format!("service {} has had no rollout yet\n", args.service),
        Some(mut rollout) => {
            rollout.approval_url = rollout.approval_url.map(|path| client.place(&path));
            shown::text(&rollout)
        }
    };
    let later = begins(&scheduled(client).await?, &args.service);
    let later = if later.is_empty() { String::new() } else { format!("\nLATER\n{}\n", later.join("\n")) };
    say(&format!("{text}{later}"))?;
    Ok(ExitCode::SUCCESS)
}

async fn steer(wish: &str, args: &SteerArgs, client: &Client, output: Output) -> anyhow::Result<ExitCode> {
    let path = format!("{}/current/{wish}", path(&args.service));
    // What was before this was told before.
    let before = if args.wait { last(&args.service, client).await? } else { None };
    let rollout: Rollout = client.call(Method::POST, &path, Some(&json!({ "reason": args.reason }))).await?;
    if args.wait {
        let said = before.filter(|b| b.id == rollout.id).and_then(|mut b| b.timeline.pop());
        return following::follow(&args.service, &rollout.id, said, client, output).await;
    }
    match output {
        Output::Json => say_json(&rollout)?,
        Output::Text => say(&format!("{}\n", shown::line(&rollout)))?,
    }
    Ok(ExitCode::SUCCESS)
}
