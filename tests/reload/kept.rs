//! What is unchanged in a new file is not touched: connections, tunnels, requests under way.

use std::time::Duration;

use super::{exposed, reload};
use crate::support::proxy::blue_green;
use crate::support::{Answer, Client, Proxy, Upstream, eventually};

/// A tunnel to the live group, by way of `/tunnel`.
pub(super) async fn tunnel(proxy: &Proxy) -> Client {
    let mut client = proxy.client().await;
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    let fields = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-key", key),
        ("sec-websocket-version", "13"),
    ];
    client.get_with("/tunnel", &fields).await.expect(101);
    client
}

/// Panics unless the tunnel still carries bytes there and back.
pub(super) async fn echoes(tunnel: &mut Client, round: usize) {
    let sent = format!("\u{1}\u{5}round {round:03}");
    tunnel.send(sent.as_bytes()).await.unwrap();
    assert_eq!(tunnel.receive_exactly(sent.len()).await.unwrap(), sent.as_bytes(), "round {round}");
}

#[tokio::test]
async fn connections_to_unchanged_upstreams_and_their_tunnels_outlive_reloads() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    blue.script(|head| if head.path() == "/tunnel" { Answer::Upgrade } else { Answer::Mirror });
    let once = "health: { kind: http, path: /health, interval: 1h }";
    let proxy = Proxy::blue_green(&blue, &green, once).await;
    let mut tunnel = tunnel(&proxy).await;
    let mut client = proxy.client().await;
    let connection = client.get("/").await.expect(200).json()["connection"].clone();
    for round in 0..5 {
        let config = exposed(&blue, &green, &format!("x-round-{round}"));
        let config = config.replace("interval: 100ms, timeout: 1s", "interval: 1h");
        reload(&proxy, &config).await;
        let answer = client.get("/").await.expect(200);
        assert_eq!(answer.header(&format!("x-round-{round}")), Some("blue"), "the new file does not count");
        assert_eq!(answer.json()["connection"], connection, "the pool was thrown away");
        echoes(&mut tunnel, round).await;
    }
    assert_eq!(proxy.service("shop").await["groups"]["blue"]["tunnels"], 1);
}

#[tokio::test]
async fn a_request_under_way_finishes_though_its_upstream_is_removed_and_idle_connections_there_are_closed() {
    let (blue, green, other) = (Upstream::start("blue"), Upstream::start("green"), Upstream::start("blue"));
    let once = "health: { kind: http, path: /health, interval: 1h }";
    let proxy = Proxy::blue_green(&blue, &green, once).await;
    let mut idle = proxy.client().await;
    let mut waiting = proxy.client().await;
    blue.script(|head| match head.path() {
        "/slow" => Answer::Later(Duration::from_millis(800), Box::new(Answer::text("slow"))),
        _ => Answer::text("fast"),
    });
    // Two at once, so that a connection is left over in the pool.
    waiting.send(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    eventually("the slow one has arrived", || async { blue.requests() == 1 }).await;
    idle.get("/").await.expect(200);
    reload(&proxy, &blue_green(&other, &green, once)).await;
    assert_eq!(idle.get("/").await.expect(200).text(), "blue", "the new upstream answers");
    assert_eq!(other.requests(), 1);
    eventually("only the busy connection is left", || async { blue.open_connections() <= 1 }).await;
    assert_eq!(waiting.response_to("GET").await.unwrap().expect(200).text(), "slow");
    eventually("it is not pooled again", || async { blue.open_connections() == 0 }).await;
    assert_eq!(waiting.get("/").await.expect(200).text(), "blue", "the client's connection goes on");
}

#[tokio::test]
async fn figures_go_on_over_a_reload() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = Proxy::blue_green(&blue, &green, "").await;
    let mut client = proxy.client().await;
    let total = || async { crate::support::metrics::Scrape::of(&proxy).await.sum("pointsman_requests_total{") };
    for _ in 0..3 {
        client.get("/").await.expect(200);
    }
    eventually("three are counted", || async { total().await >= 3.0 }).await;
    reload(&proxy, &exposed(&blue, &green, "x-served-by")).await;
    client.get("/").await.expect(200);
    eventually("the fourth is counted on top", || async { total().await >= 4.0 }).await;
    assert!(total().await <= 4.0);
}
