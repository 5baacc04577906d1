//! One attempt: a connection, the request onto it, and the wait for the head of the answer.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;

use super::body::OutgoingBody;
use super::connect::{self, Speaks};
use super::error::ProxyError;
use super::exchange::Exchange;
use super::forward::{Answer, Failed};
use super::outgoing::Outgoing;
use super::pool::{Connection, Lease};
use super::retry::Reached;
use super::worker::Worker;
use crate::config::spec::{Protocol, Timeouts};
use crate::routing::table::Upstream;

/// Which connection an attempt goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// A pooled one, where there is one.
    Pooled,
    /// A new one.
    Fresh,
}

type Sent = Result<Response<Incoming>, TrySendError<Request<OutgoingBody>>>;

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
        outgoing.headers.insert(name, value.clone());
    }
    loop {
        // Once, ahead of connecting: what is opened while an address goes must not get into the pool of those that stay.
        let pool = upstream.live.pool();
        let (connection, freshness) = match pooled(&exchange.worker, pool, outgoing.speaks, which) {
            Some(connection) => (connection, Freshness::Reused),
            // Boxed: connecting is rare, and its state would make every request's future several KiB larger.
            None => Box::pin(open(&exchange.worker, upstream, pool, outgoing.speaks, timeouts.connect)).await?,
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
    let speaks_both = speaks == Speaks::Any || matches!(connection, Connection::Http1 { .. });
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
    let mut lease = Lease { connection, upstream: pool, upload: outgoing.upload.clone(), keeps: None };
    let sent = match &mut lease.connection {
        Connection::Http1 { sender, received } => {
            let before = received.load(Ordering::Relaxed);
            let repeatable = outgoing.repeatable();
            // Only what may be repeated is copied: on a connection that may have died while idle.
            let spare = (freshness == Freshness::Reused && repeatable.idempotent && repeatable.body_held)
                .then(|| outgoing.headers.clone());
            let request = outgoing.http1(upstream);
            let sent = head(sender.try_send_request(request), timeouts, outgoing).await;
            let silent = received.load(Ordering::Relaxed) == before;
            let reached =
                if silent && freshness == Freshness::Reused { Reached::ReusedConnection } else { Reached::Upstream };
            sent.map_err(|error| recover(error, reached, spare, outgoing))
        }
        Connection::Http2 { sender } => {
            let spare = Some(outgoing.headers.clone());
            let request = outgoing.http2(upstream);
            let reached = if freshness == Freshness::Reused { Reached::ReusedConnection } else { Reached::Upstream };
            let sent = head(sender.try_send_request(request), timeouts, outgoing).await;
            sent.map_err(|error| recover(error, reached, spare, outgoing))
        }
    };
    Ok(Answer { response: sent?, lease })
}

/// Why no head came.
#[expect(clippy::large_enum_variant, reason = "lives for a moment, and only when something failed")]
enum NoHead {
    Late(ProxyError),
    Error(TrySendError<Request<OutgoingBody>>),
}

/// Waits for the head of the answer: `response` from the last byte of the request on.
async fn head(
    sending: impl Future<Output = Sent>,
    timeouts: &Timeouts,
    outgoing: &Outgoing,
) -> Result<Response<Incoming>, NoHead> {
    let mut sending = pin!(sending);
    let mut timer = pin!(tokio::time::sleep(timeouts.response));
    loop {
        tokio::select! {
            biased;
            sent = &mut sending => return sent.map_err(NoHead::Error),
            () = &mut timer => timer.as_mut().reset(later(timeouts, outgoing).map_err(NoHead::Late)?.into()),
        }
    }
}

/// The new deadline when the old one has passed: the client may still be sending. Where nothing moves any more, it is
/// the fault of whoever keeps the other waiting.
fn later(timeouts: &Timeouts, outgoing: &Outgoing) -> Result<Instant, ProxyError> {
    let upload = outgoing.upload.as_ref().ok_or(ProxyError::ResponseTimedOut)?;
    let now = Instant::now();
    if !upload.has_ended() {
        let stalled = upload.last_byte() + timeouts.idle;
        let fault = if upload.is_awaited() { ProxyError::SlowRequest } else { ProxyError::ResponseTimedOut };
        return if stalled > now { Ok(stalled) } else { Err(fault) };
    }
    let due = upload.last_byte() + timeouts.response;
    if due > now { Ok(due) } else { Err(ProxyError::ResponseTimedOut) }
}

/// Sorts out a failure, and puts the header back where the request can be repeated.
fn recover(failure: NoHead, reached: Reached, spare: Option<HeaderMap>, outgoing: &mut Outgoing) -> Failed {
    let mut error = match failure {
        NoHead::Late(error) => return Failed { error, reached: Reached::Upstream },
        NoHead::Error(error) => error,
    };
    if let Some(request) = error.take_message() {
        outgoing.headers = spare.unwrap_or_else(|| request.into_parts().0.headers);
        return Failed::unsent(ProxyError::ConnectionTerminated);
    }
    if outgoing.upload.as_ref().is_some_and(|u| u.has_failed()) {
        return Failed { error: ProxyError::RequestAborted, reached: Reached::Upstream };
    }
    let repeated = spare.is_some();
    outgoing.headers = spare.unwrap_or_default();
    let error = error.into_error();
    if was_refused(&error) {
        return Failed::unsent(ProxyError::Refused);
    }
    let told = if error.is_parse() { ProxyError::ProtocolError } else { ProxyError::ConnectionTerminated };
    Failed { error: told, reached: if repeated && !has_spoken(&error) { reached } else { Reached::Upstream } }
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
