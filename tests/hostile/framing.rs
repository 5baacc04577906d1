//! Requests that two readers would cut at different places (request smuggling).

use super::Bystander;
use super::corpus::samples;
use crate::protocols;
use crate::support::{Answer, Client, Proxy, Upstream, eventually};

/// What must never be served: it stands behind something that was refused.
const HIDDEN: &[u8] = b"GET /hidden HTTP/1.1\r\nhost: a\r\n\r\n";
const CHUNKS: &[u8] = b"POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";

async fn start() -> (Upstream, Proxy) {
    let blue = Upstream::start("blue");
    blue.answer(Answer::Mirror);
    let proxy = protocols::in_front_of(&blue).await;
    (blue, proxy)
}

/// First lines of arrivals that are not the bystander's.
fn arrived(blue: &Upstream) -> Vec<String> {
    let others = blue.arrivals().into_iter().filter(|a| a.head.path() != "/bystander");
    others.map(|a| a.head.first).collect()
}

/// One refusal in the proxy's own name, and the end of the connection. Gives the status.
async fn refusal(proxy: &Proxy, bytes: &[u8], name: &str) -> u16 {
    let mut client = proxy.client().await;
    // It may well be refused before all of it was sent.
    let _ = client.send(bytes).await;
    let answer = client.response_to("POST").await.unwrap_or_else(|e| panic!("no answer to {name}: {e}"));
    assert!(answer.status >= 400, "{name}: {:?} {}", answer.fields, answer.text());
    assert_eq!(answer.header("proxy-status"), Some("pointsman; error=http_request_error"), "{name}");
    ends(&mut client, name).await;
    answer.status
}

/// Nothing more is answered on the connection, and it is closed: in good order, or because bytes were left over.
async fn ends(client: &mut Client, name: &str) {
    let rest = client.receive_rest().await;
    let nothing = match &rest {
        Ok(rest) => rest.is_empty(),
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    };
    assert!(nothing, "behind {name} came {rest:?}");
}

#[tokio::test]
async fn a_request_that_can_be_read_in_two_ways_is_refused_and_reaches_nobody() {
    let (blue, proxy) = start().await;
    let bystander = Bystander::start(&proxy).await;
    let mut wrong = Vec::new();
    for sample in samples("requests_refused") {
        let status = refusal(&proxy, &[&sample.bytes, HIDDEN].concat(), &sample.name).await;
        if status != sample.status {
            wrong.push(format!("{status} and not {}: {}", sample.status, sample.name));
        }
        assert_eq!(arrived(&blue), [""; 0], "{}", sample.name);
    }
    bystander.was_served_throughout().await;
    proxy.is_idle("shop", "blue").await;
    assert_eq!(wrong, [""; 0]);
}

#[tokio::test]
async fn it_is_refused_as_well_when_it_comes_byte_by_byte_behind_a_good_one() {
    let (blue, proxy) = start().await;
    for sample in samples("requests_refused") {
        let mut client = proxy.client().await;
        client.get("/good").await.expect(200);
        for byte in sample.bytes.iter().chain(HIDDEN) {
            if client.send(&[*byte]).await.is_err() {
                break;
            }
        }
        // An answer may be lost to a client that goes on sending to a connection that is closed.
        if let Ok(answer) = client.response_to("POST").await {
            assert!(answer.status >= 400, "{}: {}", sample.name, answer.status);
        }
        ends(&mut client, &sample.name).await;
        assert!(arrived(&blue).iter().all(|first| first == "GET /good HTTP/1.1"), "{}", sample.name);
    }
}

#[tokio::test]
async fn a_request_for_nobody_in_particular_is_refused_and_what_follows_is_the_next() {
    let (blue, proxy) = start().await;
    let mut wrong = Vec::new();
    for (n, sample) in samples("hosts_refused").into_iter().enumerate() {
        let mut client = proxy.client().await;
        let next = format!("GET /{n} HTTP/1.1\r\nhost: a\r\n\r\n");
        client.send(&[&sample.bytes, next.as_bytes()].concat()).await.unwrap();
        let answer = client.response_to("GET").await.unwrap();
        if answer.status != sample.status {
            wrong.push(format!("{} and not {}: {}: {}", answer.status, sample.status, sample.name, answer.text()));
            continue;
        }
        assert_eq!(answer.header("proxy-status"), Some("pointsman; error=http_request_error"), "{}", sample.name);
        if let Ok(answer) = client.response_to("GET").await {
            assert_eq!(answer.expect(200).json()["first"], format!("GET /{n} HTTP/1.1"), "{}", sample.name);
        }
    }
    assert_eq!(wrong, [""; 0]);
    assert!(arrived(&blue).iter().all(|first| !first.contains("/a")), "{:?}", arrived(&blue));
}

#[tokio::test]
async fn an_odd_request_that_can_be_read_in_one_way_arrives_with_one_framing() {
    let (blue, proxy) = start().await;
    let mut client = proxy.client().await;
    for sample in samples("requests_accepted") {
        let before = blue.arrivals().len();
        client.send(&[&sample.bytes, &b"GET /next HTTP/1.1\r\nhost: a\r\n\r\n"[..]].concat()).await.unwrap();
        let answer = client.response_to("GET").await.unwrap();
        assert_eq!(answer.status, sample.status, "{}: {}", sample.name, answer.text());
        let body = if sample.bytes.starts_with(b"POST") { "abc" } else { "" };
        assert_eq!(answer.json()["body"], body, "{}", sample.name);
        let next = client.response_to("GET").await.unwrap().expect(200).json();
        assert_eq!(next["first"], "GET /next HTTP/1.1", "{}", sample.name);
        let arrivals = blue.arrivals();
        assert_eq!(arrivals.len(), before + 2, "{}", sample.name);
        let fields = &arrivals[before].head.fields;
        let framing = ["content-length", "transfer-encoding"].map(|name| fields.all(name).count());
        assert!(framing == [1, 0] || framing == [0, 1] || (body.is_empty() && framing == [0, 0]), "{fields:?}");
        assert_eq!(fields.get("host"), Some("a"), "{}", sample.name);
    }
}

#[tokio::test]
async fn a_chunked_body_that_is_none_is_refused_and_never_ends_at_the_upstream() {
    let (blue, proxy) = start().await;
    let bystander = Bystander::start(&proxy).await;
    let samples = samples("chunks_refused");
    for sample in &samples {
        let status = refusal(&proxy, &[CHUNKS, &sample.bytes, HIDDEN].concat(), &sample.name).await;
        assert_eq!(status, sample.status, "{}", sample.name);
    }
    // The upstream reads whole bodies before it answers. It got none: nobody was answered by it.
    assert!(arrived(&blue).iter().all(|first| first == "POST /a HTTP/1.1"), "{:?}", arrived(&blue));
    assert!(arrived(&blue).len() <= samples.len());
    for arrival in blue.arrivals().iter().filter(|a| a.head.path() == "/a") {
        assert_eq!(arrival.head.fields.get("content-length"), None);
        assert_eq!(arrival.head.fields.get("transfer-encoding"), Some("chunked"));
    }
    bystander.was_served_throughout().await;
    proxy.is_idle("shop", "blue").await;
    eventually("the upstream is left, but for the bystander's connection", || async { blue.open_connections() <= 2 })
        .await;
}

#[tokio::test]
async fn chunk_extensions_and_trailers_are_not_taken_without_end() {
    let (_blue, proxy) = start().await;
    let long = "x".repeat(70_000);
    let line = format!("3;{long}\r\nabc\r\n0\r\n\r\n");
    let many = format!("1;{}\r\na\r\n", &long[..1000]).repeat(100) + "0\r\n\r\n";
    let trailer = format!("3\r\nabc\r\n0\r\nx: {long}\r\n\r\n");
    let trailers = "3\r\nabc\r\n0\r\n".to_owned() + &"x: y\r\n".repeat(1000) + "\r\n";
    let endless = format!("3;{long}");
    for (name, body) in [
        ("a long extension", line),
        ("an extension without end", endless),
        ("many extensions", many),
        ("a long trailer", trailer),
        ("many trailers", trailers),
    ] {
        assert_eq!(refusal(&proxy, &[CHUNKS, body.as_bytes()].concat(), name).await, 400, "{name}");
    }
    // What is within reason goes through.
    let body = "1;name=value\r\na\r\n".repeat(1000) + "0\r\nx: y\r\n\r\n";
    let mut client = proxy.client().await;
    client.send(&[CHUNKS, body.as_bytes()].concat()).await.unwrap();
    let seen = client.response_to("POST").await.unwrap().expect(200).json();
    assert_eq!(seen["body"].as_str().unwrap().len(), 1000);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_refused_and_never_ends_at_the_upstream() {
    let (blue, proxy) = start().await;
    for (name, bytes) in [
        ("a length", "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf"),
        ("a chunk", "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\na\r\nhalf"),
        ("a chunk's size", "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n5"),
        ("the last chunk", "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"),
        ("trailers", "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\n"),
    ] {
        let mut client = proxy.client().await;
        client.send(bytes.as_bytes()).await.unwrap();
        client.finish_sending().await.unwrap();
        let answer = client.response_to("POST").await.unwrap_or_else(|e| panic!("cut in {name}: {e}")).expect(400);
        assert_eq!(answer.header("proxy-status"), Some("pointsman; error=http_request_error"), "{name}");
        ends(&mut client, name).await;
    }
    assert!(arrived(&blue).len() <= 5, "{:?}", arrived(&blue));
    proxy.is_idle("shop", "blue").await;
}
