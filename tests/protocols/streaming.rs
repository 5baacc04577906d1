//! Nothing is held back and nothing is buffered whole: events, uploads, and back-pressure in both directions.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::in_front_of_url;
use crate::support::by_hand::{ByHand, write};
use crate::support::h2::{self, H2};
use crate::support::proxy::WEB;
use crate::support::{Client, Proxy, eventually};

/// More than all socket buffers and windows on the way can hold, and far less than [`PLENTY`].
const MOST_HELD: usize = 40 << 20;
const PLENTY: usize = 256 << 20;
const PIECE: usize = 64 << 10;

#[tokio::test]
async fn server_sent_events_arrive_one_by_one_over_http_1_1_and_http_2() {
    let upstream = ByHand::listen().await;
    let proxy = in_front_of_url(&upstream.url()).await;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut client = proxy.client().await;
    client.send(b"GET /events HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let (mut wire, _) = upstream.request().await;
    write(&mut wire, head).await;
    // The head does not wait for the first event.
    assert_eq!(client.head().await.unwrap().fields.get("content-type"), Some("text/event-stream"));
    for n in 0..5 {
        write(&mut wire, format!("9\r\ndata: {n}\n\n\r\n")).await;
        assert_eq!(client.chunk().await.unwrap(), format!("data: {n}\n\n").into_bytes());
    }
    let h2 = H2::connect(proxy.address(WEB)).await;
    let (answer, (mut wire, _)) = tokio::join!(h2.get("/events", &[]), async {
        let (mut wire, request) = upstream.request().await;
        write(&mut wire, head).await;
        (wire, request)
    });
    let mut events = answer.unwrap().into_body();
    for n in 0..5 {
        write(&mut wire, format!("9\r\ndata: {n}\n\n\r\n")).await;
        assert_eq!(events.data().await.unwrap().unwrap(), format!("data: {n}\n\n"));
    }
}

#[tokio::test]
async fn an_upload_reaches_the_upstream_while_it_is_being_sent() {
    let upstream = ByHand::listen().await;
    let proxy = in_front_of_url(&upstream.url()).await;
    let mut client = proxy.client().await;
    client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 15\r\n\r\n").await.unwrap();
    client.send(b"first").await.unwrap();
    let (mut wire, _) = upstream.request().await;
    assert_eq!(wire.exactly(5).await.unwrap(), b"first");
    client.send(b"second").await.unwrap();
    assert_eq!(wire.exactly(6).await.unwrap(), b"second");
    // An answer ahead of the upload's end is passed on at once, too.
    write(&mut wire, "HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n5\r\nearly\r\n").await;
    assert_eq!(client.head().await.unwrap().status().unwrap(), 200);
    assert_eq!(client.chunk().await.unwrap(), b"early");
    client.send(b"last").await.unwrap();
    assert_eq!(wire.exactly(4).await.unwrap(), b"last");
    write(&mut wire, "0\r\n\r\n").await;
    assert_eq!(client.chunk().await.unwrap(), b"");
    let h2 = H2::connect(proxy.address(WEB)).await;
    let (_response, mut body) = h2.begin("POST", "/", &[]).await;
    body.send_data(Bytes::from_static(b"first"), false).unwrap();
    let (mut wire, head) = upstream.request().await;
    assert_eq!(head.fields.get("transfer-encoding"), Some("chunked"));
    assert_eq!(wire.chunk().await.unwrap(), b"first");
    body.send_data(Bytes::from_static(b"second"), true).unwrap();
    assert_eq!(wire.chunk().await.unwrap(), b"second");
    assert_eq!(wire.chunk().await.unwrap(), b"");
}

#[tokio::test]
async fn an_upload_waits_for_an_upstream_that_does_not_read() {
    let upstream = ByHand::listen().await;
    let proxy = in_front_of_url(&upstream.url()).await;
    let mut client = TcpStream::connect(proxy.address(WEB)).await.unwrap();
    let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {PLENTY}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    let (mut wire, _) = upstream.request().await;
    let before = resident(&proxy);
    let sent = stuffed(&mut client).await;
    let grown = resident(&proxy).saturating_sub(before);
    assert!(grown < 16 << 20, "the proxy holds {grown} bytes of an upload that nobody reads");
    // Once the upstream reads, nothing of it is missing.
    let more = vec![1; PIECE];
    let (written, read) = tokio::join!(client.write_all(&more), wire.exactly(sent + PIECE));
    written.unwrap();
    let read = read.unwrap();
    assert!(read[..sent].iter().all(|&b| b == 0) && read[sent..] == more);
}

#[tokio::test]
async fn an_upload_over_http_2_waits_for_an_upstream_that_does_not_read() {
    let upstream = ByHand::listen().await;
    let proxy = in_front_of_url(&upstream.url()).await;
    let h2 = H2::connect(proxy.address(WEB)).await;
    let (_response, mut body) = h2.begin("POST", "/", &[]).await;
    let (mut wire, _) = upstream.request().await;
    let before = resident(&proxy);
    let mut sent = 0;
    while let Ok(granted) = tokio::time::timeout(Duration::from_millis(500), h2::capacity(&mut body, PIECE)).await {
        let granted = granted.unwrap();
        body.send_data(Bytes::from(vec![0; granted]), false).unwrap();
        sent += granted;
        assert!(sent < MOST_HELD, "{sent} bytes went nowhere");
    }
    let grown = resident(&proxy).saturating_sub(before);
    assert!(grown < 16 << 20, "the proxy holds {grown} bytes of an upload that nobody reads");
    // And goes on when it does.
    let read = async {
        let mut read = 0;
        while read < sent + PIECE {
            read += wire.chunk().await.unwrap().len();
        }
        read
    };
    let (written, read) = tokio::join!(h2::send(&mut body, Bytes::from(vec![0; PIECE])), read);
    written.unwrap();
    assert_eq!(read, sent + PIECE);
}

#[tokio::test]
async fn an_upload_that_stops_is_the_fault_of_whoever_keeps_the_other_waiting() {
    let upstream = ByHand::listen().await;
    let extra = ", timeouts: { idle: 1s, response: 300ms }";
    let proxy = Proxy::start(&super::config(&format!("\"{}\"", upstream.url()), extra)).await;
    let mut client = TcpStream::connect(proxy.address(WEB)).await.unwrap();
    let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {PLENTY}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    let (unread, _) = upstream.request().await;
    stuffed(&mut client).await;
    let mut client = Client::over(client, "a");
    client.response_to("POST").await.unwrap().expect(504);
    drop(unread);
    let mut client = proxy.client().await;
    client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf").await.unwrap();
    let (mut wire, _) = upstream.request().await;
    wire.exactly(4).await.unwrap();
    let late = client.response_to("POST").await.unwrap().expect(408);
    assert_eq!(late.header("proxy-status"), Some("pointsman; error=http_request_error"));
}

#[tokio::test]
async fn an_answer_waits_for_a_client_that_does_not_read() {
    let upstream = ByHand::listen().await;
    let proxy = in_front_of_url(&upstream.url()).await;
    let mut client = TcpStream::connect(proxy.address(WEB)).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let (mut wire, _) = upstream.request().await;
    write(&mut wire, format!("HTTP/1.1 200 OK\r\ncontent-length: {PLENTY}\r\n\r\n")).await;
    let before = resident(&proxy);
    stuffed(&mut wire.stream).await;
    let grown = resident(&proxy).saturating_sub(before);
    assert!(grown < 16 << 20, "the proxy holds {grown} bytes of an answer that nobody reads");
    let mut some = vec![0; 1 << 20];
    client.read_exact(&mut some).await.unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_along() {
    let upstream = ByHand::listen().await;
    let proxy = in_front_of_url(&upstream.url()).await;
    // While the upstream thinks, in the middle of the answer, and in the middle of an upload.
    for (request, answer) in [
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", ""),
        ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"),
        ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf", ""),
    ] {
        let mut client = Client::connect(proxy.address(WEB)).await;
        client.send(request.as_bytes()).await.unwrap();
        let (mut wire, _) = upstream.request().await;
        write(&mut wire, answer).await;
        if !answer.is_empty() {
            client.head().await.unwrap();
        }
        drop(client);
        let gone = tokio::time::timeout(Duration::from_secs(20), wire.rest()).await;
        assert!(gone.is_ok(), "the upstream still waits: {request:?} {answer:?}");
    }
    // Over HTTP/2 it is the stream that ends, while the connection stays.
    let h2 = H2::connect(proxy.address(WEB)).await;
    let (response, body) = h2.begin("GET", "/", &[]).await;
    let (mut wire, _) = upstream.request().await;
    drop((response, body));
    let gone = tokio::time::timeout(Duration::from_secs(20), wire.rest()).await;
    assert!(gone.is_ok(), "the upstream still waits for a stream that was reset");
    proxy.is_idle("shop", "blue").await;
    eventually("those that left are counted against nobody", || async {
        let metrics = proxy.get("/metrics").await.text();
        let gone = metrics.lines().find(|l| l.contains("outcome=\"client_gone\"")).map(str::to_owned);
        gone.filter(|line| line.ends_with(" 4")).ok_or(metrics)
    })
    .await;
}

/// Writes until the other side takes no more for half a second.
async fn stuffed(stream: &mut TcpStream) -> usize {
    let piece = vec![0; PIECE];
    let mut sent = 0;
    while let Ok(written) = tokio::time::timeout(Duration::from_millis(500), stream.write(&piece)).await {
        sent += written.unwrap();
        assert!(sent < MOST_HELD, "{sent} bytes went nowhere");
    }
    sent
}

/// Memory of the proxy, in bytes.
fn resident(proxy: &Proxy) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.pid())).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}
