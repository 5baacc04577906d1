//! Tunnels that have to end are told so, in the words of WebSocket; and only they.

use std::time::Duration;

use serde_json::Value;

use super::lasting::{reload, upgrading};
use super::peers::server;
use super::{echoes, tunnel, tunnels_are};
use crate::support::metrics::Scrape;
use crate::support::peers::Peer;
use crate::support::proxy::{Signal, WEB, blue_green};
use crate::support::{Proxy, eventually};

/// A stop of the process takes its time before it closes tunnels.
const UNTIL_TOLD: Duration = Duration::from_secs(60);

fn config(blue: &str, green: &str, drain: &str) -> String {
    format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:@web@\" }} }}
services:
  shop:
    groups: {{ blue: {{ upstreams: [\"{blue}\"] }}, green: {{ upstreams: [\"{green}\"] }} }}
    health: {{ kind: http, path: /health, interval: 100ms }}
    drain: {drain}
routes: [ {{ match: {{ path: / }}, service: shop }} ]
"
    )
}

/// Clients of other makers that talk without end: plain, with compression, over HTTP/2 plain and with compression.
fn clients(proxy: &Proxy) -> Vec<Peer> {
    let address = proxy.address(WEB).to_string();
    let url = format!("ws://{address}/");
    let hold = ["--messages", "3", "--hold", "100", "--hold-every"];
    let http1 = [&[url.as_str()], &hold[..], &["0", "--stream"]].concat();
    let http2 = [&[address.as_str()], &hold[..], &["0.001"]].concat();
    let one = |script, arguments: &[&str], further: &[&str]| {
        let (peer, ready) = Peer::python(script, &[arguments, further].concat());
        assert_eq!(ready["ready"], true, "{ready}");
        peer
    };
    vec![
        one("ws_client.py", &http1, &["--plain"]),
        one("ws_client.py", &http1, &[]),
        one("h2_ws_client.py", &http2, &[]),
        one("h2_ws_client.py", &http2, &["--deflate"]),
    ]
}

/// Each client and, as often, the server heard the same, with no corrupt frame before it.
fn were_told(clients: &[Peer], server: &Peer, code: u16) {
    for client in clients {
        let told = client.line_within(UNTIL_TOLD);
        assert_eq!((&told["closed"], &told["reason"]), (&code.into(), &"service restart".into()), "{told}");
        assert_eq!(told["error"], Value::Null, "{told}");
        assert!(told["echoed"].as_u64() >= Some(3), "{told}");
    }
    for _ in clients {
        let told = server.line();
        assert_eq!((&told["closed"], &told["reason"]), (&code.into(), &"service restart".into()), "{told}");
    }
}

async fn ended(proxy: &Proxy, end: &str) -> u64 {
    let name = format!("pointsman_tunnels_ended_total{{service=\"shop\",group=\"blue\",end=\"{end}\"}}");
    Scrape::of(proxy).await.value(&name).unwrap() as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn when_its_upstream_is_removed_a_websocket_hears_so_on_both_sides_between_two_messages() {
    let ((blue, blue_url), (_green, green_url)) = (server("blue"), server("green"));
    let (_other, other_url) = server("blue");
    let drain = "{ timeout: 1s, tunnels: { close_code: 4001, spread: 1s } }";
    let proxy = Proxy::start(&config(&blue_url, &green_url, drain)).await;
    let clients = clients(&proxy);
    tunnels_are(&proxy, "blue", 4).await;
    // What the new file says about drains is for those that are removed later.
    reload(&proxy, &config(&other_url, &green_url, "{ timeout: 10m }")).await;
    were_told(&clients, &blue, 4001);
    tunnels_are(&proxy, "blue", 0).await;
    assert_eq!((ended(&proxy, "told").await, ended(&proxy, "cut").await, ended(&proxy, "closed").await), (4, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_comes_back_in_time_keeps_its_tunnels() {
    let (blue, other, green) = (upgrading("blue"), upgrading("blue"), upgrading("green"));
    let drain = "drain: { timeout: 3s, tunnels: { spread: 0s } }";
    let proxy = Proxy::blue_green(&blue, &green, drain).await;
    let mut first = tunnel(&proxy).await;
    reload(&proxy, &blue_green(&other, &green, drain)).await;
    let mut second = tunnel(&proxy).await;
    assert_eq!((blue.requests(), other.requests()), (1, 1));
    reload(&proxy, &blue_green(&blue, &green, drain)).await;
    // The one that was removed later, and does not come back, is told: by then the first one would have been.
    let told = second.receive_rest().await.unwrap();
    assert!(told.starts_with(b"\x88\x11\x03\xf4service restart"), "{told:?}");
    echoes(&mut first, b"still").await;
    tunnels_are(&proxy, "blue", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_of_an_unrelated_route_closes_none_of_fifty_tunnels() {
    let (blue, green) = (upgrading("blue"), upgrading("green"));
    let drain = "drain: { timeout: 1s, tunnels: { spread: 0s } }";
    let proxy = Proxy::blue_green(&blue, &green, drain).await;
    let mut open = Vec::new();
    for _ in 0..50 {
        open.push(tunnel(&proxy).await);
    }
    let own = "{ match: { path: / }, service: shop }";
    let config = blue_green(&blue, &green, drain);
    for round in 0..5 {
        let further = format!("{own}, {{ match: {{ path: /new{round} }}, respond: {{ status: 204 }} }}");
        reload(&proxy, &config.replace(own, &further)).await;
        proxy.client().await.get(&format!("/new{round}")).await.expect(204);
        for client in &mut open {
            echoes(client, format!("round {round}").as_bytes()).await;
        }
    }
    tunnels_are(&proxy, "blue", 50).await;
    for end in ["told", "cut", "closed", "idle"] {
        assert_eq!(ended(&proxy, end).await, 0, "{end}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_the_way_down_every_websocket_hears_so_on_both_sides_before_the_end() {
    let ((blue, blue_url), (_green, green_url)) = (server("blue"), server("green"));
    let drain = "{ tunnels: { close_code: 1012, spread: 2s } }";
    let config = format!("shutdown: {{ timeout: 8s }}\n{}", config(&blue_url, &green_url, drain));
    let mut proxy = Proxy::start(&config).await;
    let clients = clients(&proxy);
    tunnels_are(&proxy, "blue", 4).await;
    proxy.signal(Signal::Term);
    let web = proxy.address(WEB);
    eventually("new connections are refused", || async { tokio::net::TcpStream::connect(web).await.is_err() }).await;
    were_told(&clients, &blue, 1012);
    assert_eq!(proxy.ended_within(UNTIL_TOLD).await.code(), Some(0));
}

const DRAIN: &str = "/api/v1/services/shop/groups/blue/drain";

#[tokio::test(flavor = "multi_thread")]
async fn at_the_deadline_of_a_drain_every_websocket_hears_so_on_both_sides_and_the_drain_says_what_it_did() {
    let ((blue, blue_url), (_green, green_url)) = (server("blue"), server("green"));
    let drain = "{ timeout: 1s, tunnels: { spread: 1s } }";
    let proxy = Proxy::start(&config(&blue_url, &green_url, drain)).await;
    proxy.health_is("shop", "green", "healthy").await;
    let clients = clients(&proxy);
    tunnels_are(&proxy, "blue", 4).await;
    let switched = proxy.cli(&["switch", "shop", "green", "--drain", "--wait"]).await;
    were_told(&clients, &blue, 1012);
    assert!(switched.status.success(), "nothing was left behind: {switched:?}");
    let drain = proxy.get(DRAIN).await.expect(200).json();
    assert_eq!((&drain["state"], &drain["tunnels"]), (&"timed_out".into(), &0.into()), "{drain}");
    let why = drain["why"].as_str().unwrap();
    assert!(why.contains("4 tunnels open at the deadline, of which 4 were closed"), "{drain}");
    assert_eq!((ended(&proxy, "told").await, ended(&proxy, "cut").await), (4, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_in_the_middle_of_a_drain_keeps_its_tunnels() {
    let (blue, green) = (upgrading("blue"), upgrading("green"));
    let proxy = Proxy::blue_green(&blue, &green, "drain: { timeout: 1s, tunnels: { spread: 0s } }").await;
    proxy.health_is("shop", "green", "healthy").await;
    let (mut stays, body) = (tunnel(&proxy).await, serde_json::json!({ "to": "green", "drain": true }));
    proxy.post("/api/v1/services/shop/switch", body.clone()).await.expect(200);
    proxy.post("/api/v1/services/shop/rollback", serde_json::json!({})).await.expect(200);
    // By the time that one of a later drain was told, the first deadline is over.
    proxy.post("/api/v1/services/shop/switch", serde_json::json!({ "to": "green" })).await.expect(200);
    let mut later = tunnel(&proxy).await;
    let green = serde_json::json!({ "force": true });
    proxy.post("/api/v1/services/shop/groups/green/drain", green).await.expect(200);
    let told = later.receive_rest().await.unwrap();
    assert!(told.starts_with(b"\x88\x11\x03\xf4service restart"), "{told:?}");
    echoes(&mut stays, b"still").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tunnels_of_one_drained_upstream_end_and_those_of_its_neighbour_stay() {
    let (blue, second, green) = (upgrading("blue"), upgrading("blue"), upgrading("green"));
    let drain = "drain: { timeout: 300ms, tunnels: { spread: 0s } }\nbalance: round_robin";
    let both = format!("upstreams: [\"{}\", \"{}\"]", blue.url(), second.url());
    let config = blue_green(&blue, &green, drain).replace(&format!("upstreams: [\"{}\"]", blue.url()), &both);
    let proxy = Proxy::start(&config).await;
    let (mut at_blue, mut at_second) = (Vec::new(), Vec::new());
    while at_blue.is_empty() || at_second.is_empty() {
        let before = blue.requests();
        let client = tunnel(&proxy).await;
        if blue.requests() > before { at_blue.push(client) } else { at_second.push(client) }
    }
    proxy.post(DRAIN, serde_json::json!({ "upstream": blue.url() })).await.expect(200);
    for client in &mut at_blue {
        let told = client.receive_rest().await.unwrap();
        assert!(told.starts_with(b"\x88\x11\x03\xf4service restart"), "{told:?}");
    }
    for client in &mut at_second {
        echoes(client, b"still").await;
    }
}
