//! HTTP/2 frames that break the rules end the connection that they came on, and no other.

use std::time::Duration;

use super::Bystander;
use crate::protocols;
use crate::support::client::H2Client;
use crate::support::h2::H2;
use crate::support::proxy::WEB;
use crate::support::{Client, Upstream, eventually};

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(super) const SETTINGS: u8 = 4;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `:method: GET, :scheme: http, :path: /, :authority: a` without Huffman coding.
pub(super) const GET: &[u8] = b"\x82\x86\x84\x41\x01a";

#[tokio::test]
async fn frames_that_break_the_rules_close_their_connection_and_no_other() {
    let blue = Upstream::start("blue");
    let proxy = protocols::in_front_of(&blue).await;
    let bystander = Bystander::start(&proxy).await;
    let neighbour = H2Client::connect(proxy.address(WEB)).await;
    neighbour.get("/bystander").await.expect(200);
    let attacks: [(&str, Vec<u8>); 14] = [
        ("DATA on stream 0", frame(0, 0, 0, b"x")),
        ("HEADERS on stream 0", frame(HEADERS, 4, 0, GET)),
        ("DATA on an idle stream", frame(0, 0, 1, b"x")),
        ("an even stream", frame(HEADERS, 5, 2, GET)),
        ("a frame beyond the maximum size", frame(0, 0, 1, &vec![0; 20_000])),
        ("SETTINGS of a broken length", frame(SETTINGS, 0, 0, b"12345")),
        ("SETTINGS on a stream", frame(SETTINGS, 0, 1, b"")),
        ("an acknowledgement with a payload", frame(SETTINGS, 1, 0, b"123456")),
        ("a window of zero more", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("a window beyond its maximum", frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
        ("header compression that is none", frame(HEADERS, 5, 1, &[0xff; 40])),
        ("a table index that does not exist", frame(HEADERS, 5, 1, &[0xc0, 0xff])),
        ("CONTINUATION without a beginning", frame(CONTINUATION, 4, 1, GET)),
        ("PING within a header block", [frame(HEADERS, 1, 1, GET), frame(6, 0, 0, &[0; 8])].concat()),
    ];
    for (what, bytes) in attacks {
        let mut client = Client::connect(proxy.address(WEB)).await;
        client.send(&[PREFACE, &frame(SETTINGS, 0, 0, b""), &bytes].concat()).await.unwrap();
        let closed = tokio::time::timeout(Duration::from_secs(10), client.receive_rest()).await;
        assert!(closed.is_ok(), "still open after: {what}");
    }
    neighbour.get("/bystander").await.expect(200);
    bystander.was_served_throughout().await;
    assert!(blue.arrivals().iter().all(|a| a.head.path() == "/bystander"), "{:?}", blue.arrivals());
}

#[tokio::test]
async fn endless_headers_and_rapid_resets_are_stopped() {
    let blue = Upstream::start("blue");
    let proxy = protocols::in_front_of(&blue).await;
    let bystander = Bystander::start(&proxy).await;
    // A header block that never ends (CVE-2024-27316 and its like).
    let mut client = Client::connect(proxy.address(WEB)).await;
    client.send(&[PREFACE, &frame(SETTINGS, 0, 0, b""), &frame(HEADERS, 1, 1, GET)].concat()).await.unwrap();
    let more = frame(CONTINUATION, 0, 1, &b"\x00\x01x\x01y".repeat(3000));
    let mut sent = 0;
    while client.send(&more).await.is_ok() {
        sent += more.len();
        assert!(sent < 64 << 20, "{sent} bytes of one header were taken");
    }
    // Streams opened and reset at once (CVE-2023-44487).
    let mut client = Client::connect(proxy.address(WEB)).await;
    client.send(&[PREFACE, &frame(SETTINGS, 0, 0, b"")].concat()).await.unwrap();
    let mut streams = 0_u32;
    loop {
        let pairs = (0..100).flat_map(|n| {
            let stream = 2 * (streams + n) + 1;
            [frame(HEADERS, 5, stream, GET), frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
        });
        if client.send(&pairs.collect::<Vec<u8>>()).await.is_err() {
            break;
        }
        streams += 100;
        assert!(streams < 500_000, "{streams} resets were taken");
    }
    bystander.was_served_throughout().await;
    proxy.is_idle("shop", "blue").await;
}

#[tokio::test]
async fn requests_that_http_2_forbids_reach_nobody() {
    let blue = Upstream::start("blue");
    let proxy = protocols::in_front_of(&blue).await;
    // Names and values as literals: `\x00`, then each with its length.
    let literal = |name: &str, value: &str| {
        [&[0, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
    };
    for (name, value) in [
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
        ("X-Upper", "a"),
        ("x-break", "a\r\nx-smuggled: 1"),
        ("x-null", "a\0b"),
        ("x:colon", "a"),
        ("x blank", "a"),
        ("content-length", "5"),
        ("content-length", "x"),
        (":unknown", "a"),
        (":path", "/other"),
    ] {
        let mut client = Client::connect(proxy.address(WEB)).await;
        let block = [GET, &literal(name, value)].concat();
        let request = frame(HEADERS, 5, 1, &block);
        client.send(&[PREFACE, &frame(SETTINGS, 0, 0, b""), &request].concat()).await.unwrap();
        // An answer, a reset, or the end: each is a frame that names the stream, or GOAWAY.
        let mut seen = Vec::new();
        let judged = async {
            while !has_verdict(&seen) {
                match client.receive().await {
                    Ok(bytes) if !bytes.is_empty() => seen.extend(bytes),
                    _ => break,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), judged).await.unwrap_or_else(|_| panic!("no verdict on {name}"));
        assert_eq!(blue.requests(), 0, "{name}: {value:?} went through as {:?}", blue.arrivals()[0].head);
    }
}

/// Whether there is a frame other than SETTINGS and WINDOW_UPDATE among these.
fn has_verdict(mut frames: &[u8]) -> bool {
    while frames.len() >= 9 {
        let length = usize::from(frames[0]) << 16 | usize::from(frames[1]) << 8 | usize::from(frames[2]);
        if ![SETTINGS, WINDOW_UPDATE].contains(&frames[3]) {
            return true;
        }
        frames = frames.get(9 + length..).unwrap_or_default();
    }
    false
}

#[tokio::test]
async fn one_connection_gets_many_streams_but_not_endlessly_many() {
    let blue = Upstream::start("blue");
    blue.answer(crate::support::Answer::Hang);
    let proxy = protocols::in_front_of(&blue).await;
    let h2 = std::sync::Arc::new(H2::connect(proxy.address(WEB)).await);
    let mut streams = tokio::task::JoinSet::new();
    for _ in 0..300 {
        let h2 = std::sync::Arc::clone(&h2);
        streams.spawn(async move { h2.get("/", &[]).await.is_ok() });
    }
    eventually("as many as are allowed are under way", || async { blue.requests() >= 256 }).await;
    // Whoever comes beyond that would have come by now.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(blue.requests(), 256);
}
