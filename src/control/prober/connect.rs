//! Connections of probes: TCP or unix socket, TLS where the upstream speaks it, each step within the deadline.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout_at};

use super::{Failed, Target};
use crate::config::spec::{Address, Protocol};
use crate::routing::addresses::{self, DialError};
use crate::routing::live::UpstreamLive;
use crate::routing::table::UpstreamTls;

/// A byte stream to an upstream.
pub(in crate::control) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Which HTTP is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control) enum Version {
    Http1,
    Http2,
}

/// Connects to the upstream, without TLS.
pub(super) async fn connect(live: &UpstreamLive, deadline: Instant) -> Result<Box<dyn Stream>, Failed> {
    let (shown, connected) = match &live.endpoint.address {
        Address::Tcp { host, port } => {
            let dialed = addresses::dial(live, host, *port, deadline).await;
            (format!("{host}:{port}"), dialed.map(|s| Box::new(s) as Box<dyn Stream>))
        }
        Address::Unix(path) => {
            let connected = within(deadline, UnixStream::connect(path)).await.ok_or(DialError::TimedOut);
            let connected = connected.and_then(|c| c.map_err(DialError::Io));
            (path.display().to_string(), connected.map(|s| Box::new(s) as Box<dyn Stream>))
        }
    };
    connected.map_err(|error| match error {
        _ if error.is_our_own() => Failed::Unasked,
        DialError::TimedOut => Failed::Because(format!("no connection to {shown} in time")),
        error => Failed::Because(format!("cannot connect to {shown}: {error}")),
    })
}

/// Connects to the target as requests do: with TLS where it speaks it, offering `alpn`.
pub(in crate::control) async fn open(
    target: &Target,
    alpn: &[&[u8]],
    deadline: Instant,
) -> Result<(Box<dyn Stream>, Version), Failed> {
    let endpoint = &target.live.endpoint;
    let stream = connect(&target.live, deadline).await?;
    let Some(tls) = &target.tls else {
        let version = if endpoint.protocol == Protocol::H2c { Version::Http2 } else { Version::Http1 };
        return Ok((stream, version));
    };
    Ok(secured(stream, tls, alpn, deadline).await.map_err(|why| format!("TLS with {} {why}", endpoint.url))?)
}

/// Speaks TLS over `stream`, offering `alpn`.
///
/// # Errors
/// What is wrong, to be put behind the name of who is there.
pub(in crate::control) async fn secured(
    stream: Box<dyn Stream>,
    tls: &UpstreamTls,
    alpn: &[&[u8]],
    deadline: Instant,
) -> Result<(Box<dyn Stream>, Version), String> {
    let mut config = (*tls.config).clone();
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = within(deadline, connector.connect(tls.name.clone(), stream))
        .await
        .ok_or("was not set up in time")?
        .map_err(|e| format!("failed: {e}"))?;
    let version = if stream.get_ref().1.alpn_protocol() == Some(b"h2") { Version::Http2 } else { Version::Http1 };
    Ok((Box::new(stream), version))
}

/// The output of `future`, or none when the deadline comes first.
pub(super) async fn within<F: Future>(deadline: Instant, future: F) -> Option<F::Output> {
    timeout_at(deadline, future).await.ok()
}
