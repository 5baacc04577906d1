//! Heads that are too large, too slow, or no heads at all.

use super::Bystander;
use crate::protocols;
use crate::support::{Client, Proxy, Upstream, eventually};

/// What the proxy takes at most, in bytes and in fields.
const LARGEST: usize = 64 << 10;
const MOST_FIELDS: usize = 128;

/// The answer to a head that is refused, and the end of its connection.
async fn refusal(proxy: &Proxy, head: &[u8], pieces: usize) -> u16 {
    let mut client = proxy.client().await;
    for piece in head.chunks(pieces) {
        // It may well be refused before it was sent.
        if client.send(piece).await.is_err() {
            break;
        }
    }
    let answer = client.response_to("GET").await.unwrap();
    if answer.status != 200 {
        assert_eq!(answer.header("proxy-status"), Some("pointsman; error=http_request_error"));
        assert!(answer.fields.lists("connection", "close"), "{:?}", answer.fields);
        // Nothing but a reset may follow.
        assert_eq!(client.receive_rest().await.unwrap_or_default(), b"");
    }
    answer.status
}

#[tokio::test]
async fn a_header_that_is_too_large_is_refused_with_431() {
    let blue = Upstream::start("blue");
    let proxy = protocols::in_front_of(&blue).await;
    let bystander = Bystander::start(&proxy).await;
    let long = "x".repeat(200_000);
    let many: String = (0..20_000).map(|n| format!("x-{n}: 1\r\n")).collect();
    let most = |count: usize| "x: 1\r\n".repeat(count - 1);
    for fields in [
        format!("x: {long}\r\n"),
        format!("{long}: x\r\n"),
        format!("cookie: {long}\r\n"),
        many,
        most(MOST_FIELDS + 1),
        most(1000),
    ] {
        let head = format!("GET /a HTTP/1.1\r\nhost: a\r\n{fields}\r\n");
        for pieces in [head.len(), 10_000] {
            let what = format!("{} bytes in pieces of {pieces}", head.len());
            assert_eq!(refusal(&proxy, head.as_bytes(), pieces).await, 431, "{what}");
        }
    }
    // What is large, but within reason, goes through: cookies of 16 KiB, and as many fields as are taken.
    let mut client = proxy.client().await;
    client.get_with("/", &[("cookie", &long[..16_000])]).await.expect(200);
    assert_eq!(
        refusal(&proxy, format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", most(MOST_FIELDS)).as_bytes(), 1 << 20).await,
        200
    );
    bystander.was_served_throughout().await;
    assert!(blue.arrivals().iter().all(|a| a.head.path() != "/a"), "a part of it went through");
}

#[tokio::test]
async fn a_request_line_that_is_too_long_is_refused_with_414() {
    let blue = Upstream::start("blue");
    let proxy = protocols::in_front_of(&blue).await;
    for length in [200_000, 1_000_000] {
        for start in ["GET /", "GET /?", "GET http://a/", "", "GET "] {
            let head = format!("{start}{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(length));
            assert_eq!(refusal(&proxy, head.as_bytes(), 10_000).await, 414, "{length} bytes behind {start:?}");
        }
    }
    assert_eq!(blue.requests(), 0);
    let long = format!("/{}", "x".repeat(60_000));
    proxy.client().await.get(&long).await.expect(200);
}

#[tokio::test]
async fn the_limit_of_a_head_does_not_depend_on_how_it_arrives() {
    let blue = Upstream::start("blue");
    let proxy = protocols::in_front_of(&blue).await;
    let mut wrong = Vec::new();
    for beyond in [1, 100, 3000, 20_000, 50_000] {
        for pieces in [LARGEST * 2, 16_000, 1000] {
            let (start, end) = ("GET / HTTP/1.1\r\nhost: a\r\nx: ", "\r\n\r\n");
            let header = format!("{start}{}{end}", "x".repeat(LARGEST + beyond - start.len() - end.len()));
            let status = refusal(&proxy, header.as_bytes(), pieces).await;
            if status != 431 {
                wrong.push(format!("{status} to a header of {} bytes in pieces of {pieces}", header.len()));
            }
            let line = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(LARGEST + beyond));
            let status = refusal(&proxy, line.as_bytes(), pieces).await;
            if status != 414 {
                wrong.push(format!("{status} to a target of {} bytes in pieces of {pieces}", LARGEST + beyond));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}

#[tokio::test]
async fn an_upstreams_head_that_is_too_large_is_no_answer() {
    let blue = Upstream::start("blue");
    let fields = vec![("x-long".to_owned(), "x".repeat(200_000))];
    blue.answer(crate::support::Answer::With(fields, b"x".to_vec()));
    let proxy = protocols::in_front_of(&blue).await;
    let answer = proxy.client().await.get("/").await.expect(502);
    assert_eq!(answer.header("proxy-status"), Some("pointsman; error=http_protocol_error"));
}

#[tokio::test]
async fn garbage_is_answered_400_or_hung_up_on() {
    let blue = Upstream::start("blue");
    let proxy = protocols::in_front_of(&blue).await;
    let bystander = Bystander::start(&proxy).await;
    let noise = protocols::noise(5000);
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec();
    let texts = ["\0\0\0\0\r\n\r\n", "SSH-2.0-OpenSSH_9\r\n\r\n", "*1\r\n$4\r\nPING\r\n\r\n", "{\"a\":1}\r\n\r\n"];
    let texts = texts.iter().map(|t| t.as_bytes().to_vec());
    let pieces = (1..20).map(|n| noise[n * 7..n * 200].to_vec());
    for bytes in texts.chain(pieces).chain([hello]) {
        let mut client = proxy.client().await;
        let _ = client.send(&bytes).await;
        let _ = client.finish_sending().await;
        if let Ok(answer) = client.response_to("GET").await {
            assert_eq!(answer.status, 400, "{bytes:?}");
        }
    }
    assert!(blue.arrivals().iter().all(|a| a.head.path() == "/bystander"), "{:?}", blue.arrivals());
    bystander.was_served_throughout().await;
}

#[tokio::test]
async fn hundreds_of_slow_or_silent_clients_keep_nobody_waiting() {
    let blue = Upstream::start("blue");
    let proxy = protocols::in_front_of(&blue).await;
    let mut slow = Vec::new();
    for n in 0..400 {
        let mut client = Client::connect(proxy.address("web")).await;
        match n % 4 {
            0 => {}
            1 => client.send(b"GET / HT").await.unwrap(),
            2 => client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf").await.unwrap(),
            _ => client.send(b"PRI * HTTP/2.0\r\n\r\nSM").await.unwrap(),
        }
        slow.push(client);
    }
    Bystander::start(&proxy).await.was_served_throughout().await;
    for client in &mut slow {
        client.send(b"x").await.unwrap();
    }
    Bystander::start(&proxy).await.was_served_throughout().await;
    drop(slow);
    eventually("all of them are forgotten", || async {
        let metrics = proxy.get("/metrics").await.text();
        let line = metrics.lines().find(|l| l.starts_with("pointsman_connections{")).unwrap_or_default().to_owned();
        let open: f64 = line.rsplit(' ').next().unwrap_or_default().parse().unwrap_or(f64::MAX);
        if open < 3.0 { Ok(()) } else { Err(line) }
    })
    .await;
    proxy.is_idle("shop", "blue").await;
}
