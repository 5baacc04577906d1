//! Bodies on their way: the client's upload and the upstream's answer, streamed, never held whole.
//!
//! An upload that nobody has begun to read can be given to a second attempt. An answer carries its [`Exchange`] along
//! and tells it how it ended.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tokio::time::Sleep;

use super::connection::Busy;
use super::exchange::Exchange;
use super::pool::Lease;
use crate::model::outcome::Outcome;

/// Resolves when the upstream asks for the body (`Expect: 100-continue`), or has let us wait for long enough.
type Gate = Pin<Box<dyn Future<Output = ()>>>;

/// An upstream may never have heard of `Expect` (RFC 9110, section 10.1.1): then the body is sent after so long.
const PATIENCE_WITH_EXPECT: Duration = Duration::from_secs(1);

/// The client's body, which attempts share until one of them has begun to read it.
pub(super) struct Upload {
    incoming: RefCell<Incoming>,
    begun: Cell<bool>,
    ended: Cell<bool>,
    failed: Cell<bool>,
    last: Cell<Instant>,
    /// Whether it is the client that keeps the upstream waiting, and not the other way round.
    awaited: Cell<bool>,
    /// What has to happen before it is read.
    gate: RefCell<Option<Gate>>,
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload").field("begun", &self.begun).field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Upload {
    pub(super) fn new(incoming: Incoming) -> Rc<Self> {
        Rc::new(Self {
            incoming: RefCell::new(incoming),
            begun: Cell::new(false),
            ended: Cell::new(false),
            failed: Cell::new(false),
            last: Cell::new(Instant::now()),
            awaited: Cell::new(false),
            gate: RefCell::new(None),
        })
    }

    /// Whether the last that was heard of it is that the client has no more of it yet.
    pub(super) fn is_awaited(&self) -> bool {
        self.awaited.get()
    }

    /// Reads none of it, and so does not tell the client to send it, before the semaphore is closed.
    pub(super) fn hold_back(&self) -> Arc<Semaphore> {
        let asked = Arc::new(Semaphore::new(0));
        let closed = Arc::clone(&asked);
        *self.gate.borrow_mut() = Some(Box::pin(async move {
            // Nobody adds permits: either it is closed, or time is over.
            let _ = tokio::time::timeout(PATIENCE_WITH_EXPECT, closed.acquire()).await;
        }));
        asked
    }

    /// Lets it be read at once.
    pub(super) fn let_go(&self) {
        *self.gate.borrow_mut() = None;
    }

    fn poll_gate(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut gate = self.gate.borrow_mut();
        if let Some(closed) = &mut *gate {
            std::task::ready!(closed.as_mut().poll(cx));
            *gate = None;
        }
        Poll::Ready(())
    }

    /// Whether an attempt has begun to read it: no other attempt can have it.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.get()
    }

    /// Whether it has arrived whole.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// Whether the client broke it off.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.get()
    }

    /// When the last byte came.
    pub(super) fn last_byte(&self) -> Instant {
        self.last.get()
    }
}

/// What is sent to an upstream.
#[derive(Debug)]
pub(super) enum OutgoingBody {
    /// Nothing.
    Empty,
    /// The client's body.
    Upload(Rc<Upload>),
}

impl Body for OutgoingBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self::Upload(upload) = self.get_mut() else { return Poll::Ready(None) };
        std::task::ready!(upload.poll_gate(cx));
        upload.begun.set(true);
        let polled = Pin::new(&mut *upload.incoming.borrow_mut()).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(_))) => upload.last.set(Instant::now()),
            Poll::Ready(Some(Err(_))) => upload.failed.set(true),
            Poll::Ready(None) => upload.ended.set(true),
            Poll::Pending => {}
        }
        upload.awaited.set(polled.is_pending());
        if upload.incoming.borrow().is_end_stream() {
            upload.ended.set(true);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Upload(upload) => upload.incoming.borrow().is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Upload(upload) => upload.incoming.borrow().size_hint(),
        }
    }
}

/// Why an answer broke off. The client's connection is closed, so that it notices.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the upstream broke off its answer")]
    Broken(#[source] hyper::Error),
    #[error("the upstream's answer stalled")]
    Stalled,
}

/// What is sent to a client.
#[derive(Debug)]
pub(super) struct ResponseBody {
    from: From,
    /// Keeps the client's connection from counting as idle.
    busy: Option<Busy>,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "boxing would cost every proxied answer an allocation")]
enum From {
    Own(Option<Bytes>),
    Upstream(Streamed),
}

/// An answer on its way from an upstream to a client.
#[derive(Debug)]
struct Streamed {
    incoming: Incoming,
    /// None once it has ended.
    held: Option<Held>,
    idle: Duration,
    /// Armed only while the upstream keeps us waiting.
    stalled: Option<Pin<Box<Sleep>>>,
    grpc: Grpc,
}

#[derive(Debug)]
struct Held {
    exchange: Exchange,
    lease: Lease,
}

/// Whether the result is in the trailers (gRPC over HTTP/2, "Responses").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grpc {
    No,
    Yes,
}

impl ResponseBody {
    /// A body of the proxy's own.
    pub(super) fn own(body: Bytes) -> Self {
        Self { from: From::Own((!body.is_empty()).then_some(body)), busy: None }
    }

    /// The upstream's body. `exchange` ends when it ends, and then the connection can be used again.
    pub(super) fn upstream(
        incoming: Incoming,
        mut exchange: Exchange,
        lease: Lease,
        outcome: Outcome,
        grpc: Grpc,
    ) -> Self {
        let idle = exchange.claim.service().timeouts.idle;
        let mut streamed = Streamed { incoming, held: None, idle, stalled: None, grpc };
        if outcome != Outcome::Ok {
            exchange.finish_attempt(outcome);
        }
        streamed.held = Some(Held { exchange, lease });
        if streamed.incoming.is_end_stream() {
            streamed.end(Outcome::Ok);
        }
        Self { from: From::Upstream(streamed), busy: None }
    }

    pub(super) fn keep_busy(&mut self, busy: Busy) {
        self.busy = Some(busy);
    }
}

impl Streamed {
    fn end(&mut self, outcome: Outcome) {
        let Some(Held { mut exchange, lease }) = self.held.take() else { return };
        exchange.finish_attempt(outcome);
        if outcome != Outcome::Broken && outcome != Outcome::TimedOut {
            lease.give_back(&exchange.worker);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Pending => self.poll_stalled(cx),
            Poll::Ready(Some(Ok(frame))) => {
                self.stalled = None;
                self.note(&frame);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.end(Outcome::Broken);
                Poll::Ready(Some(Err(BodyError::Broken(error))))
            }
            Poll::Ready(None) => {
                self.end(Outcome::Ok);
                Poll::Ready(None)
            }
        }
    }

    fn note(&mut self, frame: &Frame<Bytes>) {
        if let (Some(data), Some(held)) = (frame.data_ref(), &mut self.held)
            && let Some(record) = &mut held.exchange.record
        {
            record.bytes += data.len() as u64;
        }
        if let (Some(trailers), Grpc::Yes) = (frame.trailers_ref(), self.grpc) {
            self.end(grpc_outcome(trailers));
        } else if self.incoming.is_end_stream() {
            self.end(Outcome::Ok);
        }
    }

    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.idle)));
        if stalled.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.end(Outcome::TimedOut);
        Poll::Ready(Some(Err(BodyError::Stalled)))
    }
}

/// The outcome by `grpc-status`: which codes are the server's fault follows the gRPC status code documentation
/// (UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS).
pub(super) fn grpc_outcome(header: &HeaderMap) -> Outcome {
    match header.get("grpc-status").map(http::HeaderValue::as_bytes) {
        Some(b"2" | b"4" | b"12" | b"13" | b"14" | b"15") => Outcome::ServerError,
        _ => Outcome::Ok,
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.get_mut().from {
            From::Own(body) => Poll::Ready(body.take().map(|b| Ok(Frame::data(b)))),
            From::Upstream(streamed) => streamed.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.from {
            From::Own(body) => body.is_none(),
            From::Upstream(streamed) => streamed.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.from {
            From::Own(body) => SizeHint::with_exact(body.as_ref().map_or(0, |b| b.len() as u64)),
            From::Upstream(streamed) => streamed.incoming.size_hint(),
        }
    }
}
