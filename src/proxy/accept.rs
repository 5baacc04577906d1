//! Accepts connections at one listener, for one worker, until the listener is gone from the table.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};

use super::client::Peer;
use super::connection;
use super::worker::Worker;
use crate::routing::sockets::Sockets;
use crate::routing::table::Listener;

/// After an error that will not go away at once (no descriptors left): wait, then try again.
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts until dropped. `listener` is what it was when the task began; connections look up what it is by then.
pub(super) async fn run(worker: Rc<Worker>, listener: Arc<Listener>) -> io::Result<()> {
    match &*listener.sockets {
        Sockets::Tcp(sockets) => {
            // A listener has a socket for each worker; indices beyond cannot occur, but need not bring us down.
            let Some(socket) = sockets.get(worker.index) else { return Ok(()) };
            tcp(&worker, TcpListener::from_std(socket.try_clone()?)?, listener.id).await
        }
        Sockets::Unix(socket) => unix(&worker, UnixListener::from_std(socket.listener()?)?, listener.id).await,
    }
}

async fn tcp(worker: &Rc<Worker>, socket: TcpListener, listener: u64) -> io::Result<()> {
    loop {
        match socket.accept().await {
            Ok((stream, peer)) => {
                // Failing to set it costs latency, not correctness.
                let _ = stream.set_nodelay(true);
                connection::spawn(worker, listener, Some(peer.ip()), stream);
            }
            Err(error) => pause(&error).await,
        }
    }
}

async fn unix(worker: &Rc<Worker>, socket: UnixListener, listener: u64) -> io::Result<()> {
    loop {
        match socket.accept().await {
            Ok((stream, _)) => connection::spawn(worker, listener, None, stream),
            Err(error) => pause(&error).await,
        }
    }
}

/// A connection that died in the queue concerns nobody; anything else is waited out: accepting never stops for good.
async fn pause(error: &io::Error) {
    if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
        return;
    }
    tracing::warn!(%error, "cannot accept connections; trying again");
    tokio::time::sleep(PAUSE).await;
}

/// The other end of a new connection.
pub(super) fn peer(address: Option<std::net::IpAddr>, listener: &Listener) -> Peer {
    Peer::new(address, listener.tls.is_some())
}
