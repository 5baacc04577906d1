//! The resolver: follows the names of upstreams, so that connections go where a name leads today.
//!
//! One task for each upstream that has a name; it asks again when the answer's time to live ends, and keeps the last
//! good answer while there is none. `/etc/hosts` first, then the name servers that are configured, else those of
//! `/etc/resolv.conf`, else whatever else the system asks. Files are read anew each time: they may change, too.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::prober::Target;
use crate::config::spec::Address;
use crate::routing::addresses::{Addresses, Change, kept_for};
use crate::routing::live::UpstreamLive;

/// How long a name server may take for an answer, and how often it is asked for one.
const ANSWER: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;

/// How long all servers together may take.
const LOOK_UP: Duration = Duration::from_secs(10);

/// What has no time to live of its own is looked up again after this time.
const TIMELESS: Duration = Duration::from_secs(10);

/// After a failure: ask again.
const AGAIN: Duration = Duration::from_secs(1);

/// The running tasks by the number of their upstream.
struct Followed {
    /// Owns the tasks: they are stopped with it.
    tasks: JoinSet<()>,
    running: HashMap<u64, (Arc<UpstreamLive>, AbortHandle)>,
    servers: Arc<[SocketAddr]>,
}

/// Follows the names of the targets until there will be no more of them (their sender is gone). No `servers`: the
/// system's.
pub(super) async fn run(mut targets: watch::Receiver<Arc<Vec<Target>>>, servers: Arc<[SocketAddr]>) {
    let mut followed = Followed { tasks: JoinSet::new(), running: HashMap::new(), servers };
    loop {
        let wanted = targets.borrow_and_update().clone();
        followed.reconcile(&wanted);
        tokio::select! {
            changed = targets.changed() => if changed.is_err() { return },
            // None has an end of its own: one that panicked is a fault of ours, and is started again.
            Some(Err(ended)) = followed.tasks.join_next() => if ended.is_panic() {
                tracing::error!("following a name panicked and is started again");
                followed.running.retain(|_, (_, task)| task.id() != ended.id());
                sleep(AGAIN).await;
            }
        }
    }
}

impl Followed {
    fn reconcile(&mut self, targets: &[Target]) {
        let wanted: HashMap<u64, &Arc<UpstreamLive>> = targets.iter().map(|t| (t.live.id, &t.live)).collect();
        self.running.retain(|id, (_, task)| {
            let stays = wanted.contains_key(id);
            if !stays {
                task.abort();
            }
            stays
        });
        for (id, live) in wanted {
            if live.addresses.is_some() && !self.running.contains_key(&id) {
                let task = self.tasks.spawn(follow(Arc::clone(live), Arc::clone(&self.servers)));
                self.running.insert(id, (Arc::clone(live), task));
            }
        }
    }
}

/// Follows the name of one upstream for ever.
async fn follow(live: Arc<UpstreamLive>, servers: Arc<[SocketAddr]>) {
    let (Some(addresses), Address::Tcp { host, .. }) = (&live.addresses, &live.endpoint.address) else { return };
    let mut lost = false;
    loop {
        let found = timeout(LOOK_UP, look_up(host, &servers)).await;
        let pause = match found.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
            Ok((list, ttl)) => {
                publish(&live, addresses, list, std::mem::take(&mut lost));
                kept_for(ttl)
            }
            Err(why) => {
                if !std::mem::replace(&mut lost, true) {
                    let upstream = &live.endpoint.url;
                    tracing::warn!(upstream, why, "the upstream's name cannot be resolved; the last answer goes on");
                }
                addresses.lead_nowhere();
                AGAIN
            }
        };
        sleep(pause).await;
    }
}

fn publish(live: &UpstreamLive, addresses: &Addresses, list: Vec<IpAddr>, was_lost: bool) {
    let upstream = &live.endpoint.url;
    let shown = list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match addresses.lead_to(list) {
        Change::None if was_lost => tracing::info!(upstream, "the upstream's name can be resolved again"),
        Change::None => {}
        Change::Partly => tracing::info!(upstream, addresses = shown, "the upstream's name leads here"),
        Change::Entirely => {
            tracing::warn!(
                upstream,
                addresses = shown,
                "somebody else is behind the upstream's name; asking for health"
            );
        }
    }
}

/// Where `host` leads, at least one address, and for how long that counts.
pub(super) async fn look_up(host: &str, servers: &[SocketAddr]) -> Result<(Vec<IpAddr>, Duration), String> {
    let hosts = tokio::fs::read_to_string("/etc/hosts").await.unwrap_or_default();
    let listed = in_hosts(&hosts, host);
    if !listed.is_empty() {
        return Ok((listed, TIMELESS));
    }
    match ask(host, servers).await {
        Ok(answer) => Ok(answer),
        // Some names only the system's own ways lead to (nsswitch: mDNS, the machine's own name).
        Err(error) if servers.is_empty() => match tokio::net::lookup_host((host, 0)).await {
            Ok(found) => Ok((found.map(|a| a.ip()).collect(), TIMELESS)),
            Err(_) => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// The addresses of `host` in a file like `/etc/hosts`.
fn in_hosts(text: &str, host: &str) -> Vec<IpAddr> {
    let host = host.trim_end_matches('.');
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let ip = words.next()?.parse().ok()?;
        words.any(|name| name.eq_ignore_ascii_case(host)).then_some(ip)
    });
    lines.collect()
}

async fn ask(host: &str, servers: &[SocketAddr]) -> Result<(Vec<IpAddr>, Duration), String> {
    let resolver = resolver(servers).map_err(|e| e.to_string())?;
    let found = resolver.lookup_ip(host).await.map_err(|e| e.to_string())?;
    let ttl = found.as_lookup().answers().iter().map(|record| record.ttl).min().unwrap_or_default();
    let list: Vec<IpAddr> = found.iter().collect();
    if list.is_empty() { Err("the answer has no address in it".to_owned()) } else { Ok((list, seconds(ttl))) }
}

fn seconds(ttl: u32) -> Duration {
    Duration::from_secs(ttl.into())
}

fn resolver(servers: &[SocketAddr]) -> Result<TokioResolver, NetError> {
    let mut builder = if servers.is_empty() {
        TokioResolver::builder_tokio()?
    } else {
        let servers = servers.iter().map(name_server).collect();
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let options = builder.options_mut();
    (options.timeout, options.attempts, options.cache_size) = (ANSWER, ATTEMPTS, 0);
    (options.use_hosts_file, options.ip_strategy) = (ResolveHosts::Never, LookupIpStrategy::Ipv4AndIpv6);
    builder.build()
}

fn name_server(at: &SocketAddr) -> NameServerConfig {
    let on = |mut connection: ConnectionConfig| {
        connection.port = at.port();
        connection
    };
    NameServerConfig::new(at.ip(), true, vec![on(ConnectionConfig::udp()), on(ConnectionConfig::tcp())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_file_is_read_as_the_system_reads_it() {
        let text = "# here\n127.0.0.1\tlocalhost\n::1 localhost ip6-localhost\n10.0.0.5 app.internal App # app2\nx y\n";
        let of = |host: &str| in_hosts(text, host).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(of("localhost"), ["127.0.0.1", "::1"]);
        assert_eq!(of("APP"), ["10.0.0.5"]);
        assert_eq!(of("app.internal."), ["10.0.0.5"]);
        assert_eq!((of("app2"), of("y"), of("10.0.0.5")), (vec![], vec![], vec![]));
    }
}
