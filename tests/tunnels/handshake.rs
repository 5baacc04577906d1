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
async fn what_the_client_says_early_is_no_tunnel_when_the_upstream_refuses() {
    let asks: String = ASKS.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
    for status in [200, 204, 403, 426, 500] {
        let upstream = ByHand::listen().await;
        let config = protocols::config(&format!("\"{}\"", upstream.url()), "") + "workers: 1\n";
        let proxy = Proxy::start(&config).await;
        let mut client = proxy.client().await;
        let early = "GET /admin HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 6.6.6.6\r\n\r\n";
        client.send(format!("GET /ws HTTP/1.1\r\nhost: a\r\n{asks}\r\n{early}").as_bytes()).await.unwrap();
        let (mut wire, _) = upstream.request().await;
        let length = if status == 204 { "" } else { "content-length: 0\r\n" };
        write(&mut wire, format!("HTTP/1.1 {status} No\r\n{length}\r\n")).await;
        client.response_to("GET").await.unwrap().expect(status);
        // It is a request like any other now: routed, and with our own fields, not the client's bytes.
        let head = tokio::select! {
            head = wire.head() => head.unwrap().unwrap(),
            (other, head) = upstream.request() => { wire = other; head }
        };
        assert_eq!((head.path(), head.fields.get("x-forwarded-for")), ("/admin", Some("127.0.0.1")), "{head:?}");
        write(&mut wire, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        client.response_to("GET").await.unwrap().expect(200);
    }
}

#[tokio::test]
async fn early_frames_of_a_tunnel_that_was_refused_go_nowhere() {
    let asks: String = ASKS.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
    for status in [200, 403] {
        let upstream = ByHand::listen().await;
        let proxy = protocols::in_front_of_url(&upstream.url()).await;
        let mut client = proxy.client().await;
        let frame = b"\x81\x85\x01\x02\x03\x04igohn";
        let request = format!("GET /ws HTTP/1.1\r\nhost: a\r\n{asks}\r\n");
        client.send(&[request.as_bytes(), frame].concat()).await.unwrap();
        let (mut wire, _) = upstream.request().await;
        write(&mut wire, format!("HTTP/1.1 {status} No\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")).await;
        client.response_to("GET").await.unwrap().expect(status);
        assert_eq!(wire.rest().await.unwrap_or_default(), b"", "the upstream got the client's frames");
        // To HTTP they are no request.
        let _ = client.send(b"\r\n\r\n").await;
        if let Ok(answer) = client.response_to("GET").await {
            answer.expect(400);
        }
        assert!(client.receive_rest().await.unwrap_or_default().is_empty());
        tunnels_are(&proxy, "blue", 0).await;
    }
}

#[tokio::test]
async fn a_request_with_a_body_or_of_http_1_0_does_not_become_a_tunnel() {
    let asks: String = ASKS.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
    for request in [
        format!("POST /ws HTTP/1.1\r\nhost: a\r\n{asks}content-length: 3\r\n\r\nabc"),
        format!("GET /ws HTTP/1.1\r\nhost: a\r\n{asks}content-length: 3\r\n\r\nabc"),
        format!("GET /ws HTTP/1.1\r\nhost: a\r\n{asks}transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
        format!("GET /ws HTTP/1.0\r\nhost: a\r\n{asks}\r\n"),
        format!("POST /ws HTTP/1.1\r\nhost: a\r\n{asks}\r\n"),
    ] {
        let upstream = ByHand::listen().await;
        let proxy = protocols::in_front_of_url(&upstream.url()).await;
        let mut client = proxy.client().await;
        client.send(request.as_bytes()).await.unwrap();
        let (mut wire, head) = upstream.request().await;
        assert_eq!(head.fields.get("upgrade"), None, "{request:?}");
        wire.request_body(&head).await.unwrap();
        // An upstream that switches all the same.
        write(&mut wire, SWITCHING).await;
        let answer = client.response_to("GET").await.unwrap().expect(502);
        assert_eq!(answer.header("proxy-status"), Some("pointsman; error=http_upgrade_failed"), "{request:?}");
        assert_eq!(wire.rest().await.unwrap_or_default(), b"");
        tunnels_are(&proxy, "blue", 0).await;
    }
}

#[tokio::test]
async fn much_that_is_said_early_is_held_back_within_bounds() {
    let upstream = ByHand::listen().await;
    let proxy = protocols::in_front_of_url(&upstream.url()).await;
    let asks: String = ASKS.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
    let mut client = tokio::net::TcpStream::connect(proxy.address(crate::support::proxy::WEB)).await.unwrap();
    let request = format!("GET /ws HTTP/1.1\r\nhost: a\r\n{asks}\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut client, request.as_bytes()).await.unwrap();
    let (mut wire, _) = upstream.request().await;
    let (piece, mut sent) = (protocols::noise(64 << 10), Vec::<u8>::new());
    while let Ok(written) = tokio::time::timeout(A_WHILE, tokio::io::AsyncWriteExt::write(&mut client, &piece)).await {
        sent.extend(&piece[..written.unwrap()]);
        assert!(sent.len() < 32 << 20, "{} bytes were taken for a tunnel that there is not", sent.len());
    }
    write(&mut wire, SWITCHING).await;
    assert!(wire.exactly(sent.len()).await.unwrap() == sent, "something of it was lost");
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
    // Nor one that agrees on nothing.
    blue.answer(Answer::Garbage(SWITCHING.replace("upgrade: websocket\r\n", "").into_bytes()));
    let (_client, answer) = asked(&proxy).await;
    assert_eq!(answer.expect(502).header("proxy-status"), Some("pointsman; error=http_upgrade_failed"));
    blue.answer(Answer::Garbage(SWITCHING.as_bytes().to_vec()));
    let mut plain = proxy.client().await;
    for method in ["GET", "HEAD", "POST"] {
        let answer = plain.request(method, "/", &[], None).await.expect(502);
        assert_eq!(answer.header("proxy-status"), Some("pointsman; error=http_upgrade_failed"));
    }
    let h2 = crate::support::client::H2Client::connect(proxy.address(crate::support::proxy::WEB)).await;
    h2.get("/").await.expect(502);
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
    blue.refuse().await;
    assert!(client.receive_rest().await.is_ok_and(|rest| rest.is_empty()));
    tunnels_are(&proxy, "blue", 0).await;
    blue.accept();
    // A client that vanishes takes its tunnel along.
    drop(tunnel(&proxy).await);
    tunnels_are(&proxy, "blue", 0).await;
    crate::support::eventually("the upstream is left", || async { blue.open_connections() == 0 }).await;
}
