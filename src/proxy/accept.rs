//! Accepts connections at one listener, for one worker, until the listener is gone from the table.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};

use super::client::Peer;
use super::connection;
use super::wire::Socket;
use super::worker::Worker;
use crate::routing::sockets::Sockets;
use crate::routing::table::Listener;

/// After an error that will not go away at once (no descriptors left): wait, then try again.
const PAUSE: Duration = Duration::from_millis(50);

/// A socket that this worker accepts at.
enum Accepting {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Accepts until dropped. `listener` is what it was when the task began; connections look up what it is by then.
pub(super) async fn run(worker: Rc<Worker>, listener: Arc<Listener>) -> io::Result<()> {
    match own_socket(&listener, worker.index)? {
        Some(Accepting::Tcp(socket)) => tcp(&worker, socket, listener.id).await,
        Some(Accepting::Unix(socket)) => unix(&worker, socket, listener.id).await,
        None => Ok(()),
    }
}

/// The worker's own descriptor of its socket; none where the listener has been taken away meanwhile. Only this one is
/// kept, so that the port closes when the listener is gone.
fn own_socket(listener: &Listener, worker: usize) -> io::Result<Option<Accepting>> {
    Ok(match listener.sockets.upgrade().as_deref() {
        Some(Sockets::Tcp(sockets)) => match sockets.get(worker) {
            Some(socket) => Some(Accepting::Tcp(TcpListener::from_std(socket.try_clone()?)?)),
            None => None,
        },
        Some(Sockets::Unix(socket)) => Some(Accepting::Unix(UnixListener::from_std(socket.listener().try_clone()?)?)),
        None => None,
    })
}

async fn tcp(worker: &Rc<Worker>, socket: TcpListener, listener: u64) -> io::Result<()> {
    loop {
        match socket.accept().await {
            Ok((stream, peer)) => {
                // Failing to set it costs latency, not correctness.
                let _ = stream.set_nodelay(true);
                connection::spawn(worker, listener, Some(peer.ip()), Socket::Tcp(stream));
            }
            Err(error) => pause(&error).await,
        }
    }
}

async fn unix(worker: &Rc<Worker>, socket: UnixListener, listener: u64) -> io::Result<()> {
    loop {
        match socket.accept().await {
            Ok((stream, _)) => connection::spawn(worker, listener, None, Socket::Unix(stream)),
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
