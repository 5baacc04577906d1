//! Bodies and trailers arrive byte by byte as they were sent, whatever frames them on either side.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use super::{in_front_of, in_front_of_url, noise};
use crate::support::client::H2Client;
use crate::support::h2::{self, H2};
use crate::support::proxy::WEB;
use crate::support::server::Server;
use crate::support::{Answer, Proxy, Upstream};

const SIZES: [usize; 7] = [0, 1, 16_383, 16_384, 65_536, 1_000_000, 10 << 20];

/// Of these bytes, in chunks of uneven sizes.
fn chunked(body: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(body.len() + 1000);
    let (mut rest, mut size) = (body, 1);
    while !rest.is_empty() {
        let (chunk, more) = rest.split_at(size.min(rest.len()));
        framed.extend(format!("{:x};ext=\"1\"\r\n", chunk.len()).bytes());
        framed.extend(chunk);
        framed.extend(b"\r\n");
        (rest, size) = (more, size * 3 + 1);
    }
    framed.extend(b"0\r\n\r\n");
    framed
}

async fn echoes(proxy: &Proxy) {
    let mut client = proxy.client().await;
    let h2 = H2Client::connect(proxy.address(WEB)).await;
    for size in SIZES {
        let body = noise(size);
        let answer = client.post("/echo", &body).await.expect(200);
        assert!(answer.body == body, "{size} bytes with a content length came back as {}", answer.body.len());
        client.send(b"POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
        // The echo comes while it is being sent: both directions at once.
        let framed = chunked(&body);
        let answer = both(&mut client, &framed).await;
        assert!(answer == body, "{size} chunked bytes came back as {}", answer.len());
        let answer = h2.request("POST", "/echo", &[], &body).await.unwrap().expect(200);
        assert!(answer.body == body, "{size} bytes over HTTP/2 came back as {}", answer.body.len());
    }
}

/// Sends a framed body, then reads the answer. The upstream that answers only at the end needs nothing more.
async fn both(client: &mut crate::support::Client, framed: &[u8]) -> Vec<u8> {
    client.send(framed).await.unwrap();
    client.response_to("POST").await.unwrap().expect(200).body
}

#[tokio::test]
async fn bodies_of_every_size_go_through_http_1_1_to_http_1_1() {
    let blue = Upstream::start("blue");
    blue.answer(Answer::Echo);
    echoes(&in_front_of(&blue).await).await;
}

#[tokio::test]
async fn bodies_of_every_size_over_http_2_reach_an_upstream_with_http_2() {
    let server = Server::h2c().await;
    let proxy = in_front_of_url(server.url()).await;
    let h2 = H2Client::connect(proxy.address(WEB)).await;
    for size in SIZES {
        let body = noise(size);
        let answer = h2.request("POST", "/echo", &[], &body).await.unwrap().expect(200);
        assert!(answer.body == body, "{size} bytes came back as {}", answer.body.len());
    }
    let mut client = proxy.client().await;
    // Small enough for every buffer on the way: this client reads only when it has sent everything.
    let body = noise(200_000);
    assert!(client.post("/echo", &body).await.expect(200).body == body);
}

#[tokio::test]
async fn framing_is_kept_where_it_says_something_and_never_doubled() {
    let blue = Upstream::start("blue");
    blue.answer(Answer::Mirror);
    let proxy = in_front_of(&blue).await;
    let mut client = proxy.client().await;
    client.post("/", b"abc").await.expect(200);
    client
        .send(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        .await
        .unwrap();
    client.response_to("POST").await.unwrap().expect(200);
    client.get("/").await.expect(200);
    let framing = |n: usize| {
        let head = &blue.arrivals()[n].head.fields;
        (head.get("content-length").map(str::to_owned), head.get("transfer-encoding").map(str::to_owned))
    };
    assert_eq!(framing(0), (Some("3".to_owned()), None));
    assert_eq!(framing(1), (None, Some("chunked".to_owned())));
    assert_eq!(framing(2), (None, None), "a GET without a body got one");
    let chunks = vec![b"ab".to_vec(), b"c".to_vec()];
    blue.answer(Answer::Chunked { chunks, pause: Duration::ZERO, trailers: vec![] });
    let answer = client.get("/").await.expect(200);
    assert_eq!((answer.header("transfer-encoding"), answer.header("content-length")), (Some("chunked"), None));
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_framed_anew() {
    let blue = Upstream::start("blue");
    blue.answer(Answer::Garbage(b"HTTP/1.1 200 OK\r\nx-upstream: blue\r\n\r\nuntil the end".to_vec()));
    let proxy = in_front_of(&blue).await;
    let mut client = proxy.client().await;
    for _ in 0..2 {
        let answer = client.get("/").await.expect(200);
        assert_eq!((answer.text().as_str(), answer.header("transfer-encoding")), ("until the end", Some("chunked")));
    }
}

#[tokio::test]
async fn an_answers_trailers_reach_the_client() {
    let blue = Upstream::start("blue");
    let head = "HTTP/1.1 200 OK\r\ntrailer: X-Sum\r\ntransfer-encoding: chunked\r\n\r\n";
    blue.answer(Answer::Raw(format!("{head}5\r\nhello\r\n0\r\nx-sum: 5\r\n\r\n").into_bytes()));
    let proxy = in_front_of(&blue).await;
    let mut client = proxy.client().await;
    let answer = client.get_with("/", &[("te", "trailers")]).await.expect(200);
    assert_eq!((answer.text().as_str(), answer.trailers.get("x-sum")), ("hello", Some("5")));
    let h2 = H2Client::connect(proxy.address(WEB)).await;
    let answer = h2.get("/").await.expect(200);
    assert_eq!((answer.text().as_str(), answer.trailers.get("x-sum")), ("hello", Some("5")));
    // Over HTTP/2 they need not be announced, on either side.
    let trailers = vec![("x-sum".to_owned(), "5".to_owned())];
    blue.answer(Answer::Chunked { chunks: vec![b"hello".to_vec()], pause: Duration::ZERO, trailers });
    let server = Server::h2c().await;
    let http2 = in_front_of_url(server.url()).await;
    for proxy in [&proxy, &http2] {
        let h2 = H2Client::connect(proxy.address(WEB)).await;
        let answer = h2.get("/trailers").await.expect(200);
        assert_eq!((answer.text().as_str(), answer.trailers.get("x-sum")), ("hello", Some("5")));
    }
    let mut client = http2.client().await;
    assert_eq!(client.get_with("/announced", &[("te", "trailers")]).await.trailers.get("x-sum"), Some("5"));
}

#[tokio::test]
async fn a_requests_trailers_reach_the_upstream() {
    let blue = Upstream::start("blue");
    blue.answer(Answer::Mirror);
    let proxy = in_front_of(&blue).await;
    let mut client = proxy.client().await;
    client
        .send(
            b"POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n\
            3\r\nabc\r\n0\r\nx-sum: 3\r\n\r\n",
        )
        .await
        .unwrap();
    let seen = client.response_to("POST").await.unwrap().expect(200).json();
    assert_eq!((&seen["body"], &seen["trailers"]), (&"abc".into(), &serde_json::json!([["x-sum", "3"]])), "{seen}");
    let (body, _) = upload_with_trailers(&proxy, &[("te", "trailers"), ("trailer", "x-sum")]).await;
    let seen: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&seen["body"], &seen["trailers"]), (&"abc".into(), &serde_json::json!([["x-sum", "3"]])), "{seen}");
    let server = Server::h2c().await;
    let proxy = in_front_of_url(server.url()).await;
    let (body, trailers) = upload_with_trailers(&proxy, &[("te", "trailers")]).await;
    assert_eq!((body.as_slice(), &trailers.unwrap()["x-sum"]), (&b"abc"[..], &http::HeaderValue::from_static("3")));
}

async fn upload_with_trailers(proxy: &Proxy, fields: &[(&str, &str)]) -> (Vec<u8>, Option<HeaderMap>) {
    let h2 = H2::connect(proxy.address(WEB)).await;
    let (response, mut body) = h2.begin("POST", "/echo", fields).await;
    h2::send(&mut body, Bytes::from_static(b"abc")).await.unwrap();
    let sum = (http::HeaderName::from_static("x-sum"), http::HeaderValue::from_static("3"));
    body.send_trailers(HeaderMap::from_iter([sum])).unwrap();
    h2::receive(response.await.unwrap().into_body()).await.unwrap()
}
