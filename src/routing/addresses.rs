//! Where an upstream's name leads, as of the resolver's last good answer, and connections to there.
//!
//! Written by the resolver of the control plane; read by workers and the prober whenever they connect, so that nobody
//! who connects has to wait for a name server, but for the very first answer. An upstream that is configured by its IP
//! address has none of this.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::live::UpstreamLive;

/// Where a name leads.
#[derive(Debug)]
pub struct Addresses {
    known: watch::Sender<Known>,
    /// How often an address has gone.
    removals: AtomicU64,
}

/// What is known of a name.
#[derive(Clone, Debug, Default)]
struct Known {
    /// The last good answer: IPv4 ahead of IPv6, each address once. Empty: there was none so far.
    list: Arc<[IpAddr]>,
    /// Whether the resolver has come to a result, good or not.
    asked: bool,
    /// How often not one address stayed.
    moves: u64,
}

/// What a new answer changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// Some addresses have come or gone.
    Partly,
    /// Not one of the addresses from before is there any more: somebody else is behind the name.
    Entirely,
}

/// Tells when somebody else is behind a name.
#[derive(Debug)]
pub struct Moves {
    known: watch::Receiver<Known>,
    seen: u64,
}

impl Default for Addresses {
    fn default() -> Self {
        Self { known: watch::channel(Known::default()).0, removals: AtomicU64::new(0) }
    }
}

impl Addresses {
    /// The resolver has found these addresses, at least one. Only the resolver calls this.
    pub fn lead_to(&self, mut found: Vec<IpAddr>) -> Change {
        found.sort();
        found.dedup();
        let before = self.known.borrow().list.clone();
        let stay = before.iter().filter(|ip| found.contains(ip)).count();
        let change = match (stay == before.len(), before.len() == found.len()) {
            _ if stay == 0 && !before.is_empty() => Change::Entirely,
            (true, true) => Change::None,
            _ => Change::Partly,
        };
        if change != Change::None || before.is_empty() {
            self.known.send_modify(|known| {
                let moves = known.moves + u64::from(change == Change::Entirely);
                *known = Known { list: found.into(), asked: true, moves };
            });
        }
        if stay < before.len() {
            // Behind the new list: who reads the new key first and the list then cannot see an address that has gone.
            self.removals.fetch_add(1, Ordering::Release);
        }
        change
    }

    /// The resolver has found nothing. What was found before goes on to count. Only the resolver calls this.
    pub fn lead_nowhere(&self) {
        self.known.send_if_modified(|known| !std::mem::replace(&mut known.asked, true));
    }

    /// How often an address has gone.
    fn removals(&self) -> u64 {
        self.removals.load(Ordering::Acquire)
    }

    /// Where it leads; waits for the first answer. Empty where there was none. The caller bounds the wait.
    async fn known(&self) -> Arc<[IpAddr]> {
        let mut changes = self.known.subscribe();
        // The sender lives as long as this does.
        changes.wait_for(|known| known.asked).await.map(|known| known.list.clone()).unwrap_or_default()
    }

    /// From here on.
    #[must_use]
    pub fn moves(&self) -> Moves {
        let known = self.known.subscribe();
        let seen = known.borrow().moves;
        Moves { known, seen }
    }
}

impl Moves {
    /// Resolves when not one of the addresses of the last time is there any more.
    pub async fn next(&mut self) {
        let seen = self.seen;
        let moves = self.known.wait_for(|known| known.moves > seen).await.map(|known| known.moves);
        match moves {
            Ok(moves) => self.seen = moves,
            // The name is not followed any more.
            Err(_) => std::future::pending().await,
        }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name leads nowhere.
    #[error("its name cannot be resolved")]
    NoName,
    /// Nobody answered in time.
    #[error("no connection in time")]
    TimedOut,
    /// What the system said of the last address that was tried.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl DialError {
    /// Whether it is us who have no descriptor left for a connection: it says nothing about the upstream.
    #[must_use]
    pub fn is_our_own(&self) -> bool {
        matches!(self, Self::Io(e) if is_out_of_descriptors(e))
    }
}

/// Whether this process, or the machine, has no descriptor left.
#[must_use]
pub fn is_out_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE].iter().any(|e| error.raw_os_error() == Some(e.raw_os_error()))
}

/// A connection to `live` at `host` and `port`, until `deadline`. Where a name leads to several addresses, they are
/// taken in turn, and the next one is tried when one fails; each gets its part of the time.
///
/// # Errors
/// Why the last one failed.
pub async fn dial(live: &UpstreamLive, host: &str, port: u16, deadline: Instant) -> Result<TcpStream, DialError> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return one(ip, port, deadline).await;
    }
    let known = live.addresses.as_ref().ok_or(DialError::NoName)?.known();
    let list = timeout_at(deadline, known).await.map_err(|_| DialError::TimedOut)?;
    dial_one_of(&list, port, deadline).await
}

/// A connection to one of these addresses, as [`dial`] makes it.
///
/// # Errors
/// Why the last one failed.
pub async fn dial_one_of(list: &[IpAddr], port: u16, deadline: Instant) -> Result<TcpStream, DialError> {
    let mut failed = DialError::NoName;
    for (i, ip) in in_turn(list, fastrand::usize(..)).enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(list.len() - i).unwrap_or(1);
        match one(ip, port, Instant::now() + share).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

async fn one(ip: IpAddr, port: u16, deadline: Instant) -> Result<TcpStream, DialError> {
    let stream = timeout_at(deadline, TcpStream::connect((ip, port))).await.map_err(|_| DialError::TimedOut)??;
    // Failing to set it costs latency, not correctness.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// All of the list, IPv4 ahead of IPv6, both beginning somewhere else for every `turn`.
fn in_turn(list: &[IpAddr], turn: usize) -> impl Iterator<Item = IpAddr> {
    let (v4, v6) = list.split_at(list.partition_point(IpAddr::is_ipv4));
    let from = move |part: &'_ [IpAddr]| turn.checked_rem(part.len()).unwrap_or(0);
    let rotated = |part: &[IpAddr], from: usize| [&part[from..], &part[..from]].concat();
    rotated(v4, from(v4)).into_iter().chain(rotated(v6, from(v6)))
}

impl UpstreamLive {
    /// Key of the workers' pools: another one after an address has gone, so that no request goes there over a
    /// connection that was left over. Read it before [`dial`], and keep it with the connection.
    #[must_use]
    pub fn pool(&self) -> u64 {
        self.addresses.as_ref().map_or(self.id, |a| self.id | (a.removals() << 40))
    }
}

/// How long an answer counts: its time to live within bounds, so that a name server neither is asked all the time nor
/// keeps us at a wrong address for ever.
#[must_use]
pub fn kept_for(ttl: Duration) -> Duration {
    ttl.clamp(Duration::from_secs(1), Duration::from_secs(300))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    #[tokio::test]
    async fn it_is_known_what_came_what_went_and_when_somebody_else_is_there() {
        let addresses = Addresses::default();
        let mut moves = addresses.moves();
        for (found, change, removals) in [
            (&["10.0.0.1", "10.0.0.2"][..], Change::Partly, 0),
            (&["10.0.0.2", "10.0.0.1", "10.0.0.1"], Change::None, 0),
            (&["10.0.0.2", "10.0.0.1", "10.0.0.3"], Change::Partly, 0),
            (&["10.0.0.3", "::1"], Change::Partly, 1),
            (&["10.0.0.4"], Change::Entirely, 2),
            (&["10.0.0.4"], Change::None, 2),
        ] {
            assert_eq!((addresses.lead_to(ips(found)), addresses.removals()), (change, removals), "{found:?}");
        }
        moves.next().await;
        addresses.lead_nowhere();
        assert_eq!(addresses.known().await[..], ips(&["10.0.0.4"]), "the last good answer goes on to count");
        assert!(tokio::time::timeout(Duration::ZERO, moves.next()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn who_connects_waits_for_the_first_answer_and_a_bad_one_is_one() {
        let addresses = Addresses::default();
        assert!(tokio::time::timeout(Duration::from_secs(5), addresses.known()).await.is_err());
        addresses.lead_nowhere();
        assert!(addresses.known().await.is_empty());
        addresses.lead_to(ips(&["10.0.0.1"]));
        assert_eq!(addresses.known().await.len(), 1);
    }

    #[test]
    fn addresses_are_taken_in_turn_and_the_old_family_comes_first() {
        let list = ips(&["10.0.0.1", "10.0.0.2", "::1", "::2"]);
        let at = |turn| in_turn(&list, turn).collect::<Vec<_>>();
        assert_eq!(at(0), list);
        assert_eq!(at(1), ips(&["10.0.0.2", "10.0.0.1", "::2", "::1"]));
        assert_eq!(at(2), list);
        assert_eq!((in_turn(&[], 7).count(), in_turn(&list[..1], 7).count()), (0, 1));
        assert_eq!((kept_for(Duration::ZERO).as_secs(), kept_for(Duration::MAX).as_secs()), (1, 300));
    }
}
