//! An upstream whose every byte the test itself reads and writes: for what must happen in a certain order.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::wire::{Buffered, Head};

/// A listening socket.
pub struct ByHand(TcpListener);

impl ByHand {
    /// Listens on some free port.
    pub async fn listen() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// As a configuration names it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The next connection, whatever it is.
    pub async fn connection(&self) -> TcpStream {
        let accepted = tokio::time::timeout(std::time::Duration::from_secs(20), self.0.accept()).await;
        let (stream, _) = accepted.expect("nobody connects").unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// The next request, on a new connection. Connections that bring none (probes) are passed over.
    pub async fn request(&self) -> (Buffered<TcpStream>, Head) {
        loop {
            let mut wire = Buffered::new(self.connection().await);
            if let Ok(Some(head)) = wire.head().await {
                return (wire, head);
            }
        }
    }
}

/// Writes all of `bytes`.
pub async fn write(wire: &mut Buffered<TcpStream>, bytes: impl AsRef<[u8]>) {
    wire.stream.write_all(bytes.as_ref()).await.unwrap();
}
