//! One attempt: a connection, the request onto it, and the wait for the head of the answer.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use http::{Method, Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http2};

use super::connect::{self, Speaks};
use super::error::ProxyError;
use super::exchange::Exchange;
use super::forward::{Answer, Failed};
use super::http1::head::ResponseHead;
use super::http1::outbound::{Lost, Outbound, Progress};
use super::outgoing::Outgoing;
use super::pool::{Connection, Lease};
use super::retry::Reached;
use super::source::Source;
use super::upload::{OutgoingBody, Upload};
use super::worker::Worker;
use crate::config::spec::{Protocol, Timeouts};
use crate::model::fields::Fields;
use crate::routing::table::Upstream;

/// Which connection an attempt goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// A pooled one, where there is one.
    Pooled,
    /// A new one.
    Fresh,
}

/// One attempt at the upstream with this index in the claimed group.
pub(super) async fn attempt(
    exchange: &Exchange,
    upstream: usize,
    outgoing: &mut Outgoing,
    which: Use,
) -> Result<Answer, Failed> {
    let group = exchange.claim.group();
    let upstream = &group.upstreams[upstream];
    let timeouts = &exchange.claim.service().timeouts;
    for (name, value) in &group.headers {
        outgoing.fields.set_named(name, value);
    }
    loop {
        // Once, ahead of connecting: what is opened while an address goes must not get into the pool of those that stay.
        let pool = upstream.live.pool();
        let pooled = pooled(&exchange.worker, pool, outgoing.speaks, which);
        let (connection, freshness) = if let Some(connection) = pooled {
            (connection, Freshness::Reused)
        } else {
            // Boxed: connecting is rare, and its state would make every request's future several KiB larger.
            let opened = Box::pin(open(&exchange.worker, upstream, pool, outgoing.speaks, timeouts.connect)).await?;
            exchange.note_connection();
            opened
        };
        match on(connection, freshness, upstream, pool, timeouts, outgoing).await {
            // A pooled connection that turns out dead before anything was written costs no retry: the next one.
            Err(Failed { reached: Reached::Nothing, error: ProxyError::ConnectionTerminated })
                if freshness == Freshness::Reused => {}
            result => return result,
        }
    }
}

fn pooled(worker: &Worker, upstream: u64, speaks: Speaks, which: Use) -> Option<Connection> {
    if which == Use::Fresh {
        return None;
    }
    let connection = worker.pools.take(upstream, worker.now())?;
    let speaks_both = speaks == Speaks::Any || matches!(connection, Connection::Http1(_));
    speaks_both.then_some(connection)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Freshness {
    Fresh,
    Reused,
}

/// A new connection; for HTTP/2 one that others are opening just now will do.
async fn open(
    worker: &Worker,
    upstream: &Upstream,
    id: u64,
    speaks: Speaks,
    timeout: Duration,
) -> Result<(Connection, Freshness), Failed> {
    let endpoint = &upstream.live.endpoint;
    if endpoint.protocol == Protocol::Http1 || speaks == Speaks::Http1 || worker.pools.is_known_as_http1(id) {
        let connection = connect::connect(upstream, speaks, timeout).await.map_err(Failed::unsent)?;
        return Ok((connection, Freshness::Fresh));
    }
    let gate = worker.pools.opening(id);
    let Ok(Ok(_turn)) = tokio::time::timeout(timeout, gate.acquire()).await else {
        return Err(Failed::unsent(ProxyError::ConnectTimedOut));
    };
    if let Some(shared) = worker.pools.take(id, worker.now()) {
        return Ok((shared, Freshness::Reused));
    }
    let connection = connect::connect(upstream, speaks, timeout).await.map_err(Failed::unsent)?;
    worker.pools.opened(id, &connection);
    Ok((connection, Freshness::Fresh))
}

/// Sends the request on this connection and waits for the head of the answer.
async fn on(
    connection: Connection,
    freshness: Freshness,
    upstream: &Upstream,
    pool: u64,
    timeouts: &Timeouts,
    outgoing: &mut Outgoing,
) -> Result<Answer, Failed> {
    let lease = Lease { upstream: pool, keeps: None, upload: None };
    match connection {
        Connection::Http1(outbound) => {
            let (head, outbound) = over_http1(outbound, freshness, upstream, timeouts, outgoing).await?;
            let ResponseHead { status, fields, .. } = head;
            Ok(Answer { status, fields, body: Source::Upstream(outbound), lease })
        }
        Connection::Http2(sender) => {
            let (head, body) = over_http2(sender, freshness, upstream, timeouts, outgoing).await?.into_parts();
            // What ends with its head needs nobody who reads on.
            let bodiless = outgoing.method == Method::HEAD
                || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
            let body = if bodiless || body.is_end_stream() { Source::Empty } else { Source::Http2(body) };
            Ok(Answer { status: head.status, fields: Fields::from(&head.headers), body, lease })
        }
    }
}

/// Over HTTP/1.1: the connection comes back with the head, for the body is still in it.
async fn over_http1(
    mut outbound: Box<Outbound>,
    freshness: Freshness,
    upstream: &Upstream,
    timeouts: &Timeouts,
    outgoing: &mut Outgoing,
) -> Result<(ResponseHead, Box<Outbound>), Failed> {
    let sent = outgoing.http1(upstream);
    outbound.begin(&sent);
    let mut due = Instant::now() + timeouts.response;
    let head = poll_fn(|cx| {
        if let Poll::Ready(head) = outbound.poll_head(cx, &sent) {
            return Poll::Ready(Ok(head));
        }
        while outbound.poll_due(cx, due).is_ready() {
            match later(timeouts, sent.upload.map(|u| &**u)) {
                Ok(later) => due = later,
                Err(late) => return Poll::Ready(Err(late)),
            }
        }
        Poll::Pending
    });
    match head.await {
        Ok(Ok(head)) => Ok((head, outbound)),
        Ok(Err(lost)) => Err(lost_over_http1(lost, outbound.progress(), freshness, outgoing.upload.as_deref())),
        Err(error) => Err(Failed { error, reached: Reached::Upstream }),
    }
}

fn lost_over_http1(lost: Lost, progress: Progress, freshness: Freshness, upload: Option<&Upload>) -> Failed {
    let reached = match (progress, freshness) {
        (Progress::Nothing, _) => Reached::Nothing,
        (Progress::Written, Freshness::Reused) => Reached::ReusedConnection,
        (Progress::Written | Progress::Spoken, _) => Reached::Upstream,
    };
    match lost {
        Lost::Closed => Failed { error: ProxyError::ConnectionTerminated, reached },
        Lost::Malformed => Failed { error: ProxyError::ProtocolError, reached: Reached::Upstream },
        Lost::Upload => Failed { error: of_upload(upload), reached: Reached::Upstream },
    }
}

/// Why an upload did not arrive.
fn of_upload(upload: Option<&Upload>) -> ProxyError {
    if upload.is_some_and(Upload::is_too_large) { ProxyError::BodyTooLarge } else { ProxyError::RequestAborted }
}

async fn over_http2(
    mut sender: http2::SendRequest<OutgoingBody>,
    freshness: Freshness,
    upstream: &Upstream,
    timeouts: &Timeouts,
    outgoing: &Outgoing,
) -> Result<Response<Incoming>, Failed> {
    let request = outgoing.http2(upstream);
    let mut sending = pin!(sender.try_send_request(request));
    let mut timer = pin!(tokio::time::sleep(timeouts.response));
    let error = loop {
        tokio::select! {
            biased;
            sent = &mut sending => match sent {
                Ok(response) => return Ok(response),
                Err(error) => break error,
            },
            () = &mut timer => match later(timeouts, outgoing.upload.as_deref()) {
                Ok(later) => timer.as_mut().reset(later.into()),
                Err(error) => return Err(Failed { error, reached: Reached::Upstream }),
            },
        }
    };
    Err(lost_over_http2(error, freshness, outgoing.upload.as_deref()))
}

fn lost_over_http2(
    mut error: TrySendError<Request<OutgoingBody>>,
    freshness: Freshness,
    upload: Option<&Upload>,
) -> Failed {
    if error.take_message().is_some() {
        return Failed::unsent(ProxyError::ConnectionTerminated);
    }
    if upload.is_some_and(|u| u.has_failed() || u.is_too_large()) {
        return Failed { error: of_upload(upload), reached: Reached::Upstream };
    }
    let error = error.into_error();
    if was_refused(&error) {
        return Failed::unsent(ProxyError::Refused);
    }
    let reused = freshness == Freshness::Reused && !has_spoken(&error);
    let told = if error.is_parse() { ProxyError::ProtocolError } else { ProxyError::ConnectionTerminated };
    Failed { error: told, reached: if reused { Reached::ReusedConnection } else { Reached::Upstream } }
}

/// The new deadline when the old one has passed: `response` from the last byte of the request on, for the client may
/// still be sending. Where nothing moves any more, it is the fault of whoever keeps the other waiting.
fn later(timeouts: &Timeouts, upload: Option<&Upload>) -> Result<Instant, ProxyError> {
    let upload = upload.ok_or(ProxyError::ResponseTimedOut)?;
    let now = Instant::now();
    if !upload.has_ended() {
        let stalled = upload.last_byte() + timeouts.idle;
        let fault = if upload.is_awaited() { ProxyError::SlowRequest } else { ProxyError::ResponseTimedOut };
        return if stalled > now { Ok(stalled) } else { Err(fault) };
    }
    let due = upload.last_byte() + timeouts.response;
    if due > now { Ok(due) } else { Err(ProxyError::ResponseTimedOut) }
}

/// The cause of `error` in HTTP/2, where there is one.
fn in_http2(error: &hyper::Error) -> Option<&h2::Error> {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(h2) = cause.downcast_ref() {
            return Some(h2);
        }
        source = cause.source();
    }
    None
}

/// Over HTTP/2 the upstream itself ended the stream or the connection: it has seen the request.
fn has_spoken(error: &hyper::Error) -> bool {
    in_http2(error).is_some_and(|h2| !h2.is_io())
}

/// HTTP/2 says that the stream was not processed: REFUSED_STREAM, or a GOAWAY without an error whose last stream is
/// an earlier one (RFC 9113, section 8.7).
fn was_refused(error: &hyper::Error) -> bool {
    in_http2(error).is_some_and(|h2| {
        let graceful = h2.is_go_away() && h2.is_remote() && h2.reason() == Some(h2::Reason::NO_ERROR);
        graceful || h2.reason() == Some(h2::Reason::REFUSED_STREAM)
    })
}
