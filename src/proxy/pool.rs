//! One worker's idle connections to upstreams.
//!
//! A pool belongs to an upstream's id, so a new upstream never gets an old one's connections. HTTP/1.1 connections
//! are taken out, last in first, and given back at the end of the answer; HTTP/2 connections are shared.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use hyper::client::conn::http2;
use tokio::sync::Semaphore;

use super::http1::outbound::Outbound;
use super::upload::{OutgoingBody, StopsUpload};
use super::worker::Worker;
use crate::model::fields::{Fields, Known};

/// Idle connections that a worker keeps for an upstream.
const MOST_IDLE: usize = 256;

/// A connection to an upstream, at the disposal of one request (HTTP/1.1) or of many (HTTP/2).
#[derive(Debug)]
pub(super) enum Connection {
    Http1(Box<Outbound>),
    Http2(http2::SendRequest<OutgoingBody>),
}

/// What is known about a connection on loan. An HTTP/1.1 connection goes back when the answer has ended; dropping it
/// instead closes it.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) upstream: u64,
    /// How long the upstream said that it keeps an idle connection (`Keep-Alive: timeout`), where it did.
    pub(super) keeps: Option<Duration>,
    /// The request's body is of no use any more when the answer has ended.
    pub(super) upload: Option<StopsUpload>,
}

impl Lease {
    pub(super) fn give_back(self, outbound: Box<Outbound>, worker: &Worker) {
        if outbound.is_reusable() {
            worker.pools.put(self.upstream, outbound, self.keeps, worker.now());
        }
    }
}

#[derive(Debug)]
struct Idle {
    outbound: Box<Outbound>,
    /// The worker's second in which it was given back.
    since: u64,
    /// The upstream closes it after so many idle seconds.
    keeps: Option<u64>,
}

#[derive(Debug, Default)]
struct Pool {
    idle: Vec<Idle>,
    shared: Vec<http2::SendRequest<OutgoingBody>>,
    /// One at a time opens an HTTP/2 connection; the others wait for it and share it.
    opening: Option<Rc<Semaphore>>,
    /// ALPN has agreed on HTTP/1.1 the last time: there is nothing to share, so nobody waits.
    known_as_http1: bool,
}

/// All pools of a worker.
#[derive(Debug, Default)]
pub(super) struct Pools(RefCell<HashMap<u64, Pool, foldhash::fast::RandomState>>);

impl Pools {
    /// An open connection, where there is one.
    pub(super) fn take(&self, upstream: u64, now: u64) -> Option<Connection> {
        let mut pools = self.0.borrow_mut();
        let pool = pools.get_mut(&upstream)?;
        pool.shared.retain(|s| !s.is_closed());
        if let Some(sender) = pool.shared.first() {
            return Some(Connection::Http2(sender.clone()));
        }
        while let Some(mut idle) = pool.idle.pop() {
            let expired = idle.keeps.is_some_and(|keeps| now - idle.since + 1 >= keeps);
            if !expired && idle.outbound.is_alive() {
                return Some(Connection::Http1(idle.outbound));
            }
        }
        None
    }

    fn put(&self, upstream: u64, outbound: Box<Outbound>, keeps: Option<Duration>, now: u64) {
        let mut pools = self.0.borrow_mut();
        let pool = pools.entry(upstream).or_default();
        if pool.idle.len() < MOST_IDLE {
            pool.idle.push(Idle { outbound, since: now, keeps: keeps.map(|k| k.as_secs()) });
        }
    }

    /// Shares a new HTTP/2 connection, and remembers what the upstream speaks.
    pub(super) fn opened(&self, upstream: u64, connection: &Connection) {
        let mut pools = self.0.borrow_mut();
        let pool = pools.entry(upstream).or_default();
        match connection {
            Connection::Http1(_) => pool.known_as_http1 = true,
            Connection::Http2(sender) => pool.shared.push(sender.clone()),
        }
    }

    /// Whether the upstream chose HTTP/1.1 the last time it was asked.
    pub(super) fn is_known_as_http1(&self, upstream: u64) -> bool {
        self.0.borrow().get(&upstream).is_some_and(|p| p.known_as_http1)
    }

    /// The turn to open a connection that others will share.
    pub(super) fn opening(&self, upstream: u64) -> Rc<Semaphore> {
        let mut pools = self.0.borrow_mut();
        let turn = pools.entry(upstream).or_default().opening.get_or_insert_with(|| Rc::new(Semaphore::new(1)));
        Rc::clone(turn)
    }

    /// Closes what nobody should use: every connection of an upstream for which `keep` does not hold, and HTTP/1.1
    /// connections that have been idle for longer than `keep` says, in seconds.
    pub(super) fn prune(&self, now: u64, keep: impl Fn(u64) -> Option<u64>) {
        self.0.borrow_mut().retain(|upstream, pool| {
            let Some(idle) = keep(*upstream) else { return false };
            pool.idle.retain_mut(|c| now - c.since < idle && c.outbound.is_alive());
            pool.idle.iter_mut().filter(|c| now - c.since > 1).for_each(|c| c.outbound.shrink());
            pool.shared.retain(|s| !s.is_closed());
            true
        });
    }
}

/// `Keep-Alive: timeout=5`: for how long the upstream keeps an idle connection.
pub(super) fn keeps(fields: &Fields) -> Option<Duration> {
    let value = std::str::from_utf8(fields.get(Known::KeepAlive)?).ok()?;
    let seconds = value.split(',').find_map(|p| p.trim().strip_prefix("timeout="))?;
    seconds.parse().ok().map(Duration::from_secs)
}
