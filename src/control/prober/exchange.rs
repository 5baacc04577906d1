//! One request and its answer on a fresh connection, as far as a probe wants to see it.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version as HttpVersion, response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Target;
use super::connect::{Stream, Version, within};

/// As much of a body is looked at.
pub(super) const MOST: usize = 64 * 1024;

/// How long a probe that has failed already waits for the first bytes of the body, which only explain.
const FOR_EXPLANATION: Duration = Duration::from_millis(200);

/// Names us in the upstream's log.
pub(super) const AGENT: &str = concat!("pointsman/", env!("CARGO_PKG_VERSION"), " (health check)");

/// How much of the body matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control) enum Wanted {
    /// Nothing.
    Head,
    /// The first bytes, if they come soon.
    Explanation,
    /// Up to [`MOST`] bytes, and the trailers.
    Body,
}

/// An answer.
#[derive(Debug)]
pub(in crate::control) struct Answer {
    pub(in crate::control) head: response::Parts,
    /// Its first [`MOST`] bytes at the most.
    pub(in crate::control) body: Bytes,
    pub(super) cut: bool,
    pub(super) trailers: Option<HeaderMap>,
}

/// The request for `path` in the form of the protocol's version.
pub(in crate::control) fn request(
    target: &Target,
    version: Version,
    method: Method,
    path: &str,
    host: Option<&str>,
) -> Result<Request<Full<Bytes>>, String> {
    let host = match host {
        Some(host) => HeaderValue::from_str(host).map_err(|_| format!("{host:?} is no Host"))?,
        None => target.authority.clone(),
    };
    let builder = Request::builder().method(method).header(USER_AGENT, AGENT);
    let builder = match version {
        Version::Http1 => builder.uri(path).header(HOST, host).header(CONNECTION, "close"),
        Version::Http2 => {
            let scheme = if target.tls.is_some() { "https" } else { "http" };
            let uri = Uri::builder().scheme(scheme).authority(host.as_bytes()).path_and_query(path).build();
            builder.version(HttpVersion::HTTP_2).uri(uri.map_err(|e| format!("no URI can be made of {path:?}: {e}"))?)
        }
    };
    builder.body(Full::default()).map_err(|e| format!("no request can be made for {path:?}: {e}"))
}

/// Sends `request` and reads as much of the answer as `wanted` says for its status. Errors have no address in them.
pub(in crate::control) async fn exchange(
    stream: Box<dyn Stream>,
    version: Version,
    request: Request<Full<Bytes>>,
    wanted: impl Fn(StatusCode) -> Wanted,
    deadline: Instant,
) -> Result<Answer, String> {
    let io = TokioIo::new(stream);
    let read = |response| answered(response, &wanted, deadline);
    let talk = async {
        match version {
            Version::Http1 => {
                let (mut sender, connection) = http1::handshake(io).await?;
                beside(connection, async { read(sender.send_request(request).await?).await }).await
            }
            Version::Http2 => {
                let tasks = Tasks::default();
                let (mut sender, connection) = http2::handshake(tasks.clone(), io).await?;
                let _ended_with_the_probe = Ended(tasks);
                beside(connection, async { read(sender.send_request(request).await?).await }).await
            }
        }
    };
    let answer: Option<Result<Answer, hyper::Error>> = within(deadline, talk).await;
    answer.ok_or("did not answer in time")?.map_err(|e| format!("broke off: {}", chain(&e)))
}

/// The tasks that an HTTP/2 connection is made of.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, task: F) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).spawn(task);
    }
}

/// Stops the tasks when the probe is over: a peer that has gone silent must not keep them.
struct Ended(Tasks);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

/// The error and what caused it, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |e| e.source()).map(ToString::to_string);
    causes.collect::<Vec<_>>().join(": ")
}

/// The output of `task`, while `connection` is driven; it ends with the probe.
pub(super) async fn beside<C: Future, T: Future>(connection: C, task: T) -> T::Output {
    let (mut connection, mut task) = (pin!(connection), pin!(task));
    let mut open = true;
    std::future::poll_fn(|cx| {
        if open && connection.as_mut().poll(cx).is_ready() {
            open = false;
        }
        match task.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(output),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

async fn answered(
    response: Response<Incoming>,
    wanted: impl Fn(StatusCode) -> Wanted,
    deadline: Instant,
) -> Result<Answer, hyper::Error> {
    let (head, body) = response.into_parts();
    let mut answer = Answer { head, body: Bytes::new(), cut: false, trailers: None };
    match wanted(answer.head.status) {
        Wanted::Head => {}
        Wanted::Body => answer.read(body).await?,
        Wanted::Explanation => {
            let soon = deadline.min(Instant::now() + FOR_EXPLANATION);
            // The verdict stands already; what is missing of the body is missing in the explanation only.
            let _ = within(soon, answer.read(body)).await;
        }
    }
    Ok(answer)
}

impl Answer {
    pub(in crate::control) fn status(&self) -> StatusCode {
        self.head.status
    }

    async fn read(&mut self, mut body: Incoming) -> Result<(), hyper::Error> {
        let mut read = BytesMut::new();
        while let Some(frame) = body.frame().await {
            match frame?.into_data() {
                Ok(bytes) => {
                    let room = MOST - read.len();
                    self.cut = bytes.len() > room;
                    read.extend_from_slice(&bytes[..bytes.len().min(room)]);
                    self.body = read.clone().freeze();
                    if self.cut {
                        return Ok(());
                    }
                }
                Err(frame) => self.trailers = frame.into_trailers().ok(),
            }
        }
        Ok(())
    }
}
