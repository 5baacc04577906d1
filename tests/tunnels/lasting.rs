//! What happens around a tunnel while it is open.

use super::{echoes, tunnel, tunnels_are};
use crate::support::proxy::blue_green;
use crate::support::{Answer, Proxy, Upstream};

pub(super) fn upgrading(group: &str) -> Upstream {
    let upstream = Upstream::start(group);
    upstream.answer(Answer::Upgrade);
    upstream
}

pub(super) async fn reload(proxy: &Proxy, config: &str) {
    proxy.rewrite(config);
    // The file is watched, too: whichever comes first, it is applied when this is answered.
    proxy.post("/api/v1/config/reload", serde_json::json!({})).await.expect(200);
}

#[tokio::test]
async fn a_tunnel_survives_switches_there_and_back() {
    let (blue, green) = (upgrading("blue"), upgrading("green"));
    let proxy = Proxy::blue_green(&blue, &green, "").await;
    let mut client = tunnel(&proxy).await;
    for round in 0..5 {
        for group in ["green", "blue"] {
            proxy.health_is("shop", group, "healthy").await;
            proxy.switch("shop", group).await;
            echoes(&mut client, format!("round {round}").as_bytes()).await;
        }
    }
    tunnels_are(&proxy, "blue", 1).await;
    assert_eq!((blue.requests(), green.requests()), (1, 0));
}

#[tokio::test]
async fn a_tunnel_survives_reloads_of_other_routes_and_of_its_own() {
    let (blue, green) = (upgrading("blue"), upgrading("green"));
    let proxy = Proxy::blue_green(&blue, &green, "").await;
    let mut client = tunnel(&proxy).await;
    let config = blue_green(&blue, &green, "");
    let own = "{ match: { path: / }, service: shop }";
    let unrelated = config.replace(own, &format!("{own}, {{ match: {{ path: /new }}, respond: {{ status: 204 }} }}"));
    reload(&proxy, &unrelated).await;
    proxy.client().await.get("/new").await.expect(204);
    echoes(&mut client, b"an unrelated route is new").await;
    reload(
        &proxy,
        &config.replace(own, "{ match: { path: / }, service: shop, headers: { request: { set: { x-a: b } } } }"),
    )
    .await;
    echoes(&mut client, b"the own route has changed").await;
    reload(&proxy, &config.replace("interval: 100ms", "interval: 150ms")).await;
    echoes(&mut client, b"the own service has changed").await;
    reload(&proxy, &config).await;
    echoes(&mut client, b"as before").await;
    // A file that is wrong changes nothing.
    proxy.rewrite("listeners: {}\n");
    proxy.post("/api/v1/config/reload", serde_json::json!({})).await.expect(422);
    echoes(&mut client, b"still").await;
    tunnels_are(&proxy, "blue", 1).await;
}

#[tokio::test]
async fn tunnels_are_counted_apart_from_requests() {
    let (blue, green) = (upgrading("blue"), upgrading("green"));
    let proxy = Proxy::blue_green(&blue, &green, "").await;
    let mut open = Vec::new();
    for count in 1..=3 {
        open.push(tunnel(&proxy).await);
        tunnels_are(&proxy, "blue", count).await;
    }
    let service = proxy.service("shop").await;
    assert_eq!(service["groups"]["blue"]["in_flight"], 0, "{service}");
    let metrics = proxy.get("/metrics").await.text();
    let line = "pointsman_tunnels{service=\"shop\",group=\"blue\"} 3";
    assert!(metrics.lines().any(|l| l.starts_with(line)), "{metrics}");
    assert!(
        metrics
            .lines()
            .any(|l| l.starts_with("pointsman_requests_total") && l.contains("code=\"101\"") && l.ends_with(" 3")),
        "{metrics}"
    );
    drop(open);
    tunnels_are(&proxy, "blue", 0).await;
    let mut polite = tunnel(&proxy).await;
    // A Close frame without a code, masked as a client's has to be.
    polite.send(&[0x88, 0x80, 1, 2, 3, 4]).await.unwrap();
    assert_eq!(polite.receive_exactly(6).await.unwrap().len(), 6);
    drop(polite);
    tunnels_are(&proxy, "blue", 0).await;
    let metrics = proxy.get("/metrics").await.text();
    for (end, count) in [("cut", 3), ("closed", 1), ("idle", 0)] {
        let line = format!("pointsman_tunnels_ended_total{{service=\"shop\",group=\"blue\",end=\"{end}\"}} {count}");
        assert!(metrics.lines().any(|l| l == line), "{line}\n{metrics}");
    }
}

#[tokio::test]
async fn a_silent_tunnel_is_closed_and_one_that_talks_is_not() {
    let (blue, green) = (upgrading("blue"), upgrading("green"));
    let proxy = Proxy::blue_green(&blue, &green, "timeouts: { tunnel_idle: 2s }").await;
    let (mut silent, mut talking) = (tunnel(&proxy).await, tunnel(&proxy).await);
    let closed = async { silent.is_closed().await };
    let talk = async {
        for n in 0..40 {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            echoes(&mut talking, format!("{n}").as_bytes()).await;
        }
    };
    let (closed, ()) = tokio::join!(closed, talk);
    assert!(closed);
    tunnels_are(&proxy, "blue", 1).await;
    assert!(talking.is_closed().await, "once it is silent, too");
    tunnels_are(&proxy, "blue", 0).await;
}

#[tokio::test]
async fn a_tunnel_carries_megabytes_both_ways_at_once() {
    let (blue, green) = (upgrading("blue"), upgrading("green"));
    let proxy = Proxy::blue_green(&blue, &green, "").await;
    let stream = tokio::net::TcpStream::connect(proxy.address("web")).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let asks: String = super::ASKS.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
    let body = crate::protocols::noise(8 << 20);
    let send = async {
        use tokio::io::AsyncWriteExt;
        write.write_all(format!("GET /ws HTTP/1.1\r\nhost: a\r\n{asks}\r\n").as_bytes()).await.unwrap();
        write.write_all(&body).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let receive = async {
        use tokio::io::AsyncReadExt;
        let mut all = Vec::new();
        read.read_to_end(&mut all).await.unwrap();
        all
    };
    let ((), all) = tokio::join!(send, receive);
    assert!(all.starts_with(b"HTTP/1.1 101 ") && all.ends_with(&body), "{} bytes came back", all.len());
}
