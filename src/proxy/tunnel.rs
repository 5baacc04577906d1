//! Tunnels: connections after their upgrade (WebSocket, RFC 6455).
//!
//! There is no tunnel before the upstream's own 101; what the client sent early waits in its connection until then.
//! A tunnel counts at its group until both sides have closed or nothing has been said for `tunnel_idle`. An idle one
//! is two sockets and nothing else: what passes goes through one buffer that all tunnels of a worker share, and only
//! what the other side does not take at once is kept.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::alarm::Alarm;
use super::body::{Grpc, ResponseBody};
use super::connection::{Busy, Client, Order};
use super::error::ProxyError;
use super::exchange::Exchange;
use super::http1::io::Io;
use super::request::Reply;
use super::respond::Response;
use super::wire::Wire;
use super::{headers, respond};
use crate::model::fields::{Fields, Known};
use crate::model::outcome::TunnelEnd;
use crate::model::websocket::Frames;

/// When one side has closed, the other may be silent for so long before it is closed, too.
const FAREWELL: Duration = Duration::from_secs(10);

/// A tunnel whose upstream has agreed.
#[derive(Debug)]
pub(super) struct Tunnel {
    exchange: Exchange,
    client: Rc<Client>,
    /// The connection does not count as idle.
    busy: Busy,
    upstream: Io,
}

/// Answers 101 and joins both sides, where the upstream has agreed to what was asked.
pub(super) fn open(client: &Rc<Client>, mut exchange: Exchange, mut fields: Fields, upstream: Io) -> Reply {
    let agreed = fields.get(Known::Upgrade).is_some_and(|v| v.eq_ignore_ascii_case(b"websocket"));
    if !agreed {
        exchange.finish_attempt(ProxyError::UnexpectedUpgrade.outcome());
        exchange.refuse(502, ProxyError::UnexpectedUpgrade.told().token);
        return Reply::Answer(respond::error(ProxyError::UnexpectedUpgrade, Grpc::No));
    }
    headers::remove_hop_by_hop(&mut fields);
    headers::ask_for_websocket(&mut fields);
    let head = Response { status: StatusCode::SWITCHING_PROTOCOLS, fields, body: ResponseBody::own(Bytes::new()) };
    exchange.answer(101);
    exchange.become_tunnel();
    Reply::Tunnel(head, Box::new(Tunnel { exchange, client: Rc::clone(client), busy: Busy::new(client), upstream }))
}

impl Tunnel {
    /// Copies in both directions until both have closed, one has failed, or the tunnel was idle for too long.
    pub(super) async fn join(self: Box<Self>, client: Io) {
        let Self { mut exchange, client: served, busy: _busy, upstream } = *self;
        let idle = exchange.claim.service().timeouts.tunnel_idle;
        let (mut left, mut right) = (Side::new(client), Side::new(upstream));
        let (mut pulse, mut alarm) = (Pulse { last: Instant::now(), idle }, Alarm::default());
        let worker = Rc::clone(&exchange.worker);
        let end = poll_fn(|cx| {
            let mut scratch = worker.scratch();
            let up = left.copy_to(&mut right, &mut scratch, &mut pulse, cx);
            let down = right.copy_to(&mut left, &mut scratch, &mut pulse, cx);
            match (up, down) {
                (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) | (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => {
                    Poll::Ready(TunnelEnd::Cut)
                }
                _ if served.progress.order() == Order::Close => Poll::Ready(TunnelEnd::Cut),
                (up, down) => {
                    let half_closed = up.is_ready() || down.is_ready();
                    let end = if half_closed { TunnelEnd::Cut } else { TunnelEnd::Idle };
                    alarm.poll(cx, pulse.due(half_closed)).map(|()| end)
                }
            }
        })
        .await;
        // Whoever has said so has closed it, however the connections ended afterwards.
        let said = left.frames.close_code().or(right.frames.close_code()).is_some();
        let end = if said { TunnelEnd::Closed } else { end };
        exchange.claim.slot().tunnel_ends[end as usize].add(1);
        if let Some(record) = &mut exchange.record {
            record.bytes = right.passed;
        }
    }
}

/// Signs of life of a tunnel.
struct Pulse {
    /// When something passed in either direction.
    last: Instant,
    idle: Duration,
}

impl Pulse {
    /// When it has been silent for too long. Once a side has closed, the other one may have something left to say, but
    /// no longer anybody who waits for it.
    fn due(&self, half_closed: bool) -> Instant {
        self.last + if half_closed { self.idle.min(FAREWELL) } else { self.idle }
    }
}

/// One side of a tunnel, as a source.
struct Side {
    wire: Wire,
    /// What was read from it, and the other side did not take yet.
    held: BytesMut,
    /// Bytes read from it and taken by the other side.
    passed: u64,
    /// What it says, followed in step.
    frames: Frames,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// It has nothing more to say; the other side is yet to be told.
    Closing,
    Closed,
}

impl Side {
    fn new(io: Io) -> Self {
        let (wire, held) = io.into_parts();
        let mut frames = Frames::default();
        frames.follow(&held);
        Self { wire, held, passed: 0, frames, state: State::Open }
    }

    /// Moves what can be moved. Ready when this side has closed and the other one knows.
    fn copy_to(
        &mut self,
        other: &mut Self,
        scratch: &mut [u8],
        pulse: &mut Pulse,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.state == State::Closed {
                return Poll::Ready(Ok(()));
            }
            while !self.held.is_empty() {
                let taken = ready!(Pin::new(&mut other.wire).poll_write(cx, &self.held))?;
                self.pass(taken, pulse)?;
                self.held.advance(taken);
            }
            self.held = BytesMut::new();
            ready!(Pin::new(&mut other.wire).poll_flush(cx))?;
            if self.state == State::Closing {
                ready!(Pin::new(&mut other.wire).poll_shutdown(cx))?;
                self.state = State::Closed;
                continue;
            }
            let mut read = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.wire).poll_read(cx, &mut read))?;
            let read = read.filled();
            if read.is_empty() {
                (self.state, pulse.last) = (State::Closing, Instant::now());
                continue;
            }
            self.frames.follow(read);
            match Pin::new(&mut other.wire).poll_write(cx, read)? {
                Poll::Ready(taken) => {
                    self.pass(taken, pulse)?;
                    self.held.extend_from_slice(&read[taken..]);
                }
                Poll::Pending => self.held.extend_from_slice(read),
            }
        }
    }

    fn pass(&mut self, taken: usize, pulse: &mut Pulse) -> io::Result<()> {
        if taken == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.passed += taken as u64;
        pulse.last = Instant::now();
        Ok(())
    }
}
