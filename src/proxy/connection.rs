//! One client connection: TLS, the choice of protocol, and the requests on it.
//!
//! A connection is registered with its worker, which closes it when it has been idle for too long and asks it to
//! finish when the process goes down.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use http::Request;
use http::uri::PathAndQuery;
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use super::accept::{self, Between, Seat};
use super::body::{Grpc, ResponseBody};
use super::client::Peer;
use super::error::ProxyError;
use super::http1::head::{self, Call};
use super::http1::io::Io;
use super::http1::serve::{self, End};
use super::preface::{self, Spoken};
use super::proxy_protocol;
use super::request::{self, Asks, Reply};
use super::respond::{self, Response};
use super::source::Source;
use super::tunnel::extended::{self, Key};
use super::wire::{Socket, Wire};
use super::worker::{LocalExecutor, Worker};
use crate::model::fields::Fields;
use crate::routing::table::Listener;

/// Requests at a time on one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;

/// Who is at the other end, and where they came in. Shared by the requests of a connection.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) worker: Rc<Worker>,
    pub(super) listener: Arc<Listener>,
    pub(super) peer: Peer,
    pub(super) progress: Progress,
}

/// What a connection was asked to do; each is more than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    Serve,
    /// Answer what is under way and what was sent before the client could know, and say that this is the last.
    Finish,
    /// As before, and close where nothing of a request has come.
    Depart,
    Close,
}

/// How busy a connection is, and what it is to do. Written by its requests and its worker, on one thread.
#[derive(Debug)]
pub(super) struct Progress {
    requests: Cell<u32>,
    /// The worker's second in which the last request ended.
    idle_since: Cell<u64>,
    order: Cell<Order>,
    rests: Cell<Rest>,
    /// Whether it is clear what the client speaks: until then there is no request.
    greeted: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// Whether an idle connection keeps what only requests need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    Awake,
    Suggested,
    Resting,
}

impl Progress {
    fn new(now: u64) -> Self {
        Self {
            requests: Cell::new(0),
            idle_since: Cell::new(now),
            order: Cell::new(Order::Serve),
            rests: Cell::new(Rest::Awake),
            greeted: Cell::new(false),
            waker: RefCell::new(None),
        }
    }

    /// Seconds without a request; 0 while there is one.
    pub(super) fn idle(&self, now: u64) -> u64 {
        if self.requests.get() > 0 { 0 } else { now.saturating_sub(self.idle_since.get()) }
    }

    /// Whether there is a request, or a tunnel.
    pub(super) fn is_busy(&self) -> bool {
        self.requests.get() > 0
    }

    /// What the connection is to do.
    pub(super) fn order(&self) -> Order {
        self.order.get()
    }

    /// Tells the connection what to do, unless it was told more already.
    pub(super) fn tell(&self, order: Order) {
        if self.order.get() < order {
            self.order.set(order);
            self.wake();
        }
    }

    /// Whether it has to end, whatever is under way.
    fn is_over(&self) -> bool {
        match self.order.get() {
            Order::Serve | Order::Finish => false,
            Order::Depart => !self.greeted.get(),
            Order::Close => true,
        }
    }

    /// Lets an idle connection give back what it does not need.
    pub(super) fn suggest_rest(&self) {
        if self.rests.get() == Rest::Awake {
            self.rests.set(Rest::Suggested);
            self.wake();
        }
    }

    /// Whether that was suggested.
    pub(super) fn may_rest(&self) -> bool {
        self.rests.get() == Rest::Suggested
    }

    /// The task to wake with orders: a task's waker stays the same for its life, so once is enough.
    fn listen(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if waker.is_none() {
            *waker = Some(cx.waker().clone());
        }
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

/// Keeps a connection from counting as idle, from a request's head to the last byte of its answer.
#[derive(Debug)]
pub(super) struct Busy(Rc<Client>);

impl Busy {
    pub(super) fn new(client: &Rc<Client>) -> Self {
        let progress = &client.progress;
        progress.requests.set(progress.requests.get() + 1);
        progress.rests.set(Rest::Awake);
        Self(Rc::clone(client))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let progress = &self.0.progress;
        progress.requests.set(progress.requests.get() - 1);
        progress.idle_since.set(self.0.worker.now());
    }
}

/// Serves a new connection in a task of its own.
pub(super) fn spawn(between: Between, listener: u64, peer: Option<IpAddr>, seat: Seat, mut socket: Socket) {
    let worker = Rc::clone(between.worker());
    // The listener as it is now: certificates may have been exchanged since the last connection.
    let Some(listener) = worker.snapshots.load().listener(listener).cloned() else { return };
    tokio::task::spawn_local(async move {
        let mut peer = peer;
        if listener.proxy_protocol {
            // Boxed, as all that an open connection does not need.
            let Ok(client) = Box::pin(proxy_protocol::client(&mut socket, peer, &listener)).await else { return };
            peer = client;
        }
        let peer = accept::peer(peer, &listener);
        let progress = Progress::new(worker.now());
        let client = Rc::new(Client { worker, listener, peer, progress });
        let _open = Open::new(&client, seat);
        drop(between);
        let mut serving = pin!(serve(&client, socket));
        poll_fn(|cx| {
            client.progress.listen(cx);
            if client.progress.is_over() { Poll::Ready(()) } else { serving.as_mut().poll(cx) }
        })
        .await;
    });
}

/// Each stage is boxed, and dropped when it is over: what a handshake, a request or HTTP/2 needs, an idle connection
/// does not keep.
async fn serve(client: &Rc<Client>, socket: Socket) {
    let (wire, spoken) = match client.listener.tls.clone() {
        Some(config) => match Box::pin(secured(config, client.listener.head_timeout, socket)).await {
            Some(secured) => secured,
            // A client that fails the handshake, or never ends it, is its own problem.
            None => return,
        },
        None => (Wire::Plain(socket), None),
    };
    if spoken == Some(Spoken::Http2) {
        client.progress.greeted.set(true);
        return Box::pin(serve_http2(client, wire)).await;
    }
    // It has as long for its first bytes as it had for TLS.
    let first = tokio::time::timeout(client.listener.head_timeout, preface::read(wire));
    let Ok(Ok(Some((spoken, io)))) = first.await else { return };
    client.progress.greeted.set(true);
    match spoken {
        Spoken::Http1 => {
            let (first, wire) = io.into_parts();
            serve_http1(client, Io::new(wire, first)).await;
        }
        Spoken::Http2 => Box::pin(serve_http2(client, io)).await,
    }
}

/// A connection counts as open, and is known to its worker, while this lives.
struct Open {
    client: Rc<Client>,
    key: u64,
    _seat: Seat,
}

impl Open {
    fn new(client: &Rc<Client>, seat: Seat) -> Self {
        Self { client: Rc::clone(client), key: client.worker.connections.add(client), _seat: seat }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.client.worker.connections.remove(self.key);
    }
}

/// TLS, and the protocol where it was agreed on.
async fn secured(
    config: Arc<rustls::ServerConfig>,
    patience: Duration,
    socket: Socket,
) -> Option<(Wire, Option<Spoken>)> {
    let accepting = tokio::time::timeout(patience, TlsAcceptor::from(config).accept(socket));
    let stream = accepting.await.ok()?.ok()?;
    let spoken = (stream.get_ref().1.alpn_protocol() == Some(b"h2")).then_some(Spoken::Http2);
    Some((Wire::Tls(Box::new(stream.into())), spoken))
}

/// Serves requests for as long as they come, and waits with nothing but the wire in between.
async fn serve_http1(client: &Rc<Client>, mut io: Io) {
    loop {
        // Boxed: an idle connection keeps none of it.
        let wire = match Box::pin(serve::until_idle(client, io)).await {
            End::Idle(wire) => wire,
            End::Tunnel(tunnel, io) => {
                let (wire, early) = io.into_parts();
                return Box::pin(tunnel.join(wire, early)).await;
            }
            End::Closed => return,
        };
        client.progress.rests.set(Rest::Resting);
        if !is_woken(client, &wire).await {
            return;
        }
        client.progress.rests.set(Rest::Awake);
        io = Io::new(wire, BytesMut::new());
    }
}

/// Waits for a resting connection's next request; not when the connection has to end.
async fn is_woken(client: &Client, wire: &Wire) -> bool {
    let mut readable = pin!(wire.readable());
    poll_fn(|cx| match readable.as_mut().poll(cx) {
        Poll::Ready(readable) => Poll::Ready(readable.is_ok()),
        Poll::Pending if client.progress.order() >= Order::Depart => Poll::Ready(false),
        Poll::Pending => Poll::Pending,
    })
    .await
}

async fn serve_http2<I>(client: &Rc<Client>, io: I)
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let served = Rc::clone(client);
    let connection = http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(head::LARGEST as u32)
        .enable_connect_protocol()
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20))
        .serve_connection(TokioIo::new(io), service_fn(move |request| one(Rc::clone(&served), request)));
    drive_http2(client, connection).await;
}

async fn one(client: Rc<Client>, mut request: Request<Incoming>) -> Result<http::Response<ResponseBody>, Infallible> {
    let busy = Busy::new(&client);
    let stream = extended::asked(&mut request);
    let (parts, body) = request.into_parts();
    let call = call(parts);
    let body = if body.is_end_stream() { Source::Empty } else { Source::Http2(body) };
    let key = stream.is_some().then(Key::new);
    let reply = request::serve(&client, Asks { call, body, inbound: None, extended: key }).await;
    let response = match (reply, stream) {
        (Reply::Answer(response), _) => response,
        (Reply::Tunnel(head, tunnel), Some(stream)) => {
            extended::spawn(tunnel, stream);
            head
        }
        // There is none without having been asked for.
        (Reply::Tunnel(..), None) => respond::error(ProxyError::UnexpectedUpgrade, Grpc::No),
    };
    let Response { status, fields, mut body } = response;
    body.keep_busy(busy);
    let mut response = http::Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = fields.to_map();
    Ok(response)
}

/// What a request over HTTP/2 asks for.
fn call(parts: http::request::Parts) -> Call {
    let uri = parts.uri.into_parts();
    Call {
        method: parts.method,
        path: uri.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/")),
        authority: uri.authority,
        version: parts.version,
        fields: Fields::from(&parts.headers),
    }
}

/// Drives a connection until it ends or has to; asks it to finish when it should.
async fn drive_http2<I, S>(client: &Client, connection: http2::Connection<I, S, LocalExecutor>)
where
    S: hyper::service::HttpService<Incoming>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::ResBody: 'static,
    <S::ResBody as http_body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    LocalExecutor: hyper::rt::bounds::Http2ServerConnExec<S::Future, S::ResBody>,
{
    let mut connection = pin!(connection);
    let mut told = false;
    poll_fn(|cx| {
        if client.progress.order() >= Order::Finish && !told {
            told = true;
            connection.as_mut().graceful_shutdown();
        }
        match connection.as_mut().poll(cx) {
            // A client that has not answered our PING by now is far away, or gone.
            Poll::Pending if client.progress.order() >= Order::Depart && !client.progress.is_busy() => Poll::Ready(()),
            // What went wrong on a client's connection was logged with its request, or concerns nobody.
            polled => polled.map(|_| ()),
        }
    })
    .await;
}
