//! Idle connections: closed by the upstream whenever it likes, and by the proxy as soon as nobody should use them.

use std::time::Duration;

use super::{config, quoted};
use crate::support::client::H2Client;
use crate::support::peers::Nginx;
use crate::support::proxy::WEB;
use crate::support::{Proxy, Upstream, eventually};

/// Requests from several clients, with pauses around the moment at which idle connections are closed.
async fn hammer(proxy: &Proxy) {
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..8_u64 {
        let mut connection = proxy.client().await;
        clients.spawn(async move {
            for n in 0..100_u64 {
                let answer = connection.get("/").await;
                assert_eq!(answer.status, 200, "client {client}, request {n}: {:?}", answer.fields);
                tokio::time::sleep(Duration::from_micros((client * 37 + n * 101) % 12_000)).await;
            }
        });
    }
    clients.join_all().await;
}

#[tokio::test]
async fn no_request_is_lost_when_the_upstream_closes_idle_connections_under_load() {
    let blue = Upstream::start("blue");
    blue.close_idle_after(Duration::from_millis(5));
    let proxy = Proxy::start(&config(&[("blue", &[quoted(&blue.url())])], &[])).await;
    hammer(&proxy).await;
    assert!(blue.connections() > 50, "{} connections: they were not closed often enough", blue.connections());
}

#[tokio::test]
async fn no_request_is_lost_when_the_upstream_closes_used_up_connections_without_a_word() {
    let blue = Upstream::start("blue");
    blue.close_after_requests(3);
    let proxy = Proxy::start(&config(&[("blue", &[quoted(&blue.url())])], &[])).await;
    hammer(&proxy).await;
    assert!(blue.connections() > 200, "{} connections", blue.connections());
}

#[tokio::test]
async fn no_request_is_lost_when_nginx_closes_idle_and_used_up_connections() {
    let server = "keepalive_requests 7; keepalive_timeout 8ms; location / { return 200 ok; }";
    let nginx = Nginx::start(server).await;
    let proxy = Proxy::start(&config(&[("blue", &[quoted(&nginx.url())])], &[])).await;
    hammer(&proxy).await;
}

async fn open_some(proxy: &Proxy, upstream: &Upstream) {
    let h2 = H2Client::connect(proxy.address(WEB)).await;
    tokio::join!(h2.get("/"), h2.get("/"), h2.get("/"), h2.get("/"));
    assert!(upstream.open_connections() >= 2, "nothing is kept open");
}

#[tokio::test]
async fn idle_connections_to_an_upstream_that_became_unhealthy_are_closed() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = Proxy::blue_green(&blue, &green, "").await;
    open_some(&proxy, &blue).await;
    let used: Vec<_> = blue.arrivals().iter().map(|a| a.connection).collect();
    blue.healthy(false);
    proxy.health_is("shop", "blue", "unhealthy").await;
    eventually("only probes are left", || async { blue.open_connections() == 0 }).await;
    blue.healthy(true);
    proxy.health_is("shop", "blue", "healthy").await;
    proxy.client().await.get("/").await.expect(200);
    let fresh = blue.arrivals().last().unwrap().connection;
    assert!(!used.contains(&fresh));
}

#[tokio::test]
async fn idle_connections_to_an_upstream_that_was_removed_are_closed_and_others_stay() {
    let (first, second) = (Upstream::start("blue"), Upstream::start("blue"));
    let both = [quoted(&first.url()), quoted(&second.url())];
    let extra = ["balance: round_robin"];
    let proxy = Proxy::start(&config(&[("blue", &both)], &extra)).await;
    let h2 = H2Client::connect(proxy.address(WEB)).await;
    tokio::join!(h2.get("/"), h2.get("/"), h2.get("/"), h2.get("/"));
    assert!(first.open_connections() > 0 && second.open_connections() > 0);
    let stays = first.open_connections();
    proxy.rewrite(&config(&[("blue", &both[..1])], &extra));
    proxy.post("/api/v1/config/reload", serde_json::json!({})).await;
    eventually("the removed one is left alone", || async { second.open_connections() == 0 }).await;
    assert_eq!(first.open_connections(), stays);
    let connections = first.connections();
    h2.get("/").await.expect(200);
    assert_eq!(first.connections(), connections, "the pool of the one that stays was thrown away");
}
