//! `drain`: no new requests to a group or an upstream, and the wait until the old ones have gone.

use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use http::Method;
use jiff::Timestamp;
use serde_json::json;

use super::Output;
use super::client::{Client, segment};
use super::output::{plain, say, say_json};
use crate::admin::wire::{Drain, DrainReceipt};

/// From one look to the next while waiting.
const LOOK: Duration = Duration::from_millis(250);
/// The estimate goes by what has gone within so long.
const SEEN: Duration = Duration::from_secs(10);
/// A drain that is past its deadline for so long will not be heard of any more.
const OVERDUE: Duration = Duration::from_secs(60);

/// What `drain` is told.
#[derive(Debug, Args)]
pub struct DrainArgs {
    /// The service.
    service: String,
    /// The group.
    group: String,
    /// Only this upstream of the group.
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// How long it may take, instead of the service's `drain.timeout`: 45s.
    #[arg(long, value_name = "TIME", conflicts_with = "cancel")]
    timeout: Option<String>,
    /// Also where nobody would be left to serve.
    #[arg(long, conflicts_with = "cancel")]
    force: bool,
    /// Wait until it has ended; exit code 1 when something had to be left behind.
    #[arg(long, conflicts_with = "cancel")]
    wait: bool,
    /// Call it off, or lift it: requests may come again.
    #[arg(long)]
    cancel: bool,
    /// Why, for the audit log.
    #[arg(long, value_name = "TEXT", conflicts_with = "cancel")]
    reason: Option<String>,
}

pub(super) async fn run(args: &DrainArgs, client: &Client, output: Output) -> anyhow::Result<ExitCode> {
    let place = Place { service: &args.service, group: &args.group, upstream: args.upstream.as_deref() };
    let receipt: DrainReceipt = if args.cancel {
        client.call(Method::DELETE, &place.path(), None).await?
    } else {
        let body = json!({
            "timeout": args.timeout, "upstream": args.upstream, "force": args.force, "reason": args.reason,
        });
        client.call(Method::POST, &place.bare_path(), Some(&body)).await?
    };
    if args.wait && receipt.drain.state == "draining" {
        let drain = wait(&place, client, output).await?;
        if output == Output::Json {
            say_json(&drain)?;
        }
        return Ok(code(&drain));
    }
    match output {
        Output::Json => say_json(&receipt)?,
        Output::Text => say(&format!("{}\n", line(&receipt)))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What is drained, and where the admin API has it.
pub(super) struct Place<'a> {
    pub(super) service: &'a str,
    pub(super) group: &'a str,
    pub(super) upstream: Option<&'a str>,
}

impl Place<'_> {
    fn bare_path(&self) -> String {
        format!("/api/v1/services/{}/groups/{}/drain", segment(self.service), segment(self.group))
    }

    fn path(&self) -> String {
        let upstream = self.upstream.map(|url| format!("?upstream={}", segment(url))).unwrap_or_default();
        self.bare_path() + &upstream
    }
}

/// Waits until the drain has ended; shows how it is getting on and how it ended, unless the API's JSON is wanted.
pub(super) async fn wait(place: &Place<'_>, client: &Client, output: Output) -> anyhow::Result<Drain> {
    let mut course = Course::default();
    let mut shown = Shown::default();
    loop {
        let drain: Drain = client.get(&place.path()).await?;
        if drain.state != "draining" {
            shown.clear();
            if output == Output::Text {
                say(&format!("{}\n", ended(&drain)))?;
            }
            return Ok(drain);
        }
        if Timestamp::now().duration_since(drain.deadline) > jiff::SignedDuration::try_from(OVERDUE)? {
            anyhow::bail!("the drain is past its deadline and has not ended; see `pointsman status`");
        }
        course.note(Instant::now(), count(&drain));
        if output == Output::Text {
            shown.show(&under_way(&drain, course.estimate()));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What the end of a drain means to a pipeline.
pub(super) fn code(drain: &Drain) -> ExitCode {
    if left_something(drain) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn count(drain: &Drain) -> u64 {
    drain.in_flight + drain.tunnels
}

/// Whether the end was none that pipelines should take for success.
fn left_something(drain: &Drain) -> bool {
    let hook = drain.hook.as_ref().is_some_and(|hook| hook.state != "done");
    match drain.state.as_str() {
        "drained" => false,
        "timed_out" => hook || count(drain) > 0,
        _ => true,
    }
}

/// `shop blue`, or `shop blue http://127.0.0.1:9001`.
fn what(drain: &Drain) -> String {
    let upstream = drain.upstream.as_deref().map(|url| format!(" {}", plain(url))).unwrap_or_default();
    format!("{} {}{upstream}", drain.service, drain.group)
}

fn line(receipt: &DrainReceipt) -> String {
    let drain = &receipt.drain;
    let version = receipt.version;
    let unchanged = if receipt.changed { "" } else { " · nothing changed" };
    match drain.state.as_str() {
        "draining" => {
            let what = what(drain);
            format!(
                "{what}: draining, {}, at most {} s · version {version} · wait with --wait, call it off with --cancel",
                counts(drain),
                left(drain)
            )
        }
        _ => format!("{} · version {version}{unchanged}", ended(drain)),
    }
}

/// `3 requests (1 stream), 247 tunnels`.
fn counts(drain: &Drain) -> String {
    let several = |n: u64, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let streams = if drain.streams > 0 { format!(" ({})", several(drain.streams, "stream")) } else { String::new() };
    format!("{}{streams}, {}", several(drain.in_flight, "request"), several(drain.tunnels, "tunnel"))
}

fn left(drain: &Drain) -> i64 {
    drain.deadline.duration_since(Timestamp::now()).as_secs().max(0)
}

fn under_way(drain: &Drain, estimate: Option<Duration>) -> String {
    let left = left(drain);
    let about = estimate.map(|e| e.as_secs().cast_signed() + 1).filter(|about| *about < left);
    let time = about.map_or(format!("at most {left} s"), |about| format!("about {about} s left, at most {left} s"));
    let hook = drain.hook.as_ref().map(|hook| {
        let detail = if hook.detail.is_empty() { String::new() } else { format!(" ({})", plain(&hook.detail)) };
        format!(" · hook {}{detail}", hook.state)
    });
    format!("{}: {}{} · {time}", what(drain), counts(drain), hook.unwrap_or_default())
}

fn ended(drain: &Drain) -> String {
    let took = drain.ended_at.map(|end| end.duration_since(drain.started_at).as_secs_f64());
    let took = took.map(|s| format!(" after {s:.1} s")).unwrap_or_default();
    let state = drain.state.replace('_', " ");
    let why = if drain.why.is_empty() { String::new() } else { format!(": {}", plain(&drain.why)) };
    format!("{}: {state}{took}{why}", what(drain))
}

/// How a drain is, for `status`.
pub(super) fn remark(drain: &Drain) -> String {
    if drain.state == "draining" { under_way(drain, None) } else { ended(drain) }
}

/// How the count has gone down lately.
#[derive(Debug, Default)]
struct Course(VecDeque<(Instant, u64)>);

impl Course {
    fn note(&mut self, at: Instant, count: u64) {
        self.0.push_back((at, count));
        while self.0.front().is_some_and(|(first, _)| at.duration_since(*first) > SEEN) {
            self.0.pop_front();
        }
    }

    /// When nothing would be left if it went on like this; none where it does not go down.
    fn estimate(&self) -> Option<Duration> {
        let ((begin, first), (end, last)) = (self.0.front()?, self.0.back()?);
        let gone = first.checked_sub(*last).filter(|gone| *gone > 0)?;
        Some(end.duration_since(*begin).mul_f64(*last as f64 / gone as f64))
    }
}

/// A line that is written over on a terminal; elsewhere each new one is a line of its own.
#[derive(Debug, Default)]
pub(super) struct Shown(String);

impl Shown {
    pub(super) fn show(&mut self, line: &str) {
        let mut out = std::io::stderr().lock();
        // Progress that cannot be shown is no reason to stop waiting.
        let _ = if out.is_terminal() {
            write!(out, "\r\u{1b}[K{line}").and_then(|()| out.flush())
        } else if counted(line) != counted(&self.0) {
            writeln!(out, "{line}")
        } else {
            Ok(())
        };
        line.clone_into(&mut self.0);
    }

    pub(super) fn clear(&self) {
        let mut out = std::io::stderr().lock();
        if out.is_terminal() && !self.0.is_empty() {
            let _ = write!(out, "\r\u{1b}[K").and_then(|()| out.flush());
        }
    }
}

/// The line without its times.
fn counted(line: &str) -> &str {
    line.rsplit_once(" · ").map_or(line, |(counted, _)| counted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::wire::DrainHook;

    fn drain(state: &str) -> Drain {
        let at = |s: i64| Timestamp::from_second(1_700_000_000 + s).unwrap();
        Drain {
            service: "shop".to_owned(),
            group: "blue".to_owned(),
            upstream: None,
            state: state.to_owned(),
            started_at: at(0),
            deadline: at(30),
            ended_at: (state != "draining").then(|| at(3)),
            in_flight: 0,
            streams: 0,
            tunnels: 0,
            last_request: None,
            hook: None,
            why: String::new(),
            last_drain_result: None,
        }
    }

    #[test]
    fn a_drain_is_shown_with_its_counts_and_its_end_with_its_reason() {
        let mut under = drain("draining");
        (under.in_flight, under.streams, under.tunnels) = (3, 1, 247);
        assert_eq!(under_way(&under, None), "shop blue: 3 requests (1 stream), 247 tunnels · at most 0 s");
        assert_eq!(ended(&drain("drained")), "shop blue: drained after 3.0 s");
        let late = Drain { why: "the hook was not content".to_owned(), ..drain("timed_out") };
        assert_eq!(ended(&late), "shop blue: timed out after 3.0 s: the hook was not content");
    }

    #[test]
    fn only_what_left_nothing_behind_is_a_success() {
        let hook = |state: &str| Some(DrainHook { state: state.to_owned(), detail: String::new(), answer: None });
        for (drain, left) in [
            (drain("drained"), false),
            (drain("timed_out"), false),
            (Drain { in_flight: 1, ..drain("timed_out") }, true),
            (Drain { hook: hook("polling"), ..drain("timed_out") }, true),
            (Drain { hook: hook("done"), ..drain("timed_out") }, false),
            (drain("cancelled"), true),
        ] {
            assert_eq!(left_something(&drain), left, "{drain:?}");
        }
    }

    #[test]
    fn the_estimate_goes_by_what_has_gone_lately() {
        let begin = Instant::now();
        let mut course = Course::default();
        course.note(begin, 200);
        assert_eq!(course.estimate(), None);
        course.note(begin + Duration::from_secs(5), 100);
        assert_eq!(course.estimate(), Some(Duration::from_secs(5)));
        course.note(begin + Duration::from_secs(20), 100);
        assert_eq!(course.estimate(), None, "nothing has gone lately");
    }
}
