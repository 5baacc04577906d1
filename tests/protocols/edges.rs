//! Messages without a body, and conversations ahead of one.

use std::time::Duration;

use super::{config, in_front_of, in_front_of_url};
use crate::support::by_hand::{ByHand, write};
use crate::support::client::H2Client;
use crate::support::peers::curl;
use crate::support::proxy::WEB;
use crate::support::{Answer, Proxy, Upstream};

#[tokio::test]
async fn head_gets_the_heads_of_get_and_no_body() {
    let blue = Upstream::scripted("blue", |head| match head.path() {
        "/chunked" => Answer::Chunked { chunks: vec![b"x".to_vec()], pause: Duration::ZERO, trailers: vec![] },
        _ => Answer::text("twelve bytes"),
    });
    let proxy = in_front_of(&blue).await;
    let mut client = proxy.client().await;
    for _ in 0..2 {
        let answer = client.request("HEAD", "/", &[], None).await.expect(200);
        assert_eq!(answer.header("content-length"), Some("12"));
        let answer = client.request("HEAD", "/chunked", &[], None).await.expect(200);
        assert_ne!(answer.header("content-length"), Some("0"), "a length that GET would not have");
        // The next answer on this connection begins where it should.
        assert_eq!(client.get("/").await.expect(200).text(), "twelve bytes");
    }
    let h2 = H2Client::connect(proxy.address(WEB)).await;
    let answer = h2.request("HEAD", "/", &[], b"").await.unwrap().expect(200);
    assert_eq!((answer.header("content-length"), answer.body.len()), (Some("12"), 0));
    assert!(blue.arrivals().iter().any(|a| a.head.method() == "HEAD"));
}

#[tokio::test]
async fn statuses_without_a_body_have_none_and_the_connection_goes_on() {
    let raw = |text: &str| Answer::Raw(format!("HTTP/1.1 {text}\r\n\r\n").into_bytes());
    let blue = Upstream::scripted("blue", move |head| match head.path() {
        "/204" => raw("204 No Content"),
        // Wrong, and seen in the wild: RFC 9110, section 8.6.
        "/204-length" => raw("204 No Content\r\ncontent-length: 0"),
        "/304" => raw("304 Not Modified\r\netag: \"a\"\r\ncontent-length: 99"),
        "/205" => raw("205 Reset Content\r\ncontent-length: 0"),
        _ => Answer::text("next"),
    });
    let proxy = Proxy::start(&(config(&format!("\"{}\"", blue.url()), "") + "workers: 1\n")).await;
    let mut client = proxy.client().await;
    for (path, status) in [("/204", 204), ("/204-length", 204), ("/304", 304), ("/205", 205)] {
        client.get(path).await.expect(status);
        assert_eq!(client.get("/").await.expect(200).text(), "next", "after {path}");
    }
    assert_eq!(client.get("/304").await.header("etag"), Some("\"a\""));
    let h2 = H2Client::connect(proxy.address(WEB)).await;
    for (path, status) in [("/204", 204), ("/204-length", 204), ("/304", 304)] {
        assert!(h2.get(path).await.expect(status).body.is_empty());
    }
    assert_eq!(blue.connections(), 2, "a probe's, and one for all of them");
}

#[tokio::test]
async fn the_clients_body_is_asked_for_only_when_the_upstream_asks() {
    let upstream = ByHand::listen().await;
    let proxy = in_front_of_url(&upstream.url()).await;
    let asks = b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n";
    let mut client = proxy.client().await;
    client.send(asks).await.unwrap();
    let (mut wire, head) = upstream.request().await;
    assert_eq!(head.fields.get("expect"), Some("100-continue"));
    let early = tokio::time::timeout(Duration::from_millis(200), client.head()).await;
    assert!(early.is_err(), "told to go on before the upstream said so: {early:?}");
    write(&mut wire, "HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(client.head().await.unwrap().status().unwrap(), 100);
    client.send(b"abc").await.unwrap();
    assert_eq!(wire.exactly(3).await.unwrap(), b"abc");
    write(&mut wire, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    client.response_to("POST").await.unwrap().expect(200);
}

#[tokio::test]
async fn an_upstream_may_answer_an_expectation_with_its_verdict() {
    let blue = Upstream::start("blue");
    blue.answer(Answer::WithoutReading(Box::new(Answer::Plain(413, "too much".to_owned()))));
    let proxy = in_front_of(&blue).await;
    let mut client = proxy.client().await;
    client
        .send(b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 1000000\r\n\r\n")
        .await
        .unwrap();
    let answer = client.response_to("POST").await.unwrap().expect(413);
    assert_eq!((answer.text().as_str(), answer.informational.len()), ("too much", 0));
    let file = proxy.dir().join("upload");
    std::fs::write(&file, super::noise(2 << 20)).unwrap();
    let (url, upload) = (format!("http://{}/", proxy.address(WEB)), format!("@{}", file.display()));
    let wait = ["--expect100-timeout", "10", "--header", "expect: 100-continue", "--data-binary", &upload];
    let said = curl(&[&wait[..], &["--write-out", " %{http_code} %{size_upload}", &url]].concat()).await;
    assert_eq!(said, "too much 413 0", "curl sent a body that nobody wanted");
    blue.answer(Answer::Echo);
    let said = curl(&[&wait[..], &["--write-out", "%{http_code}", "--output", "/dev/null", &url]].concat()).await;
    assert_eq!(said, "200");
}

#[tokio::test]
async fn an_upstream_that_never_asks_for_the_body_gets_it_after_a_while() {
    let upstream = ByHand::listen().await;
    let proxy = in_front_of_url(&upstream.url()).await;
    let mut client = proxy.client().await;
    client.send(b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n").await.unwrap();
    let (mut wire, _) = upstream.request().await;
    assert_eq!(client.head().await.unwrap().status().unwrap(), 100);
    client.send(b"abc").await.unwrap();
    assert_eq!(wire.exactly(3).await.unwrap(), b"abc");
    write(&mut wire, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    client.response_to("POST").await.unwrap().expect(200);
}

#[tokio::test]
async fn informational_answers_do_not_disturb_the_final_one() {
    let blue = Upstream::start("blue");
    let hints = vec![(103, vec![("link".to_owned(), "</a.css>; rel=preload".to_owned())]), (102, vec![])];
    blue.answer(Answer::Informational(hints, Box::new(Answer::text("late"))));
    let proxy = in_front_of(&blue).await;
    let mut client = proxy.client().await;
    for _ in 0..3 {
        assert_eq!(client.get("/").await.expect(200).text(), "late");
    }
    let h2 = H2Client::connect(proxy.address(WEB)).await;
    assert_eq!(h2.get("/").await.expect(200).text(), "late");
}
