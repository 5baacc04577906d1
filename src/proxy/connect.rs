//! New connections to upstreams: TCP or unix socket, TLS, then the HTTP handshake.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::UnixStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::error::ProxyError;
use super::http1::head;
use super::http1::outbound::Outbound;
use super::pool::Connection;
use super::upload::OutgoingBody;
use super::wire::{Socket, Wire};
use super::worker::LocalExecutor;
use crate::config::spec::{Address, Protocol};
use crate::routing::addresses::{self, DialError};
use crate::routing::table::{Upstream, UpstreamTls};

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
    let socket = match &endpoint.address {
        Address::Unix(path) => Socket::Unix(UnixStream::connect(path).await.map_err(|e| refused(&e))?),
        Address::Tcp { host, port } => {
            Socket::Tcp(addresses::dial(&upstream.live, host, *port, deadline).await.map_err(unreached)?)
        }
    };
    match (endpoint.protocol, &upstream.tls) {
        (Protocol::Https, Some(tls)) => secure(socket, tls, speaks).await,
        (Protocol::Https, None) => Err(ProxyError::TlsFailed),
        (Protocol::Http1, _) => Ok(http1(Wire::Plain(socket))),
        (Protocol::H2c, _) if speaks == Speaks::Http1 => Err(ProxyError::NoUpgrade),
        (Protocol::H2c, _) => http2(Wire::Plain(socket)).await,
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

async fn secure(socket: Socket, tls: &UpstreamTls, speaks: Speaks) -> Result<Connection, ProxyError> {
    let mut config = Arc::clone(&tls.config);
    if speaks == Speaks::Http1 {
        Arc::make_mut(&mut config).alpn_protocols = vec![b"http/1.1".to_vec()];
    }
    let stream = TlsConnector::from(config).connect(tls.name.clone(), socket).await.map_err(|error| {
        let cause = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
        if matches!(cause, Some(rustls::Error::InvalidCertificate(_))) {
            ProxyError::TlsCertificate
        } else {
            ProxyError::TlsFailed
        }
    })?;
    let speaks_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let wire = Wire::Tls(Box::new(stream.into()));
    if speaks_http2 { http2(wire).await } else { Ok(http1(wire)) }
}

fn http1(wire: Wire) -> Connection {
    Connection::Http1(Box::new(Outbound::new(wire)))
}

async fn http2(wire: Wire) -> Result<Connection, ProxyError> {
    let handshake = http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .initial_stream_window_size(H2_STREAM_WINDOW)
        .initial_connection_window_size(H2_CONNECTION_WINDOW)
        .max_header_list_size(head::LARGEST as u32)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .handshake::<_, OutgoingBody>(TokioIo::new(wire));
    let (sender, connection) = handshake.await.map_err(|_| ProxyError::ConnectionTerminated)?;
    tokio::task::spawn_local(async move {
        let _ = connection.await;
    });
    Ok(Connection::Http2(sender))
}
