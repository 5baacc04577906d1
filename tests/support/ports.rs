//! Ports that nobody else gets while a test runs.
//!
//! A bound socket that does not listen keeps the port: connections are refused, the system gives it to nobody, and a
//! listener of the same user that sets `SO_REUSEADDR` or `SO_REUSEPORT` may still take it. So a port survives the
//! restart of whatever listens there, and parallel tests never collide.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use socket2::{Domain, Socket, Type};

/// A port on loopback, kept until dropped.
#[derive(Debug)]
pub struct Port {
    _kept: Socket,
    address: SocketAddr,
}

fn bound(address: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

impl Port {
    /// Some free port.
    pub fn reserve() -> Self {
        let kept = bound((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = kept.local_addr().unwrap().as_socket().unwrap();
        Self { _kept: kept, address }
    }

    /// The same port at another address of this machine.
    pub fn beside(&self, ip: Ipv4Addr) -> Self {
        let address = (ip, self.address.port()).into();
        Self { _kept: bound(address).unwrap(), address }
    }

    /// Its address (`127.0.0.1` unless said otherwise) and the port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port alone.
    pub fn number(&self) -> u16 {
        self.address.port()
    }

    /// Listens on it. Dropping the listener makes the port refuse connections again.
    pub fn listen(&self) -> TcpListener {
        let socket = bound(self.address).unwrap();
        socket.listen(1024).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket.into()
    }
}
