//! New connections to upstreams: TCP or unix socket, TLS, then the HTTP handshake.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::body::OutgoingBody;
use super::error::ProxyError;
use super::pool::Connection;
use super::worker::LocalExecutor;
use crate::config::spec::{Address, Protocol};
use crate::routing::addresses::{self, DialError};
use crate::routing::table::{Upstream, UpstreamTls};

/// Largest response head taken from an upstream.
const MAX_HEAD: usize = 64 << 10;
/// Flow-control windows of HTTP/2 to an upstream: large enough for a fast local network.
const H2_STREAM_WINDOW: u32 = 1 << 20;
const H2_CONNECTION_WINDOW: u32 = 4 << 20;

/// Which protocols a connection may speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    /// Whatever the upstream prefers.
    Any,
    /// Only HTTP/1.1: WebSockets are opened with it.
    Http1,
}

/// A new connection, within `timeout` including TLS.
pub(super) async fn connect(upstream: &Upstream, speaks: Speaks, timeout: Duration) -> Result<Connection, ProxyError> {
    let deadline = Instant::now() + timeout;
    match tokio::time::timeout_at(deadline, open(upstream, speaks, deadline)).await {
        Ok(result) => result,
        Err(_) => Err(ProxyError::ConnectTimedOut),
    }
}

async fn open(upstream: &Upstream, speaks: Speaks, deadline: Instant) -> Result<Connection, ProxyError> {
    let endpoint = &upstream.live.endpoint;
    let wire = match &endpoint.address {
        Address::Unix(path) => Wire::Unix(UnixStream::connect(path).await.map_err(|e| refused(&e))?),
        Address::Tcp { host, port } => {
            Wire::Tcp(addresses::dial(&upstream.live, host, *port, deadline).await.map_err(unreached)?)
        }
    };
    match (endpoint.protocol, wire, &upstream.tls) {
        (Protocol::Https, Wire::Tcp(stream), Some(tls)) => secure(stream, tls, speaks).await,
        (Protocol::Https, ..) => Err(ProxyError::TlsFailed),
        (Protocol::Http1, wire, _) => handshake_http1(wire).await,
        (Protocol::H2c, ..) if speaks == Speaks::Http1 => Err(ProxyError::ProtocolError),
        (Protocol::H2c, wire, _) => handshake_http2(wire).await,
    }
}

fn unreached(error: DialError) -> ProxyError {
    match error {
        DialError::NoName => ProxyError::NameNotFound,
        DialError::TimedOut => ProxyError::ConnectTimedOut,
        DialError::Io(error) => refused(&error),
    }
}

fn refused(error: &io::Error) -> ProxyError {
    if addresses::is_out_of_descriptors(error) {
        return ProxyError::NoDescriptors;
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound | io::ErrorKind::ConnectionReset => {
            ProxyError::ConnectionRefused
        }
        io::ErrorKind::TimedOut => ProxyError::ConnectTimedOut,
        _ => ProxyError::Unreachable,
    }
}

async fn secure(stream: TcpStream, tls: &UpstreamTls, speaks: Speaks) -> Result<Connection, ProxyError> {
    let mut config = Arc::clone(&tls.config);
    if speaks == Speaks::Http1 {
        Arc::make_mut(&mut config).alpn_protocols = vec![b"http/1.1".to_vec()];
    }
    let stream = TlsConnector::from(config).connect(tls.name.clone(), stream).await.map_err(|error| {
        let cause = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
        if matches!(cause, Some(rustls::Error::InvalidCertificate(_))) {
            ProxyError::TlsCertificate
        } else {
            ProxyError::TlsFailed
        }
    })?;
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        handshake_http2(Wire::Tls(Box::new(stream))).await
    } else {
        handshake_http1(Wire::Tls(Box::new(stream))).await
    }
}

async fn handshake_http1(wire: Wire) -> Result<Connection, ProxyError> {
    let received = Arc::new(AtomicU64::new(0));
    let io = TokioIo::new(Metered { wire, received: Arc::clone(&received) });
    let handshake = http1::Builder::new().writev(false).max_header_size(MAX_HEAD).handshake::<_, OutgoingBody>(io);
    let (sender, connection) = handshake.await.map_err(|_| ProxyError::ConnectionTerminated)?;
    // Ends when the sender is dropped or either side closes; a failure reaches the request that it concerns.
    tokio::task::spawn_local(async move {
        let _ = connection.with_upgrades().await;
    });
    Ok(Connection::Http1 { sender, received })
}

async fn handshake_http2(wire: Wire) -> Result<Connection, ProxyError> {
    let handshake = http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .initial_stream_window_size(H2_STREAM_WINDOW)
        .initial_connection_window_size(H2_CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEAD as u32)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .handshake::<_, OutgoingBody>(TokioIo::new(wire));
    let (sender, connection) = handshake.await.map_err(|_| ProxyError::ConnectionTerminated)?;
    tokio::task::spawn_local(async move {
        let _ = connection.await;
    });
    Ok(Connection::Http2 { sender })
}

/// The stream to an upstream.
#[derive(Debug)]
pub(super) enum Wire {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

macro_rules! on_wire {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Wire::Tcp($stream) => $call,
            Wire::Unix($stream) => $call,
            Wire::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on_wire!(self, s => Pin::new(s).poll_read(cx, buf))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        on_wire!(self, s => Pin::new(s).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_wire!(self, s => Pin::new(s).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_wire!(self, s => Pin::new(s).poll_shutdown(cx))
    }
}

/// Counts what an upstream sends: "not one response byte" is what decides whether a request may be repeated.
#[derive(Debug)]
struct Metered {
    wire: Wire,
    /// Written by this connection's task, read by the request on it; both on one thread.
    received: Arc<AtomicU64>,
}

impl AsyncRead for Metered {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.wire).poll_read(cx, buf);
        let new = (buf.filled().len() - before) as u64;
        if new > 0 {
            self.received.store(self.received.load(Ordering::Relaxed) + new, Ordering::Relaxed);
        }
        polled
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(cx)
    }
}
