//! Accepts connections at one listener, for one worker, until the listener is gone from the table.
//!
//! Where as many connections are open as the listener takes, the next one is kept waiting and no further one is
//! accepted: the kernel's queue holds them, and whoever is first in it goes on as soon as a connection ends.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, UnixListener};

use super::client::Peer;
use super::connection;
use super::wire::Socket;
use super::worker::Worker;
use crate::routing::live::ListenerLive;
use crate::routing::sockets::Sockets;
use crate::routing::table::Listener;

/// After an error that will not go away at once (no descriptors left): wait, then try again.
const PAUSE: Duration = Duration::from_millis(50);

/// With as many connections open as may be: look again after about this time.
const FULL: Duration = Duration::from_millis(10);

/// A connection's place among those of its listener; given back when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    listener: Arc<ListenerLive>,
    worker: usize,
}

impl Seat {
    /// Waits for a place at the listener with this id; none when the listener is gone. The limit is the one of the
    /// moment, so that a reload may raise it while somebody waits.
    async fn take(worker: &Worker, listener: u64) -> Option<Self> {
        loop {
            let now = worker.snapshots.load().listener(listener).map(Arc::clone)?;
            if now.live.try_enter(worker.index, now.max_connections) {
                return Some(Self { listener: Arc::clone(&now.live), worker: worker.index });
            }
            if now.live.trouble.may_speak(Instant::now()) {
                let (listener, most) = (now.name.as_str(), now.max_connections);
                tracing::warn!(listener, most, "as many connections are open as may be; the next ones wait");
            }
            drop(now);
            // Not in step with other workers, which want the same place.
            tokio::time::sleep(FULL.mul_f64(0.5 + fastrand::f64())).await;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.listener.leave(self.worker);
    }
}

/// A socket that this worker accepts at.
enum Accepting {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Accepts until dropped. `listener` is what it was when the task began; connections look up what it is by then.
pub(super) async fn run(worker: Rc<Worker>, listener: Arc<Listener>) -> io::Result<()> {
    match own_socket(&listener, worker.index)? {
        Some(Accepting::Tcp(socket)) => tcp(&worker, socket, &listener).await,
        Some(Accepting::Unix(socket)) => unix(&worker, socket, &listener).await,
        None => {}
    }
    Ok(())
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

async fn tcp(worker: &Rc<Worker>, socket: TcpListener, listener: &Listener) {
    loop {
        match socket.accept().await {
            Ok((stream, peer)) => {
                let Some(seat) = Seat::take(worker, listener.id).await else { return };
                // Failing to set it costs latency, not correctness.
                let _ = stream.set_nodelay(true);
                connection::spawn(worker, listener.id, Some(peer.ip()), seat, Socket::Tcp(stream));
            }
            Err(error) => pause(listener, &error).await,
        }
    }
}

async fn unix(worker: &Rc<Worker>, socket: UnixListener, listener: &Listener) {
    loop {
        match socket.accept().await {
            Ok((stream, _)) => {
                let Some(seat) = Seat::take(worker, listener.id).await else { return };
                connection::spawn(worker, listener.id, None, seat, Socket::Unix(stream));
            }
            Err(error) => pause(listener, &error).await,
        }
    }
}

/// A connection that died in the queue concerns nobody; anything else is waited out: accepting never stops for good.
async fn pause(listener: &Listener, error: &io::Error) {
    if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
        return;
    }
    if listener.live.trouble.may_speak(Instant::now()) {
        let listener = listener.name.as_str();
        tracing::warn!(listener, %error, "cannot accept connections; trying again and again");
    }
    tokio::time::sleep(PAUSE).await;
}

/// The other end of a new connection.
pub(super) fn peer(address: Option<std::net::IpAddr>, listener: &Listener) -> Peer {
    Peer::new(address, listener.tls.is_some())
}
