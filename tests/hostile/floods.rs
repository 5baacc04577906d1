//! HTTP/2 frames that each are allowed, in numbers that are not: at most their own connection is closed, memory stays
//! where it was, and everybody else is served throughout.

use std::time::Duration;

use super::Bystander;
use super::http2::{CONTINUATION, GET, HEADERS, PREFACE, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame};
use super::memory::resident;
use crate::protocols;
use crate::support::client::H2Client;
use crate::support::proxy::WEB;
use crate::support::{Answer, Client, Proxy, Upstream};

const DATA: u8 = 0;
const PRIORITY: u8 = 2;
const PING: u8 = 6;
/// What a flood may cost the proxy.
const BOUND: usize = 24 << 20;
/// More than any client in its right mind sends.
const MOST: usize = 32 << 20;

/// A flood on a connection of its own, by a client that never reads: bytes taken before the connection ended, or
/// before the proxy took no more.
async fn flood(proxy: &Proxy, first: &[u8], mut next: impl FnMut(u32) -> Vec<u8>) -> usize {
    let mut client = Client::connect(proxy.address(WEB)).await;
    client.send(&[PREFACE, &frame(SETTINGS, 0, 0, b""), first].concat()).await.unwrap();
    let (mut sent, mut round) = (0, 0);
    while sent < MOST {
        let bytes = next(round);
        match tokio::time::timeout(Duration::from_secs(2), client.send(&bytes)).await {
            Ok(Ok(())) => (sent, round) = (sent + bytes.len(), round + 1),
            // Closed, or not read any further: either is well.
            Ok(Err(_)) | Err(_) => break,
        }
    }
    sent
}

/// Runs a flood beside a bystander and a neighbour over HTTP/2. `stopped`: the flood must be.
async fn weathers(name: &str, stopped: bool, first: &[u8], next: impl FnMut(u32) -> Vec<u8>) {
    let blue = Upstream::start("blue");
    let proxy = protocols::in_front_of(&blue).await;
    let neighbour = H2Client::connect(proxy.address(WEB)).await;
    neighbour.get("/bystander").await.expect(200);
    let bystander = Bystander::start(&proxy).await;
    let before = resident(&proxy);
    let sent = flood(&proxy, first, next).await;
    let grown = resident(&proxy).saturating_sub(before);
    assert!(grown < BOUND, "{name}: it has cost {grown} bytes after {sent}");
    assert!(!stopped || sent < MOST, "{name}: {sent} bytes were taken");
    neighbour.get("/bystander").await.expect(200);
    bystander.was_served_throughout().await;
    proxy.is_idle("shop", "blue").await;
}

#[tokio::test]
async fn settings_without_end_hurt_nobody() {
    // CVE-2019-9515: each wants an acknowledgement, which nobody reads.
    let settings = frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]).repeat(1000);
    weathers("SETTINGS", true, b"", |_| settings.clone()).await;
}

#[tokio::test]
async fn large_settings_without_end_hurt_nobody() {
    let settings = frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100].repeat(2000));
    weathers("large SETTINGS", false, b"", |_| settings.clone()).await;
}

#[tokio::test]
async fn pings_without_end_hurt_nobody() {
    // CVE-2019-9512: each wants an answer, which nobody reads.
    let pings = frame(PING, 0, 0, b"12345678").repeat(1000);
    weathers("PING", true, b"", |_| pings.clone()).await;
}

#[tokio::test]
async fn streams_that_are_opened_and_reset_without_end_are_stopped() {
    // CVE-2023-44487.
    weathers("rapid reset", true, b"", |round| {
        let streams = (0..100).map(|n| 2 * (round * 100 + n) + 1);
        let pair = |s| [frame(HEADERS, 5, s, GET), frame(RST_STREAM, 0, s, &8_u32.to_be_bytes())].concat();
        streams.flat_map(pair).collect()
    })
    .await;
}

#[tokio::test]
async fn streams_that_the_proxy_is_made_to_reset_without_end_are_stopped() {
    // CVE-2025-8671: what resets them is a window beyond its maximum, each time.
    weathers("made you reset", true, b"", |round| {
        let streams = (0..100).map(|n| 2 * (round * 100 + n) + 1);
        let pair = |s| {
            let window = frame(WINDOW_UPDATE, 0, s, &[0x7f, 0xff, 0xff, 0xff]);
            [frame(HEADERS, 4, s, GET), window].concat()
        };
        streams.flat_map(pair).collect()
    })
    .await;
}

#[tokio::test]
async fn a_header_that_never_ends_is_stopped() {
    // CVE-2024-27316 and its like: with fields, and with empty frames.
    let fields = frame(CONTINUATION, 0, 1, &b"\x00\x01x\x01y".repeat(3000));
    weathers("CONTINUATION", true, &frame(HEADERS, 1, 1, GET), |_| fields.clone()).await;
    let empty = frame(CONTINUATION, 0, 1, b"").repeat(1000);
    weathers("empty CONTINUATION", true, &frame(HEADERS, 1, 1, GET), |_| empty.clone()).await;
}

#[tokio::test]
async fn a_header_that_is_large_only_once_unpacked_is_refused() {
    // One field of 4000 bytes goes into the table, and each further byte names it again (CVE-2016-6581).
    let value = "y".repeat(3900);
    let length = [0x7f, (3900_u16 - 127) as u8 & 0x7f | 0x80, ((3900_u16 - 127) >> 7) as u8];
    let first = [GET, b"\x40\x01x", &length, value.as_bytes(), &[0xbe; 8000]].concat();
    let blue = Upstream::start("blue");
    let proxy = protocols::in_front_of(&blue).await;
    let bystander = Bystander::start(&proxy).await;
    let before = resident(&proxy);
    for _ in 0..20 {
        let mut client = Client::connect(proxy.address(WEB)).await;
        client.send(&[PREFACE, &frame(SETTINGS, 0, 0, b""), &frame(HEADERS, 5, 1, &first)].concat()).await.unwrap();
        // An answer or the end of the connection, and in any case not the upstream's business.
        let _ = tokio::time::timeout(Duration::from_millis(200), client.receive_rest()).await;
    }
    let grown = resident(&proxy).saturating_sub(before);
    assert!(grown < BOUND, "it has cost {grown} bytes");
    bystander.was_served_throughout().await;
    assert!(blue.arrivals().iter().all(|a| a.head.path() == "/bystander"));
}

#[tokio::test]
async fn empty_frames_and_priorities_without_end_hurt_nobody() {
    // CVE-2019-9518 and CVE-2019-9513: nothing is wrong with any of them, and nothing may be kept of them.
    let empty = frame(DATA, 0, 1, b"").repeat(1000);
    weathers("empty DATA", false, &frame(HEADERS, 4, 1, GET), |_| empty.clone()).await;
    let priority = frame(PRIORITY, 0, 3, &[0, 0, 0, 1, 16]).repeat(1000);
    weathers("PRIORITY", false, b"", |_| priority.clone()).await;
    let window = frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).repeat(1000);
    weathers("WINDOW_UPDATE", false, b"", |_| window.clone()).await;
}

#[tokio::test]
async fn answers_that_are_drained_byte_by_byte_hold_nobody_up() {
    // CVE-2019-9511: a window of one byte at a time.
    let blue = Upstream::scripted("blue", |head| {
        if head.path() == "/bystander" { Answer::text("blue") } else { Answer::With(vec![], vec![b'x'; 1 << 20]) }
    });
    let proxy = protocols::in_front_of(&blue).await;
    let bystander = Bystander::start(&proxy).await;
    let before = resident(&proxy);
    let mut client = Client::connect(proxy.address(WEB)).await;
    let no_window = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let streams: Vec<u8> = (0..100).flat_map(|n| frame(HEADERS, 5, 2 * n + 1, GET)).collect();
    client.send(&[PREFACE, &no_window, &streams].concat()).await.unwrap();
    for _ in 0..200 {
        let drips: Vec<u8> = (0..100).flat_map(|n| frame(WINDOW_UPDATE, 0, 2 * n + 1, &[0, 0, 0, 1])).collect();
        if client.send(&drips).await.is_err() {
            break;
        }
        let _ = tokio::time::timeout(Duration::from_millis(5), client.receive()).await;
    }
    let grown = resident(&proxy).saturating_sub(before);
    assert!(grown < 2 * BOUND, "it has cost {grown} bytes");
    bystander.was_served_throughout().await;
    drop(client);
    proxy.is_idle("shop", "blue").await;
}
