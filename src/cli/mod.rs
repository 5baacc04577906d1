//! Floor 4: the command line. One file per verb or small family of verbs.
//!
//! Verbs that talk to a running proxy are ordinary clients of its admin API: they hold a [`client::Client`], read
//! [`crate::admin::wire`] and know nothing else of the proxy. `run` and `demo` are only described here; starting them
//! is composition, which lies above this floor.

mod between;
pub mod check;
mod client;
mod config;
mod drain;
mod events;
mod explain;
mod hold;
pub mod init;
mod jobs;
mod output;
mod port;
pub mod report;
mod rollout;
pub mod schema;
mod start;
mod status;
mod stream;
mod table;
mod token;
mod traffic;
mod upgrade;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};

pub use client::CallError;
pub use start::{DemoArgs, RunArgs};

/// Exit code for wrong usage (`EX_USAGE` of BSD's sysexits).
pub const WRONG_USAGE: u8 = 64;

/// A reverse proxy that moves traffic between versions of a service, at once or step by step.
#[derive(Debug, Parser)]
#[command(name = "pointsman", version, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    /// Which proxy is talked to.
    #[command(flatten)]
    pub target: Target,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Which proxy is talked to, and how answers are shown.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Talking to a running proxy")]
pub struct Target {
    /// Its admin port: http://HOST:PORT, https://HOST:PORT or unix:/PATH.
    #[arg(long, global = true, value_name = "URL", env = "POINTSMAN_ADMIN", default_value = "http://127.0.0.1:7070")]
    pub admin: String,
    /// The bearer token, where the admin port asks for one.
    #[arg(long, global = true, value_name = "TOKEN", env = "POINTSMAN_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// PEM file of the authorities to trust for https, instead of the system's.
    #[arg(long, global = true, value_name = "FILE", env = "POINTSMAN_CA")]
    pub ca: Option<PathBuf>,
    /// How to show answers.
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// How answers are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Tables and sentences.
    Text,
    /// The API's JSON, one document (events: one per line).
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Start the proxy.
    Run(RunArgs),
    /// Check a configuration file and say everything that is wrong with it.
    Check(check::Args),
    /// The JSON Schema of the configuration file.
    Schema(schema::Args),
    /// Write a configuration to start from.
    Init(init::Args),
    /// Try it: two example applications, a load and the proxy; nothing to write first.
    Demo(DemoArgs),
    /// Shares, health, requests in flight, rates and latencies.
    Status(status::StatusArgs),
    /// Everything to GROUP, at once.
    Switch(traffic::SwitchArgs),
    /// GROUP's share, at once; the others keep their proportions.
    Shift(traffic::ShiftArgs),
    /// Back to the last stable split, at once.
    Rollback(traffic::RollbackArgs),
    /// The gradual way from one group to another, judged by its guards.
    #[command(subcommand)]
    Rollout(rollout::RolloutVerb),
    /// All there is to be said about a rollout, as one file.
    Report(report::ReportArgs),
    /// No new requests to GROUP, or to one of its upstreams, and those under way may end.
    Drain(drain::DrainArgs),
    /// Keep new requests of a service waiting for a moment.
    Hold(hold::HoldArgs),
    /// Let those go who wait.
    Release(hold::ReleaseArgs),
    /// Which group a request like this gets, and why.
    Explain(explain::ExplainArgs),
    /// The audit log.
    Events(events::EventsArgs),
    /// Changes of traffic and configuration, the last ones last.
    History(events::HistoryArgs),
    /// Notifications, validations and rollouts that begin later: what waits, and what has failed for good.
    Jobs(jobs::JobsArgs),
    /// What is running, in short.
    Config,
    /// Read the file again and apply it, or change nothing and say what is wrong.
    Reload,
    /// Start a new process, hand it the ports and the state, and let the old one leave.
    Upgrade(upgrade::UpgradeArgs),
    /// What differs between the file and what is running.
    Drift,
    /// The running configuration as a YAML file, with the splits of now.
    Export,
    /// Bearer tokens for the admin port.
    #[command(subcommand)]
    Token(token::TokenVerb),
}

/// Does what `verb` says; for `run` and `demo`, see [`Verb`].
///
/// # Errors
/// A [`CallError`] where the proxy refused or could not be reached; otherwise what went wrong on this side.
pub fn run(verb: Verb, target: &Target) -> anyhow::Result<ExitCode> {
    match &verb {
        Verb::Token(verb) => return token::run(verb, target).map(|()| ExitCode::SUCCESS),
        Verb::Check(args) => return check::run(args),
        Verb::Schema(args) => return schema::run(args),
        Verb::Init(args) => return init::run(args),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("the runtime could not be started")?.block_on(talk(verb, target))
}

async fn talk(verb: Verb, target: &Target) -> anyhow::Result<ExitCode> {
    let client = client::Client::new(target)?;
    match verb {
        Verb::Status(args) => status::run(&args, &client, target.output).await,
        Verb::Switch(args) => return traffic::switch(args, &client, target.output).await,
        Verb::Drain(args) => return drain::run(&args, &client, target.output).await,
        Verb::Rollout(verb) => return rollout::run(verb, &client, target.output).await,
        Verb::Report(args) => report::run(&args, &client, target.output).await,
        Verb::Shift(args) => traffic::shift(args, &client, target.output).await,
        Verb::Rollback(args) => traffic::rollback(args, &client, target.output).await,
        Verb::Hold(args) => hold::hold(args, &client, target.output).await,
        Verb::Release(args) => hold::release(args, &client, target.output).await,
        Verb::Explain(args) => explain::run(&args, &client, target.output).await,
        Verb::Events(args) => events::events(&args, &client, target.output).await,
        Verb::History(args) => events::history(&args, &client, target.output).await,
        Verb::Jobs(args) => jobs::run(&args, &client, target.output).await,
        Verb::Config => config::show(&client, target.output).await,
        Verb::Reload => config::reload(&client, target.output).await,
        Verb::Upgrade(args) => upgrade::upgrade(args, &client, target.output).await,
        Verb::Drift => config::drift(&client, target.output).await,
        Verb::Export => config::export(&client).await,
        Verb::Run(_) | Verb::Demo(_) | Verb::Token(_) | Verb::Check(_) | Verb::Schema(_) | Verb::Init(_) => {
            anyhow::bail!("this verb does not talk to a running proxy")
        }
    }?;
    Ok(ExitCode::SUCCESS)
}

/// Says on standard error why something failed, and gives the exit code. A reader that went away (`| head`) is no
/// failure.
pub fn complain(error: &anyhow::Error, output: Output) -> ExitCode {
    let gone = |e: &std::io::Error| e.kind() == std::io::ErrorKind::BrokenPipe;
    if error.chain().filter_map(|cause| cause.downcast_ref()).any(gone) {
        return ExitCode::SUCCESS;
    }
    match (output, error.downcast_ref::<CallError>()) {
        (Output::Json, Some(CallError::Refused { problem, .. })) => {
            eprintln!("{}", serde_json::to_string(problem).unwrap_or_default());
        }
        _ => eprintln!("error: {error:#}"),
    }
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parsed(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_description_of_the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_is_understood() {
        for line in [
            "pointsman run --config x.yaml",
            "pointsman demo --port 8080 --admin-port 7070",
            "pointsman status",
            "pointsman status shop --output json",
            "pointsman --admin unix:/run/p.sock status",
            "pointsman switch shop green",
            "pointsman switch shop,api green --force --reason later",
            "pointsman switch --all green",
            "pointsman switch shop green --hold 8s",
            "pointsman switch shop,api green --hold 8s --reason x --run ./migrate --to 5 --all",
            "pointsman hold shop --for 10s --reason x",
            "pointsman release shop",
            "pointsman shift shop green --to 12.5",
            "pointsman switch shop green --drain --wait",
            "pointsman drain shop blue --timeout 45s --wait",
            "pointsman drain shop blue --upstream http://127.0.0.1:9001 --force",
            "pointsman drain --cancel shop blue",
            "pointsman jobs",
            "pointsman jobs --dead --limit 5",
            "pointsman jobs retry 17",
            "pointsman jobs cancel 17 --reason later",
            "pointsman rollback shop --reason slow",
            "pointsman rollback shop,api",
            "pointsman rollback --all",
            "pointsman explain shop --cookie a=b --cookie c=d --header k:v",
            "pointsman events --follow --since 3",
            "pointsman rollout start shop green",
            "pointsman rollout start shop,api green --steps 10,25,50,100 --every 10m --reason 2.5.0 --wait",
            "pointsman rollout start --all green --at 22:00 --override-freeze --plan {}",
            "pointsman rollout status shop --wait",
            "pointsman rollout approve shop --reason fine --wait",
            "pointsman rollout pause shop",
            "pointsman rollout resume shop",
            "pointsman rollout advance shop",
            "pointsman rollout abort shop --reason errors",
            "pointsman rollout drill shop green --path / --share 20 --requests 500 --websocket-path /ws --plan {}",
            "pointsman report r12",
            "pointsman report shop --format json --file report.json",
            "pointsman history shop",
            "pointsman config",
            "pointsman reload --token x",
            "pointsman upgrade",
            "pointsman upgrade --binary /opt/pointsman --config new.yaml --reason 0.2",
            "pointsman drift",
            "pointsman export",
            "pointsman token new --name ops --role operator",
        ] {
            parsed(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        }
    }

    #[test]
    fn wrong_usage_is_told_apart_from_help() {
        for line in [
            "pointsman",
            "pointsman flip shop",
            "pointsman switch green",
            "pointsman switch --all",
            "pointsman switch shop green --all",
            "pointsman switch shop green --run ./migrate",
            "pointsman switch shop green --hold 8s --run",
            "pointsman hold",
            "pointsman shift shop green",
            "pointsman shift shop green --to many",
            "pointsman rollback",
            "pointsman drain shop",
            "pointsman drain shop blue --cancel --wait",
            "pointsman switch shop green --wait",
            "pointsman rollout",
            "pointsman rollout start shop",
            "pointsman rollout start shop green --every 10m",
            "pointsman rollout approve",
            "pointsman token new --name ops --role king",
            "pointsman status --output xml",
        ] {
            assert!(parsed(line).unwrap_err().use_stderr(), "{line}");
        }
        assert!(!parsed("pointsman --help").unwrap_err().use_stderr());
        assert!(!parsed("pointsman switch --help").unwrap_err().use_stderr());
    }
}
