//! Answers that two readers would cut at different places (response splitting), and bytes that nobody asked for.

use super::corpus::samples;
use crate::support::by_hand::write;
use crate::support::{Answer, ByHand, Client, Proxy, Upstream, eventually};

/// One worker, so that a connection that were kept would be used by the next request.
async fn in_front_of(url: &str) -> Proxy {
    Proxy::start(&(crate::protocols::config(&format!("\"{url}\""), "") + "workers: 1\n")).await
}

fn raw(bytes: impl Into<Vec<u8>>) -> Answer {
    Answer::Raw(bytes.into())
}

/// Answers `/odd` with these bytes and leaves the connection open, everything else as usual.
fn odd(blue: &Upstream, bytes: &[u8]) {
    let bytes = bytes.to_vec();
    blue.script(move |head| if head.path() == "/odd" { raw(bytes.clone()) } else { Answer::text("next") });
}

/// The next request is answered as it should, over another connection than that of `/odd`.
async fn next_is_served_apart(client: &mut Client, blue: &Upstream, name: &str) {
    assert_eq!(client.get("/next").await.expect(200).text(), "next", "behind {name}");
    let arrivals = blue.arrivals();
    let odd = arrivals.iter().rev().find(|a| a.head.path() == "/odd").unwrap();
    let next = arrivals.iter().rev().find(|a| a.head.path() == "/next").unwrap();
    assert_ne!(odd.connection, next.connection, "the connection was used again behind {name}");
    eventually("the odd one is closed", || async { blue.open_connections() <= 1 }).await;
}

#[tokio::test]
async fn an_answer_that_can_be_read_in_two_ways_is_no_answer_and_ends_its_connection() {
    let blue = Upstream::start("blue");
    let proxy = in_front_of(&blue.url()).await;
    let mut client = proxy.client().await;
    for sample in samples("answers_refused") {
        odd(&blue, &sample.bytes);
        let before = blue.requests();
        let answer = client.get("/odd").await;
        assert_eq!(answer.status, sample.status, "{}: {:?}", sample.name, answer.text());
        let told = answer.header("proxy-status").unwrap_or_default();
        let expected = ["pointsman; error=http_protocol_error", "pointsman; error=http_upgrade_failed"];
        assert!(expected.contains(&told), "{}: {told:?}", sample.name);
        assert!(!answer.text().contains("hello"), "{}", sample.name);
        assert_eq!(blue.requests(), before + 1, "{}: it was asked again", sample.name);
        next_is_served_apart(&mut client, &blue, &sample.name).await;
    }
    proxy.is_idle("shop", "blue").await;
}

#[tokio::test]
async fn an_answers_chunks_that_are_none_break_the_answer_off() {
    let blue = Upstream::start("blue");
    let proxy = in_front_of(&blue.url()).await;
    for sample in samples("chunks_refused") {
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        odd(&blue, &[head, &sample.bytes[..]].concat());
        let mut client = proxy.client().await;
        let answer = client.try_request("GET", "/odd", &[], None).await;
        assert!(answer.is_err(), "{}: the answer looks whole: {answer:?}", sample.name);
        next_is_served_apart(&mut proxy.client().await, &blue, &sample.name).await;
    }
    proxy.is_idle("shop", "blue").await;
}

#[tokio::test]
async fn what_follows_an_answer_is_nobodys_answer() {
    let blue = Upstream::start("blue");
    let proxy = in_front_of(&blue.url()).await;
    let mut client = proxy.client().await;
    let more = "HTTP/1.1 200 OK\r\nx-poison: 1\r\ncontent-length: 6\r\n\r\npoison";
    for (method, answer) in [
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"),
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        ("GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\ncontent-length: 61\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\ncontent-length: 61\r\n\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 61\r\n\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
    ] {
        odd(&blue, format!("{answer}{more}").as_bytes());
        let first = client.request(method, "/odd", &[], None).await;
        assert_eq!(first.header("x-poison"), None);
        assert!(["hello", ""].contains(&first.text().as_str()), "{answer:?}: {}", first.text());
        next_is_served_apart(&mut client, &blue, answer).await;
    }
}

#[tokio::test]
async fn one_byte_too_many_is_enough_to_close_a_connection() {
    let blue = Upstream::start("blue");
    let proxy = in_front_of(&blue.url()).await;
    let mut client = proxy.client().await;
    for more in ["\n", "\r\n", "x"] {
        odd(&blue, format!("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello{more}").as_bytes());
        assert_eq!(client.get("/odd").await.expect(200).text(), "hello");
        next_is_served_apart(&mut client, &blue, more).await;
    }
}

#[tokio::test]
async fn what_an_idle_connection_says_unasked_is_nobodys_answer() {
    let upstream = ByHand::listen().await;
    let proxy = in_front_of(&upstream.url()).await;
    for unasked in
        ["HTTP/1.1 200 OK\r\nx-poison: 1\r\ncontent-length: 6\r\n\r\npoison", "HTTP/1.1 408 Late\r\n\r\n", "x"]
    {
        let mut client = proxy.client().await;
        let (answer, mut idle) = tokio::join!(client.get("/first"), async {
            let (mut wire, _) = upstream.request().await;
            write(&mut wire, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
            wire
        });
        assert_eq!(answer.expect(200).text(), "hello");
        write(&mut idle, unasked).await;
        let (answer, head) = tokio::join!(client.get("/next"), async {
            // On another connection, or this waits in vain.
            let (mut wire, head) = upstream.request().await;
            write(&mut wire, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\nnext").await;
            head
        });
        assert_eq!((answer.expect(200).text().as_str(), head.path()), ("next", "/next"));
        // Nothing was written to the one that spoke, and it is closed.
        assert_eq!(idle.rest().await.unwrap_or_default(), b"");
    }
}

#[tokio::test]
async fn an_upstreams_endless_head_is_given_up_and_costs_little() {
    let upstream = ByHand::listen().await;
    let proxy = in_front_of(&upstream.url()).await;
    for piece in ["x: y\r\n", "x"] {
        let mut client = proxy.client().await;
        let (answer, sent) = tokio::join!(client.get("/"), async {
            let (mut wire, _) = upstream.request().await;
            write(&mut wire, "HTTP/1.1 200 OK\r\n").await;
            let (block, mut sent) = (piece.repeat(1000), 0);
            while tokio::io::AsyncWriteExt::write_all(&mut wire.stream, block.as_bytes()).await.is_ok() {
                sent += block.len();
                assert!(sent < 64 << 20, "{sent} bytes of one head were taken");
            }
            sent
        });
        assert_eq!(answer.expect(502).header("proxy-status"), Some("pointsman; error=http_protocol_error"));
        assert!(sent < 16 << 20, "{sent} bytes");
    }
}
