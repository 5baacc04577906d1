//! What is said ahead of an answer: 100, 103 and their like, each to whom it concerns.

use std::fmt::Write as _;

use super::in_front_of_url;
use crate::support::by_hand::{ByHand, write};
use crate::support::h2::{self, H2};
use crate::support::proxy::WEB;
use crate::support::wire::Buffered;
use crate::support::{Answer, Client, Proxy, Upstream, eventually};

const ASKS: &[u8] = b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

async fn start() -> (ByHand, Proxy, Client) {
    let upstream = ByHand::listen().await;
    let proxy = in_front_of_url(&upstream.url()).await;
    let client = proxy.client().await;
    (upstream, proxy, client)
}

async fn is_gone(wire: &mut Buffered<tokio::net::TcpStream>) -> Vec<u8> {
    // A reset is an end, too.
    wire.rest().await.unwrap_or_default()
}

#[tokio::test]
async fn early_hints_reach_a_client_of_http_1_1_and_not_one_of_http_1_0() {
    let blue = Upstream::start("blue");
    let link = |value: &str| (103, vec![("link".to_owned(), value.to_owned())]);
    let hints = vec![link("</a.css>; rel=preload"), (102, vec![]), link("</b.js>; rel=preload")];
    blue.answer(Answer::Informational(hints, Box::new(Answer::text("late"))));
    let proxy = super::in_front_of(&blue).await;
    let mut client = proxy.client().await;
    for _ in 0..2 {
        let answer = client.get("/").await.expect(200);
        let seen: Vec<_> = answer.informational.iter().map(|h| (h.status().unwrap(), h.fields.get("link"))).collect();
        let expected = [(103, Some("</a.css>; rel=preload")), (102, None), (103, Some("</b.js>; rel=preload"))];
        assert_eq!((seen.as_slice(), answer.text().as_str()), (&expected[..], "late"));
    }
    let mut old = proxy.client().await;
    old.send(b"GET / HTTP/1.0\r\nhost: a\r\n\r\n").await.unwrap();
    let rest = String::from_utf8(old.receive_rest().await.unwrap()).unwrap();
    assert!(rest.starts_with("HTTP/1.1 200 OK\r\n") && rest.ends_with("\r\n\r\nlate"), "{rest}");
}

#[tokio::test]
async fn early_hints_do_not_wait_for_the_answer_and_leave_what_concerns_one_hop_behind() {
    let (upstream, _proxy, mut client) = start().await;
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let (mut wire, _) = upstream.request().await;
    write(&mut wire, "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nconnection: x-own\r\nx-own: 1\r\n\r\n").await;
    let hints = client.head().await.unwrap();
    assert_eq!((hints.status().unwrap(), hints.fields.get("link")), (103, Some("</a>")));
    assert!(hints.fields.get("connection").is_none() && hints.fields.get("x-own").is_none(), "{hints:?}");
    write(&mut wire, OK).await;
    assert_eq!(client.response_to("GET").await.unwrap().expect(200).text(), "ok");
}

#[tokio::test]
async fn answers_ahead_of_the_answer_are_not_taken_without_end() {
    let (upstream, proxy, mut client) = start().await;
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let (mut wire, _) = upstream.request().await;
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(1000);
    let mut sent = 0;
    while tokio::io::AsyncWriteExt::write_all(&mut wire.stream, hints.as_bytes()).await.is_ok() {
        sent += hints.len();
        assert!(sent < 64 << 20, "{sent} bytes were taken");
    }
    let answer = client.response_to("GET").await.unwrap().expect(502);
    assert_eq!(answer.header("proxy-status"), Some("pointsman; error=http_protocol_error"));
    assert!(answer.informational.len() <= 100, "{} heads went through", answer.informational.len());
    // The client's connection goes on.
    let (answer, ()) = tokio::join!(client.get("/"), async {
        let (mut wire, _) = upstream.request().await;
        write(&mut wire, OK).await;
    });
    assert_eq!(answer.expect(200).text(), "ok");
    proxy.is_idle("shop", "blue").await;
}

#[tokio::test]
async fn a_body_that_the_upstream_does_not_want_is_never_asked_for() {
    for (status, text) in [(417, "Expectation Failed"), (401, "Unauthorized"), (200, "OK"), (302, "Found")] {
        let (upstream, proxy, mut client) = start().await;
        client.send(ASKS).await.unwrap();
        let (mut wire, head) = upstream.request().await;
        assert_eq!(head.fields.get("expect"), Some("100-continue"));
        write(&mut wire, format!("HTTP/1.1 {status} {text}\r\ncontent-length: 2\r\n\r\nno")).await;
        let answer = client.response_to("POST").await.unwrap().expect(status);
        assert_eq!((answer.text().as_str(), answer.informational.len()), ("no", 0));
        // Whether a body follows nobody knows, so that neither connection can be used again.
        assert!(answer.fields.lists("connection", "close"), "{:?}", answer.fields);
        assert_eq!(is_gone(&mut wire).await, b"", "{status}: the upstream got a body that it did not ask for");
        assert!(client.is_closed().await);
        proxy.is_idle("shop", "blue").await;
    }
}

#[tokio::test]
async fn a_client_that_sends_its_body_without_waiting_is_not_asked() {
    let (upstream, _proxy, mut client) = start().await;
    client.send(&[ASKS, b"abc"].concat()).await.unwrap();
    let (mut wire, _) = upstream.request().await;
    write(&mut wire, "HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(wire.exactly(3).await.unwrap(), b"abc");
    write(&mut wire, OK).await;
    let answer = client.response_to("POST").await.unwrap().expect(200);
    // RFC 9110, section 10.1.1: it need not be told to go on, and must not be told twice.
    assert!(answer.informational.len() <= 1, "{:?}", answer.informational);
    // Both connections go on.
    client.send(b"GET /next HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let next = wire.head();
    let fresh = upstream.request();
    tokio::select! {
        head = next => {
            assert_eq!(head.unwrap().unwrap().path(), "/next");
            write(&mut wire, OK).await;
        }
        // Another worker's pool does not have the connection.
        (mut wire, _) = fresh => write(&mut wire, OK).await,
    }
    client.response_to("GET").await.unwrap().expect(200);
}

#[tokio::test]
async fn an_upstream_may_say_100_unasked_and_more_than_once() {
    let (upstream, _proxy, mut client) = start().await;
    client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc").await.unwrap();
    let (mut wire, _) = upstream.request().await;
    assert_eq!(wire.exactly(3).await.unwrap(), b"abc");
    write(&mut wire, "HTTP/1.1 100 Continue\r\n\r\n".repeat(2) + OK).await;
    let answer = client.response_to("POST").await.unwrap().expect(200);
    assert_eq!(answer.text(), "ok");
}

#[tokio::test]
async fn a_client_that_was_told_to_go_on_and_breaks_off_is_told_400() {
    let (upstream, proxy, mut client) = start().await;
    client.send(ASKS).await.unwrap();
    let (mut wire, _) = upstream.request().await;
    write(&mut wire, "HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(client.head().await.unwrap().status().unwrap(), 100);
    client.send(b"a").await.unwrap();
    client.finish_sending().await.unwrap();
    client.response_to("POST").await.unwrap().expect(400);
    assert!(b"a".starts_with(&is_gone(&mut wire).await), "more than was sent");
    proxy.is_idle("shop", "blue").await;
}

#[tokio::test]
async fn a_body_that_is_held_back_may_still_go_with_a_second_attempt() {
    // The connection dies while the body waits for its 100: nobody has begun to read it, so nothing is lost.
    let upstream = ByHand::listen().await;
    let config = super::config(&format!("\"{}\"", upstream.url()), ", retries: { budget: 100% }") + "workers: 1\n";
    let proxy = Proxy::start(&config).await;
    let mut client = proxy.client().await;
    let (_, mut first) = tokio::join!(client.get("/"), async {
        let (mut wire, _) = upstream.request().await;
        write(&mut wire, OK).await;
        wire
    });
    let put = String::from_utf8(ASKS.to_vec()).unwrap().replace("POST", "PUT");
    client.send(put.as_bytes()).await.unwrap();
    assert_eq!(first.head().await.unwrap().unwrap().method(), "PUT");
    drop(first);
    let (mut wire, head) = upstream.request().await;
    assert_eq!((head.method(), head.fields.get("expect")), ("PUT", Some("100-continue")));
    write(&mut wire, "HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(client.head().await.unwrap().status().unwrap(), 100);
    client.send(b"abc").await.unwrap();
    assert_eq!(wire.exactly(3).await.unwrap(), b"abc");
    write(&mut wire, OK).await;
    client.response_to("PUT").await.unwrap().expect(200);
}

#[tokio::test]
async fn an_expectation_over_http_2_is_met_by_an_upstream_of_http_1_1() {
    let (upstream, proxy, _client) = start().await;
    let h2 = H2::connect(proxy.address(WEB)).await;
    let (response, mut body) = h2.begin("POST", "/", &[("expect", "100-continue"), ("content-length", "3")]).await;
    h2::send(&mut body, bytes::Bytes::from_static(b"abc")).await.unwrap();
    body.send_data(bytes::Bytes::new(), true).unwrap();
    let (mut wire, _) = upstream.request().await;
    write(&mut wire, "HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(wire.exactly(3).await.unwrap(), b"abc");
    write(&mut wire, OK).await;
    assert_eq!(response.await.unwrap().status(), 200);
}

#[tokio::test]
async fn hints_to_a_client_that_reads_nothing_cost_little() {
    let (upstream, proxy, mut client) = start().await;
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let (mut wire, _) = upstream.request().await;
    let mut hints = String::new();
    for n in 0..30 {
        let _ = write!(hints, "HTTP/1.1 103 Early Hints\r\nx-{n}: {}\r\n\r\n", "x".repeat(10_000));
    }
    write(&mut wire, hints + OK).await;
    eventually("it is answered", || async {
        let metrics = proxy.get("/metrics").await.text();
        metrics.contains("outcome=\"ok\"} 1")
    })
    .await;
    let answer = client.response_to("GET").await.unwrap().expect(200);
    assert_eq!((answer.informational.len(), answer.text().as_str()), (30, "ok"));
}
