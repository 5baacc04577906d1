//! Listening sockets: bound once, before the table that names them is published.
//!
//! Binding is where a new configuration can still fail; so all sockets of a new table are bound first, and only then
//! is it published. Every worker has a socket of its own on the same address (SO_REUSEPORT), so that the kernel
//! spreads connections and no two workers share an accept queue; a unix socket has one queue that all workers share.
//!
//! Sockets that another process listened on are taken over as they are: connections wait in their queues. All of them
//! are accepted at; further ones begin to listen only when somebody accepts, so that no connection is lost in a queue
//! of a process that fails before.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::inherited::{Heirloom, Inherited};
use crate::config::spec::Bind;

/// Connections that the kernel keeps for us until they are accepted; it cuts this to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// The bound sockets of one listener.
#[derive(Debug)]
pub enum Sockets {
    /// TCP sockets for each worker, all on the same address: one, or more where they were taken over from a process
    /// with more workers.
    Tcp(Vec<Vec<TcpListener>>),
    /// One unix socket for all workers.
    Unix(UnixSocket),
}

/// Why a socket could not be bound, and what would help.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {hint}")]
pub struct BindError {
    /// The address as configured.
    pub address: String,
    /// What is wrong and what to do.
    pub hint: String,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

impl Sockets {
    /// Binds `bind` for `workers` workers. With port 0 all of them share the port that the system chose.
    ///
    /// # Errors
    /// [`BindError`] naming the address; nothing stays bound.
    pub fn bind(bind: &Bind, workers: usize) -> Result<Self, BindError> {
        match bind {
            Bind::Tcp(address) => {
                tcp(*address, workers).map(Sockets::Tcp).map_err(|e| explained(&address.to_string(), e))
            }
            Bind::Unix(path) => {
                UnixSocket::bind(path).map(Sockets::Unix).map_err(|e| explained(&path.display().to_string(), e))
            }
        }
    }

    /// Takes over what `inherited` has for `bind`; binds where it has nothing. `name` is the listener's.
    ///
    /// # Errors
    /// [`BindError`] naming the address.
    pub fn adopt_or_bind(
        bind: &Bind,
        name: &str,
        workers: usize,
        inherited: &mut Inherited,
    ) -> Result<Self, BindError> {
        let found = inherited.take(bind, name);
        match found.first().map(|one| one.place.clone()) {
            None => Self::bind(bind, workers),
            Some(Bind::Tcp(address)) => {
                adopted(found, address, workers).map(Sockets::Tcp).map_err(|e| explained(&address.to_string(), e))
            }
            Some(Bind::Unix(path)) => Ok(Sockets::Unix(UnixSocket::adopted(found, &path))),
        }
    }

    /// The sockets that this worker accepts at; a unix socket is everybody's. They listen from now on.
    ///
    /// # Errors
    /// When one of them does not listen.
    pub fn listening(&self, worker: usize) -> io::Result<&[TcpListener]> {
        let Sockets::Tcp(sockets) = self else { return Ok(&[]) };
        let own = sockets.get(worker).map_or(&[][..], Vec::as_slice);
        for socket in own {
            let socket = SockRef::from(socket);
            if !socket.is_listener()? {
                socket.listen(BACKLOG)?;
            }
        }
        Ok(own)
    }

    /// Those that listen, to be handed to another process.
    #[must_use]
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Sockets::Tcp(sockets) => {
                let listens = |socket: &&TcpListener| SockRef::from(*socket).is_listener().unwrap_or(false);
                sockets.iter().flatten().filter(listens).map(AsFd::as_fd).collect()
            }
            Sockets::Unix(socket) => vec![socket.listener.as_fd()],
        }
    }

    /// Where it listens, as another process would say it.
    #[must_use]
    pub fn place(&self) -> Option<Bind> {
        match self {
            Sockets::Tcp(_) => self.local_address().map(Bind::Tcp),
            Sockets::Unix(socket) => Some(Bind::Unix(socket.path.clone())),
        }
    }

    /// Who removes the file of a unix socket.
    #[must_use]
    pub fn file_owner(&self) -> FileOwner {
        match self {
            Sockets::Tcp(_) => FileOwner::Us,
            Sockets::Unix(socket) => socket.owner,
        }
    }

    /// Another process goes on with the file of a unix socket: it stays when this is dropped.
    pub fn leave_file(&self) {
        if let Sockets::Unix(socket) = self {
            socket.stays.store(true, Ordering::Release);
        }
    }

    /// The file of a unix socket that was taken over is ours to remove from now on.
    pub fn own_file(&self) {
        if let Sockets::Unix(socket) = self {
            socket.stays.store(false, Ordering::Release);
        }
    }

    /// The address in use (with the port that the system chose); none for a unix socket.
    #[must_use]
    pub fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Sockets::Tcp(sockets) => sockets.first()?.first()?.local_addr().ok(),
            Sockets::Unix(_) => None,
        }
    }
}

fn explained(address: &str, source: io::Error) -> BindError {
    let hint = match source.kind() {
        io::ErrorKind::AddrInUse => "it is in use; stop the other program or choose another port".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "not permitted; choose a port from 1024 or grant CAP_NET_BIND_SERVICE (a path: make its folder writable)"
                .to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "this machine has no such address; use one of its own or 0.0.0.0".to_owned(),
        _ => source.to_string(),
    };
    BindError { address: address.to_owned(), hint, source }
}

fn tcp(address: SocketAddr, workers: usize) -> io::Result<Vec<Vec<TcpListener>>> {
    // SO_REUSEPORT would also let a second pointsman share the port silently: the first bind is made without it, so
    // that a taken port is an error.
    drop(listening(address, Reuse::Exclusive)?);
    let first = listening(address, Reuse::Shared)?;
    let address = first.local_addr()?;
    let rest = (1..workers).map(|_| listening(address, Reuse::Shared));
    std::iter::once(Ok(first)).chain(rest).map(|socket| socket.map(|socket| vec![socket])).collect()
}

/// Every worker gets at least one, and each is somebody's.
fn adopted(found: Vec<Heirloom>, address: SocketAddr, workers: usize) -> io::Result<Vec<Vec<TcpListener>>> {
    let mut of: Vec<Vec<TcpListener>> = (0..workers).map(|_| Vec::new()).collect();
    for (i, one) in found.into_iter().enumerate() {
        of[i % workers].push(one.socket.into());
    }
    let missing = of.iter().filter(|own| own.is_empty()).count();
    for i in workers - missing..workers {
        let further = match bound(address, Reuse::Shared) {
            Ok(socket) => socket.into(),
            // It was opened by somebody who does not share ports: its queue is shared instead.
            Err(_) => of[i % (workers - missing)][0].try_clone()?,
        };
        of[i].push(further);
    }
    Ok(of)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reuse {
    Exclusive,
    Shared,
}

fn listening(address: SocketAddr, reuse: Reuse) -> io::Result<TcpListener> {
    let socket = bound(address, reuse)?;
    if reuse == Reuse::Shared {
        socket.listen(BACKLOG)?;
    }
    Ok(socket.into())
}

fn bound(address: SocketAddr, reuse: Reuse) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if reuse == Reuse::Shared {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Who removes the file of a unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileOwner {
    /// We, or the pointsman before us.
    Us,
    /// Whoever opened it for us: systemd.
    Others,
}

/// A bound unix socket. Its file is removed when it is dropped, unless it is others'.
#[derive(Debug)]
pub struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    owner: FileOwner,
    /// Whether another process uses the file: the one that we take over from, until it is sure that we shall, or the
    /// one that has taken over from us.
    stays: AtomicBool,
}

impl UnixSocket {
    /// The socket itself.
    #[must_use]
    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }

    /// There is one: no two can listen at one path.
    fn adopted(mut found: Vec<Heirloom>, path: &Path) -> Self {
        let Heirloom { socket, file: owner, .. } = found.remove(0);
        Self { listener: socket.into(), path: path.to_owned(), owner, stays: AtomicBool::new(true) }
    }

    fn bind(path: &Path) -> io::Result<Self> {
        if path.exists() {
            // A file that nobody listens on is left over from a process that was killed.
            match std::os::unix::net::UnixStream::connect(path) {
                Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
                Err(_) => std::fs::remove_file(path)?,
            }
        }
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, path: path.to_owned(), owner: FileOwner::Us, stays: AtomicBool::new(false) })
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if self.owner == FileOwner::Us && !self.stays.load(Ordering::Acquire) {
            // A file that is left is recognised as such by the next bind.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;
    use std::os::unix::net::UnixStream;

    fn anywhere() -> Bind {
        Bind::Tcp("127.0.0.1:0".parse().unwrap())
    }

    /// Everything that `sockets` would hand over, as another process gets it.
    fn handed_over(sockets: &Sockets) -> Inherited {
        let copies = sockets.descriptors().into_iter().map(|fd| fd.try_clone_to_owned().unwrap());
        Inherited::new(copies.map(|fd| Heirloom::new(fd, "web".to_owned(), sockets.file_owner()).unwrap()).collect())
    }

    fn adopted_by(workers: usize, old: &Sockets) -> Sockets {
        Sockets::adopt_or_bind(&old.place().unwrap(), "web", workers, &mut handed_over(old)).unwrap()
    }

    fn accepted(sockets: &Sockets, workers: usize) -> usize {
        (0..workers).flat_map(|w| sockets.listening(w).unwrap()).filter_map(|s| s.accept().ok()).count()
    }

    #[test]
    fn connections_that_wait_are_accepted_by_who_takes_over_with_fewer_or_more_workers() {
        for (before, after) in [(3, 1), (3, 2), (1, 3), (2, 2), (1, 1)] {
            let old = Sockets::bind(&anywhere(), before).unwrap();
            let address = old.local_address().unwrap();
            let waiting: Vec<_> = (0..40).map(|_| TcpStream::connect(address).unwrap()).collect();
            let new = adopted_by(after, &old);
            drop(old);
            let mut served = 0;
            // Each look takes one from each queue.
            while served < waiting.len() {
                let some = accepted(&new, after);
                assert!(some > 0, "{before} to {after}: {served} of {} were accepted", waiting.len());
                served += some;
            }
            let later: Vec<_> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
            assert!(later.len() == 20 && (0..20).map(|_| accepted(&new, after)).sum::<usize>() == 20);
        }
    }

    #[test]
    fn a_further_socket_does_not_listen_before_somebody_accepts_at_it() {
        let old = Sockets::bind(&anywhere(), 1).unwrap();
        let new = adopted_by(4, &old);
        assert_eq!(new.descriptors().len(), 1);
        new.listening(2).unwrap();
        assert_eq!(new.descriptors().len(), 2);
    }

    #[test]
    fn a_socket_of_somebody_who_does_not_share_ports_is_shared_itself() {
        let alone = TcpListener::bind("127.0.0.1:0").unwrap();
        let (place, address) = (Bind::Tcp(alone.local_addr().unwrap()), alone.local_addr().unwrap());
        let heirloom = Heirloom::new(alone.into(), "web".to_owned(), FileOwner::Others).unwrap();
        let sockets = Sockets::adopt_or_bind(&place, "web", 3, &mut Inherited::new(vec![heirloom])).unwrap();
        let _client = TcpStream::connect(address).unwrap();
        assert_eq!(sockets.listening(2).unwrap().len(), 1);
        assert_eq!(accepted(&sockets, 3), 1);
    }

    #[test]
    fn the_file_of_a_unix_socket_goes_with_whoever_has_it_last() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.sock");
        let old = Sockets::bind(&Bind::Unix(path.clone()), 1).unwrap();
        drop(adopted_by(2, &old));
        assert!(UnixStream::connect(&path).is_ok(), "a process that failed has taken the file with it");
        let new = adopted_by(2, &old);
        old.leave_file();
        drop(old);
        assert!(UnixStream::connect(&path).is_ok(), "the old process has taken the file with it");
        new.own_file();
        drop(new);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_others_have_made_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.sock");
        let theirs = UnixListener::bind(&path).unwrap();
        let heirloom = Heirloom::new(theirs.into(), "web".to_owned(), FileOwner::Others).unwrap();
        let bind = Bind::Unix(path.clone());
        let sockets = Sockets::adopt_or_bind(&bind, "web", 1, &mut Inherited::new(vec![heirloom])).unwrap();
        sockets.own_file();
        drop(sockets);
        assert!(path.exists());
    }
}
