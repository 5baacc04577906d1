//! `pointsman upgrade`: another process takes over.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use http::Method;

use super::Output;
use super::client::Client;
use super::output::{say, say_json};
use crate::admin::wire::{UpgradeRequest, Upgraded};

/// What `pointsman upgrade` is told.
#[derive(Clone, Debug, Args)]
pub struct UpgradeArgs {
    /// The program that takes over; default: the one that runs, as it is on disk now.
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// The configuration file that it reads; default: the one in use.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub(super) async fn upgrade(args: UpgradeArgs, client: &Client, output: Output) -> anyhow::Result<()> {
    let (binary, config) = (absolute(args.binary.as_deref())?, absolute(args.config.as_deref())?);
    let body = serde_json::to_value(UpgradeRequest { binary, config, reason: args.reason })?;
    let upgraded: Upgraded = client.call(Method::POST, "/api/v1/upgrade", Some(&body)).await?;
    if output == Output::Json {
        return say_json(&upgraded);
    }
    let Upgraded { pid, version, old_pid, ms } = upgraded;
    Ok(say(&format!("process {pid} (pointsman {version}) serves · {ms:.0} ms · process {old_pid} leaves\n"))?)
}

/// The proxy has another working directory than we.
fn absolute(path: Option<&Path>) -> anyhow::Result<Option<String>> {
    let Some(path) = path else { return Ok(None) };
    let absolute = std::path::absolute(path).with_context(|| format!("{} is no path", path.display()))?;
    let text = absolute.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
    Ok(Some(text.to_owned()))
}
