//! Switches under load: nobody reaches the old group once it is idle, and nobody is hurt.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;

use super::other;
use crate::support::client::H2Client;
use crate::support::{Client, Proxy, Upstream, eventually};

/// Clients that ask without a pause until told to stop; each gives the number of its answers. Anything but 200 panics.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: JoinSet<()>,
}

impl Load {
    async fn start(proxy: &Proxy, http1: usize, http2: usize) -> Self {
        let mut load = Self { stop: Arc::default(), answered: Arc::default(), clients: JoinSet::new() };
        let address = proxy.address("web");
        for _ in 0..http1 {
            let (stop, answered, mut client) = load.parts(Client::connect(address).await);
            load.clients.spawn(async move {
                while !stop.load(Ordering::Acquire) {
                    client.get("/").await.expect(200);
                    answered.fetch_add(1, Ordering::AcqRel);
                }
            });
        }
        for _ in 0..http2 {
            let (stop, answered, client) = load.parts(H2Client::connect(address).await);
            load.clients.spawn(async move {
                while !stop.load(Ordering::Acquire) {
                    let (a, b) = tokio::join!(client.get("/"), client.get("/"));
                    a.expect(200);
                    b.expect(200);
                    answered.fetch_add(2, Ordering::AcqRel);
                }
            });
        }
        load
    }

    fn parts<C>(&self, client: C) -> (Arc<AtomicBool>, Arc<AtomicUsize>, C) {
        (Arc::clone(&self.stop), Arc::clone(&self.answered), client)
    }

    fn answered(&self) -> usize {
        self.answered.load(Ordering::Acquire)
    }

    /// Panics where a client has; gives the number of all answers.
    async fn stop(mut self) -> usize {
        self.stop.store(true, Ordering::Release);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
        self.answered()
    }
}

/// An admin connection that is kept, so that a look costs little.
struct Admin(Client);

impl Admin {
    async fn connect(proxy: &Proxy) -> Self {
        Self(Client::connect(proxy.address("admin")).await)
    }

    async fn switch(&mut self, to: &str) {
        let body = json!({ "to": to }).to_string();
        self.0.post("/api/v1/services/shop/switch", body.as_bytes()).await.expect(200);
    }

    async fn in_flight(&mut self, group: &str) -> u64 {
        let service = self.0.get("/api/v1/services/shop").await.expect(200).json();
        service["groups"][group]["in_flight"].as_u64().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn once_the_old_group_was_seen_idle_after_the_answer_its_own_log_is_silent() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = Proxy::blue_green(&blue, &green, "").await;
    let load = Load::start(&proxy, 6, 2).await;
    let mut admin = Admin::connect(&proxy).await;
    let mut to = "green";
    let mut silent = Vec::new();
    for _ in 0..150 {
        let next = tokio::time::Instant::now() + Duration::from_millis(5);
        admin.switch(to).await;
        let old = other(to);
        let mut looks = 0;
        while admin.in_flight(old).await > 0 {
            looks += 1;
            assert!(looks < 10_000, "{old} is never idle");
        }
        let from = Instant::now();
        // The pace of the promise: a switch every 5 ms.
        tokio::time::sleep_until(next).await;
        silent.push((old, from, Instant::now()));
        to = old;
    }
    let answered = load.stop().await;
    assert!(answered > 300, "{answered} requests are no load");
    let (blue, green) = (blue.arrivals(), green.arrivals());
    assert!(blue.len() > 100 && green.len() > 100, "{} and {}", blue.len(), green.len());
    for (round, (group, from, until)) in silent.into_iter().enumerate() {
        let log = if group == "blue" { &blue } else { &green };
        let late = log.iter().filter(|arrival| arrival.at > from && arrival.at < until).count();
        assert_eq!(late, 0, "round {round}: {late} requests reached {group} after it was idle");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_50_000_requests_during_switches_none_fails_while_upstreams_close_idle_connections() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    for upstream in [&blue, &green] {
        // Shorter than most pauses, so that the proxy often writes onto a connection that is just being closed.
        upstream.close_idle_after(Duration::from_millis(2));
    }
    let proxy = Proxy::blue_green(&blue, &green, "").await;
    let mut load = Load::start(&proxy, 12, 2).await;
    let mut admin = Admin::connect(&proxy).await;
    let started = Instant::now();
    let mut to = "green";
    let mut switches = 0;
    while load.answered() < 50_000 {
        assert!(load.clients.try_join_next().is_none(), "a client has ended before its time");
        assert!(started.elapsed() < Duration::from_secs(90), "{} answers only", load.answered());
        admin.switch(to).await;
        to = other(to);
        switches += 1;
        // A pace: often enough to meet requests at every stage, seldom enough for connections to become idle.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let answered = load.stop().await;
    assert!(answered >= 50_000 && switches >= 50, "{answered} answers, {switches} switches");
    let reopened = blue.connections() + green.connections();
    assert!(reopened > 100, "{reopened} connections only: the upstreams closed none");
    // Some requests were written onto connections that were just being closed: without them nothing was proved.
    let metrics = proxy.get("/metrics").await.text();
    let retries = metrics.lines().filter_map(|line| line.strip_prefix("pointsman_retries_total{")?.split(' ').nth(1));
    let retries: u64 = retries.map(|count| count.parse::<u64>().unwrap()).sum();
    assert!(retries >= 5, "{retries} retries");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_operators_at_once_leave_one_of_their_answers_in_force() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = Proxy::blue_green(&blue, &green, "").await;
    let mut operators = JoinSet::new();
    for operator in 0..8 {
        let address = proxy.address("admin");
        operators.spawn(async move {
            let mut client = Client::connect(address).await;
            let mut receipts = Vec::new();
            for round in 0..10 {
                let to = if (operator + round) % 2 == 0 { "blue" } else { "green" };
                let body = json!({ "to": to }).to_string();
                let receipt = client.post("/api/v1/services/shop/switch", body.as_bytes()).await.expect(200).json();
                assert_eq!(receipt["split"][to], 100);
                receipts.push(receipt);
            }
            receipts
        });
    }
    let receipts: Vec<_> = operators.join_all().await.into_iter().flatten().collect();
    let service = proxy.service("shop").await;
    let mut versions: Vec<_> =
        receipts.iter().filter(|r| r["changed"] == true).map(|r| r["version"].as_u64().unwrap()).collect();
    versions.sort_unstable();
    assert_eq!(versions, (2..2 + versions.len() as u64).collect::<Vec<_>>(), "each change has a version of its own");
    let last = receipts.iter().find(|r| r["changed"] == true && r["version"] == service["version"]).unwrap();
    assert_eq!(last["split"], service["split"]);
    eventually("the traffic follows", || async {
        proxy.client().await.get("/").await.group() == service["live"].as_str()
    })
    .await;
}
