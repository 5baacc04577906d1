//! WebSockets that clients open over HTTP/2 (RFC 8441), with clients of other makers.

use serde_json::Value;

use super::peers::server;
use super::tunnels_are;
use crate::protocols;
use crate::support::answer::websocket_accept;
use crate::support::by_hand::{ByHand, write};
use crate::support::peers::{Peer, python_client};
use crate::support::proxy::WEB;
use crate::support::server::Server;
use crate::support::wire::Head;
use crate::support::{Answer, Proxy, Upstream, eventually};

async fn asked(proxy: &Proxy, further: &[&str]) -> Value {
    let address = proxy.address(WEB).to_string();
    python_client("h2_ws_client.py", &[&[address.as_str()], further].concat()).await
}

fn failed(answer: &Value) {
    assert_eq!((&answer["status"], &answer["error"]), (&502.into(), &Value::Null), "{answer}");
    assert_eq!(answer["fields"]["proxy-status"], "pointsman; error=http_upgrade_failed", "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_every_kind_and_size_come_back_as_they_were_over_http_2() {
    let (blue, url) = server("blue");
    let proxy = protocols::in_front_of_url(&url).await;
    for further in [
        &["--messages", "40", "--sizes", "0,1,125,126,127,4096,65535,65536,70000"][..],
        &["--messages", "4", "--sizes", "1000000,3000000"],
        &["--messages", "300", "--sizes", "30", "--deflate"],
        // More than the windows hold, and nobody reads for a while.
        &["--messages", "30", "--sizes", "60000", "--slow", "0.5"],
    ] {
        let result = asked(&proxy, further).await;
        assert_eq!((&result["status"], &result["error"]), (&200.into(), &Value::Null), "{result}");
        assert_eq!(result["echoed"], further[1].parse::<u64>().unwrap(), "{result}");
        assert_eq!((&result["closed"], &result["enabled"]), (&1000.into(), &1.into()), "{result}");
        let fields = result["fields"].as_object().unwrap();
        assert_eq!(fields["x-upstream"], "blue");
        for name in ["sec-websocket-accept", "upgrade", "connection", "content-length", "transfer-encoding"] {
            assert!(!fields.contains_key(name), "{result}");
        }
        let deflated = fields.get("sec-websocket-extensions").is_some_and(|e| e.as_str().unwrap().contains("deflate"));
        assert_eq!(deflated, further.contains(&"--deflate"), "{result}");
        assert_eq!(blue.line()["closed"], 1000);
    }
    tunnels_are(&proxy, "blue", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_over_http_2_counts_as_one_and_ends_with_its_client() {
    let (_blue, url) = server("blue");
    let proxy = protocols::in_front_of_url(&url).await;
    let address = proxy.address(WEB).to_string();
    let (client, _) = Peer::python("h2_ws_client.py", &[&address, "--messages", "1", "--hold", "60"]);
    tunnels_are(&proxy, "blue", 1).await;
    proxy.is_idle("shop", "blue").await;
    drop(client);
    tunnels_are(&proxy, "blue", 0).await;
}

/// What a client gets whose upstream answers this.
async fn answered(answer: &str) -> Value {
    let upstream = ByHand::listen().await;
    let proxy = protocols::in_front_of_url(&upstream.url()).await;
    let (_wire, result) = tokio::join!(
        async {
            let (mut wire, _) = upstream.request().await;
            write(&mut wire, answer).await;
            wire
        },
        asked(&proxy, &[])
    );
    tunnels_are(&proxy, "blue", 0).await;
    result
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_is_asked_for_a_handshake_of_http_1_1_with_a_key_of_the_proxys() {
    let answer = |head: &Head| {
        let accept = websocket_accept(head.fields.get("sec-websocket-key").unwrap());
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n\
            Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
        )
    };
    let mut keys = Vec::new();
    for _ in 0..2 {
        let upstream = ByHand::listen().await;
        let proxy = protocols::in_front_of_url(&upstream.url()).await;
        let further = ["--path", "/ws?a=1", "--subprotocol", "chat", "--messages", "0"];
        let (head, result) = tokio::join!(
            async {
                let (mut wire, head) = upstream.request().await;
                write(&mut wire, answer(&head)).await;
                // The client's Close, masked, and the answer to it.
                assert_eq!(wire.exactly(2).await.unwrap(), [0x88, 0x82]);
                wire.exactly(6).await.unwrap();
                write(&mut wire, [0x88, 2, 0x03, 0xe8]).await;
                assert_eq!(wire.rest().await.unwrap(), b"", "the end of the stream is the end of the connection");
                head
            },
            asked(&proxy, &further)
        );
        assert_eq!((&result["status"], &result["closed"], &result["error"]), (&200.into(), &1000.into(), &Value::Null));
        assert_eq!(result["fields"]["sec-websocket-protocol"], "chat");
        assert_eq!(head.first, "GET /ws?a=1 HTTP/1.1");
        for (name, value) in [
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", "chat"),
            ("origin", "http://a.test"),
            ("x-forwarded-for", "127.0.0.1"),
        ] {
            assert_eq!(head.fields.get(name), Some(value), "{head:?}");
        }
        assert_eq!(head.fields.get("host"), Some(proxy.address(WEB).to_string().as_str()));
        assert!(head.fields.get("content-length").is_none() && head.fields.get("transfer-encoding").is_none());
        keys.push(head.fields.get("sec-websocket-key").unwrap().to_owned());
    }
    assert!(keys[0].len() == 24 && keys[0].ends_with("==") && keys[0] != keys[1], "{keys:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_answer_to_its_key_there_is_no_tunnel_over_http_2() {
    for accept in ["", "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"] {
        let switching = format!("HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\n{accept}\r\n");
        failed(&answered(&switching).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_passed_on_over_http_2_and_a_success_without_a_tunnel_is_none() {
    for status in [301, 403, 426, 500, 503] {
        let answer = format!("HTTP/1.1 {status} No\r\ncontent-length: 7\r\nx-why: this\r\n\r\nnot you");
        let result = answered(&answer).await;
        assert_eq!((&result["status"], &result["error"]), (&status.into(), &Value::Null), "{result}");
        assert_eq!((&result["body"], &result["fields"]["x-why"]), (&"not you".into(), &"this".into()), "{result}");
    }
    for answer in ["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", "HTTP/1.1 204 No Content\r\n\r\n"] {
        failed(&answered(answer).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_connect_and_one_for_another_protocol_stay_refused() {
    let blue = Upstream::start("blue");
    blue.answer(Answer::Mirror);
    let proxy = protocols::in_front_of(&blue).await;
    for protocol in ["", "connect-udp", "websocketx"] {
        let result = asked(&proxy, &["--protocol", protocol]).await;
        assert_eq!((&result["status"], &result["error"]), (&400.into(), &Value::Null), "{protocol}: {result}");
    }
    let result = asked(&proxy, &["--method", "GET"]).await;
    assert_eq!(result["status"], 200, "{result}");
    assert_eq!(blue.requests(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_speaks_http_2_alone_opens_no_websocket() {
    let server = Server::h2c().await;
    let proxy = protocols::in_front_of_url(server.url()).await;
    failed(&asked(&proxy, &[]).await);
    let (_client, answer) = super::asked(&proxy).await;
    assert_eq!(answer.expect(502).header("proxy-status"), Some("pointsman; error=http_upgrade_failed"));
    eventually("nothing is left of it", || async {
        let seen = proxy.service("shop").await["groups"]["blue"].clone();
        if seen["in_flight"] == 0 && seen["tunnels"] == 0 { Ok(()) } else { Err(seen.to_string()) }
    })
    .await;
}
