//! Clients of every kind that ask without a pause while processes come and go.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::task::JoinSet;

use super::{pid, upgraded};
use crate::support::client::H2Client;
use crate::support::{Client, Proxy, Upstream, eventually};

#[derive(Default)]
struct Tally {
    stop: AtomicBool,
    answered: AtomicUsize,
    unsent: Mutex<Vec<String>>,
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

/// Whether the client had been told that the connection takes no more, and has not sent the request at all. Whether
/// that is true is looked up at the upstream.
fn is_unsent(error: &hyper::Error) -> bool {
    let h2 = std::error::Error::source(error).and_then(|e| e.downcast_ref::<h2::Error>());
    error.is_canceled() || h2.is_some_and(|e| e.is_go_away() && e.reason() == Some(h2::Reason::NO_ERROR))
}

/// HTTP/2: a new connection where the old one takes no more, as it has said.
async fn http2(address: SocketAddr, tally: Arc<Tally>, name: usize) -> Vec<String> {
    let mut failures = Vec::new();
    let mut client = H2Client::connect(address).await;
    for number in 0.. {
        if !tally.goes_on() {
            break;
        }
        if client.sender.ready().await.is_err() {
            client = H2Client::connect(address).await;
        }
        let path = format!("/{name}-{number}");
        match client.request("GET", &path, &[], b"").await {
            Ok(answer) if answer.status == 200 => tally.count(),
            Ok(answer) => failures.push(format!("http/2: {} {}", answer.status, answer.text())),
            Err(error) if is_unsent(&error) => {
                tally.unsent.lock().unwrap().push(path);
                client = H2Client::connect(address).await;
            }
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
    for name in 0..3 {
        clients.spawn(keep_alive(address, Arc::clone(&tally)));
        clients.spawn(http2(address, Arc::clone(&tally), name));
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
    let arrived: BTreeSet<_> = blue.arrivals().iter().map(|arrival| arrival.head.path().to_owned()).collect();
    let lost: Vec<_> = tally.unsent.lock().unwrap().iter().filter(|path| arrived.contains(*path)).cloned().collect();
    assert!(lost.is_empty() && arrived.len() > 100, "sent and not answered: {lost:?}");
    assert_eq!(proxy.ended().await.code(), Some(0));
}
