//! Accepts connections at one listener, for one worker, until the listener is gone from the table.
//!
//! Where as many connections are open as the listener takes, the next one is kept waiting and no further one is
//! accepted: the kernel's queue holds them, and whoever is first in it goes on as soon as a connection ends.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use rustix::net::SocketFlags;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Notify;

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
            // Whoever was accepted is not sent away because we leave.
            let most = now.max_connections.filter(|_| worker.doors.are() == Are::Open);
            if now.live.try_enter(worker.index, most) {
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

/// Whether a worker accepts connections. Written by it, read by its accepting tasks.
#[derive(Debug, Default)]
pub(super) struct Doors {
    are: Cell<Are>,
    turned: Notify,
    /// Accepted, and not yet among the worker's connections.
    between: Cell<usize>,
}

/// How the doors are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Are {
    #[default]
    Open,
    /// Whoever is in the kernel's queue is still let in: closing it would reset them.
    Closing,
    /// Somebody else accepts from the same queue.
    Shut,
}

impl Doors {
    pub(super) fn turn(&self, are: Are) {
        self.are.set(are);
        self.turned.notify_waiters();
    }

    fn are(&self) -> Are {
        self.are.get()
    }

    /// Whether somebody was accepted who is not among the worker's connections yet.
    pub(super) fn is_somebody_between(&self) -> bool {
        self.between.get() > 0
    }
}

/// Somebody who was accepted and is not among the worker's connections yet, because there is no place, or because the
/// connection has to say first whose it is.
#[derive(Debug)]
pub(super) struct Between(Rc<Worker>);

impl Between {
    fn new(worker: &Rc<Worker>) -> Self {
        let between = &worker.doors.between;
        between.set(between.get() + 1);
        Self(Rc::clone(worker))
    }

    /// Who has accepted them.
    pub(super) fn worker(&self) -> &Rc<Worker> {
        &self.0
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        let between = &self.0.doors.between;
        between.set(between.get() - 1);
    }
}

/// A socket that a worker accepts at: a descriptor of its own, so that the port closes when the listener is gone.
#[derive(Debug)]
pub(super) enum Doorway {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Somebody who has connected; over TCP with their address.
type Arrived = (Socket, Option<IpAddr>);

impl Doorway {
    /// All that the worker accepts at for this listener; none where the listener has been taken away meanwhile.
    pub(super) fn all_of(listener: &Listener, worker: usize) -> io::Result<Vec<Self>> {
        let Some(sockets) = listener.sockets.upgrade() else { return Ok(Vec::new()) };
        if let Sockets::Unix(socket) = &*sockets {
            return Ok(vec![Self::Unix(UnixListener::from_std(socket.listener().try_clone()?)?)]);
        }
        let own = sockets.listening(worker)?.iter();
        own.map(|socket| Ok(Self::Tcp(TcpListener::from_std(socket.try_clone()?)?))).collect()
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Arrived>> {
        Poll::Ready(Ok(match self {
            Doorway::Tcp(socket) => {
                let (stream, peer) = ready!(socket.poll_accept(cx))?;
                // Failing to set it costs latency, not correctness.
                let _ = stream.set_nodelay(true);
                (Socket::Tcp(stream), Some(peer.ip()))
            }
            Doorway::Unix(socket) => (Socket::Unix(ready!(socket.poll_accept(cx))?.0), None),
        }))
    }

    /// The next one; none when the doors are shut, or are closing and nobody waits.
    async fn next(&self, doors: &Doors) -> Option<io::Result<Arrived>> {
        match doors.are() {
            Are::Open => tokio::select! {
                // First: nobody is let in any more who has not been accepted by then.
                biased;
                () = doors.turned.notified() => self.waiting(doors),
                arrived = poll_fn(|cx| self.poll_accept(cx)) => Some(arrived),
            },
            Are::Closing | Are::Shut => self.waiting(doors),
        }
    }

    /// Whoever is in the kernel's queue by now, as the kernel says itself: the runtime may not have heard of them yet.
    fn waiting(&self, doors: &Doors) -> Option<io::Result<Arrived>> {
        while doors.are() != Are::Shut {
            match self.accept_now() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                arrived => return Some(arrived),
            }
        }
        None
    }

    fn accept_now(&self) -> io::Result<Arrived> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        Ok(match self {
            Doorway::Tcp(socket) => {
                let stream = TcpStream::from_std(rustix::net::accept_with(socket, flags)?.into())?;
                let _ = stream.set_nodelay(true);
                let peer = stream.peer_addr()?;
                (Socket::Tcp(stream), Some(peer.ip()))
            }
            Doorway::Unix(socket) => {
                let stream = rustix::net::accept_with(socket, flags)?.into();
                (Socket::Unix(UnixStream::from_std(stream)?), None)
            }
        })
    }
}

/// Accepts until the doors close or the task is dropped. `listener` is what it was when the task began; connections
/// look up what it is by then.
pub(super) async fn run(worker: Rc<Worker>, listener: Arc<Listener>, doorway: Doorway) {
    while let Some(arrived) = doorway.next(&worker.doors).await {
        match arrived {
            Ok((socket, peer)) => {
                let between = Between::new(&worker);
                let Some(seat) = Seat::take(&worker, listener.id).await else { return };
                connection::spawn(between, listener.id, peer, seat, socket);
            }
            Err(error) => pause(&listener, &error).await,
        }
    }
}

/// A connection that died in the queue concerns nobody; anything else is waited out: accepting never stops for good.
async fn pause(listener: &Listener, error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, NotConnected};
    if matches!(error.kind(), ConnectionAborted | ConnectionReset | NotConnected) {
        return;
    }
    if listener.live.trouble.may_speak(Instant::now()) {
        let listener = listener.name.as_str();
        tracing::warn!(listener, %error, "cannot accept connections; trying again and again");
    }
    tokio::time::sleep(PAUSE).await;
}

/// The other end of a new connection.
pub(super) fn peer(address: Option<IpAddr>, listener: &Listener) -> Peer {
    Peer::new(address, listener.tls.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn closing_doors_let_everybody_in_who_is_in_the_queue_even_if_the_runtime_has_not_heard_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let unix = Doorway::Unix(UnixListener::bind(&path).unwrap());
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        let doors = Doors::default();
        doors.turn(Are::Closing);
        // Nobody awaits anything between these and the doors, so the runtime cannot hear of them.
        let over_tcp = [0; 3].map(|_| std::net::TcpStream::connect(address).unwrap());
        let over_unix = [0; 2].map(|_| std::os::unix::net::UnixStream::connect(&path).unwrap());
        for (doorway, waiting) in [(Doorway::Tcp(tcp), over_tcp.len()), (unix, over_unix.len())] {
            for _ in 0..waiting {
                let (socket, peer) = doorway.next(&doors).await.expect("somebody waits").unwrap();
                assert_eq!(peer.is_some(), matches!(socket, Socket::Tcp(_)));
            }
            assert!(doorway.next(&doors).await.is_none());
        }
    }
}
