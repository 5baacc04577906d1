//! One client connection: TLS, the choice of protocol, and the requests on it.
//!
//! A connection is registered with its worker, which closes it when it has been idle for too long and asks it to
//! finish when the process goes down.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use super::accept::Seat;
use super::client::Peer;
use super::preface::{self, Spoken};
use super::worker::{LocalExecutor, Worker};
use super::{accept, proxy_protocol, request};
use crate::routing::table::Listener;

/// A new connection has this long for its TLS handshake, and as long again for its first bytes.
const FIRST_WORD: Duration = Duration::from_secs(30);
/// Largest request head.
const MAX_HEAD: usize = 64 << 10;
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

/// What a connection was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Serve,
    /// Finish the requests under way, take no more.
    Finish,
    Close,
}

/// How busy a connection is, and what it is to do. Written by its requests and its worker, on one thread.
#[derive(Debug)]
pub(super) struct Progress {
    requests: Cell<u32>,
    /// The worker's second in which the last request ended.
    idle_since: Cell<u64>,
    order: Cell<Order>,
    waker: RefCell<Option<Waker>>,
}

impl Progress {
    fn new(now: u64) -> Self {
        Self {
            requests: Cell::new(0),
            idle_since: Cell::new(now),
            order: Cell::new(Order::Serve),
            waker: RefCell::new(None),
        }
    }

    /// Seconds without a request; 0 while there is one.
    pub(super) fn idle(&self, now: u64) -> u64 {
        if self.requests.get() > 0 { 0 } else { now.saturating_sub(self.idle_since.get()) }
    }

    /// Tells the connection what to do, unless it was told more already.
    pub(super) fn tell(&self, order: Order) {
        if self.order.get() == Order::Serve || order == Order::Close {
            self.order.set(order);
            if let Some(waker) = &*self.waker.borrow() {
                waker.wake_by_ref();
            }
        }
    }
}

/// Keeps a connection from counting as idle, from a request's head to the last byte of its answer.
#[derive(Debug)]
pub(super) struct Busy(Rc<Client>);

impl Busy {
    fn new(client: &Rc<Client>) -> Self {
        let requests = &client.progress.requests;
        requests.set(requests.get() + 1);
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
pub(super) fn spawn<I>(worker: &Rc<Worker>, listener: u64, peer: Option<IpAddr>, seat: Seat, mut io: I)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // The listener as it is now: certificates may have been exchanged since the last connection.
    let Some(listener) = worker.snapshots.load().listener(listener).cloned() else { return };
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move {
        let Ok(peer) = proxy_protocol::client(&mut io, peer, &listener).await else { return };
        let peer = accept::peer(peer, &listener);
        let progress = Progress::new(worker.now());
        let client = Rc::new(Client { worker, listener, peer, progress });
        let _open = Open::new(&client, seat);
        match client.listener.tls.clone() {
            Some(config) => secure(&client, TlsAcceptor::from(config), io).await,
            None => plain(&client, io).await,
        }
    });
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

async fn secure<I>(client: &Rc<Client>, acceptor: TlsAcceptor, io: I)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // A client that fails the handshake, or never ends it, is its own problem.
    let Ok(Ok(stream)) = tokio::time::timeout(FIRST_WORD, acceptor.accept(io)).await else { return };
    match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => serve_http2(client, stream).await,
        _ => plain(client, stream).await,
    }
}

async fn plain<I>(client: &Rc<Client>, io: I)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Ok(Ok(Some((spoken, io)))) = tokio::time::timeout(FIRST_WORD, preface::read(io)).await else { return };
    match spoken {
        Spoken::Http1 => serve_http1(client, io).await,
        Spoken::Http2 => serve_http2(client, io).await,
    }
}

async fn serve_http1<I>(client: &Rc<Client>, io: I)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let served = Rc::clone(client);
    // One buffer instead of a gather write: measured faster for small answers.
    let connection = http1::Builder::new()
        .writev(false)
        .header_read_timeout(None)
        .max_header_size(MAX_HEAD)
        .serve_connection(TokioIo::new(io), service_fn(move |request| one(Rc::clone(&served), request)))
        .with_upgrades();
    Serve { connection: Box::pin(connection), client: Rc::clone(client), finishing: Finishing::No }.await;
}

async fn serve_http2<I>(client: &Rc<Client>, io: I)
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let served = Rc::clone(client);
    let connection = http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD as u32)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20))
        .serve_connection(TokioIo::new(io), service_fn(move |request| one(Rc::clone(&served), request)));
    Serve { connection: Box::pin(connection), client: Rc::clone(client), finishing: Finishing::No }.await;
}

async fn one(
    client: Rc<Client>,
    request: Request<Incoming>,
) -> Result<http::Response<super::body::ResponseBody>, Infallible> {
    let busy = Busy::new(&client);
    let mut response = request::serve(client, request).await;
    response.body_mut().keep_busy(busy);
    Ok(response)
}

/// Both kinds of connection can be asked to finish.
trait Finish: Future<Output = hyper::Result<()>> {
    fn finish(self: Pin<&mut Self>);
}

impl<I, S> Finish for http1::UpgradeableConnection<I, S>
where
    http1::UpgradeableConnection<I, S>: Future<Output = hyper::Result<()>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    S: hyper::service::HttpService<Incoming>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::ResBody: 'static,
    <S::ResBody as http_body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, S> Finish for http2::Connection<I, S, LocalExecutor>
where
    http2::Connection<I, S, LocalExecutor>: Future<Output = hyper::Result<()>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    S: hyper::service::HttpService<Incoming>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::ResBody: 'static,
    <S::ResBody as http_body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    LocalExecutor: hyper::rt::bounds::Http2ServerConnExec<S::Future, S::ResBody>,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finishing {
    No,
    Yes,
}

/// Drives a connection and obeys orders.
struct Serve<C> {
    connection: Pin<Box<C>>,
    client: Rc<Client>,
    finishing: Finishing,
}

impl<C: Finish> Future for Serve<C> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let client = Rc::clone(&self.client);
        let progress = &client.progress;
        if progress.waker.borrow().is_none() {
            // A task's waker stays the same for its life, so once is enough.
            *progress.waker.borrow_mut() = Some(cx.waker().clone());
        }
        match progress.order.get() {
            Order::Finish if self.finishing == Finishing::No => {
                self.finishing = Finishing::Yes;
                self.connection.as_mut().finish();
            }
            Order::Serve | Order::Finish => {}
            Order::Close => return Poll::Ready(()),
        }
        // What went wrong on a client's connection was logged with its request, or concerns nobody.
        self.connection.as_mut().poll(cx).map(|_| ())
    }
}
