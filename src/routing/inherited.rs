//! Listening sockets that another process has opened: one that we take over from, or systemd.
//!
//! They are found again by the address that they listen at; a name only tells apart those whose port the system chose.
//! What nobody takes is closed with this, which disturbs nobody else who holds it.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use socket2::{SockRef, Type};

use super::sockets::FileOwner;
use crate::config::spec::Bind;

/// A listening socket from elsewhere.
#[derive(Debug)]
pub struct Heirloom {
    /// Where it listens.
    pub place: Bind,
    /// What it is called: the name of a listener, or what systemd calls it.
    pub name: String,
    /// Who removes its file, where it has one.
    pub file: FileOwner,
    /// The socket.
    pub socket: OwnedFd,
}

impl Heirloom {
    /// Looks at a descriptor that was handed over.
    ///
    /// # Errors
    /// When it is no stream socket that listens at an address of the internet or a path.
    pub fn new(socket: OwnedFd, name: String, file: FileOwner) -> io::Result<Self> {
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("the socket {name:?} {what}"));
        let seen = SockRef::from(&socket);
        if seen.r#type()? != Type::STREAM || !seen.is_listener()? {
            return Err(wrong("does not listen for connections"));
        }
        let address = seen.local_addr()?;
        let place = match (address.as_socket(), address.as_pathname()) {
            (Some(address), _) => Bind::Tcp(address),
            (None, Some(path)) => Bind::Unix(path.to_owned()),
            (None, None) => return Err(wrong("listens at no address that can be configured")),
        };
        seen.set_nonblocking(true)?;
        // Dropped with `seen`, which only borrows.
        Ok(Self { place, name, file, socket })
    }
}

/// All that came from elsewhere and has not been taken yet.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<Heirloom>,
    taken: BTreeSet<String>,
}

impl Inherited {
    /// These.
    #[must_use]
    pub fn new(sockets: Vec<Heirloom>) -> Self {
        Self { sockets, taken: BTreeSet::new() }
    }

    /// Those that listen where `bind` says; with a port that the system chose, those of that name.
    pub fn take(&mut self, bind: &Bind, name: &str) -> Vec<Heirloom> {
        let fits = |one: &Heirloom| match (&one.place, bind) {
            (Bind::Tcp(place), Bind::Tcp(wanted)) if wanted.port() == 0 => {
                place.ip() == wanted.ip() && one.name == name
            }
            (Bind::Unix(place), Bind::Unix(wanted)) => same_file(place, wanted),
            (place, wanted) => place == wanted,
        };
        let (fitting, rest) = std::mem::take(&mut self.sockets).into_iter().partition(fits);
        self.sockets = rest;
        let fitting: Vec<Heirloom> = fitting;
        self.taken.extend(fitting.iter().map(|one| one.place.to_string()));
        fitting
    }

    /// Where those listen that were taken.
    #[must_use]
    pub fn taken(&self) -> Vec<String> {
        self.taken.iter().cloned().collect()
    }

    /// Where those listen that nobody has taken.
    #[must_use]
    pub fn left(&self) -> Vec<String> {
        let places: BTreeSet<_> = self.sockets.iter().map(|one| one.place.to_string()).collect();
        places.into_iter().collect()
    }
}

/// Whether two paths lead to one file, however its folder is spelled.
fn same_file(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| -> Option<PathBuf> {
        let folder = path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Some(folder.canonicalize().ok()?.join(path.file_name()?))
    };
    one == other || real(one).is_some_and(|one| real(other) == Some(one))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::{UnixDatagram, UnixListener};

    fn heirloom(socket: impl Into<OwnedFd>, name: &str) -> io::Result<Heirloom> {
        Heirloom::new(socket.into(), name.to_owned(), FileOwner::Us)
    }

    #[test]
    fn sockets_are_found_by_where_they_listen_and_by_name_where_the_system_chose_the_port() {
        let (one, other) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let (first, second) = (one.local_addr().unwrap(), other.local_addr().unwrap());
        let mut all = Inherited::new(vec![heirloom(one, "web").unwrap(), heirloom(other, "more").unwrap()]);
        assert!(all.take(&Bind::Tcp("127.0.0.1:0".parse().unwrap()), "other").is_empty());
        let found = all.take(&Bind::Tcp("127.0.0.1:0".parse().unwrap()), "more");
        assert_eq!(found[0].place, Bind::Tcp(second));
        assert_eq!(all.take(&Bind::Tcp(first), "renamed").len(), 1);
        assert!(all.take(&Bind::Tcp(first), "renamed").is_empty() && all.left().is_empty());
        assert_eq!(all.taken().len(), 2);
    }

    #[test]
    fn a_path_is_found_however_its_folder_is_spelled() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        let socket = UnixListener::bind(folder.path().join("web.sock")).unwrap();
        let mut all = Inherited::new(vec![heirloom(socket, "web").unwrap()]);
        assert!(all.take(&Bind::Unix(folder.path().join("sub/web.sock")), "web").is_empty());
        assert_eq!(all.left().len(), 1);
        assert_eq!(all.take(&Bind::Unix(folder.path().join("sub/../web.sock")), "web").len(), 1);
    }

    #[test]
    fn what_does_not_listen_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(heirloom(connected, "web").unwrap_err().to_string().contains("\"web\" does not listen"));
        assert!(heirloom(UnixDatagram::unbound().unwrap(), "log").is_err());
        assert!(heirloom(std::fs::File::open("/dev/null").unwrap(), "null").is_err());
    }
}
