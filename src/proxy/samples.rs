//! A data plane for tests: tables of one service, made by hand, and a worker that serves them to real connections.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::HeaderValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Workers, start};
use crate::config::spec::{
    Address, Affinity, Balance, Bind, Endpoint, HeaderEdits, Limits, Protocol, Retries, RouteMatch, SendsTo, Timeouts,
    TunnelClose,
};
use crate::model::cohort::Salt;
use crate::model::names::{GroupName, ListenerName, ServiceName};
use crate::model::split::Share;
use crate::model::websocket;
use crate::routing::live::{Entrance, GroupLive, Health, ListenerLive, UpstreamLive};
use crate::routing::publish;
use crate::routing::sockets::Sockets;
use crate::routing::table::{Action, Farewell, Group, Listener, Route, Routes, Service, Table, Upstream};

/// The longest wait for any one thing.
const PATIENCE: Duration = Duration::from_secs(20);

/// A healthy upstream at this address, for one worker.
pub(super) fn upstream(id: u64, address: SocketAddr) -> Arc<UpstreamLive> {
    let address_of = Address::Tcp { host: address.ip().to_string(), port: address.port() };
    let url = format!("http://{address}");
    let endpoint = Endpoint { url, protocol: Protocol::Http1, address: address_of, ca: None, server_name: None };
    let live = Arc::new(UpstreamLive::new(id, endpoint, 1));
    live.set_health(Health::Healthy);
    live
}

/// A group of this name.
pub(super) fn group(name: &'static str, live: &Arc<GroupLive>, upstreams: &[Arc<UpstreamLive>]) -> Group {
    let upstream = |live: &Arc<UpstreamLive>| Upstream {
        live: Arc::clone(live),
        authority: HeaderValue::from_static("localhost"),
        weight: 1,
        tls: None,
    };
    Group {
        name_value: HeaderValue::from_static(name),
        name: GroupName::new(name).unwrap(),
        headers: Vec::new(),
        slow_start: None,
        entrance: Entrance::Open,
        farewell: None,
        fuse: None,
        upstreams: upstreams.iter().map(upstream).collect(),
        live: Arc::clone(live),
    }
}

/// The service `shop` with the group `blue`, whose tunnels close with 1012 over `spread`.
pub(super) fn service(group: &Arc<GroupLive>, upstreams: &[Arc<UpstreamLive>], spread: Duration) -> Service {
    Service {
        name: ServiceName::new("shop").unwrap(),
        groups: vec![self::group("blue", group, upstreams)],
        shares: vec![1_000_000],
        salt: Salt(1),
        candidate: None,
        emergency: None,
        rules: Vec::new(),
        affinity: Affinity::None,
        balance: Balance::RoundRobin,
        expose: None,
        timeouts: Timeouts { connect: PATIENCE, response: PATIENCE, idle: PATIENCE, tunnel_idle: 100 * PATIENCE },
        retries: Retries { attempts: 0, budget: Share::from_percent(20.0).unwrap(), across_groups: false },
        limits: Limits::default(),
        tunnel_close: TunnelClose { code: 1012, spread },
        drain_timeout: Duration::from_secs(30),
        admission: None,
        hold: None,
        probe_path: None,
    }
}

/// The table with this service alone.
pub(super) fn table(service: Service) -> Table {
    let route = Route {
        matches: RouteMatch { path: "/".into(), ..RouteMatch::default() },
        action: Action::Forward(0),
        strip_prefix: None,
        request_headers: HeaderEdits::default(),
        response_headers: HeaderEdits::default(),
        allow: Vec::new(),
    };
    Table { services: vec![Arc::new(service)], routes: Routes::new(vec![route]), ..Table::default() }
}

/// One worker, and what it serves.
pub(super) struct Plane {
    publisher: publish::Publisher,
    workers: Option<Workers>,
    sockets: Arc<Sockets>,
    validation: Arc<Sockets>,
    listener: Arc<ListenerLive>,
    pub(super) group: Arc<GroupLive>,
    pub(super) upstreams: Vec<Arc<UpstreamLive>>,
    listening: Vec<TcpListener>,
    pub(super) spread: Duration,
}

impl Plane {
    /// In front of so many upstreams, in the hand of the test.
    pub(super) async fn new(upstreams: u64) -> Self {
        let bound = || Arc::new(Sockets::bind(&Bind::Tcp("127.0.0.1:0".parse().unwrap()), 1).unwrap());
        let (mut listening, mut lives) = (Vec::new(), Vec::new());
        for id in 0..upstreams {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            lives.push(upstream(id + 1, listener.local_addr().unwrap()));
            listening.push(listener);
        }
        let (publisher, reader) = publish::channel(Table::default());
        let mut plane = Self {
            publisher,
            workers: Some(start(&reader, 1, None).unwrap()),
            sockets: bound(),
            validation: bound(),
            listener: Arc::new(ListenerLive::new(1)),
            group: Arc::new(GroupLive::new(1)),
            upstreams: lives,
            listening,
            spread: Duration::ZERO,
        };
        plane.publish(None);
        plane
    }

    /// Publishes a table in which the group bids this farewell.
    pub(super) fn publish(&mut self, farewell: Option<Farewell>) {
        let mut service = service(&self.group, &self.upstreams, self.spread);
        service.groups[0].farewell = farewell;
        self.publish_service(service);
    }

    /// Publishes a table with this service.
    pub(super) fn publish_service(&mut self, service: Service) {
        let listeners = vec![
            Arc::new(self.listener(1, &self.sockets, SendsTo::Split)),
            Arc::new(self.listener(2, &self.validation, SendsTo::Candidate)),
        ];
        self.publisher.publish(Table { listeners, ..table(service) });
    }

    fn listener(&self, id: u64, sockets: &Arc<Sockets>, sends_to: SendsTo) -> Listener {
        Listener {
            id,
            name: ListenerName::new("web").unwrap(),
            sockets: Arc::downgrade(sockets),
            tls: None,
            sends_to,
            allow: Vec::new(),
            trusted_proxies: Vec::new(),
            proxy_protocol: false,
            max_connections: None,
            head_timeout: PATIENCE,
            idle_timeout: PATIENCE,
            live: Arc::clone(&self.listener),
        }
    }

    /// A client's connection.
    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.sockets.local_address().unwrap()).await.unwrap()
    }

    /// The connection of somebody who validates the candidate.
    pub(super) async fn connect_to_validate(&self) -> TcpStream {
        TcpStream::connect(self.validation.local_address().unwrap()).await.unwrap()
    }

    /// A client's connection on which it has asked for `path`, and the upstream's, which has read that.
    pub(super) async fn asked(&self, path: &str) -> (TcpStream, TcpStream) {
        let mut client = self.connect().await;
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
            sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        client.write_all(head.as_bytes()).await.unwrap();
        let mut accepted = in_time(poll_fn(|cx| self.poll_accept(cx))).await;
        head_of(&mut accepted).await;
        (client, accepted)
    }

    /// The next connection to whichever upstream.
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<TcpStream> {
        for listener in &self.listening {
            if let Poll::Ready(accepted) = listener.poll_accept(cx) {
                return Poll::Ready(accepted.unwrap().0);
            }
        }
        Poll::Pending
    }

    /// Both ends of an open tunnel: the client's and the upstream's.
    pub(super) async fn tunnel(&self) -> (TcpStream, TcpStream) {
        let (mut client, mut accepted) = self.asked("/ws").await;
        switch(&mut accepted).await;
        assert!(head_of(&mut client).await.starts_with("HTTP/1.1 101 "));
        (client, accepted)
    }

    /// The process goes down: everything has this long to end.
    pub(super) async fn stop(mut self, deadline: Duration) {
        let (workers, farewell) =
            (self.workers.take().unwrap(), super::Departure { within: deadline, idle: super::Idle::Dismissed });
        in_time(tokio::task::spawn_blocking(move || workers.leave(farewell).wait())).await.unwrap();
    }
}

/// Says 101.
pub(super) async fn switch(upstream: &mut TcpStream) {
    let accept = websocket::accept("dGhlIHNhbXBsZSBub25jZQ==");
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
        sec-websocket-accept: {accept}\r\n\r\n"
    );
    upstream.write_all(head.as_bytes()).await.unwrap();
}

/// Reads a head, byte by byte: what follows it is somebody else's.
pub(super) async fn head_of(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(in_time(stream.read_u8()).await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Panics where it takes too long.
pub(super) async fn in_time<T>(waiting: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, waiting).await.expect("it takes too long")
}

/// Waits until `holds`.
pub(super) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "waited for: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Frames as they are on the wire: masked with a key, or not.
pub(super) fn frame(opcode: u8, key: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let mask = if key.is_some() { 0x80 } else { 0 };
    let mut bytes = vec![0x80 | opcode];
    if payload.len() < 126 {
        bytes.push(mask | payload.len() as u8);
    } else {
        bytes.push(mask | 0x7e);
        bytes.extend((payload.len() as u16).to_be_bytes());
    }
    bytes.extend(key.into_iter().flatten());
    bytes.extend(payload.iter().zip(key.unwrap_or_default().iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// A frame: its opcode, its key where it was masked, its payload unmasked.
pub(super) type Parsed = (u8, Option<[u8; 4]>, Vec<u8>);

/// Takes the frames off the front of `bytes`; gives them and what is left.
pub(super) fn parsed(mut bytes: &[u8]) -> (Vec<Parsed>, &[u8]) {
    let mut all = Vec::new();
    while let Some((frame, rest)) = first(bytes) {
        all.push(frame);
        bytes = rest;
    }
    (all, bytes)
}

fn first(bytes: &[u8]) -> Option<(Parsed, &[u8])> {
    let (&[first, second], rest) = bytes.split_first_chunk::<2>()?;
    let (length, rest) = match second & 0x7f {
        126 => rest.split_first_chunk::<2>().map(|(length, rest)| (usize::from(u16::from_be_bytes(*length)), rest))?,
        127 => rest.split_first_chunk::<8>().map(|(length, rest)| (u64::from_be_bytes(*length) as usize, rest))?,
        length => (usize::from(length), rest),
    };
    let (key, rest) = match second & 0x80 {
        0 => (None, rest),
        _ => rest.split_first_chunk::<4>().map(|(key, rest)| (Some(*key), rest))?,
    };
    let (payload, rest) = rest.split_at_checked(length)?;
    let plain = payload.iter().zip(key.unwrap_or_default().iter().cycle()).map(|(byte, key)| byte ^ key).collect();
    Some(((first & 0x0f, key, plain), rest))
}

/// The farewell of a whole group, at once.
pub(super) fn at_once() -> Farewell {
    Farewell { close_code: 1012, spread: Duration::ZERO, upstreams: None }
}

/// What a tunnel that was told to end hears: the code and a reason.
pub(super) const RESTART: &[u8] = b"\x03\xf4service restart";
