//! HAProxy in front of the proxy under test, passing on connections as they are.

use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio::net::{TcpSocket, TcpStream};

use super::eventually::eventually;
use super::peers::tool;
use super::ports::Port;

/// A running HAProxy; ends when dropped.
pub struct Haproxy {
    child: Child,
    _dir: TempDir,
    port: Port,
}

impl Haproxy {
    /// Passes connections on to `backend`, with these words behind the server's address (`send-proxy`).
    pub async fn start(backend: SocketAddr, server: &str) -> Self {
        let (dir, port) = (TempDir::new().unwrap(), Port::reserve());
        let config = format!(
            "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
             listen front\n  bind {}\n  server behind {backend} {server}\n",
            port.address()
        );
        let path = dir.path().join("haproxy.cfg");
        fs::write(&path, config).unwrap();
        let mut command = Command::new(tool("haproxy"));
        command.arg("-db").arg("-f").arg(path).stdin(Stdio::null()).stderr(Stdio::null());
        let haproxy = Self { child: command.spawn().unwrap(), _dir: dir, port };
        eventually("HAProxy accepts", || TcpStream::connect(haproxy.port.address())).await;
        haproxy
    }

    /// A connection through it, from this address of the loopback network.
    pub async fn connect_from(&self, source: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(source.parse().unwrap(), 0)).unwrap();
        socket.connect(self.port.address()).await.unwrap()
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
