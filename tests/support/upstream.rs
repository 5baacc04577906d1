//! An upstream that does as it is told, rightly or wrongly.
//!
//! It reads requests byte by byte itself, so that it can misbehave in ways a well-kept server cannot. It names its
//! group in `x-upstream` and in the body, and logs each arrival. `/health` is answered apart and not counted, until
//! told otherwise.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::answer::{Answer, rendered_head, websocket_accept};
use super::ports::Port;
use super::wire::{Buffered, Fields, Head};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// When its head was complete.
    pub at: Instant,
    /// The number of its connection, from 1.
    pub connection: u64,
    /// Its head.
    pub head: Head,
}

/// Decides by the head.
pub type Script = Arc<dyn Fn(&Head) -> Answer + Send + Sync>;

struct Shared {
    group: String,
    script: Mutex<Script>,
    health: Mutex<Option<Answer>>,
    idle: Mutex<Option<Duration>>,
    requests_per_connection: AtomicUsize,
    arrivals: Mutex<Vec<Arrival>>,
    probes: AtomicUsize,
    connections: AtomicU64,
    open: AtomicUsize,
    panicked: AtomicBool,
}

/// Records that a task of the fixture panicked, and that its connection is gone.
struct Watch(Arc<Shared>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
        if std::thread::panicking() {
            self.0.panicked.store(true, Ordering::Release);
        }
    }
}

/// A running upstream. Dropping it ends it, and fails the test where one of its tasks has panicked.
pub struct Upstream {
    port: Port,
    shared: Arc<Shared>,
    task: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Upstream {
    /// Answers everything with 200 and the name of its group.
    pub fn start(group: &str) -> Self {
        let text = Answer::text(group);
        Self::scripted(group, move |_| text.clone())
    }

    /// As [`Upstream::start`], at a port that the test has chosen.
    pub fn start_at(port: Port, group: &str) -> Self {
        let text = Answer::text(group);
        Self::scripted_at(port, group, move |_| text.clone())
    }

    /// Answers as `script` says.
    pub fn scripted(group: &str, script: impl Fn(&Head) -> Answer + Send + Sync + 'static) -> Self {
        Self::scripted_at(Port::reserve(), group, script)
    }

    fn scripted_at(port: Port, group: &str, script: impl Fn(&Head) -> Answer + Send + Sync + 'static) -> Self {
        let shared = Shared {
            group: group.to_owned(),
            script: Mutex::new(Arc::new(script)),
            health: Mutex::new(Some(Answer::text(r#"{"status":"healthy"}"#))),
            idle: Mutex::new(None),
            requests_per_connection: AtomicUsize::new(usize::MAX),
            arrivals: Mutex::default(),
            probes: AtomicUsize::new(0),
            connections: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
        };
        let upstream = Self { port, shared: Arc::new(shared), task: Mutex::default() };
        upstream.accept();
        upstream
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// As a configuration names it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Answers everything in this way from now on.
    pub fn answer(&self, answer: Answer) {
        self.script(move |_| answer.clone());
    }

    /// Answers as `script` says from now on.
    pub fn script(&self, script: impl Fn(&Head) -> Answer + Send + Sync + 'static) {
        *self.shared.script.lock().unwrap() = Arc::new(script);
    }

    /// Answers `/health` in this way from now on.
    pub fn health(&self, answer: Answer) {
        *self.shared.health.lock().unwrap() = Some(answer);
    }

    /// Answers `/health` 200 or 503 from now on.
    pub fn healthy(&self, healthy: bool) {
        let (status, word) = if healthy { (200, "healthy") } else { (503, "unhealthy") };
        self.health(Answer::Plain(status, format!(r#"{{"status":"{word}"}}"#)));
    }

    /// Treats `/health` as any other request from now on.
    pub fn no_health(&self) {
        *self.shared.health.lock().unwrap() = None;
    }

    /// Closes a connection, without a word, that was idle for so long after an answer.
    pub fn close_idle_after(&self, idle: Duration) {
        *self.shared.idle.lock().unwrap() = Some(idle);
    }

    /// Closes a connection, without a word, behind this many answers.
    pub fn close_after_requests(&self, requests: usize) {
        self.shared.requests_per_connection.store(requests, Ordering::Release);
    }

    /// Refuses connections from now on, and ends those that are open.
    pub async fn refuse(&self) {
        if let Some(task) = self.end() {
            // Its socket goes with it, and not a moment before.
            let _ = task.await;
        }
    }

    fn end(&self) -> Option<tokio::task::JoinHandle<()>> {
        let task = self.task.lock().unwrap().take();
        task.inspect(tokio::task::JoinHandle::abort)
    }

    /// Accepts connections again, at the same address.
    pub fn accept(&self) {
        let mut task = self.task.lock().unwrap();
        if task.is_none() {
            let listener = TcpListener::from_std(self.port.listen()).unwrap();
            *task = Some(tokio::spawn(serve(listener, Arc::clone(&self.shared))));
        }
    }

    /// Requests so far, probes left out.
    pub fn requests(&self) -> usize {
        self.shared.arrivals.lock().unwrap().len()
    }

    /// Probes so far.
    pub fn probes(&self) -> usize {
        self.shared.probes.load(Ordering::Acquire)
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Acquire)
    }

    /// Connections open now.
    pub fn open_connections(&self) -> usize {
        self.shared.open.load(Ordering::Acquire)
    }

    /// Every request so far, probes left out.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.shared.arrivals.lock().unwrap().clone()
    }

    /// Those that arrived after `instant`.
    pub fn arrivals_after(&self, instant: Instant) -> Vec<Arrival> {
        self.arrivals().into_iter().filter(|a| a.at > instant).collect()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.end();
        let panicked = self.shared.panicked.load(Ordering::Acquire);
        assert!(!panicked || std::thread::panicking(), "upstream {} panicked; see above", self.shared.group);
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let number = shared.connections.fetch_add(1, Ordering::AcqRel) + 1;
                shared.open.fetch_add(1, Ordering::AcqRel);
                let watch = Watch(Arc::clone(&shared));
                connections.spawn(async move {
                    // What the proxy does to the connection is for the test to judge, so errors end it silently.
                    let _ = Connection { shared: &watch.0, number, wire: Buffered::new(stream) }.serve().await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// What becomes of a connection behind an answer.
#[derive(PartialEq)]
enum Then {
    KeepAlive,
    Close,
}

struct Connection<'a> {
    shared: &'a Shared,
    number: u64,
    wire: Buffered<TcpStream>,
}

impl Connection<'_> {
    async fn serve(mut self) -> std::io::Result<()> {
        self.wire.stream.set_nodelay(true)?;
        let mut answered = 0;
        while let Some(head) = self.next(answered).await? {
            let answer = self.choose(&head);
            if answer.wants_body() && head.fields.lists("expect", "100-continue") {
                self.wire.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            }
            let body = if answer.wants_body() { self.wire.request_body(&head).await? } else { Default::default() };
            let then = self.perform(answer, &head, body).await?;
            answered += 1;
            let last = answered >= self.shared.requests_per_connection.load(Ordering::Acquire);
            if last || then == Then::Close || head.fields.lists("connection", "close") {
                return self.wire.stream.shutdown().await;
            }
        }
        Ok(())
    }

    /// The next request's head; none where there will be none, or the connection was idle for too long.
    async fn next(&mut self, answered: usize) -> std::io::Result<Option<Head>> {
        let idle = *self.shared.idle.lock().unwrap();
        match idle.filter(|_| answered > 0) {
            Some(idle) => tokio::time::timeout(idle, self.wire.head()).await.unwrap_or(Ok(None)),
            None => self.wire.head().await,
        }
    }

    fn choose(&self, head: &Head) -> Answer {
        if head.path() == "/health"
            && let Some(answer) = self.shared.health.lock().unwrap().clone()
        {
            self.shared.probes.fetch_add(1, Ordering::AcqRel);
            return answer;
        }
        let arrival = Arrival { at: Instant::now(), connection: self.number, head: head.clone() };
        self.shared.arrivals.lock().unwrap().push(arrival);
        let script = Arc::clone(&self.shared.script.lock().unwrap());
        script(head)
    }

    async fn perform(&mut self, answer: Answer, head: &Head, body: (Vec<u8>, Fields)) -> std::io::Result<Then> {
        match answer {
            Answer::When(mut go, inner) => {
                // A test that is over lets everything go.
                let _ = go.wait_for(|go| *go).await;
                return Box::pin(self.perform(*inner, head, body)).await;
            }
            Answer::Later(wait, inner) => {
                tokio::time::sleep(wait).await;
                return Box::pin(self.perform(*inner, head, body)).await;
            }
            Answer::Informational(heads, inner) => {
                for (status, fields) in heads {
                    self.wire.stream.write_all(&rendered_head(status, &fields)).await?;
                }
                return Box::pin(self.perform(*inner, head, body)).await;
            }
            Answer::Last(inner) | Answer::WithoutReading(inner) => {
                Box::pin(self.perform(*inner, head, body)).await?;
                return Ok(Then::Close);
            }
            Answer::Chunked { chunks, pause, trailers } => self.chunked(head, chunks, pause, trailers).await?,
            Answer::Trickle(slow, pause) => {
                self.wire.stream.write_all(&self.ok(&[], slow.len())).await?;
                for byte in slow {
                    tokio::time::sleep(pause).await;
                    self.wire.stream.write_all(&[byte]).await?;
                }
            }
            Answer::Close => return Ok(Then::Close),
            Answer::Reset => {
                self.wire.stream.set_zero_linger()?;
                return Err(std::io::ErrorKind::ConnectionReset.into());
            }
            Answer::Hang => {
                // Only the end of the connection is noticed.
                while !self.wire.some().await?.is_empty() {}
                return Ok(Then::Close);
            }
            Answer::Garbage(bytes) => {
                self.wire.stream.write_all(&bytes).await?;
                return Ok(Then::Close);
            }
            Answer::Upgrade => return self.upgrade(head).await,
            Answer::CutAt(at, inner) => {
                let whole = self.rendered(*inner, head, &body);
                assert!(at <= whole.len(), "the answer has {} bytes only, and shall be cut at {at}", whole.len());
                self.wire.stream.write_all(&whole[..at]).await?;
                return Ok(Then::Close);
            }
            simple => {
                let bytes = self.rendered(simple, head, &body);
                self.wire.stream.write_all(&bytes).await?;
            }
        }
        Ok(Then::KeepAlive)
    }

    /// The bytes of an answer that has no pauses.
    fn rendered(&self, answer: Answer, head: &Head, body: &(Vec<u8>, Fields)) -> Vec<u8> {
        let (mut bytes, content) = match answer {
            Answer::Plain(status, text) => {
                let length = text.len();
                (self.head(status, &[("content-length", &length.to_string())]), text.into_bytes())
            }
            Answer::With(fields, content) => {
                let fields: Vec<_> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                (self.ok(&fields, content.len()), content)
            }
            Answer::Mirror => {
                let fields: Vec<_> = head.fields.0.iter().map(|(n, v)| serde_json::json!([n, v])).collect();
                let trailers: Vec<_> = body.1.0.iter().map(|(n, v)| serde_json::json!([n, v])).collect();
                let seen = serde_json::json!({ "first": head.first, "fields": fields, "trailers": trailers,
                    "body": String::from_utf8_lossy(&body.0), "connection": self.number });
                let seen = seen.to_string().into_bytes();
                (self.ok(&[("content-type", "application/json")], seen.len()), seen)
            }
            Answer::Echo => (self.ok(&[], body.0.len()), body.0.clone()),
            Answer::Raw(bytes) => (bytes, Vec::new()),
            other => panic!("{other:?} has pauses or none of its bytes; it cannot be part of another answer"),
        };
        if head.method() != "HEAD" {
            bytes.extend(content);
        }
        bytes
    }

    async fn chunked(
        &mut self,
        head: &Head,
        chunks: Vec<Vec<u8>>,
        pause: Duration,
        trailers: Vec<(String, String)>,
    ) -> std::io::Result<()> {
        let start = self.head(200, &[("transfer-encoding", "chunked")]);
        self.wire.stream.write_all(&start).await?;
        if head.method() == "HEAD" {
            return Ok(());
        }
        for chunk in chunks {
            tokio::time::sleep(pause).await;
            let mut framed = format!("{:x}\r\n", chunk.len()).into_bytes();
            framed.extend(chunk);
            framed.extend(b"\r\n");
            self.wire.stream.write_all(&framed).await?;
        }
        let trailers: String = trailers.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
        self.wire.stream.write_all(format!("0\r\n{trailers}\r\n").as_bytes()).await
    }

    async fn upgrade(&mut self, head: &Head) -> std::io::Result<Then> {
        let protocol = head.fields.get("upgrade").unwrap_or("echo");
        let key = head.fields.get("sec-websocket-key").map(websocket_accept);
        let mut fields = vec![("connection", "Upgrade"), ("upgrade", protocol)];
        fields.extend(key.as_deref().map(|key| ("sec-websocket-accept", key)));
        let start = self.head(101, &fields);
        self.wire.stream.write_all(&start).await?;
        loop {
            let bytes = self.wire.some().await?;
            if bytes.is_empty() {
                return Ok(Then::Close);
            }
            self.wire.stream.write_all(&bytes).await?;
        }
    }

    fn ok(&self, fields: &[(&str, &str)], length: usize) -> Vec<u8> {
        let length = length.to_string();
        self.head(200, &[fields, &[("content-length", length.as_str())]].concat())
    }

    fn head(&self, status: u16, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut all = vec![("x-upstream".to_owned(), self.shared.group.clone())];
        all.extend(fields.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())));
        rendered_head(status, &all)
    }
}
