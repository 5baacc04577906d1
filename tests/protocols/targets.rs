//! What a request is for, in each form that a target has, and by which of its names.

use super::{in_front_of, in_front_of_url, mirrored};
use crate::support::client::Response;
use crate::support::h2::{self, H2};
use crate::support::proxy::WEB;
use crate::support::server::Server;
use crate::support::{Answer, Client, Proxy, Upstream};

async fn start() -> (Upstream, Proxy) {
    let blue = Upstream::start("blue");
    blue.answer(Answer::Mirror);
    let proxy = in_front_of(&blue).await;
    (blue, proxy)
}

async fn said(proxy: &Proxy, bytes: &str) -> Response {
    let mut client = proxy.client().await;
    client.send(bytes.as_bytes()).await.unwrap();
    client.response_to("GET").await.unwrap_or_else(|e| panic!("{bytes:?}: {e}"))
}

#[tokio::test]
async fn a_target_with_an_authority_says_which_host_is_meant_whatever_the_field_says() {
    let (_blue, proxy) = start().await;
    for (target, path, host) in [
        ("http://shop.example.com/a?b", "/a?b", "shop.example.com"),
        ("HTTP://Shop.Example.com:81/", "/", "Shop.Example.com:81"),
        ("https://shop.example.com", "/", "shop.example.com"),
        ("http://shop.example.com?b", "/?b", "shop.example.com"),
        ("http://[::1]:81/a", "/a", "[::1]:81"),
        ("http://user:secret@shop.example.com/a", "/a", "shop.example.com"),
    ] {
        for field in ["host: other.example.com\r\n", "host: shop.example.com\r\n", "host:\r\n"] {
            let answer = said(&proxy, &format!("GET {target} HTTP/1.1\r\n{field}\r\n")).await.expect(200);
            let seen = answer.json();
            assert_eq!(seen["first"], format!("GET {path} HTTP/1.1"), "{target}");
            assert_eq!(mirrored(&seen, "host"), [host], "{target} beside {field:?}");
            assert_eq!(mirrored(&seen, "x-forwarded-host"), [host], "{target} beside {field:?}");
            assert!(!answer.text().contains("secret"), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn routes_go_by_the_host_of_the_target_where_it_names_one() {
    let (one, two) = (Upstream::start("one"), Upstream::start("two"));
    let config = format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:@web@\" }} }}
services:
  one: {{ groups: {{ blue: {{ upstreams: [\"{}\"] }} }}, health: {{ kind: tcp, interval: 1h }} }}
  two: {{ groups: {{ blue: {{ upstreams: [\"{}\"] }} }}, health: {{ kind: tcp, interval: 1h }} }}
routes:
  - {{ match: {{ host: one.example.com }}, service: one }}
  - {{ match: {{ host: two.example.com }}, service: two }}
",
        one.url(),
        two.url()
    );
    let proxy = Proxy::start(&config).await;
    for (target, field, group) in [
        ("/", "one.example.com", Some("one")),
        ("/", "ONE.example.com:80", Some("one")),
        ("http://two.example.com/", "one.example.com", Some("two")),
        ("http://ONE.example.com:81/", "two.example.com", Some("one")),
        ("http://other.example.com/", "one.example.com", None),
        ("/", "one.example.com.evil", None),
        ("/http://two.example.com/", "one.example.com", Some("one")),
    ] {
        let answer = said(&proxy, &format!("GET {target} HTTP/1.1\r\nhost: {field}\r\n\r\n")).await;
        assert_eq!(answer.group(), group, "{target} at {field}");
        assert_eq!(answer.status, if group.is_some() { 200 } else { 404 });
    }
    let h2 = H2::connect(proxy.address(WEB)).await;
    // `:authority` is the client's own address; Host beside it names another.
    let answer = h2.get("/", &[("host", "one.example.com")]).await;
    assert!(answer.is_err() || answer.is_ok_and(|a| a.status() != 200), "Host went ahead of :authority");
}

#[tokio::test]
async fn an_authority_and_a_host_over_http_2_reach_the_upstream_as_one() {
    let (_blue, proxy) = start().await;
    let server = Server::h2c().await;
    let http2 = in_front_of_url(server.url()).await;
    for proxy in [&proxy, &http2] {
        let h2 = H2::connect(proxy.address(WEB)).await;
        let authority = proxy.address(WEB).to_string();
        for fields in [&[][..], &[("host", "other.example.com")], &[("host", authority.as_str())]] {
            // A host that names another may be refused (RFC 9113, section 8.3.1), and never wins.
            let Ok(answer) = h2.get("/", fields).await else { continue };
            if answer.status() == 400 && !fields.is_empty() {
                continue;
            }
            let (seen, _) = h2::receive(answer.into_body()).await.unwrap();
            let seen: serde_json::Value = serde_json::from_slice(&seen).unwrap();
            let mut hosts: Vec<_> = mirrored(&seen, "host");
            hosts.extend(seen["authority"].as_str());
            assert_eq!(hosts, [authority.as_str()], "{fields:?}: {seen}");
        }
    }
}

#[tokio::test]
async fn options_of_a_server_as_a_whole_is_passed_on_as_such_or_answered_here() {
    let (blue, proxy) = start().await;
    for target in ["*", "http://a"] {
        let answer = said(&proxy, &format!("OPTIONS {target} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        let arrived: Vec<_> = blue.arrivals().into_iter().map(|a| a.head.first).collect();
        let passed = answer.status == 200 && ["OPTIONS * HTTP/1.1", "OPTIONS / HTTP/1.1"].contains(&&*arrived[0]);
        assert!(passed || (arrived.is_empty() && answer.status < 500), "{target}: {answer:?} {arrived:?}");
    }
    // Any other method is for something.
    said(&proxy, "POST * HTTP/1.1\r\nhost: a\r\n\r\n").await.expect(400);
}

#[tokio::test]
async fn a_fragment_never_goes_further() {
    let (_blue, proxy) = start().await;
    for target in ["/a#b", "/a?b#c", "http://a/a#b", "/#", "/a#/../admin"] {
        let answer = said(&proxy, &format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        assert!(answer.status == 400 || !answer.json()["first"].to_string().contains('#'), "{target}: {answer:?}");
    }
}

#[tokio::test]
async fn a_target_is_passed_on_byte_by_byte() {
    let (_blue, proxy) = start().await;
    let mut client = Client::connect(proxy.address(WEB)).await;
    let long = format!("/{}", "x".repeat(30_000));
    for target in [
        "/%00",
        "/%2e%2e/%2F",
        "/a/../b",
        "//a",
        "/a//",
        "/;a=b",
        "/?",
        "/??",
        "/a?b=%0d%0ahost:%20c",
        "/\"a|b\"",
        &long,
    ] {
        let answer = client.get(target).await;
        assert_eq!(answer.clone().expect(200).json()["first"], format!("GET {target} HTTP/1.1"), "{answer:?}");
    }
}
