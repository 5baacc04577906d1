//! No tunnel before the upstream's own 101, and none without it.

use super::{A_WHILE, ASKS, asked, echoes, tunnel, tunnels_are};
use crate::protocols;
use crate::support::by_hand::{ByHand, write};
use crate::support::server::Server;
use crate::support::{Answer, Proxy, Upstream};

const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

#[tokio::test]
async fn what_the_client_says_early_waits_for_the_upstreams_101() {
    let upstream = ByHand::listen().await;
    let proxy = protocols::in_front_of_url(&upstream.url()).await;
    let mut client = proxy.client().await;
    let asks: String = ASKS.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
    // As CVE-2026-2833 wants it: a request that looks like one, sent along with the upgrade.
    let early = "GET /admin HTTP/1.1\r\nhost: a\r\n\r\n";
    client.send(format!("GET /ws HTTP/1.1\r\nhost: a\r\n{asks}\r\n{early}").as_bytes()).await.unwrap();
    let (mut wire, head) = upstream.request().await;
    assert_eq!((head.fields.get("upgrade"), head.fields.get("connection")), (Some("websocket"), Some("upgrade")));
    assert_eq!(head.fields.get("sec-websocket-key"), Some(super::KEY.1));
    let leaked = tokio::time::timeout(A_WHILE, wire.some()).await;
    assert!(leaked.is_err(), "before its 101 the upstream got {leaked:?}");
    write(&mut wire, SWITCHING).await;
    client.response_to("GET").await.unwrap().expect(101);
    assert_eq!(wire.exactly(early.len()).await.unwrap(), early.as_bytes());
    write(&mut wire, "and back").await;
    assert_eq!(client.receive_exactly(8).await.unwrap(), b"and back");
}

#[tokio::test]
async fn what_the_upstream_says_along_with_its_101_is_not_lost() {
    let upstream = ByHand::listen().await;
    let proxy = protocols::in_front_of_url(&upstream.url()).await;
    let (answer, _wire) = tokio::join!(asked(&proxy), async {
        let (mut wire, _) = upstream.request().await;
        write(&mut wire, format!("{SWITCHING}hello")).await;
        wire
    });
    let (mut client, answer) = answer;
    answer.expect(101);
    assert_eq!(client.receive_exactly(5).await.unwrap(), b"hello");
}

#[tokio::test]
async fn an_upstreams_refusal_is_passed_on_and_the_connection_stays_http() {
    let blue = Upstream::start("blue");
    let proxy = protocols::in_front_of(&blue).await;
    for (status, body) in [(200, "no sockets here"), (403, "not you"), (426, "another version"), (500, "sorry")] {
        blue.answer(Answer::Plain(status, body.to_owned()));
        let (mut client, answer) = asked(&proxy).await;
        assert_eq!(answer.expect(status).text(), body);
        blue.answer(Answer::text("next"));
        assert_eq!(client.get("/").await.expect(200).text(), "next");
    }
    assert_eq!(blue.requests(), 8);
    tunnels_are(&proxy, "blue", 0).await;
    proxy.is_idle("shop", "blue").await;
}

#[tokio::test]
async fn a_101_that_nobody_asked_for_or_that_agrees_on_something_else_is_no_answer() {
    let blue = Upstream::start("blue");
    blue.answer(Answer::Garbage(SWITCHING.replace("upgrade: websocket", "upgrade: other").into_bytes()));
    let proxy = protocols::in_front_of(&blue).await;
    let (_client, answer) = asked(&proxy).await;
    assert_eq!(answer.expect(502).header("proxy-status"), Some("pointsman; error=http_upgrade_failed"));
    blue.answer(Answer::Garbage(SWITCHING.as_bytes().to_vec()));
    let mut plain = proxy.client().await;
    assert_eq!(plain.get("/").await.expect(502).header("proxy-status"), Some("pointsman; error=http_upgrade_failed"));
    tunnels_are(&proxy, "blue", 0).await;
}

#[tokio::test]
async fn only_websockets_are_tunnels() {
    let blue = Upstream::start("blue");
    blue.answer(Answer::Mirror);
    let proxy = protocols::in_front_of(&blue).await;
    let mut client = proxy.client().await;
    for protocol in ["h2c", "TLS/1.3", "foo"] {
        let seen = client.get_with("/", &[("connection", "upgrade"), ("upgrade", protocol)]).await.expect(200).json();
        let fields = seen["fields"].to_string();
        assert!(!fields.contains("upgrade"), "{protocol}: {fields}");
    }
}

#[tokio::test]
async fn a_tunnel_goes_over_http_1_1_to_an_upstream_that_would_rather_speak_http_2() {
    // ALPN is asked for HTTP/1.1 alone: an upgrade there is no such thing in HTTP/2.
    let authority = crate::support::certs::Authority::new();
    let server = Server::tls(&authority.issue("app", &["localhost"]), &["h2", "http/1.1"]).await;
    let url = format!("{{ url: \"{}\", ca: {} }}", server.url(), authority.ca().display());
    let proxy = Proxy::start(&protocols::config(&url, "")).await;
    assert_eq!(proxy.client().await.get("/").await.expect(200).json()["version"], "HTTP/2.0");
    let (_client, answer) = asked(&proxy).await;
    assert_eq!(answer.expect(200).json()["version"], "HTTP/1.1");
}

#[tokio::test]
async fn the_end_of_either_side_reaches_the_other() {
    let blue = Upstream::start("blue");
    blue.answer(Answer::Upgrade);
    let proxy = protocols::in_front_of(&blue).await;
    let mut client = tunnel(&proxy).await;
    echoes(&mut client, b"hello").await;
    tunnels_are(&proxy, "blue", 1).await;
    client.finish_sending().await.unwrap();
    assert!(client.is_closed().await);
    tunnels_are(&proxy, "blue", 0).await;
    let mut client = tunnel(&proxy).await;
    blue.refuse();
    assert!(client.receive_rest().await.is_ok_and(|rest| rest.is_empty()));
    tunnels_are(&proxy, "blue", 0).await;
    blue.accept();
    // A client that vanishes takes its tunnel along.
    drop(tunnel(&proxy).await);
    tunnels_are(&proxy, "blue", 0).await;
    crate::support::eventually("the upstream is left", || async { blue.open_connections() == 0 }).await;
}
