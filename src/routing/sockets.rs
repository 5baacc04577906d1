//! Listening sockets: bound once, before the table that names them is published.
//!
//! Binding is where a new configuration can still fail; so all sockets of a new table are bound first, and only then
//! is it published. Every worker has a socket of its own on the same address (SO_REUSEPORT), so that the kernel
//! spreads connections and no two workers share an accept queue; a unix socket has one queue that all workers share.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, Socket, Type};

use crate::config::spec::Bind;

/// Connections that the kernel keeps for us until they are accepted; it cuts this to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// The bound sockets of one listener.
#[derive(Debug)]
pub enum Sockets {
    /// One TCP socket for each worker, all on the same address.
    Tcp(Vec<TcpListener>),
    /// One unix socket for all workers.
    Unix(UnixSocket),
}

/// A bound unix socket. Its file is removed with it, unless somebody else has put another one in its place.
#[derive(Debug)]
pub struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    file: FileId,
}

/// Device and inode: which file it is, whatever its name.
type FileId = (u64, u64);

fn file_id(path: &Path) -> io::Result<FileId> {
    std::fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

impl UnixSocket {
    /// Another handle to the same socket, for whoever accepts.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if file_id(&self.path).is_ok_and(|file| file == self.file) {
            // One that cannot be removed is found to be dead by the next process that binds it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
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
            Bind::Unix(path) => unix(path).map(Sockets::Unix).map_err(|e| explained(&path.display().to_string(), e)),
        }
    }

    /// The address in use (with the port that the system chose); none for a unix socket.
    #[must_use]
    pub fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Sockets::Tcp(sockets) => sockets.first()?.local_addr().ok(),
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

fn tcp(address: SocketAddr, workers: usize) -> io::Result<Vec<TcpListener>> {
    // SO_REUSEPORT would also let a second pointsman share the port silently: the first bind is made without it, so
    // that a taken port is an error.
    drop(listening(address, Reuse::Exclusive)?);
    let first = listening(address, Reuse::Shared)?;
    let address = first.local_addr()?;
    let rest = (1..workers).map(|_| listening(address, Reuse::Shared));
    std::iter::once(Ok(first)).chain(rest).collect()
}

#[derive(PartialEq, Eq)]
enum Reuse {
    Exclusive,
    Shared,
}

fn listening(address: SocketAddr, reuse: Reuse) -> io::Result<TcpListener> {
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
    if reuse == Reuse::Shared {
        socket.listen(BACKLOG)?;
    }
    Ok(socket.into())
}

fn unix(path: &Path) -> io::Result<UnixSocket> {
    if path.exists() {
        // A file that nobody listens on is left over from a process that was killed.
        match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
            Err(_) => std::fs::remove_file(path)?,
        }
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(UnixSocket { listener, path: path.to_owned(), file: file_id(path)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_a_unix_socket_goes_with_it_and_a_strangers_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sock");
        let bind = Bind::Unix(path.clone());
        drop(Sockets::bind(&bind, 2).unwrap());
        assert!(!path.exists());
        let ours = Sockets::bind(&bind, 2).unwrap();
        std::fs::rename(&path, folder.path().join("moved.sock")).unwrap();
        let theirs = UnixListener::bind(&path).unwrap();
        drop(ours);
        assert!(path.exists());
        assert!(Sockets::bind(&bind, 2).is_err(), "somebody listens there");
        drop(theirs);
        assert!(Sockets::bind(&bind, 2).is_ok(), "nobody does");
    }
}
