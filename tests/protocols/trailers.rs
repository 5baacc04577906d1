//! Trailers, announced or not, in both directions, from every version to every version.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{in_front_of, in_front_of_url};
use crate::support::client::H2Client;
use crate::support::h2::{self, H2};
use crate::support::proxy::WEB;
use crate::support::server::Server;
use crate::support::wire::Fields;
use crate::support::{Answer, Proxy, Upstream};

fn sum() -> HeaderMap {
    HeaderMap::from_iter([(HeaderName::from_static("x-sum"), HeaderValue::from_static("5"))])
}

/// Both versions of upstreams, each answering `hello` and `x-sum: 5` at `/trailers`, and announced at `/announced`.
async fn upstreams() -> (Upstream, Server, [Proxy; 2]) {
    let blue = Upstream::scripted("blue", |head| {
        let announced = if head.path() == "/announced" { "trailer: x-sum\r\n" } else { "" };
        let bytes = format!(
            "HTTP/1.1 200 OK\r\n{announced}transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 5\r\n\r\n"
        );
        if head.path() == "/mirror" { Answer::Mirror } else { Answer::Raw(bytes.into_bytes()) }
    });
    let server = Server::h2c().await;
    let proxies = [in_front_of(&blue).await, in_front_of_url(server.url()).await];
    (blue, server, proxies)
}

#[tokio::test]
async fn an_answers_trailers_pass_between_all_versions_announced_or_not() {
    let (_blue, _server, proxies) = upstreams().await;
    for proxy in &proxies {
        let mut client = proxy.client().await;
        let h2 = H2Client::connect(proxy.address(WEB)).await;
        for path in ["/trailers", "/announced"] {
            for fields in [&[("te", "trailers")][..], &[]] {
                let answer = client.request("GET", path, fields, None).await.expect(200);
                assert_eq!((answer.text().as_str(), answer.trailers.get("x-sum")), ("hello", Some("5")), "{path}");
                let answer = h2.request("GET", path, fields, b"").await.unwrap().expect(200);
                assert_eq!((answer.text().as_str(), answer.trailers.get("x-sum")), ("hello", Some("5")), "{path}");
            }
        }
    }
}

#[tokio::test]
async fn a_requests_trailers_reach_an_upstream_of_http_1_1_announced_or_not() {
    let (_blue, _server, [proxy, _]) = upstreams().await;
    let expected = serde_json::json!([["x-sum", "5"]]);
    let mut client = proxy.client().await;
    for announced in ["trailer: x-sum\r\nte: trailers\r\n", ""] {
        let request = format!(
            "POST /mirror HTTP/1.1\r\nhost: a\r\n{announced}transfer-encoding: chunked\r\n\r\n\
            5\r\nhello\r\n0\r\nx-sum: 5\r\n\r\n"
        );
        client.send(request.as_bytes()).await.unwrap();
        let seen = client.response_to("POST").await.unwrap().expect(200).json();
        assert_eq!((&seen["body"], &seen["trailers"]), (&"hello".into(), &expected), "{announced:?}: {seen}");
    }
    let h2 = H2::connect(proxy.address(WEB)).await;
    for announced in [&[("trailer", "x-sum")][..], &[]] {
        let (response, mut body) = h2.begin("POST", "/mirror", announced).await;
        h2::send(&mut body, Bytes::from_static(b"hello")).await.unwrap();
        body.send_trailers(sum()).unwrap();
        let (seen, _) = h2::receive(response.await.unwrap().into_body()).await.unwrap();
        let seen: serde_json::Value = serde_json::from_slice(&seen).unwrap();
        assert_eq!((&seen["body"], &seen["trailers"]), (&"hello".into(), &expected), "{announced:?}: {seen}");
    }
}

#[tokio::test]
async fn a_requests_trailers_reach_an_upstream_of_http_2_and_come_back() {
    let (_blue, _server, [_, proxy]) = upstreams().await;
    let mut client = proxy.client().await;
    let request = "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
        5\r\nhello\r\n0\r\nx-sum: 5\r\n\r\n";
    client.send(request.as_bytes()).await.unwrap();
    let answer = client.response_to("POST").await.unwrap().expect(200);
    assert_eq!((answer.text().as_str(), answer.trailers.get("x-sum")), ("hello", Some("5")));
    let h2 = H2::connect(proxy.address(WEB)).await;
    let (response, mut body) = h2.begin("POST", "/echo", &[]).await;
    h2::send(&mut body, Bytes::from_static(b"hello")).await.unwrap();
    body.send_trailers(sum()).unwrap();
    let (body, trailers) = h2::receive(response.await.unwrap().into_body()).await.unwrap();
    assert_eq!((body.as_slice(), trailers), (&b"hello"[..], Some(sum())));
}

#[tokio::test]
async fn trailers_do_not_frame_route_or_authenticate() {
    let blue = Upstream::start("blue");
    blue.answer(Answer::Raw(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\ncontent-length: 9\r\n\
        transfer-encoding: identity\r\nx-sum: 5\r\n\r\n"
            .to_vec(),
    ));
    let proxy = in_front_of(&blue).await;
    let answer = proxy.client().await.get("/").await.expect(200);
    assert_eq!(answer.trailers, Fields(vec![("x-sum".to_owned(), "5".to_owned())]));
    let answer = H2Client::connect(proxy.address(WEB)).await.get("/").await.expect(200);
    assert_eq!(answer.trailers, Fields(vec![("x-sum".to_owned(), "5".to_owned())]));
    blue.answer(Answer::Mirror);
    let mut client = proxy.client().await;
    let request = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
        5\r\nhello\r\n0\r\nhost: b\r\ncontent-length: 9\r\nx-sum: 5\r\n\r\n";
    client.send(request.as_bytes()).await.unwrap();
    let seen = client.response_to("POST").await.unwrap().expect(200).json();
    assert_eq!(seen["trailers"], serde_json::json!([["x-sum", "5"]]), "{seen}");
}

#[tokio::test]
async fn many_trailers_of_one_name_stay_many() {
    let blue = Upstream::start("blue");
    let fields = (0..50).map(|n| ("x-sum".to_owned(), n.to_string())).collect::<Vec<_>>();
    blue.answer(Answer::Chunked { chunks: vec![b"hello".to_vec()], pause: Duration::ZERO, trailers: fields.clone() });
    let proxy = in_front_of(&blue).await;
    assert_eq!(proxy.client().await.get("/").await.expect(200).trailers.0, fields);
    assert_eq!(H2Client::connect(proxy.address(WEB)).await.get("/").await.expect(200).trailers.0, fields);
}
