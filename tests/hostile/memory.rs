//! Clients and upstreams that do not read: what they are sent waits where it comes from, and not in the proxy.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::Bystander;
use crate::support::by_hand::ByHand;
use crate::support::h2::{self, H2};
use crate::support::proxy::WEB;
use crate::support::wire::Buffered;
use crate::support::{Answer, Proxy, Upstream, eventually};

const CLIENTS: usize = 50;
const EACH: usize = 50 << 20;
/// What so many connections may cost together.
const BOUND: usize = 48 << 20;

/// Memory of the proxy, in bytes.
pub(super) fn resident(proxy: &Proxy) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.pid())).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// Waits until the upstreams' answers are stuck: what the metrics call under way is so many, and memory stands still.
async fn settled(proxy: &Proxy, requests: usize) -> usize {
    eventually("all of them are under way", || async {
        let seen = proxy.service("shop").await["groups"]["blue"]["in_flight"].clone();
        if seen == requests { Ok(()) } else { Err(seen.to_string()) }
    })
    .await;
    let mut last = resident(proxy);
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = resident(proxy);
        if now.abs_diff(last) < 256 << 10 {
            return now;
        }
        last = now;
    }
}

/// Answers `/large` with 50 MiB in this framing, everything else with little. Holds none of it in memory.
async fn large(framing: &'static str) -> (String, Arc<AtomicUsize>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (asked, mut tasks) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
    let count = Arc::clone(&asked);
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let wire = Buffered::new(listener.accept().await.unwrap().0);
            connections.spawn(serve(wire, framing, Arc::clone(&count)));
        }
    });
    (url, asked, tasks)
}

async fn serve(mut wire: Buffered<TcpStream>, framing: &str, asked: Arc<AtomicUsize>) {
    // What the proxy does to the connection is for the test to judge, so errors end it silently.
    while let Ok(Some(head)) = wire.head().await {
        if head.path() != "/large" {
            let _ = wire.stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            continue;
        }
        asked.fetch_add(1, Ordering::AcqRel);
        let mut piece = vec![b'x'; 1 << 20];
        if framing.contains("chunked") {
            piece = [b"100000\r\n", &piece[..], b"\r\n"].concat();
        }
        let _ = wire.stream.write_all(format!("HTTP/1.1 200 OK\r\n{framing}\r\n").as_bytes()).await;
        for _ in 0..EACH >> 20 {
            if wire.stream.write_all(&piece).await.is_err() {
                return;
            }
        }
        if framing.is_empty() {
            return;
        }
    }
}

async fn unread_answers(framing: &'static str) {
    let (url, asked, _tasks) = large(framing).await;
    let proxy = crate::protocols::in_front_of_url(&url).await;
    let bystander = Bystander::start(&proxy).await;
    let before = resident(&proxy);
    let mut unread = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = TcpStream::connect(proxy.address(WEB)).await.unwrap();
        client.write_all(b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        unread.push(client);
    }
    eventually("all have asked", || async { asked.load(Ordering::Acquire) == CLIENTS }).await;
    // For as long as it takes to fill every buffer on the way, and as much again would follow.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let grown = resident(&proxy).saturating_sub(before);
    assert!(grown < BOUND, "the proxy holds {grown} bytes for {CLIENTS} clients that read nothing");
    bystander.was_served_throughout().await;
    drop(unread);
    proxy.is_idle("shop", "blue").await;
}

#[tokio::test]
async fn fifty_clients_that_ask_for_much_and_read_nothing_cost_little() {
    unread_answers("content-length: 52428800\r\n").await;
}

#[tokio::test]
async fn clients_that_read_nothing_of_large_chunks_cost_little() {
    unread_answers("transfer-encoding: chunked\r\n").await;
}

#[tokio::test]
async fn clients_that_read_nothing_of_an_answer_without_a_length_cost_little() {
    unread_answers("").await;
}

#[tokio::test]
async fn streams_that_are_never_given_a_window_cost_little_and_hold_nobody_up() {
    let blue = Upstream::scripted("blue", |head| {
        if head.path() == "/bystander" { Answer::text("blue") } else { Answer::With(vec![], vec![b'x'; 4 << 20]) }
    });
    let proxy = crate::protocols::in_front_of(&blue).await;
    let bystander = Bystander::start(&proxy).await;
    let before = resident(&proxy);
    let mut connections = Vec::new();
    for _ in 0..4 {
        let h2 = H2::connect(proxy.address(WEB)).await;
        let mut unread = Vec::new();
        for _ in 0..20 {
            unread.push(h2.get("/large", &[]).await.unwrap());
        }
        connections.push((h2, unread));
    }
    let grown = settled(&proxy, 80).await.saturating_sub(before);
    assert!(grown < BOUND, "the proxy holds {grown} bytes for streams that nobody reads");
    bystander.was_served_throughout().await;
    // The windows are the streams' own: one that is read is read to its end.
    let (_h2, unread) = connections.last_mut().unwrap();
    let last = unread.pop().unwrap();
    unread.clear();
    assert_eq!(h2::receive(last.into_body()).await.unwrap().0.len(), 4 << 20);
    drop(connections);
    proxy.is_idle("shop", "blue").await;
}

#[tokio::test]
async fn fifty_uploads_to_an_upstream_that_reads_nothing_cost_little_and_their_clients_wait() {
    let upstream = ByHand::listen().await;
    let proxy = crate::protocols::in_front_of_url(&upstream.url()).await;
    let before = resident(&proxy);
    let mut stuck = Vec::new();
    for n in 0..CLIENTS {
        let mut client = TcpStream::connect(proxy.address(WEB)).await.unwrap();
        let framing =
            if n % 2 == 0 { format!("content-length: {EACH}") } else { "transfer-encoding: chunked".to_owned() };
        client.write_all(format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n").as_bytes()).await.unwrap();
        let (wire, _) = upstream.request().await;
        let piece =
            if n % 2 == 0 { vec![b'x'; 1 << 20] } else { [b"100000\r\n", &vec![b'x'; 1 << 20][..], b"\r\n"].concat() };
        let mut sent = 0;
        while let Ok(written) = tokio::time::timeout(Duration::from_millis(100), client.write_all(&piece)).await {
            written.unwrap();
            sent += piece.len();
            assert!(sent < EACH, "{sent} bytes went nowhere");
        }
        stuck.push((client, wire));
    }
    let grown = settled(&proxy, CLIENTS).await.saturating_sub(before);
    assert!(grown < BOUND, "the proxy holds {grown} bytes of uploads that nobody reads");
    drop(stuck);
    proxy.is_idle("shop", "blue").await;
}
