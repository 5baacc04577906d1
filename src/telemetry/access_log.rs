//! The access log: one JSON line per request, written by a thread of its own.
//!
//! A worker only fills in a [`Record`] and offers it to a bounded queue; when the queue is full the line is dropped
//! and counted, never waited for.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use http::Method;
use jiff::Timestamp;
use serde::Serialize;

use crate::config::spec::{AccessLog, LogTarget};
use crate::model::names::{GroupName, ServiceName};
use crate::model::split::Share;

/// Lines that may wait to be written.
const QUEUE: usize = 16 << 10;
/// A line is on its way to the file after so long at the most.
const FLUSH: Duration = Duration::from_millis(200);

/// What is written about a request.
#[derive(Debug)]
pub struct Record {
    at: Timestamp,
    listener: String,
    client: Option<IpAddr>,
    method: Method,
    host: String,
    path: String,
    /// As sent to the client; 499 where it was gone.
    pub status: u16,
    /// Of the body, towards the client.
    pub bytes: u64,
    /// From the head of the request to the end of the answer.
    pub ms: f64,
    /// None for an answer without one.
    pub service: Option<ServiceName>,
    /// The group that answered, or was tried last.
    pub group: Option<GroupName>,
    /// The upstream of the last attempt.
    pub upstream: Option<String>,
    /// How many attempts.
    pub attempts: u32,
    /// `error` of `Proxy-Status`, where the proxy answered itself.
    pub error: Option<&'static str>,
}

#[derive(Serialize)]
struct Line<'a> {
    at: String,
    listener: &'a str,
    client: Option<IpAddr>,
    method: &'a str,
    host: &'a str,
    path: &'a str,
    status: u16,
    bytes: u64,
    ms: f64,
    service: Option<&'a str>,
    group: Option<&'a str>,
    upstream: Option<&'a str>,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// The workers' end.
#[derive(Clone, Debug)]
pub struct Sink {
    share: Share,
    queue: SyncSender<Box<Record>>,
    control: Arc<Control>,
}

/// Written by workers and the owner, read by the writing thread.
#[derive(Debug, Default)]
struct Control {
    dropped: AtomicU64,
    reopen: AtomicBool,
}

/// The owner's end: ends the writing thread once all sinks are gone.
#[derive(Debug)]
pub struct Writer {
    thread: thread::JoinHandle<()>,
    control: Arc<Control>,
}

impl Sink {
    /// A line for a request that begins now; none where this request is not among the logged share.
    #[must_use]
    pub fn begin(
        &self,
        method: &Method,
        host: &str,
        path: &str,
        client: Option<IpAddr>,
        listener: &str,
    ) -> Option<Box<Record>> {
        if self.share != Share::ALL && fastrand::u32(..1_000_000) >= self.share.ppm() {
            return None;
        }
        Some(Box::new(Record {
            at: Timestamp::now(),
            listener: listener.to_owned(),
            client,
            method: method.clone(),
            host: host.to_owned(),
            path: path.to_owned(),
            status: 0,
            bytes: 0,
            ms: 0.0,
            service: None,
            group: None,
            upstream: None,
            attempts: 0,
            error: None,
        }))
    }

    /// Offers a finished line.
    pub fn write(&self, record: Box<Record>) {
        if self.queue.try_send(record).is_err() {
            self.control.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Writer {
    /// Opens the file anew (after logrotate has moved it).
    pub fn reopen(&self) {
        self.control.reopen.store(true, Ordering::Relaxed);
    }

    /// Waits until everything is written; all [`Sink`]s must be gone.
    pub fn finish(self) {
        if self.thread.join().is_err() {
            tracing::error!("the access log's thread had panicked");
        }
    }
}

/// Starts the writing thread.
///
/// # Errors
/// When the file cannot be opened.
pub fn start(settings: &AccessLog) -> io::Result<(Sink, Writer)> {
    let (queue, lines) = sync_channel(QUEUE);
    let control = Arc::new(Control::default());
    let target = settings.to.clone();
    let mut out = open(&target)?;
    let shared = Arc::clone(&control);
    let thread = thread::Builder::new().name("access-log".to_owned()).spawn(move || {
        while drain(&lines, &mut out, &shared) == More::MayCome {
            if shared.reopen.swap(false, Ordering::Relaxed) {
                match open(&target) {
                    Ok(new) => out = new,
                    Err(error) => {
                        tracing::error!(%error, "the access log cannot be opened anew; writing to the old file");
                    }
                }
            }
        }
    })?;
    Ok((Sink { share: settings.share, queue, control: Arc::clone(&control) }, Writer { thread, control }))
}

#[derive(PartialEq, Eq)]
enum More {
    MayCome,
    CannotCome,
}

/// Writes what is queued, or waits a little for it.
fn drain(lines: &Receiver<Box<Record>>, out: &mut Box<dyn Write + Send>, control: &Control) -> More {
    let written = match lines.recv_timeout(FLUSH) {
        Ok(first) => std::iter::once(first).chain(lines.try_iter()).try_for_each(|r| write_line(out, &r)),
        Err(RecvTimeoutError::Timeout) => Ok(()),
        Err(RecvTimeoutError::Disconnected) => {
            let _ = out.flush();
            return More::CannotCome;
        }
    };
    let dropped = control.dropped.swap(0, Ordering::Relaxed);
    if dropped > 0 {
        tracing::warn!(dropped, "access log lines were dropped: the disk is slower than the traffic");
    }
    if let Err(error) = written.and_then(|()| out.flush()) {
        tracing::error!(%error, "the access log cannot be written");
    }
    More::MayCome
}

fn write_line(out: &mut impl Write, record: &Record) -> io::Result<()> {
    let line = Line {
        at: record.at.to_string(),
        listener: &record.listener,
        client: record.client,
        method: record.method.as_str(),
        host: &record.host,
        path: &record.path,
        status: record.status,
        bytes: record.bytes,
        ms: (record.ms * 1e3).round() / 1e3,
        service: record.service.as_ref().map(ServiceName::as_str),
        group: record.group.as_ref().map(GroupName::as_str),
        upstream: record.upstream.as_deref(),
        attempts: record.attempts,
        error: record.error,
    };
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")
}

fn open(target: &LogTarget) -> io::Result<Box<dyn Write + Send>> {
    match target {
        LogTarget::Stdout => Ok(Box::new(BufWriter::new(io::stdout()))),
        LogTarget::File(path) => Ok(Box::new(BufWriter::new(append(path)?))),
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}
