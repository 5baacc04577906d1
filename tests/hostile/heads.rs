//! Heads that are too large, too slow, or no heads at all.

use super::Bystander;
use crate::protocols;
use crate::support::{Client, Upstream, eventually};

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_with_431() {
    let blue = Upstream::start("blue");
    let proxy = protocols::in_front_of(&blue).await;
    let bystander = Bystander::start(&proxy).await;
    let long = "x".repeat(200_000);
    let many: String = (0..20_000).map(|n| format!("x-{n}: 1\r\n")).collect();
    for fields in [format!("x: {long}\r\n"), format!("{long}: x\r\n"), format!("cookie: {long}\r\n"), many] {
        let mut client = proxy.client().await;
        // It may well be refused before it was sent.
        let _ = client.send(format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n").as_bytes()).await;
        client.response_to("GET").await.unwrap().expect(431);
    }
    let mut client = proxy.client().await;
    let _ = client.send(format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await;
    let status = client.response_to("GET").await.unwrap().status;
    assert!([414, 431].contains(&status), "{status}");
    // What is large, but within reason, goes through: cookies of 16 KiB, and a hundred fields.
    let mut client = proxy.client().await;
    client.get_with("/", &[("cookie", &long[..16_000])]).await.expect(200);
    let names: Vec<_> = (0..90).map(|n| format!("x-{n}")).collect();
    let fields: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
    client.get_with("/", &fields).await.expect(200);
    bystander.was_served_throughout().await;
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
