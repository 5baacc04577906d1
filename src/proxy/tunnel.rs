//! Tunnels: connections after their upgrade (WebSocket, RFC 6455).
//!
//! There is no tunnel before the upstream's own 101; what the client sent early waits in its connection until then.
//! A tunnel counts at its group until both sides have closed or nothing has been said for `tunnel_idle`.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Response};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::body::{Grpc, ResponseBody};
use super::error::ProxyError;
use super::exchange::Exchange;
use super::forward::Answer;
use super::glance::Glance;
use super::{headers, respond};

/// Bytes copied at a time in each direction.
const BUFFER: usize = 16 << 10;
/// When one side has closed, the other may be silent for so long before it is closed, too.
const FAREWELL: Duration = Duration::from_secs(10);
/// The client's connection has this long to become a tunnel after the 101 was written.
const HANDOVER: Duration = Duration::from_secs(30);

/// Answers 101 and joins both sides.
pub(super) fn open(mut exchange: Exchange, answer: Answer, client: OnUpgrade) -> Response<ResponseBody> {
    let mut response = answer.response;
    let agreed = response.headers().get(UPGRADE).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if !agreed {
        exchange.finish_attempt(ProxyError::UnexpectedUpgrade.outcome());
        exchange.refuse(502, ProxyError::UnexpectedUpgrade.told().token);
        return respond::error(ProxyError::UnexpectedUpgrade, Grpc::No);
    }
    let upstream = hyper::upgrade::on(&mut response);
    let mut head = Response::new(ResponseBody::own(Bytes::new()));
    *head.status_mut() = response.status();
    *head.headers_mut() = std::mem::take(response.headers_mut());
    let glance = Glance::at(head.headers());
    headers::remove_hop_by_hop(head.headers_mut(), glance);
    head.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    head.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
    exchange.answer(101);
    exchange.become_tunnel();
    tokio::task::spawn_local(join(exchange, client, upstream));
    head
}

/// Copies in both directions until both have closed, one has failed, or the tunnel was idle for too long.
async fn join(mut exchange: Exchange, client: OnUpgrade, upstream: OnUpgrade) {
    let Ok(both) = tokio::time::timeout(HANDOVER, async { tokio::try_join!(client, upstream) }).await else { return };
    let Ok((client, upstream)) = both else { return };
    let idle = exchange.claim.service().timeouts.tunnel_idle;
    let pulse = Rc::new(Pulse { last: Cell::new(Instant::now()), closing: Notify::new() });
    let mut client = Watched { io: TokioIo::new(client), pulse: Rc::clone(&pulse) };
    let mut upstream = TokioIo::new(upstream);
    let copied = tokio::select! {
        // Whichever side failed: the other learns it when this ends and its connection is closed.
        copied = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut upstream, BUFFER, BUFFER) => copied.ok(),
        () = pulse.silent(idle) => None,
    };
    if let (Some(record), Some((_, down))) = (&mut exchange.record, copied) {
        record.bytes = down;
    }
}

/// Signs of life of a tunnel.
struct Pulse {
    /// When something passed in either direction.
    last: Cell<Instant>,
    /// Told when one of the sides has closed.
    closing: Notify,
}

impl Pulse {
    /// Resolves when nothing has passed for `idle`, or for [`FAREWELL`] once a side has closed: the other one may have
    /// something left to say, but no longer anybody who waits for it.
    async fn silent(&self, idle: Duration) {
        tokio::select! {
            () = self.silent_for(idle) => {}
            () = self.closing.notified() => self.silent_for(idle.min(FAREWELL)).await,
        }
    }

    async fn silent_for(&self, idle: Duration) {
        while self.last.get() + idle > Instant::now() {
            tokio::time::sleep_until(self.last.get() + idle).await;
        }
    }
}

/// The client's side; notes what passes in either direction.
struct Watched {
    io: TokioIo<Upgraded>,
    pulse: Rc<Pulse>,
}

impl Watched {
    fn note<T>(&self, polled: Poll<T>) -> Poll<T> {
        if polled.is_ready() {
            self.pulse.last.set(Instant::now());
        }
        polled
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        if polled.is_ready() && buf.filled().len() == before {
            self.pulse.closing.notify_one();
        }
        self.note(polled)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        self.note(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The upstream has nothing more to say.
        self.pulse.closing.notify_one();
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
