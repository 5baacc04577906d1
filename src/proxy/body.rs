//! An answer's body on its way to a client, streamed, never held whole.
//!
//! It carries its [`Exchange`] along and tells it how it ended.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::alarm::Alarm;
use super::connection::Busy;
use super::error::BodyError;
use super::exchange::Exchange;
use super::http1::framing::Length;
use super::pool::Lease;
use super::source::Source;
use crate::model::outcome::Outcome;

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
    source: Source,
    /// None once it has ended.
    held: Option<Held>,
    idle: Duration,
    /// When the upstream, which keeps us waiting, has done so for too long.
    due: Option<Instant>,
    alarm: Alarm,
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
    pub(super) fn upstream(source: Source, mut exchange: Exchange, lease: Lease, outcome: Outcome, grpc: Grpc) -> Self {
        let idle = exchange.claim.service().timeouts.idle;
        if outcome != Outcome::Ok {
            exchange.finish_attempt(outcome);
        }
        let held = Some(Held { exchange, lease });
        let mut streamed = Streamed { source, held, idle, due: None, alarm: Alarm::default(), grpc };
        if streamed.source.is_ended() {
            streamed.end(Outcome::Ok);
        }
        Self { from: From::Upstream(streamed), busy: None }
    }

    pub(super) fn keep_busy(&mut self, busy: Busy) {
        self.busy = Some(busy);
    }

    /// Its length in the terms of HTTP/1.1.
    pub(super) fn length(&self) -> Length {
        match &self.from {
            From::Own(body) => body.as_ref().map_or(Length::None, |b| Length::Exact(b.len() as u64)),
            From::Upstream(streamed) => streamed.source.length(),
        }
    }

    /// Whether nothing more will come.
    pub(super) fn has_ended(&self) -> bool {
        match &self.from {
            From::Own(body) => body.is_none(),
            From::Upstream(streamed) => streamed.source.is_ended(),
        }
    }

    /// Whether it is the proxy's own.
    pub(super) fn is_own(&self) -> bool {
        matches!(self.from, From::Own(_))
    }

    /// The next piece; none at the end.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.from {
            From::Own(body) => Poll::Ready(body.take().map(|b| Ok(Frame::data(b)))),
            From::Upstream(streamed) => streamed.poll(cx),
        }
    }
}

impl Streamed {
    fn end(&mut self, outcome: Outcome) {
        let Some(Held { mut exchange, lease }) = self.held.take() else { return };
        exchange.finish_attempt(outcome);
        if let Source::Upstream(_) = &self.source
            && let Source::Upstream(outbound) = std::mem::replace(&mut self.source, Source::Empty)
        {
            lease.give_back(outbound, &exchange.worker);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.source.poll(cx) {
            Poll::Pending => self.poll_stalled(cx),
            Poll::Ready(Some(Ok(frame))) => {
                self.due = None;
                self.note(&frame);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.end(Outcome::Broken);
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(None) => {
                self.end(Outcome::Ok);
                Poll::Ready(None)
            }
        }
    }

    fn note(&mut self, frame: &Frame<Bytes>) {
        if let (Some(data), Some(held)) = (frame.data_ref(), &mut self.held) {
            held.exchange.note_piece();
            if let Some(record) = &mut held.exchange.record {
                record.bytes += data.len() as u64;
            }
        }
        if let (Some(trailers), Grpc::Yes) = (frame.trailers_ref(), self.grpc) {
            self.end(grpc_outcome(trailers.get("grpc-status").map(http::HeaderValue::as_bytes)));
        } else if self.source.is_ended() {
            self.end(Outcome::Ok);
        }
    }

    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let due = *self.due.get_or_insert_with(|| Instant::now() + self.idle);
        if self.alarm.poll(cx, due).is_pending() {
            return Poll::Pending;
        }
        self.end(Outcome::TimedOut);
        Poll::Ready(Some(Err(BodyError::Stalled)))
    }
}

/// The outcome by `grpc-status`: which codes are the server's fault follows the gRPC status code documentation
/// (UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS).
pub(super) fn grpc_outcome(status: Option<&[u8]>) -> Outcome {
    match status {
        Some(b"2" | b"4" | b"12" | b"13" | b"14" | b"15") => Outcome::ServerError,
        _ => Outcome::Ok,
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.get_mut().poll(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.from {
            From::Own(body) => SizeHint::with_exact(body.as_ref().map_or(0, |b| b.len() as u64)),
            From::Upstream(streamed) => streamed.source.size(),
        }
    }
}
