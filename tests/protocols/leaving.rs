//! Clients that close one direction and still listen, and clients that are gone.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{in_front_of_url, noise};
use crate::support::by_hand::{ByHand, write};
use crate::support::proxy::WEB;
use crate::support::wire::Buffered;
use crate::support::{Client, Proxy, eventually};

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

async fn start() -> (ByHand, Proxy) {
    let upstream = ByHand::listen().await;
    let proxy = in_front_of_url(&upstream.url()).await;
    (upstream, proxy)
}

/// A client that has said all that it will say.
async fn half_closed(proxy: &Proxy, request: &[u8]) -> Client {
    let mut client = proxy.client().await;
    client.send(request).await.unwrap();
    client.finish_sending().await.unwrap();
    client
}

#[tokio::test]
async fn a_client_that_has_closed_its_side_still_gets_its_answer() {
    let (upstream, proxy) = start().await;
    let body = noise(3 << 20);
    for request in [GET, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc"] {
        let mut client = half_closed(&proxy, request).await;
        let (mut wire, head) = upstream.request().await;
        wire.request_body(&head).await.unwrap();
        let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
        let answered = async {
            write(&mut wire, head).await;
            write(&mut wire, &body).await;
        };
        let (answer, ()) = tokio::join!(client.response_to("GET"), answered);
        assert!(answer.unwrap().expect(200).body == body);
        assert!(client.is_closed().await);
    }
}

#[tokio::test]
async fn a_client_that_has_closed_its_side_gets_what_takes_its_time() {
    let (upstream, proxy) = start().await;
    let mut client = half_closed(&proxy, GET).await;
    let (mut wire, _) = upstream.request().await;
    // Time itself is what is tested here: each pause is one that a client that has closed may well wait for.
    tokio::time::sleep(Duration::from_secs(2)).await;
    write(&mut wire, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
    client.head().await.unwrap();
    for n in 0..4 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        write(&mut wire, format!("1\r\n{n}\r\n")).await;
        assert_eq!(client.chunk().await.unwrap(), n.to_string().as_bytes());
    }
    write(&mut wire, "0\r\n\r\n").await;
    assert_eq!(client.chunk().await.unwrap(), b"");
    client.trailers().await.unwrap();
    assert!(client.is_closed().await);
    proxy.is_idle("shop", "blue").await;
}

#[tokio::test]
async fn requests_behind_one_another_are_all_answered_to_a_client_that_has_closed_its_side() {
    let blue = crate::support::Upstream::start("blue");
    blue.answer(crate::support::Answer::Mirror);
    let proxy = super::in_front_of(&blue).await;
    let requests: String = (0..10).map(|n| format!("GET /{n} HTTP/1.1\r\nhost: a\r\n\r\n")).collect();
    let mut client = half_closed(&proxy, requests.as_bytes()).await;
    for n in 0..10 {
        let seen = client.response_to("GET").await.unwrap().expect(200).json();
        assert_eq!(seen["first"], format!("GET /{n} HTTP/1.1"));
    }
    assert!(client.is_closed().await);
}

/// The upstream's connection ends within a few seconds.
async fn is_freed(mut wire: Buffered<TcpStream>, what: &str) {
    let gone = tokio::time::timeout(Duration::from_secs(10), wire.rest()).await;
    assert!(gone.is_ok(), "the upstream still works for nobody: {what}");
}

#[tokio::test]
async fn a_client_that_is_gone_frees_its_upstream_whatever_it_has_said() {
    let (upstream, proxy) = start().await;
    let partly = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    for reset in [false, true] {
        for (what, request, answer) in [
            ("before the answer", GET, ""),
            ("amid the answer", GET, partly),
            ("amid its upload", b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf", ""),
            (
                "while it waits to be asked",
                b"PUT / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n",
                "",
            ),
        ] {
            let mut stream = TcpStream::connect(proxy.address(WEB)).await.unwrap();
            stream.write_all(request).await.unwrap();
            let (mut wire, _) = upstream.request().await;
            write(&mut wire, answer).await;
            if reset {
                stream.set_zero_linger().unwrap();
            }
            let mut client = Buffered::new(stream);
            if !answer.is_empty() {
                client.head().await.unwrap();
            }
            drop(client);
            is_freed(wire, &format!("gone {what}, reset: {reset}")).await;
        }
    }
    proxy.is_idle("shop", "blue").await;
    eventually("each attempt is counted as one whose client left", || async {
        let metrics = proxy.get("/metrics").await.text();
        let gone = metrics.lines().find(|l| l.contains("outcome=\"client_gone\"")).map(str::to_owned);
        gone.filter(|line| line.ends_with(" 8")).ok_or(metrics)
    })
    .await;
    // 499 where nothing was wrong but that it left, 400 where its upload broke off.
    let metrics = proxy.get("/metrics").await.text();
    let answered = |code: &str| {
        let line = metrics.lines().find(|l| l.contains(&format!("code=\"{code}\""))).unwrap_or_default();
        line.rsplit(' ').next().unwrap_or_default().parse::<u32>().unwrap_or(0)
    };
    assert!(answered("499") >= 2 && answered("499") + answered("400") == 6, "{metrics}");
    let window = proxy.service("shop").await["groups"]["blue"]["window"].clone();
    assert_eq!(window["errors"], 0, "they are counted against the upstream: {window}");
}

#[tokio::test]
async fn a_client_that_is_gone_amid_its_upload_and_its_answer_frees_its_upstream() {
    let (upstream, proxy) = start().await;
    for reset in [false, true] {
        let mut stream = TcpStream::connect(proxy.address(WEB)).await.unwrap();
        stream.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf").await.unwrap();
        let (mut wire, _) = upstream.request().await;
        assert_eq!(wire.exactly(4).await.unwrap(), b"half");
        write(&mut wire, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n").await;
        if reset {
            stream.set_zero_linger().unwrap();
        }
        let mut client = Buffered::new(stream);
        client.head().await.unwrap();
        assert_eq!(client.chunk().await.unwrap(), b"half");
        // All is quiet now: nothing but its absence tells of it.
        drop(client);
        is_freed(wire, &format!("reset: {reset}")).await;
        proxy.is_idle("shop", "blue").await;
    }
}

#[tokio::test]
async fn a_client_that_vanishes_without_a_word_does_not_keep_a_finished_answer() {
    // It has asked and never reads; the answer fits into the buffers on the way, so that the upstream is free at once.
    let (upstream, proxy) = start().await;
    let mut stream = TcpStream::connect(proxy.address(WEB)).await.unwrap();
    stream.write_all(GET).await.unwrap();
    let (mut wire, _) = upstream.request().await;
    write(&mut wire, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
    proxy.is_idle("shop", "blue").await;
    drop(stream);
}
