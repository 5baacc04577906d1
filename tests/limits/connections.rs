//! Connections of clients: as many as may be open at a time.

use std::time::Duration;

use super::{behind, limited};
use crate::support::metrics::Scrape;
use crate::support::{Client, Proxy, Upstream, eventually};

/// Connections that the listener `web` has taken and not ended yet.
async fn open(proxy: &Proxy) -> f64 {
    Scrape::of(proxy).await.sum("pointsman_connections{listener=\"web\"}")
}

/// Asks, and is answered only once it is this client's turn.
fn asks(mut client: Client) -> tokio::task::JoinHandle<Client> {
    tokio::spawn(async move {
        client.get("/").await.expect(200);
        client
    })
}

#[tokio::test]
async fn a_listener_takes_so_many_connections_and_the_next_one_when_one_of_them_ends() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = behind("max_connections: 3", &blue, &green, "").await;
    let mut first = Vec::new();
    for _ in 0..3 {
        let mut client = proxy.client().await;
        client.get("/").await.expect(200);
        first.push(client);
    }
    let before = blue.requests();
    let waiting: Vec<_> = [proxy.client().await, proxy.client().await].into_iter().map(asks).collect();
    eventually("it is said in the log", || async { proxy.log().contains("as many connections are open as may be") })
        .await;
    // There is nothing to wait for: that nothing happens takes a while to see.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(waiting.iter().all(|w| !w.is_finished()) && blue.requests() == before);
    for client in &mut first {
        client.get("/").await.expect(200);
    }
    drop(first.pop());
    eventually("one of them is served", || async { waiting.iter().any(tokio::task::JoinHandle::is_finished) }).await;
    drop(first);
    for client in waiting {
        client.await.unwrap().get("/").await.expect(200);
    }
    eventually("all places are free again", || async { open(&proxy).await == 0.0 }).await;
    assert!(proxy.log().matches("as many connections").count() <= 5, "it fills the log:\n{}", proxy.log());
}

#[tokio::test]
async fn a_limit_that_is_raised_by_a_reload_lets_in_who_waits() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = behind("max_connections: 1", &blue, &green, "").await;
    let mut first = proxy.client().await;
    first.get("/").await.expect(200);
    let waiting = asks(proxy.client().await);
    eventually("it waits", || async { proxy.log().contains("as many connections are open as may be") }).await;
    proxy.rewrite(&limited("max_connections: 2", &blue, &green, ""));
    let changes = proxy.post("/api/v1/config/reload", serde_json::json!({})).await.expect(200).json();
    assert!(changes.to_string().contains("max_connections"), "{changes}");
    waiting.await.unwrap().get("/").await.expect(200);
    first.get("/").await.expect(200);
}
