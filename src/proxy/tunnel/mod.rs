//! Tunnels: connections after their upgrade (WebSocket, RFC 6455).
//!
//! There is no tunnel before the upstream's own 101; what the client sent early waits in its connection until then.
//! A tunnel counts at its group until both sides have closed or nothing has been said for `tunnel_idle`, or until it
//! was told to end (see [`closing`]). An idle one is two sockets and nothing else: what passes goes through one buffer
//! that all tunnels of a worker share, and only what the other side does not take at once is kept.

mod closing;
pub(super) mod extended;
mod side;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite};

use super::alarm::Alarm;
use super::body::{Grpc, ResponseBody};
use super::connection::{Busy, Client, Order};
use super::error::ProxyError;
use super::exchange::Exchange;
use super::http1::io::Io;
use super::request::Reply;
use super::respond::Response;
use super::tunnels::{Enrolled, Notice};
use super::wire::Wire;
use super::{headers, respond};
use crate::model::fields::{Fields, Known};
use crate::model::outcome::TunnelEnd;
use closing::Closing;
use extended::Key;
use side::{Pulse, Side};

/// A tunnel whose upstream has agreed.
#[derive(Debug)]
pub(super) struct Tunnel {
    exchange: Exchange,
    enrolled: Enrolled,
    client: Rc<Client>,
    /// The connection does not count as idle.
    busy: Busy,
    upstream: Io,
}

/// Joins both sides, where the upstream has agreed to what was asked: answers 101, or over HTTP/2, where `key` was
/// ours, 200.
pub(super) fn open(
    client: &Rc<Client>,
    mut exchange: Exchange,
    mut fields: Fields,
    upstream: Io,
    key: Option<&Key>,
) -> Reply {
    let websocket = fields.get(Known::Upgrade).is_some_and(|v| v.eq_ignore_ascii_case(b"websocket"));
    let enrolled = match (websocket, key.is_none_or(|key| key.is_answered_by(&fields))) {
        (true, true) => exchange.become_tunnel().ok_or(ProxyError::NoUpgrade),
        (true, false) => Err(ProxyError::NoUpgrade),
        (false, _) => Err(ProxyError::UnexpectedUpgrade),
    };
    let enrolled = match enrolled {
        Ok(enrolled) => enrolled,
        Err(error) => {
            exchange.finish_attempt(error.outcome());
            exchange.refuse(502, error.told().token);
            return Reply::Answer(respond::error(error, Grpc::No));
        }
    };
    headers::remove_hop_by_hop(&mut fields);
    let status = if key.is_some() {
        extended::accept(&mut fields)
    } else {
        headers::ask_for_websocket(&mut fields);
        StatusCode::SWITCHING_PROTOCOLS
    };
    let head = Response { status, fields, body: ResponseBody::own(Bytes::new()) };
    exchange.answer(status.as_u16());
    let (client, busy) = (Rc::clone(client), Busy::new(client));
    Reply::Tunnel(head, Box::new(Tunnel { exchange, enrolled, client, busy, upstream }))
}

impl Tunnel {
    /// Copies in both directions until both have closed, one has failed, the tunnel was idle for too long, or was told
    /// to end. `early` was read from the client already. Not an async function: that would keep what it is given
    /// beside what it makes of it, for as long as the tunnel lives.
    pub(super) fn join<C>(self: Box<Self>, client: C, early: BytesMut) -> impl Future<Output = ()>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let Self { mut exchange, enrolled, client: served, busy, upstream } = *self;
        let idle = exchange.claim.service().timeouts.tunnel_idle;
        let (upstream, held) = upstream.into_parts();
        let mut joined = Joined {
            client: Side::new(client, early),
            upstream: Side::<Wire>::new(upstream, held),
            pulse: Pulse { last: Instant::now(), idle },
            alarm: Alarm::default(),
            closing: None,
        };
        let mut listens = false;
        async move {
            let end = poll_fn(|cx| {
                if !std::mem::replace(&mut listens, true) {
                    enrolled.notice().listen(cx);
                }
                let polled = joined.poll(enrolled.notice(), &mut exchange.worker.scratch(), cx);
                if polled.is_pending() && served.progress.order() == Order::Close {
                    return Poll::Ready(TunnelEnd::Cut);
                }
                polled
            })
            .await;
            exchange.claim.slot().tunnel_ends[end as usize].add(1);
            if let Some(record) = &mut exchange.record {
                record.bytes = joined.upstream.passed;
            }
            drop(busy);
        }
    }
}

/// Both sides of a tunnel.
#[derive(Debug)]
struct Joined<C, U> {
    client: Side<C>,
    upstream: Side<U>,
    pulse: Pulse,
    alarm: Alarm,
    /// Boxed, as all that a tunnel needs only at its end.
    closing: Option<Box<Closing>>,
}

impl<C, U> Joined<C, U>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    /// Ready when it has ended.
    fn poll(&mut self, notice: &Notice, scratch: &mut [u8], cx: &mut Context<'_>) -> Poll<TunnelEnd> {
        loop {
            let Self { client, upstream, pulse, alarm, closing } = self;
            if let Some(closing) = closing {
                return closing.poll(client, upstream, pulse, alarm, scratch, cx);
            }
            let moment = notice.moment();
            // The clock first: where bytes come without end, a timer has no turn.
            if moment.is_some_and(|moment| moment <= Instant::now()) {
                if client.frames.is_lost() || upstream.frames.is_lost() {
                    return Poll::Ready(TunnelEnd::Cut);
                }
                *closing = Some(Box::new(Closing::new(notice.code(), Instant::now())));
                continue;
            }
            let up = client.copy_to(upstream, scratch, pulse, cx);
            let down = upstream.copy_to(client, scratch, pulse, cx);
            let half_closed = up.is_ready() || down.is_ready();
            match (up, down) {
                (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) | (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => {
                    return Poll::Ready(self.said().unwrap_or(TunnelEnd::Cut));
                }
                _ => {}
            }
            let silent = pulse.due(half_closed);
            ready!(alarm.poll(cx, moment.map_or(silent, |moment| moment.min(silent))));
            if moment.is_none_or(|moment| silent <= moment) {
                let end = if half_closed { TunnelEnd::Cut } else { TunnelEnd::Idle };
                return Poll::Ready(self.said().unwrap_or(end));
            }
        }
    }

    /// Whoever has said so has closed it, however the connections ended afterwards.
    fn said(&self) -> Option<TunnelEnd> {
        let code = self.client.frames.close_code().or(self.upstream.frames.close_code());
        code.map(|_| TunnelEnd::Closed)
    }
}
