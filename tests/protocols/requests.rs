//! What a request asks for, in every form that the standards know, and what is refused.

use super::{in_front_of, mirrored};
use crate::support::client::Response;
use crate::support::{Answer, Client, Proxy, Upstream};

async fn said(proxy: &Proxy, bytes: &str) -> Response {
    let mut client = proxy.client().await;
    client.send(bytes.as_bytes()).await.unwrap();
    client.response_to("GET").await.unwrap()
}

#[tokio::test]
async fn an_absolute_targets_host_wins_over_the_field() {
    let blue = Upstream::start("blue");
    blue.answer(Answer::Mirror);
    let proxy = in_front_of(&blue).await;
    let answer = said(&proxy, "GET http://shop.example.com:81/a?b HTTP/1.1\r\nhost: other\r\n\r\n").await.expect(200);
    let seen = answer.json();
    assert_eq!(seen["first"], "GET /a?b HTTP/1.1");
    assert_eq!(mirrored(&seen, "host"), ["shop.example.com:81"]);
    assert_eq!(mirrored(&seen, "x-forwarded-host"), ["shop.example.com:81"]);
    let seen = said(&proxy, "GET http://shop.example.com HTTP/1.1\r\nhost: other\r\n\r\n").await.expect(200).json();
    assert_eq!(seen["first"], "GET / HTTP/1.1");
}

#[tokio::test]
async fn a_request_without_one_host_is_refused_and_reaches_nobody() {
    let blue = Upstream::start("blue");
    let proxy = in_front_of(&blue).await;
    for bytes in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a, b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a/b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: user@a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a:port\r\n\r\n",
        "CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n",
    ] {
        let answer = said(&proxy, bytes).await.expect(400);
        assert_eq!(answer.header("proxy-status"), Some("pointsman; error=http_request_error"), "{bytes:?}");
    }
    assert_eq!(blue.requests(), 0);
}

#[tokio::test]
async fn requests_may_follow_one_another_before_they_are_answered() {
    let blue = Upstream::start("blue");
    blue.answer(Answer::Mirror);
    let proxy = in_front_of(&blue).await;
    let mut client = proxy.client().await;
    let requests: String =
        (0..10).map(|n| format!("POST /{n} HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n{n}")).collect();
    client.send(requests.as_bytes()).await.unwrap();
    for n in 0..10 {
        let seen = client.response_to("POST").await.unwrap().expect(200).json();
        assert_eq!((&seen["first"], &seen["body"]), (&format!("POST /{n} HTTP/1.1").into(), &n.to_string().into()));
    }
}

#[tokio::test]
async fn methods_and_targets_are_passed_on_as_they_are() {
    let blue = Upstream::start("blue");
    blue.answer(Answer::Mirror);
    let proxy = in_front_of(&blue).await;
    let mut client = Client::connect(proxy.address("web")).await;
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "get"] {
        let seen = client.request(method, "/", &[], Some(b"")).await.expect(200).json();
        assert_eq!(seen["first"], format!("{method} / HTTP/1.1"));
    }
    for target in ["/%7Euser/%2e%2e/x", "/a//b/./c/../d", "/?a=b&c=%20+d", "/x;y=z?", "/%E2%82%AC"] {
        let seen = client.get(target).await.expect(200).json();
        assert_eq!(seen["first"], format!("GET {target} HTTP/1.1"));
    }
}

#[tokio::test]
async fn a_client_that_wants_to_close_is_let_go_and_the_upstream_is_kept() {
    let blue = Upstream::start("blue");
    let proxy = Proxy::start(&(super::config(&format!("\"{}\"", blue.url()), "") + "workers: 1\n")).await;
    for _ in 0..3 {
        let mut client = proxy.client().await;
        let answer = client.get_with("/", &[("connection", "close")]).await.expect(200);
        assert!(answer.fields.lists("connection", "close"));
        assert!(client.is_closed().await);
    }
    let used: Vec<_> = blue.arrivals().iter().map(|a| a.connection).collect();
    assert_eq!(used, [used[0]; 3], "each client cost the upstream a connection");
}
