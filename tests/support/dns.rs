//! A name server with few names, all for one second.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;
use tokio::task::JoinSet;

type Names = Arc<Mutex<HashMap<String, Vec<Ipv4Addr>>>>;

/// A running name server; ends when dropped.
pub struct Dns {
    address: SocketAddr,
    names: Names,
    _task: JoinSet<()>,
}

impl Dns {
    /// Knows these names.
    pub fn start(names: &[(&str, &[Ipv4Addr])]) -> Self {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let (address, known) = (socket.local_addr().unwrap(), Names::default());
        let mut task = JoinSet::new();
        let dns = Self { address, names: Arc::clone(&known), _task: JoinSet::new() };
        for (name, ips) in names {
            dns.set(name, ips);
        }
        task.spawn(async move {
            let socket = UdpSocket::from_std(socket).unwrap();
            let mut query = [0; 512];
            while let Ok((n, peer)) = socket.recv_from(&mut query).await {
                let answer = answer(&query[..n], &known.lock().unwrap());
                // Who has given up in the meantime is not there any more.
                let _ = socket.send_to(&answer, peer).await;
            }
        });
        Self { _task: task, ..dns }
    }

    /// Where it is asked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The name leads here from now on.
    pub fn set(&self, name: &str, ips: &[Ipv4Addr]) {
        self.names.lock().unwrap().insert(name.to_owned(), ips.to_vec());
    }

    /// There is no such name from now on.
    pub fn forget(&self, name: &str) {
        self.names.lock().unwrap().remove(name);
    }
}

/// RFC 1035, section 4: the question again, and an answer record for each address.
fn answer(query: &[u8], names: &HashMap<String, Vec<Ipv4Addr>>) -> Vec<u8> {
    let (mut at, mut labels) = (12, Vec::new());
    while query[at] > 0 {
        let length = usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..=at + length]).to_lowercase());
        at += length + 1;
    }
    let (question, kind) = (&query[12..at + 5], u16::from_be_bytes([query[at + 1], query[at + 2]]));
    let found = names.get(&labels.join("."));
    let ips = found.filter(|_| kind == 1).map_or(&[][..], Vec::as_slice);
    let code = if found.is_some() { 0 } else { 3 };
    let mut out = [&query[..2], &[0x85, 0x80 | code, 0, 1, 0, ips.len() as u8, 0, 0, 0, 0], question].concat();
    for ip in ips {
        // The name of the question, A, IN, one second, four bytes.
        out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        out.extend(ip.octets());
    }
    out
}
