//! A client and a server of another maker.

use serde_json::Value;

use crate::support::peers::{Peer, python_client};
use crate::support::proxy::WEB;
use crate::support::{Proxy, eventually};

/// A server of another maker, and its URL.
pub(super) fn server(group: &str) -> (Peer, String) {
    let (peer, ready) = Peer::python("ws_server.py", &["--port", "0", "--group", group]);
    (peer, format!("http://127.0.0.1:{}", ready["port"]))
}

async fn start(health: &str) -> (Peer, Peer, Proxy) {
    let ((blue_peer, blue), (green_peer, green)) = (server("blue"), server("green"));
    let config = format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:@web@\" }} }}
services:
  shop:
    groups: {{ blue: {{ upstreams: [\"{blue}\"] }}, green: {{ upstreams: [\"{green}\"] }} }}
    health: {{ {health} }}
routes: [ {{ match: {{ path: / }}, service: shop }} ]
"
    );
    (blue_peer, green_peer, Proxy::start(&config).await)
}

const HEALTH: &str = "kind: http, path: /health, interval: 100ms";

#[tokio::test]
async fn messages_of_every_kind_and_size_come_back_as_they_were() {
    let (_blue, _green, proxy) = start(HEALTH).await;
    let url = format!("ws://{}/", proxy.address(WEB));
    for (messages, sizes) in
        [("40", "0,1,125,126,127,4096,65535,65536,70000"), ("4", "1000000,5000000"), ("2000", "30")]
    {
        let result = python_client("ws_client.py", &[&url, "--messages", messages, "--sizes", sizes]).await;
        assert_eq!((&result["echoed"], &result["group"]), (&messages.parse::<u64>().unwrap().into(), &"blue".into()));
        assert_eq!(result["error"], Value::Null, "{result}");
    }
}

#[tokio::test]
async fn tunnels_live_side_by_side_and_stay_with_their_group_over_a_switch() {
    let (_blue, _green, proxy) = start(HEALTH).await;
    let url = format!("ws://{}/", proxy.address(WEB));
    let hold = ["--messages", "5", "--hold", "60", "--hold-every", "0.01"];
    let held: Vec<_> = (0..5).map(|_| Peer::python("ws_client.py", &[&[url.as_str()], &hold[..]].concat())).collect();
    for (_, ready) in &held {
        assert_eq!(ready["group"], "blue", "{ready}");
    }
    super::tunnels_are(&proxy, "blue", 5).await;
    proxy.health_is("shop", "green", "healthy").await;
    proxy.switch("shop", "green").await;
    let result = python_client("ws_client.py", &[&url]).await;
    assert_eq!(result["group"], "green", "a new tunnel goes where the traffic goes: {result}");
    super::tunnels_are(&proxy, "blue", 5).await;
    drop(held);
    super::tunnels_are(&proxy, "blue", 0).await;
}

#[tokio::test]
async fn the_servers_farewell_reaches_the_client_with_its_code() {
    let (blue, _green, proxy) = start(HEALTH).await;
    let url = format!("ws://{}/", proxy.address(WEB));
    let (client, _) = Peer::python("ws_client.py", &[&url, "--messages", "1", "--hold", "60", "--hold-every", "0.01"]);
    let stopped = std::process::Command::new("sh").args(["-c", &format!("kill -TERM {}", blue.pid())]).status();
    assert!(stopped.unwrap().success());
    // The library's server says 1001, going away.
    let result = client.line();
    assert_eq!((&result["closed"], &result["error"]), (&1001.into(), &Value::Null), "{result}");
}

#[tokio::test]
async fn the_websocket_check_needs_a_handshake_to_succeed() {
    let (_blue, _green, proxy) = start("kind: websocket, path: /, interval: 50ms").await;
    proxy.health_is("shop", "blue", "healthy").await;
    proxy.health_is("shop", "green", "healthy").await;
    let check = proxy.service("shop").await["groups"]["blue"]["upstreams"][0]["last_check"].clone();
    assert_eq!(check["status"], 101, "{check}");
    // `/health` of this server is a plain page and no WebSocket.
    let proxy = {
        let ((_blue, blue), (_green, green)) = (server("blue"), server("green"));
        let config = format!(
            "listeners: {{ web: {{ bind: \"127.0.0.1:@web@\" }} }}
services:
  shop:
    groups: {{ blue: {{ upstreams: [\"{blue}\"] }}, green: {{ upstreams: [\"{green}\"] }} }}
    health: {{ kind: websocket, path: /health, interval: 50ms }}
routes: [ {{ match: {{ path: / }}, service: shop }} ]
"
        );
        let proxy = Proxy::launch(&config, &[]);
        eventually("blue is unhealthy for want of a handshake", || async {
            let mut admin =
                crate::support::Client::try_connect(proxy.address("admin")).await.map_err(|e| e.to_string())?;
            let seen = admin.get("/api/v1/services/shop").await.expect(200).json();
            let upstream = seen["groups"]["blue"]["upstreams"][0].clone();
            let refused = upstream["health"] == "unhealthy" && upstream["last_check"]["status"] == 200;
            if refused { Ok(()) } else { Err(upstream.to_string()) }
        })
        .await;
        proxy
    };
    drop(proxy);
}
