//! The admin port itself: accepts connections, speaks TLS and HTTP/1.1, and closes in order.
//!
//! Every connection is owned by [`serve`] and ends with it; there is a bounded number of them, and each wait on a peer
//! (handshake, request head) has a deadline. It refuses to know what is asked for.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::gate::Link;
use super::upgrade::Upgrades;
use super::{Desk, Settings, router};
use crate::config::spec::{Admin, Bind};
use crate::control::handle::Handle;
use crate::routing::inherited::Inherited;
use crate::routing::seldom::Seldom;
use crate::routing::sockets::{BindError, Sockets};

/// Connections at a time; further ones wait in the kernel.
const MAX_CONNECTIONS: usize = 512;
/// Time for a TLS handshake.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// Time for a request's head, also between the requests of a connection.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// Largest request head in bytes.
const MAX_HEAD: usize = 64 << 10;
/// Time that open connections get to finish their requests when the port closes.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// Pause after an accept that failed: the process is out of descriptors, mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The bound admin port.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    /// The same socket as it was bound: its holder cares for the file of a unix socket.
    bound: Arc<Sockets>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Why the admin port does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The bound socket is not usable.
    #[error("the admin port's socket is not usable")]
    Socket(#[from] io::Error),
    /// It would be open to everybody.
    #[error(
        "the admin port {0} is reachable beyond loopback and asks for no credentials; add admin.tokens (make one with `pointsman token new`) or admin.tls.client_ca, or listen on 127.0.0.1 or a unix socket"
    )]
    NeedsCredentials(SocketAddr),
}

impl Listener {
    /// What the port is called among sockets that another process hands over. No listener can be called so.
    pub const NAME: &str = "the admin port";

    /// Binds the admin port, or takes it from `inherited`. Must be called within the runtime that will serve it.
    ///
    /// # Errors
    /// [`ServeError::Bind`] and [`ServeError::Socket`].
    pub fn bind(bind: &Bind, inherited: &mut Inherited) -> Result<Self, ServeError> {
        let bound = Arc::new(Sockets::adopt_or_bind(bind, Self::NAME, 1, inherited)?);
        let socket = match &*bound {
            Sockets::Tcp(_) => {
                let own = bound.listening(0)?.first();
                let socket = own.ok_or(io::ErrorKind::NotConnected).map_err(io::Error::from)?;
                Socket::Tcp(TcpListener::from_std(socket.try_clone()?)?)
            }
            Sockets::Unix(socket) => Socket::Unix(UnixListener::from_std(socket.listener().try_clone()?)?),
        };
        Ok(Self { socket, bound })
    }

    /// The address in use, with the port that the system chose; none for a unix socket.
    #[must_use]
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.bound.local_address()
    }

    /// Its socket, for as long as it is open.
    #[must_use]
    pub fn sockets(&self) -> Weak<Sockets> {
        Arc::downgrade(&self.bound)
    }

    async fn accept(&self) -> io::Result<(Accepted, Link)> {
        match &self.socket {
            Socket::Tcp(socket) => {
                let (stream, peer) = socket.accept().await?;
                stream.set_nodelay(true)?;
                let link = Link::Tcp { peer, local: stream.local_addr()? };
                Ok((Accepted::Tcp(stream), link))
            }
            Socket::Unix(socket) => Ok((Accepted::Unix(socket.accept().await?.0), Link::Unix)),
        }
    }
}

enum Accepted {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// What the admin port is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orders {
    /// Accept connections.
    Accept,
    /// Leave new ones in the kernel's queue: another process may be the one that answers.
    Hold,
    /// Stop accepting, let requests finish for up to five seconds and end event streams.
    Close,
}

/// Serves the admin API as `orders` say, until they say close or nobody is left who could.
///
/// # Errors
/// [`ServeError::NeedsCredentials`], before anything is accepted.
pub async fn serve(
    listener: Listener,
    settings: Settings,
    (handle, upgrades): (Handle, Upgrades),
    orders: watch::Receiver<Orders>,
) -> Result<(), ServeError> {
    refuse_strangers(&settings.admin, listener.local_address())?;
    let (closing, closed) = watch::channel(false);
    let router =
        router::complete(router::routes(), Arc::new(settings.admin)).with_state(Desk::new(handle, upgrades, closed));
    let port =
        Port { listener, trouble: Seldom::new(Instant::now()), tls: settings.tls.map(TlsAcceptor::from), router };
    port.run(orders, closing).await;
    Ok(())
}

/// Without tokens and certificates everybody who reaches the port may do everything: then nobody from elsewhere may
/// reach it.
fn refuse_strangers(admin: &Admin, address: Option<SocketAddr>) -> Result<(), ServeError> {
    let loopback = |ip: IpAddr| ip.to_canonical().is_loopback();
    let asks = !admin.tokens.is_empty() || admin.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    match address {
        Some(address) if !asks && !loopback(address.ip()) => Err(ServeError::NeedsCredentials(address)),
        _ => Ok(()),
    }
}

struct Port {
    listener: Listener,
    trouble: Seldom,
    tls: Option<TlsAcceptor>,
    router: Router,
}

impl Port {
    async fn run(self, orders: watch::Receiver<Orders>, closing: watch::Sender<bool>) {
        let mut connections = self.accept_until_closed(orders, &closing).await;
        // Whoever connects from now on is refused by the kernel instead of waiting for an answer.
        drop(self);
        closing.send_replace(true);
        if timeout(CLOSE_WITHIN, async { while connections.join_next().await.is_some() {} }).await.is_err() {
            tracing::warn!(open = connections.len(), "admin connections were cut off at shutdown");
        }
        connections.shutdown().await;
    }

    async fn accept_until_closed(
        &self,
        mut orders: watch::Receiver<Orders>,
        closing: &watch::Sender<bool>,
    ) -> JoinSet<()> {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let order = *orders.borrow_and_update();
            if order == Orders::Close {
                return connections;
            }
            tokio::select! {
                biased;
                changed = orders.changed() => if changed.is_err() { return connections },
                Some(_) = connections.join_next() => {}
                (place, stream, link) = self.next(&places), if order == Orders::Accept => {
                    let one = Connection { router: self.router.clone(), link, closed: closing.subscribe(), _place: place };
                    connections.spawn(one.run(stream, self.tls.clone()));
                }
            }
        }
    }

    async fn next(&self, places: &Arc<Semaphore>) -> (OwnedSemaphorePermit, Accepted, Link) {
        let place = Arc::clone(places).acquire_owned().await.expect("the semaphore is never closed");
        loop {
            match self.listener.accept().await {
                Ok((stream, link)) => return (place, stream, link),
                Err(error) => {
                    if self.trouble.may_speak(Instant::now()) {
                        tracing::warn!(%error, "the admin port cannot accept connections; trying again and again");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Returns when the port closes.
pub(super) async fn until_closed(closed: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone: then the port is closed just the same.
    drop(closed.wait_for(|closed| *closed).await);
}

struct Connection {
    router: Router,
    link: Link,
    closed: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    async fn run(self, stream: Accepted, tls: Option<TlsAcceptor>) {
        match (stream, tls) {
            (Accepted::Tcp(stream), Some(tls)) => match timeout(HANDSHAKE_WITHIN, tls.accept(stream)).await {
                Ok(Ok(stream)) => self.speak(stream).await,
                Ok(Err(error)) => tracing::debug!(%error, link = ?self.link, "the admin port's TLS handshake failed"),
                Err(_) => tracing::debug!(link = ?self.link, "the admin port's TLS handshake took too long"),
            },
            (Accepted::Tcp(stream), None) => self.speak(stream).await,
            (Accepted::Unix(stream), _) => self.speak(stream).await,
        }
    }

    async fn speak(mut self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let (router, link) = (self.router.clone(), self.link);
        let answer = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(link);
            tower::ServiceExt::oneshot(router.clone(), request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_WITHIN)
            .max_header_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), answer);
        let mut connection = pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = until_closed(&mut self.closed) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(%error, link = ?self.link, "an admin connection broke off");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Extension;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::JoinHandle;

    const ASK: &[u8] = b"GET /link HTTP/1.1\r\nhost: localhost\r\n\r\n";

    /// A port with a route that says how the request came in, and one that answers when told to.
    fn start(bind: &Bind, go: watch::Receiver<bool>) -> (Option<SocketAddr>, watch::Sender<Orders>, JoinHandle<()>) {
        let slow = move || {
            let mut go = go.clone();
            async move {
                until_closed(&mut go).await;
                "slow"
            }
        };
        let link = async |Extension(link): Extension<Link>| format!("{link:?}");
        let router = Router::new().route("/link", get(link)).route("/slow", get(slow));
        let listener = Listener::bind(bind, &mut Inherited::default()).unwrap();
        let address = listener.local_address();
        let (orders, ordered) = watch::channel(Orders::Accept);
        let port = Port { listener, trouble: Seldom::new(Instant::now()), tls: None, router };
        (address, orders, tokio::spawn(port.run(ordered, watch::channel(false).0)))
    }

    fn anywhere() -> Bind {
        Bind::Tcp("127.0.0.1:0".parse().unwrap())
    }

    async fn answer(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), until: &str) -> String {
        let mut text = String::new();
        let mut buffer = [0; 1024];
        while !text.contains(until) {
            match timeout(Duration::from_secs(10), stream.read(&mut buffer)).await.expect("an answer in time").unwrap()
            {
                0 => break,
                n => text.push_str(&String::from_utf8_lossy(&buffer[..n])),
            }
        }
        text
    }

    #[tokio::test]
    async fn a_request_knows_whether_it_came_over_tcp_or_a_unix_socket() {
        let (address, _stop, _served) = start(&anywhere(), watch::channel(false).1);
        let mut stream = TcpStream::connect(address.unwrap()).await.unwrap();
        stream.write_all(ASK).await.unwrap();
        assert!(answer(&mut stream, "Tcp").await.contains("peer: 127.0.0.1:"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let (address, _stop, _served) = start(&Bind::Unix(path.clone()), watch::channel(false).1);
        assert_eq!(address, None);
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream.write_all(ASK).await.unwrap();
        assert!(answer(&mut stream, "Unix").await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn closing_lets_a_request_finish_ends_idle_connections_and_takes_no_new_ones() {
        let (go, wait) = watch::channel(false);
        let (address, orders, served) = start(&anywhere(), wait);
        let address = address.unwrap();
        let mut idle = TcpStream::connect(address).await.unwrap();
        idle.write_all(ASK).await.unwrap();
        answer(&mut idle, "Tcp").await;
        let mut busy = TcpStream::connect(address).await.unwrap();
        busy.write_all(b"GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        // The request is under way once somebody waits for the word to go.
        while go.receiver_count() < 2 {
            tokio::task::yield_now().await;
        }
        orders.send_replace(Orders::Close);
        assert_eq!(answer(&mut idle, "never").await, "", "an idle connection is closed");
        assert!(TcpStream::connect(address).await.is_err(), "no new connection is taken");
        go.send_replace(true);
        assert!(answer(&mut busy, "slow").await.ends_with("slow"));
        timeout(Duration::from_secs(10), served).await.expect("it ends").unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_never_ends_is_cut_off_after_the_deadline() {
        let (go, wait) = watch::channel(false);
        let (address, orders, served) = start(&anywhere(), wait);
        let mut busy = TcpStream::connect(address.unwrap()).await.unwrap();
        busy.write_all(b"GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        while go.receiver_count() < 2 {
            tokio::task::yield_now().await;
        }
        orders.send_replace(Orders::Close);
        timeout(CLOSE_WITHIN * 2, served).await.expect("it ends").unwrap();
    }

    #[tokio::test]
    async fn on_hold_a_new_connection_waits_for_whoever_accepts_next() {
        let (address, orders, _served) = start(&anywhere(), watch::channel(false).1);
        orders.send_replace(Orders::Hold);
        tokio::task::yield_now().await;
        let mut stream = TcpStream::connect(address.unwrap()).await.unwrap();
        stream.write_all(ASK).await.unwrap();
        let early = timeout(Duration::from_millis(50), stream.readable()).await;
        assert!(early.is_err(), "it was accepted all the same");
        orders.send_replace(Orders::Accept);
        assert!(answer(&mut stream, "Tcp").await.starts_with("HTTP/1.1 200"));
    }

    #[test]
    fn without_tokens_only_loopback_and_unix_sockets_are_served() {
        let admin = |tokens: Vec<crate::config::spec::Token>| Admin {
            listen: anywhere(),
            allow: Vec::new(),
            hosts: Vec::new(),
            tls: None,
            tokens,
        };
        let token =
            crate::config::spec::Token { name: "a".into(), role: crate::config::spec::Role::Viewer, sha256: [0; 32] };
        for (address, tokens, fine) in [
            (Some("127.0.0.1:1"), vec![], true),
            (Some("[::1]:1"), vec![], true),
            (None, vec![], true),
            (Some("0.0.0.0:1"), vec![], false),
            (Some("10.0.0.1:1"), vec![], false),
            (Some("[::]:1"), vec![], false),
            (Some("0.0.0.0:1"), vec![token], true),
        ] {
            let address = address.map(|text| text.parse().unwrap());
            assert_eq!(refuse_strangers(&admin(tokens), address).is_ok(), fine, "{address:?}");
        }
    }
}
