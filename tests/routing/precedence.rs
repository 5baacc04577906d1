//! Which route: exact host before wildcard before any, then the longest path, then the most conditions.

use super::{config, get_at, proxy_error};
use crate::support::client::H2Client;
use crate::support::{Client, Proxy, Upstream};

/// Routes that say who they are, the least specific first, so that the order in the file would decide wrongly.
const ROUTES: &[&str] = &[
    "{ match: { path: /api }, respond: { body: any-api } }",
    "{ match: { path: /api/v1 }, respond: { body: any-api-v1 } }",
    "{ match: { path: / }, respond: { body: any } }",
    "{ match: { host: '*.example.com' }, respond: { body: wild } }",
    "{ match: { host: '*.shop.example.com' }, respond: { body: deep-wild } }",
    "{ match: { host: a.example.com }, respond: { body: exact } }",
    "{ match: { host: a.example.com, path: /api }, respond: { body: exact-api } }",
    "{ match: { host: a.example.com, path: /api, methods: [POST, PUT] }, respond: { body: exact-api-post } }",
    "{ match: { host: a.example.com, path: /api, methods: [POST], listener: other }, respond: { body: other-post } }",
    "{ match: { host: a.example.com, path: /slash/ }, respond: { body: exact-slash } }",
];

/// Host, method, target, and the route that is to answer.
const EXPECTED: &[(&str, &str, &str, &str)] = &[
    ("elsewhere.org", "GET", "/", "any"),
    ("elsewhere.org", "GET", "/api", "any-api"),
    ("elsewhere.org", "GET", "/api/v1", "any-api-v1"),
    ("elsewhere.org", "GET", "/api/v1/x?y=/api/v2", "any-api-v1"),
    ("elsewhere.org", "GET", "/api/v10", "any-api"),
    // A host counts before any path.
    ("b.example.com", "GET", "/api/v1", "wild"),
    ("b.c.example.com", "GET", "/", "wild"),
    ("x.shop.example.com", "GET", "/", "deep-wild"),
    // A wildcard is for names below it only.
    ("example.com", "GET", "/", "any"),
    ("badexample.com", "GET", "/", "any"),
    ("a.example.com", "GET", "/x", "exact"),
    ("a.example.com", "GET", "/api/x", "exact-api"),
    ("a.example.com", "POST", "/api/x", "exact-api-post"),
    ("a.example.com", "PUT", "/api/x", "exact-api-post"),
    ("a.example.com", "DELETE", "/api/x", "exact-api"),
    ("a.example.com:8080", "GET", "/x", "exact"),
    ("A.EXAMPLE.com", "GET", "/x", "exact"),
    // At the border of a segment only.
    ("a.example.com", "GET", "/apix", "exact"),
    ("a.example.com", "GET", "/api?x", "exact-api"),
    ("a.example.com", "GET", "/api/", "exact-api"),
    ("a.example.com", "GET", "/slash", "exact"),
    ("a.example.com", "GET", "/slash/", "exact-slash"),
    ("a.example.com", "GET", "/slash/x", "exact-slash"),
];

#[tokio::test]
async fn the_most_specific_route_answers_whatever_the_order_in_the_file() {
    let upstream = Upstream::start("blue");
    let other = ["other: { bind: \"127.0.0.1:@other@\" }"];
    let mut backwards = ROUTES.to_vec();
    backwards.reverse();
    for routes in [ROUTES, &backwards] {
        let proxy = Proxy::start(&config(&upstream, &other, routes)).await;
        let mut client = proxy.client().await;
        for (host, method, target, expected) in EXPECTED {
            let answer = client.request(method, target, &[("host", host)], None).await.expect(200);
            assert_eq!(answer.text(), *expected, "{method} {host}{target}");
        }
        let mut other = Client::connect(proxy.address("other")).await;
        for (method, expected) in [("POST", "other-post"), ("PUT", "exact-api-post")] {
            let answer = other.request(method, "/api", &[("host", "a.example.com")], None).await;
            assert_eq!(answer.text(), expected, "{method} at the other listener");
        }
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn http_2_requests_are_routed_by_their_authority() {
    let upstream = Upstream::start("blue");
    let proxy = Proxy::start(&config(&upstream, &["other: { bind: \"127.0.0.1:@other@\" }"], ROUTES)).await;
    for (host, method, target, expected) in EXPECTED {
        let stream = tokio::net::TcpStream::connect(proxy.address("web")).await.unwrap();
        let client = H2Client::over(stream, host).await;
        let answer = client.request(method, target, &[], b"").await.unwrap();
        assert_eq!(answer.text(), *expected, "{method} {host}{target}");
    }
}

#[tokio::test]
async fn the_target_of_a_request_in_absolute_form_counts_and_not_its_host() {
    let upstream = Upstream::start("blue");
    let proxy = Proxy::start(&config(&upstream, &["other: { bind: \"127.0.0.1:@other@\" }"], ROUTES)).await;
    let answer = get_at(&proxy, "web", "elsewhere.org", "http://a.example.com/api").await;
    assert_eq!(answer.text(), "exact-api");
}

#[tokio::test]
async fn of_two_routes_that_are_equally_specific_the_first_one_answers() {
    let upstream = Upstream::start("blue");
    let routes = [
        "{ match: { path: /x, methods: [GET] }, respond: { body: first } }",
        "{ match: { path: /x, listener: web }, respond: { body: second } }",
        "{ match: { path: /x, methods: [GET], listener: web }, respond: { body: both } }",
        "{ match: { path: /x }, respond: { body: neither } }",
    ];
    let proxy = Proxy::start(&config(&upstream, &[], &routes[..2])).await;
    assert_eq!(get_at(&proxy, "web", "x", "/x").await.text(), "first");
    let proxy = Proxy::start(&config(&upstream, &[], &routes)).await;
    assert_eq!(get_at(&proxy, "web", "x", "/x").await.text(), "both");
}

#[tokio::test]
async fn a_route_that_is_limited_to_a_listener_is_not_there_at_another_one() {
    let upstream = Upstream::start("blue");
    let routes = [
        "{ match: { path: /admin, listener: internal }, service: shop }",
        "{ match: { path: /public }, respond: { body: public } }",
    ];
    let internal = ["internal: { bind: \"127.0.0.1:@internal@\" }"];
    let proxy = Proxy::start(&config(&upstream, &internal, &routes)).await;
    assert_eq!(get_at(&proxy, "internal", "x", "/admin").await.expect(200).group(), Some("blue"));
    let outside = get_at(&proxy, "web", "x", "/admin").await.expect(404);
    assert_eq!(proxy_error(&outside), Some("destination_not_found"));
    for listener in ["web", "internal"] {
        assert_eq!(get_at(&proxy, listener, "x", "/public").await.expect(200).text(), "public");
    }
    assert_eq!(upstream.requests(), 1);
}
