//! A steady load of visitors, and a tally of who answered them.
//!
//! Each request is a new visitor's: no cookie is kept, so that the shares of the answers follow the split. Requests
//! go over a few keep-alive connections at a fixed pace; what cannot be sent on time is sent late, not left out. Owns
//! its connections; knows the proxy only as an address.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

/// Answers that may wait to be counted.
const QUEUE: usize = 1024;
/// An answer that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// From one line to the next while nothing changes.
const LINE_EVERY: Duration = Duration::from_secs(2);
/// The name of a group that did not say its name.
const NAMELESS: &str = "?";

/// What to ask for, and how often.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Where to connect.
    pub address: SocketAddr,
    /// Path and query.
    pub path: String,
    /// Requests a second, over all connections; at least 1.
    pub per_second: u32,
    /// Keep-alive connections; at least 1.
    pub connections: u32,
    /// The response header that names the group.
    pub group_header: String,
}

impl LoadOptions {
    /// Fifty requests a second for `/whoami` over ten connections; groups are read from `x-served-by`.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            path: "/whoami".to_owned(),
            per_second: 50,
            connections: 10,
            group_header: "x-served-by".to_owned(),
        }
    }
}

/// Who answered how often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Answers by group, those of status 500 and above left out.
    pub answered: BTreeMap<String, u64>,
    /// Requests without an answer, and answers of status 500 and above.
    pub failed: u64,
}

impl Tally {
    /// All requests.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.answered.values().sum::<u64>() + self.failed
    }

    fn count(&mut self, answer: Option<String>) {
        match answer {
            Some(group) => *self.answered.entry(group).or_default() += 1,
            None => self.failed += 1,
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.total().max(1) as f64;
        for (group, &count) in &self.answered {
            write!(f, "{group} {:.0} %  ", 100.0 * count as f64 / total)?;
        }
        write!(f, "failed {}", self.failed)
    }
}

/// Decides when a line is due: every two seconds, and at once when a group answers that did not answer in the last
/// line, or the first request fails in a while.
#[derive(Debug)]
struct Lines {
    all: Tally,
    current: Tally,
    last: Tally,
}

impl Lines {
    /// Whether this answer is news.
    fn count(&mut self, answer: Option<String>) -> bool {
        let quiet = self.last.total() == 0;
        let news = match &answer {
            Some(group) => !self.last.answered.contains_key(group) && !self.current.answered.contains_key(group),
            None => self.last.failed == 0 && self.current.failed == 0,
        };
        self.all.count(answer.clone());
        self.current.count(answer);
        news && !quiet
    }

    /// The line for what came since the last one.
    fn line(&mut self, since_start: Duration) -> String {
        let line = format!(
            "{:>6.1} s  {}  ({} requests so far, {} failed)",
            since_start.as_secs_f64(),
            self.current,
            self.all.total(),
            self.all.failed
        );
        self.last = std::mem::take(&mut self.current);
        line
    }
}

/// Sends requests until `shutdown` resolves; hands each line of the report to `print`. Gives back the whole tally.
pub async fn run(options: LoadOptions, mut print: impl FnMut(&str), shutdown: impl Future<Output = ()>) -> Tally {
    let (answers, mut answered) = mpsc::channel(QUEUE);
    let mut visitors = JoinSet::new();
    for number in 0..options.connections.max(1) {
        visitors.spawn(visitor(options.clone(), number, answers.clone()));
    }
    drop(answers);
    let started = Instant::now();
    let mut lines = Lines { all: Tally::default(), current: Tally::default(), last: Tally::default() };
    let mut due = interval_at(started + LINE_EVERY, LINE_EVERY);
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            _ = due.tick() => print(&lines.line(started.elapsed())),
            Some(answer) = answered.recv() => if lines.count(answer) {
                print(&lines.line(started.elapsed()));
                due.reset();
            },
        }
    }
    visitors.shutdown().await;
    lines.all
}

/// One connection's share of the load. Ends when nobody counts any more.
async fn visitor(options: LoadOptions, number: u32, answers: mpsc::Sender<Option<String>>) {
    let connections = options.connections.max(1);
    let pause = Duration::from_secs(1) * connections / options.per_second.max(1);
    // The connections take turns, so that the requests are evenly spread.
    let mut turn = interval_at(Instant::now() + pause * number / connections, pause);
    turn.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut connection = None;
    loop {
        turn.tick().await;
        let answer = timeout(PATIENCE, ask(&options, &mut connection)).await.ok().flatten();
        if answer.is_none() {
            connection = None;
        }
        if answers.send(answer).await.is_err() {
            return;
        }
    }
}

/// An open connection and the task that moves its bytes.
struct Open {
    sender: SendRequest<Empty<Bytes>>,
    _task: JoinSet<()>,
}

async fn connect(address: SocketAddr) -> Option<Open> {
    let stream = TcpStream::connect(address).await.ok()?;
    let _ = stream.set_nodelay(true);
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    let mut task = JoinSet::new();
    task.spawn(async { drop(connection.await) });
    Some(Open { sender, _task: task })
}

/// Who answered; none where nobody did, or with 500 and above.
async fn ask(options: &LoadOptions, connection: &mut Option<Open>) -> Option<String> {
    let ready = match connection {
        Some(open) => open.sender.ready().await.is_ok(),
        None => false,
    };
    if !ready {
        *connection = connect(options.address).await;
    }
    let request = Request::get(&options.path)
        .header(header::HOST, HeaderValue::from_str(&options.address.to_string()).ok()?)
        .body(Empty::new())
        .ok()?;
    let response = connection.as_mut()?.sender.send_request(request).await.ok()?;
    let failed = response.status().is_server_error();
    let group = response.headers().get(&options.group_header).and_then(|v| v.to_str().ok()).map(str::to_owned);
    // The connection is free for the next request only when the body was read to its end.
    response.into_body().collect().await.ok()?;
    (!failed).then(|| group.unwrap_or_else(|| NAMELESS.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::app::{self, AppOptions};
    use tokio::net::TcpListener;

    #[test]
    fn a_group_that_begins_to_answer_is_news_and_one_that_goes_on_is_not() {
        let mut lines = Lines { all: Tally::default(), current: Tally::default(), last: Tally::default() };
        assert!(!lines.count(Some("blue".into())), "nothing was said yet");
        lines.line(Duration::from_secs(2));
        assert!(!lines.count(Some("blue".into())));
        assert!(lines.count(Some("green".into())));
        assert!(!lines.count(Some("green".into())), "it was just said");
        assert!(lines.count(None));
        let line = lines.line(Duration::from_secs(3));
        assert!(line.contains("blue 25 %  green 50 %  failed 1") && line.contains("5 requests so far"), "{line}");
    }

    #[tokio::test]
    async fn every_answer_is_counted_by_its_group_and_a_closed_port_is_a_failure() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(app::serve(listener, AppOptions::new("blue", "1"), std::future::pending()));
        let options = LoadOptions { per_second: 500, group_header: "x-upstream".into(), ..LoadOptions::new(address) };
        let second = || tokio::time::sleep(Duration::from_millis(400));
        let tally = run(options.clone(), |_| {}, second()).await;
        assert!(tally.answered["blue"] > 20, "{tally:?}");
        assert_eq!((tally.failed, tally.answered.len()), (0, 1), "{tally:?}");
        server.abort();
        let _ = server.await;
        let tally = run(options, |_| {}, second()).await;
        assert!(tally.failed > 20 && tally.answered.is_empty(), "{tally:?}");
    }
}
