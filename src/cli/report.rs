//! `report`: all there is to be said about a rollout, as one file.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};

use super::Output;
use super::client::{Client, segment};
use super::output::say;
use super::rollout;

/// Of which rollout, and where to.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The rollout, like r12; or a service, whose last rollout is meant.
    rollout: String,
    /// Its form; JSON also with --output json.
    #[arg(long, value_enum, default_value_t = Format::Md)]
    format: Format,
    /// Write it there instead of showing it.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// The form of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Markdown.
    Md,
    /// JSON.
    Json,
}

pub(super) async fn run(args: &ReportArgs, client: &Client, output: Output) -> anyhow::Result<()> {
    let id = if is_number(&args.rollout) { args.rollout.clone() } else { last(&args.rollout, client).await? };
    let is_json = args.format == Format::Json || output == Output::Json;
    let path = format!("/api/v1/rollouts/{}/report", segment(&id));
    let text = if is_json {
        let report: serde_json::Value = client.get(&path).await?;
        serde_json::to_string_pretty(&report)? + "\n"
    } else {
        client.text(&format!("{path}?format=md")).await?
    };
    match &args.file {
        None => Ok(say(&text)?),
        Some(file) => std::fs::write(file, text).with_context(|| format!("{} cannot be written", file.display())),
    }
}

/// `r12`, or `12`. A service of such a name has its last rollout in `rollout status`.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('r').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

async fn last(service: &str, client: &Client) -> anyhow::Result<String> {
    match rollout::last(service, client).await? {
        Some(rollout) => Ok(rollout.id),
        None => bail!("service {service} has had no rollout yet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_rollouts_are_told_from_names_of_services() {
        for (text, number) in [("r12", true), ("12", true), ("r", false), ("shop", false), ("r12x", false), ("", false)]
        {
            assert_eq!(is_number(text), number, "{text:?}");
        }
    }
}
