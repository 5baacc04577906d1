//! `jobs`: what is to be done once at least, what could not be, and what is to be tried again.

use clap::{Args, Subcommand};
use http::Method;
use jiff::Timestamp;
use serde_json::json;

use super::Output;
use super::client::{Client, segment};
use super::output::{plain, say, say_json};
use super::table::Table;
use crate::admin::wire::{Job, Jobs};

/// What `jobs` is told.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct JobsArgs {
    /// Only those that have failed for good.
    #[arg(long, conflicts_with = "state")]
    dead: bool,
    /// Only those in this state: waiting, running, done, dead or cancelled.
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// How many, the newest ones.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    #[command(subcommand)]
    verb: Option<JobsVerb>,
}

/// What to do with one.
#[derive(Debug, Subcommand)]
enum JobsVerb {
    /// Have a dead job tried again, as often as at first.
    Retry(OneArgs),
    /// Have a job not done: one that waits, like a rollout that was to begin later, or one that is dead.
    Cancel(OneArgs),
}

/// Which one.
#[derive(Debug, Args)]
struct OneArgs {
    /// Its number.
    id: u64,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub(super) async fn run(args: &JobsArgs, client: &Client, output: Output) -> anyhow::Result<()> {
    let (method, one, verb) = match &args.verb {
        None => return list(args, client, output).await,
        Some(JobsVerb::Retry(one)) => (Method::POST, one, "/retry"),
        Some(JobsVerb::Cancel(one)) => (Method::DELETE, one, ""),
    };
    let path = format!("/api/v1/jobs/{}{verb}", one.id);
    let job: Job = client.call(method, &path, Some(&json!({ "reason": one.reason }))).await?;
    match output {
        Output::Json => say_json(&job)?,
        Output::Text => say(&format!("job {} {} · {}\n", job.id, plain(&job.about), job.state))?,
    }
    Ok(())
}

async fn list(args: &JobsArgs, client: &Client, output: Output) -> anyhow::Result<()> {
    let state = if args.dead { Some("dead") } else { args.state.as_deref() };
    let state = state.map(|state| format!("&state={}", segment(state))).unwrap_or_default();
    let found: Jobs = client.get(&format!("/api/v1/jobs?limit={}{state}", args.limit)).await?;
    match output {
        Output::Json => say_json(&found)?,
        Output::Text => say(&text(&found, Timestamp::now()))?,
    }
    Ok(())
}

fn text(found: &Jobs, now: Timestamp) -> String {
    let mut table = Table::new(&[">ID", "STATE", "PRIORITY", ">TRIES", "WHAT", "NEXT", "LAST ERROR"]);
    for job in &found.jobs {
        table.row(vec![
            job.id.to_string(),
            job.state.clone(),
            job.priority.clone(),
            job.attempts.to_string(),
            plain(&job.about),
            next(job, now),
            plain(job.last_error.as_deref().unwrap_or_default()),
        ]);
    }
    let counts = found.counts.iter().filter(|(_, count)| **count > 0).map(|(state, count)| format!("{count} {state}"));
    let counts = counts.collect::<Vec<_>>().join(", ");
    let all = if counts.is_empty() { "there are no jobs".to_owned() } else { format!("of all: {counts}") };
    if table.is_empty() { format!("{all}\n") } else { format!("{}{all}\n", table.text()) }
}

/// When it is tried next.
fn next(job: &Job, now: Timestamp) -> String {
    match job.state.as_str() {
        "waiting" if job.due > now => format!("{}", job.due.strftime("%Y-%m-%d %H:%M:%S UTC")),
        "waiting" => "in its turn".to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_a_table_and_how_many_there_are_in_all() {
        let at = |s: i64| Timestamp::from_second(1_700_000_000 + s).unwrap();
        let job = |state: &str, due| Job {
            id: 7,
            kind: "notify".to_owned(),
            state: state.to_owned(),
            priority: "high".to_owned(),
            about: "tells ops of switch of shop".to_owned(),
            detail: json!({}),
            attempts: 8,
            created_at: at(0),
            due,
            deadline: None,
            last_error: Some("refused\u{1b}[2J".to_owned()),
        };
        let counts = [("dead".to_owned(), 1), ("waiting".to_owned(), 2), ("done".to_owned(), 0)];
        let found = Jobs {
            jobs: vec![job("waiting", at(60)), job("waiting", at(0)), job("dead", at(0))],
            counts: counts.into_iter().collect(),
        };
        let shown = text(&found, at(0));
        let rows: Vec<_> = shown.lines().collect();
        assert!(rows[1].contains("2023-11-14 22:14:20 UTC") && rows[2].contains("in its turn"), "{shown}");
        assert!(rows[3].contains("dead") && !shown.contains('\u{1b}') && shown.contains("refused"), "{shown}");
        assert_eq!(rows[4], "of all: 1 dead, 2 waiting");
        let none = Jobs { jobs: Vec::new(), counts: std::collections::BTreeMap::new() };
        assert_eq!(text(&none, at(0)), "there are no jobs\n");
    }
}
