//! The requests on one HTTP/1.1 connection of a client, one after another.
//!
//! Everything here is of no use to an idle connection, and is dropped with [`until_idle`]: what stays is the wire.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http::{Method, Version};

use super::framing::Length;
use super::head::RequestHead;
use super::inbound::{Connection, Delivered, Inbound, NoHead, Presence, Request, manner};
use super::io::Io;
use crate::proxy::alarm::Alarm;
use crate::proxy::body::Grpc;
use crate::proxy::connection::{Busy, Client, Order};
use crate::proxy::error::ProxyError;
use crate::proxy::request::{self, Asks, Reply};
use crate::proxy::respond::{self, Response};
use crate::proxy::source::Source;
use crate::proxy::tunnel;
use crate::proxy::wire::Wire;

/// A client that has closed its side and takes nothing for so long is gone.
const HALF_CLOSED: Duration = Duration::from_secs(5);
/// A client that takes nothing of its answer for so long is given up.
const UNREAD: Duration = Duration::from_secs(60);
/// A connection that is closed before the client has said all is read for so long, so that the client gets to see the
/// answer before it sees the connection fail (RFC 9112, section 9.6).
const LINGER: Duration = Duration::from_secs(2);

/// Of a body that nobody wants, so many bytes are read to keep the connection.
const UNWANTED: u64 = 64 << 10;

/// Why a connection is no longer served here.
#[derive(Debug)]
pub(in crate::proxy) enum End {
    /// Nothing has been said for a while, and nothing is on its way.
    Idle(Wire),
    /// The connection has become a tunnel.
    Tunnel(Box<tunnel::Tunnel>, Io),
    Closed,
}

/// Serves requests until there is none for a while.
pub(in crate::proxy) async fn until_idle(client: &Rc<Client>, io: Io) -> End {
    let inbound = Inbound::new(io);
    loop {
        let head = match next_head(client, &inbound).await {
            Next::Head(head) => head,
            Next::Refuse(error) => {
                refuse(client, &inbound, error).await;
                return End::Closed;
            }
            Next::Idle => return inbound.into_wire().map_or(End::Closed, End::Idle),
            Next::Closed => return End::Closed,
        };
        let _busy = Busy::new(client);
        match one(client, &inbound, head).await {
            After::Next => {}
            After::Linger => {
                linger(&inbound).await;
                return End::Closed;
            }
            After::Tunnel(tunnel) => {
                return inbound.into_io().map_or(End::Closed, |io| End::Tunnel(tunnel, io));
            }
            After::Close => return End::Closed,
        }
    }
}

enum Next {
    Head(RequestHead),
    Refuse(ProxyError),
    Idle,
    Closed,
}

async fn next_head(client: &Client, inbound: &Inbound) -> Next {
    let (mut due, mut alarm) = (None, Alarm::default());
    poll_fn(|cx| {
        match inbound.poll_head(cx) {
            Poll::Ready(Ok(head)) => return Poll::Ready(Next::Head(head)),
            Poll::Ready(Err(NoHead::Closed)) => return Poll::Ready(Next::Closed),
            Poll::Ready(Err(NoHead::Refused(refusal))) => return Poll::Ready(Next::Refuse(refusal.into())),
            Poll::Pending => {}
        }
        if !inbound.has_begun() {
            // After the look: what has come by now is answered.
            if client.progress.order() >= Order::Depart {
                return Poll::Ready(Next::Closed);
            }
            return if client.progress.may_rest() { Poll::Ready(Next::Idle) } else { Poll::Pending };
        }
        let due = *due.get_or_insert_with(|| Instant::now() + client.listener.head_timeout);
        alarm.poll(cx, due).map(|()| Next::Refuse(ProxyError::SlowHead))
    })
    .await
}

/// Answers what is no request, and lets the client see it.
async fn refuse(client: &Client, inbound: &Rc<Inbound>, error: ProxyError) {
    let request = Request { head: false, version_1_0: false };
    let response = respond::error(error, Grpc::No);
    if let After::Next | After::Linger = answer(client, inbound, response, request, Connection::Close).await {
        linger(inbound).await;
    }
}

/// What follows an answer.
enum After {
    Next,
    Linger,
    Tunnel(Box<tunnel::Tunnel>),
    Close,
}

async fn one(client: &Rc<Client>, inbound: &Rc<Inbound>, head: RequestHead) -> After {
    let RequestHead { call, length, keeps, .. } = head;
    let request = Request { head: call.method == Method::HEAD, version_1_0: call.version == Version::HTTP_10 };
    let source = match length {
        Length::None | Length::Exact(0) => Source::Empty,
        Length::Exact(_) | Length::Chunked | Length::UntilClose => Source::Client(Rc::clone(inbound)),
    };
    let asks = Asks { call, body: source, inbound: Some(inbound), extended: None };
    let serving = pin!(request::serve(client, asks));
    let Some(reply) = attended(inbound, serving).await else { return After::Close };
    let keeps = if keeps && client.progress.order() == Order::Serve { Connection::Keep } else { Connection::Close };
    match reply {
        Reply::Answer(response) => answer(client, inbound, response, request, keeps).await,
        Reply::Tunnel(head, tunnel) => {
            let switched = answer(client, inbound, head, request, Connection::Keep).await;
            if matches!(switched, After::Next) { After::Tunnel(tunnel) } else { After::Close }
        }
    }
}

/// The result of `serving`, unless the client leaves before.
async fn attended<T>(inbound: &Inbound, mut serving: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    let mut patience = Patience::default();
    poll_fn(|cx| {
        if let Poll::Ready(done) = serving.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        poll_absent(inbound, &mut patience, cx).map(|()| None)
    })
    .await
}

/// Ready when the client has left: at once where that can be told, else some time after it has closed its side.
fn poll_absent(inbound: &Inbound, patience: &mut Patience, cx: &mut Context<'_>) -> Poll<()> {
    match inbound.poll_presence(cx) {
        Presence::Waits => Poll::Pending,
        Presence::Gone => Poll::Ready(()),
        Presence::HalfClosed => patience.poll(inbound, HALF_CLOSED, cx),
    }
}

/// Ready when the client has taken nothing of what it is sent for too long.
fn poll_unread(inbound: &Inbound, patience: &mut Patience, cx: &mut Context<'_>) -> Poll<()> {
    if inbound.has_output() { patience.poll(inbound, UNREAD, cx) } else { patience.forget() }
}

/// Waits for a client that takes something of what it is sent, again and again.
#[derive(Debug, Default)]
struct Patience {
    due: Option<Instant>,
    /// How much the client had taken at the last look.
    taken: u64,
    alarm: Alarm,
}

impl Patience {
    /// Ready when nothing was taken for so `long`.
    fn poll(&mut self, inbound: &Inbound, long: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let taken = inbound.written();
        if taken != self.taken {
            (self.taken, self.due) = (taken, None);
        }
        let due = *self.due.get_or_insert_with(|| Instant::now() + long);
        self.alarm.poll(cx, due)
    }

    /// There is nothing to wait for.
    fn forget(&mut self) -> Poll<()> {
        self.due = None;
        Poll::Pending
    }
}

/// Sends an answer to its end.
async fn answer(
    client: &Client,
    inbound: &Rc<Inbound>,
    response: Response,
    request: Request,
    connection: Connection,
) -> After {
    let Response { status, fields, mut body } = response;
    // Whether a body follows that nobody has asked for, only the client knows; a large one is not worth the reading.
    let unwanted = inbound.waits_in_vain() || (body.is_own() && inbound.body_size().lower() > UNWANTED);
    let connection = if unwanted { Connection::Close } else { connection };
    let manner = manner(status, &fields, body.length(), request, connection);
    inbound.begin_answer(status, &fields, manner, &client.worker.date());
    let bodiless = request.head || manner.length == Length::Exact(0);
    let mut framing = if bodiless { Length::None } else { manner.length };
    if framing == Length::UntilClose && body.has_ended() {
        framing = Length::None;
    }
    let (mut absent, mut unread) = (Patience::default(), Patience::default());
    let delivered = poll_fn(|cx| {
        if let Poll::Ready(delivered) = inbound.poll_answer(cx, &mut body, &mut framing) {
            return Poll::Ready(delivered);
        }
        if poll_unread(inbound, &mut unread, cx).is_ready() || poll_absent(inbound, &mut absent, cx).is_ready() {
            return Poll::Ready(Delivered::Broken);
        }
        Poll::Pending
    });
    match delivered.await {
        Delivered::Broken => {
            // Nothing but a reset tells such a client that there was more to come.
            if manner.length == Length::UntilClose {
                inbound.break_off();
            }
            After::Close
        }
        Delivered::Whole if unwanted || !drained(inbound).await => After::Linger,
        Delivered::Whole if manner.connection == Some("close") => {
            // Over TLS the end must be said, or it looks cut.
            poll_fn(|cx| inbound.poll_shutdown(cx)).await;
            After::Close
        }
        Delivered::Whole => After::Next,
    }
}

/// Reads what is left of a request's body that nobody wants, so that the next request can be found behind it. False:
/// there is too much of it.
async fn drained(inbound: &Inbound) -> bool {
    if inbound.has_whole_body() {
        return true;
    }
    let mut left = UNWANTED;
    let reading = poll_fn(|cx| {
        loop {
            match ready!(inbound.poll_body(cx)) {
                None => return Poll::Ready(true),
                Some(Ok(frame)) => {
                    let length = frame.data_ref().map_or(0, |d| d.len() as u64);
                    let Some(less) = left.checked_sub(length) else { return Poll::Ready(false) };
                    left = less;
                }
                Some(Err(_)) => return Poll::Ready(false),
            }
        }
    });
    tokio::time::timeout(LINGER, reading).await.unwrap_or(false)
}

/// Closes our side, and reads on until the client has closed, too.
async fn linger(inbound: &Inbound) {
    let closing = async {
        poll_fn(|cx| inbound.poll_shutdown(cx)).await;
        poll_fn(|cx| inbound.poll_ignore(cx)).await;
    };
    let _ = tokio::time::timeout(LINGER, closing).await;
}
