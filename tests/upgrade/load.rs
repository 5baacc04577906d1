//! Clients of every kind that ask without a pause while processes come and go.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::task::JoinSet;

use super::{pid, upgraded};
use crate::support::client::H2Client;
use crate::support::{Client, Proxy, Upstream, eventually};

#[derive(Default)]
struct Tally {
    stop: AtomicBool,
    answered: AtomicUsize,
}

impl Tally {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Acquire)
    }

    fn count(&self) {
        self.answered.fetch_add(1, Ordering::AcqRel);
    }

    fn answered(&self) -> usize {
        self.answered.load(Ordering::Acquire)
    }
}

/// One connection for as long as the proxy keeps it; a new one after `Connection: close`.
async fn keep_alive(address: SocketAddr, tally: Arc<Tally>) -> Vec<String> {
    let mut failures = Vec::new();
    let mut client = Client::connect(address).await;
    while tally.goes_on() {
        match client.try_request("GET", "/", &[], None).await {
            Ok(answer) if answer.status == 200 => {
                tally.count();
                if answer.fields.lists("connection", "close") {
                    client = Client::connect(address).await;
                }
            }
            Ok(answer) => failures.push(format!("keep-alive: {} {}", answer.status, answer.text())),
            Err(error) => {
                failures.push(format!("keep-alive: {error}"));
                client = Client::connect(address).await;
            }
        }
    }
    failures
}

/// A connection for each request.
async fn one_by_one(address: SocketAddr, tally: Arc<Tally>) -> Vec<String> {
    let mut failures = Vec::new();
    while tally.goes_on() {
        let asked = async {
            let mut client = Client::try_connect(address).await?;
            client.try_request("GET", "/", &[("connection", "close")], None).await
        };
        match asked.await {
            Ok(answer) if answer.status == 200 => tally.count(),
            Ok(answer) => failures.push(format!("one by one: {} {}", answer.status, answer.text())),
            Err(error) => failures.push(format!("one by one: {error}")),
        }
    }
    failures
}

/// HTTP/2: a new connection where the old one takes no more, as it has said.
async fn http2(address: SocketAddr, tally: Arc<Tally>) -> Vec<String> {
    let mut failures = Vec::new();
    let mut client = H2Client::connect(address).await;
    while tally.goes_on() {
        if client.sender.ready().await.is_err() {
            client = H2Client::connect(address).await;
        }
        match client.request("GET", "/", &[], b"").await {
            Ok(answer) if answer.status == 200 => tally.count(),
            Ok(answer) => failures.push(format!("http/2: {} {}", answer.status, answer.text())),
            // It has learned of the GOAWAY after it was ready: nothing was sent.
            Err(error) if error.is_canceled() => client = H2Client::connect(address).await,
            Err(error) => failures.push(format!("http/2: {error:?}")),
        }
    }
    failures
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upgrades_under_steady_load_fail_no_request_of_any_kind_of_client() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let mut proxy = Proxy::blue_green(&blue, &green, "").await;
    let (address, tally) = (proxy.address("web"), Arc::new(Tally::default()));
    let mut clients = JoinSet::new();
    for _ in 0..3 {
        clients.spawn(keep_alive(address, Arc::clone(&tally)));
        clients.spawn(http2(address, Arc::clone(&tally)));
    }
    for _ in 0..2 {
        clients.spawn(one_by_one(address, Arc::clone(&tally)));
    }
    let goes_on = |more: usize| {
        let (tally, enough) = (Arc::clone(&tally), tally.answered() + more);
        eventually("the load goes on", move || {
            let answered = tally.answered();
            async move { if answered >= enough { Ok(()) } else { Err(format!("{answered} of {enough}")) } }
        })
    };
    let mut pids = vec![proxy.pid()];
    for _ in 0..4 {
        goes_on(200).await;
        upgraded(&proxy).await;
        assert_eq!(pid(&proxy).await, proxy.pid());
        assert!(!pids.contains(&proxy.pid()), "{pids:?}");
        pids.push(proxy.pid());
        goes_on(200).await;
        eventually("the ones before have left", || async { proxy.processes() == [proxy.pid()] }).await;
    }
    goes_on(200).await;
    tally.stop.store(true, Ordering::Release);
    let mut failures = Vec::new();
    while let Some(some) = clients.join_next().await {
        failures.extend(some.unwrap());
    }
    assert!(
        failures.is_empty(),
        "{} of {} failed: {:?}",
        failures.len(),
        tally.answered(),
        &failures[..failures.len().min(5)]
    );
    assert_eq!(proxy.ended().await.code(), Some(0));
}
