//! What a route changes on the way, and what it answers itself.

use serde_json::{Value, json};

use super::{config, get_at, proxy_error};
use crate::support::client::H2Client;
use crate::support::{Answer, Client, Proxy, Upstream};

/// The values of a header field in what [`Answer::Mirror`] saw.
fn seen<'a>(mirrored: &'a Value, name: &str) -> Vec<&'a str> {
    let fields = mirrored["fields"].as_array().unwrap().iter();
    fields.filter(|field| field[0] == name).map(|field| field[1].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_prefix_is_taken_off_at_the_border_of_a_segment() {
    let upstream = Upstream::scripted("blue", |_| Answer::Mirror);
    let routes = [
        "{ match: { path: /api }, service: shop, strip_prefix: /api }",
        "{ match: { path: /deep/api/ }, service: shop, strip_prefix: /deep/ }",
        "{ match: { path: / }, service: shop, strip_prefix: /gone }",
    ];
    let proxy = Proxy::start(&config(&upstream, &[], &routes)).await;
    let mut client = proxy.client().await;
    for (target, expected) in [
        ("/api/x?a=/api/b", "/x?a=/api/b"),
        ("/api", "/"),
        ("/api?a=1", "/?a=1"),
        ("/api/", "/"),
        ("/api//x", "//x"),
        ("/api/%2e%2e/x%20y", "/%2e%2e/x%20y"),
        ("/deep/api/x", "/api/x"),
        ("/apix", "/apix"),
        ("/gonex", "/gonex"),
        ("/gone/x", "/x"),
        ("/", "/"),
    ] {
        let mirrored = client.get(target).await.expect(200).json();
        assert_eq!(mirrored["first"], format!("GET {expected} HTTP/1.1"), "{target}");
    }
}

#[tokio::test]
async fn header_fields_are_removed_then_set_in_both_directions() {
    let upstream = Upstream::scripted("blue", |head| {
        if head.path() == "/mirror" {
            return Answer::Mirror;
        }
        let fields = [("server", "app/1"), ("x-frame-options", "SAMEORIGIN"), ("x-frame-options", "ALLOWALL")];
        Answer::With(fields.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec(), b"ok".to_vec())
    });
    let routes = ["{ match: { path: / }, service: shop, headers: {
           request: { set: { x-env: prod, x-both: ours }, remove: [x-debug, x-both] },
           response: { set: { x-frame-options: DENY, x-new: added }, remove: [server, x-upstream] } } }"];
    let proxy = Proxy::start(&config(&upstream, &[], &routes)).await;
    let mut client = proxy.client().await;
    let sent =
        [("x-env", "forged"), ("x-env", "twice"), ("X-Debug", "1"), ("x-debug", "2"), ("x-both", "b"), ("x-kept", "k")];
    let mirrored = client.get_with("/mirror", &sent).await.json();
    assert_eq!(seen(&mirrored, "x-env"), ["prod"]);
    assert_eq!(seen(&mirrored, "x-both"), ["ours"]);
    assert_eq!((seen(&mirrored, "x-debug"), seen(&mirrored, "x-kept")), (vec![], vec!["k"]));
    let answer = client.get("/").await.expect(200);
    assert_eq!((answer.header("x-frame-options"), answer.header("x-new")), (Some("DENY"), Some("added")));
    assert_eq!((answer.header("server"), answer.group()), (None, None));
}

#[tokio::test]
async fn a_groups_header_fields_reach_its_upstreams_and_no_other_groups() {
    let (blue, green) =
        (Upstream::scripted("blue", |_| Answer::Mirror), Upstream::scripted("green", |_| Answer::Mirror));
    let config = crate::support::proxy::blue_green(&blue, &green, "");
    let with = format!("upstreams: [\"{}\"], headers: {{ x-release: \"2.5.0\" }}", green.url());
    let proxy = Proxy::start(&config.replace(&format!("upstreams: [\"{}\"]", green.url()), &with)).await;
    let mut client = proxy.client().await;
    let at_blue = client.get_with("/", &[("x-release", "client's")]).await.json();
    assert_eq!(seen(&at_blue, "x-release"), ["client's"]);
    proxy.switch("shop", "green").await;
    let at_green = client.get_with("/", &[("x-release", "client's")]).await.json();
    assert_eq!(seen(&at_green, "x-release"), ["2.5.0"]);
}

#[tokio::test]
async fn a_redirect_names_host_path_and_query_of_the_request() {
    let upstream = Upstream::start("blue");
    let routes = [
        "{ match: { path: /plain }, redirect: { to: \"https://{host}{path}{query}\" } }",
        "{ match: { path: /old/ }, redirect: { to: /new, status: 301 }, headers: { response: { set: { x-why: moved } } } }",
        "{ match: { path: /found }, redirect: { to: \"https://example.org/?from={path}\", status: 302 } }",
    ];
    let proxy = Proxy::start(&config(&upstream, &[], &routes)).await;
    let mut client = proxy.client().await;
    for (method, target, status, location) in [
        ("GET", "/plain/a%20b?x=1&y={host}", 308, "https://shop.example.com:8080/plain/a%20b?x=1&y={host}"),
        ("GET", "/plain", 308, "https://shop.example.com:8080/plain"),
        ("GET", "/plain/{query}?x", 308, "https://shop.example.com:8080/plain/{query}?x"),
        ("POST", "/plain?", 308, "https://shop.example.com:8080/plain?"),
        ("HEAD", "/old/x?y", 301, "/new"),
        ("GET", "/found", 302, "https://example.org/?from=/found"),
    ] {
        let answer = client.request(method, target, &[("host", "shop.example.com:8080")], None).await.expect(status);
        assert_eq!(answer.header("location"), Some(location), "{method} {target}");
        assert_eq!(answer.header("x-why"), target.starts_with("/old").then_some("moved"));
        assert_eq!(answer.header("proxy-status"), None);
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn a_host_that_breaks_a_redirect_is_refused_and_not_sent_back() {
    let upstream = Upstream::start("blue");
    let routes = ["{ match: { path: / }, redirect: { to: \"https://{host}{path}\" } }"];
    let proxy = Proxy::start(&config(&upstream, &[], &routes)).await;
    let mut client = proxy.client().await;
    client.send(b"GET / HTTP/1.1\r\nhost: a\x01b\r\n\r\n").await.unwrap();
    let answer = client.response_to("GET").await.unwrap().expect(400);
    assert_eq!(answer.header("location"), None);
}

#[tokio::test]
async fn a_fixed_answer_has_its_status_body_and_type_and_needs_no_upstream() {
    let upstream = Upstream::start("blue");
    upstream.refuse().await;
    let routes = [
        "{ match: { path: /robots.txt }, respond: { body: \"User-agent: *\\nDisallow: /\\n\" } }",
        "{ match: { path: /down }, respond: { status: 503, body: '{\"down\":true}', content_type: application/json } }",
        "{ match: { path: /none }, respond: { status: 204 } }",
    ];
    let proxy = Proxy::start(&config(&upstream, &[], &routes)).await;
    let mut client = proxy.client().await;
    let robots = client.get("/robots.txt").await.expect(200);
    assert_eq!(robots.text(), "User-agent: *\nDisallow: /\n");
    assert_eq!(robots.header("content-type"), Some("text/plain; charset=utf-8"));
    let down = client.post("/down", b"a body that nobody wants").await.expect(503);
    assert_eq!((down.json(), down.header("content-type")), (json!({"down": true}), Some("application/json")));
    assert_eq!(client.get("/none").await.expect(204).body, b"");
    let head = client.request("HEAD", "/robots.txt", &[], None).await.expect(200);
    assert_eq!((head.header("content-length"), head.body.len()), (Some("26"), 0));
}

#[tokio::test]
async fn a_route_turns_away_who_is_not_allowed_and_does_not_fall_back_to_a_wider_one() {
    let upstream = Upstream::start("blue");
    let routes = [
        "{ match: { path: /office }, service: shop, allow: [10.1.0.0/16] }",
        "{ match: { path: /home }, service: shop, allow: [10.1.0.0/16, 127.0.0.1] }",
        "{ match: { path: /word }, respond: { body: word }, allow: [10.1.0.0/16] }",
        "{ match: { path: / }, service: shop }",
    ];
    let behind = ["behind: { bind: \"127.0.0.1:@behind@\", trusted_proxies: [127.0.0.0/8] }"];
    let proxy = Proxy::start(&config(&upstream, &behind, &routes)).await;
    let mut client = proxy.client().await;
    for (target, status) in [("/office", 403), ("/office/x", 403), ("/word", 403), ("/home", 200), ("/", 200)] {
        // A stranger's word on who it is counts for nothing.
        let answer = client.get_with(target, &[("x-forwarded-for", "10.1.2.3")]).await.expect(status);
        assert_eq!(proxy_error(&answer), (status == 403).then_some("http_request_denied"), "{target}");
    }
    assert_eq!(upstream.requests(), 2);
    let mut client = Client::connect(proxy.address("behind")).await;
    for (forwarded, status) in
        [("10.1.2.3", 200), ("10.2.2.3", 403), ("10.1.2.3, 10.2.2.3", 403), ("10.2.2.3, 10.1.2.3", 200)]
    {
        client.get_with("/office", &[("x-forwarded-for", forwarded)]).await.expect(status);
    }
}

#[tokio::test]
async fn a_listener_turns_away_who_is_not_allowed() {
    let upstream = Upstream::start("blue");
    let inner = ["inner: { bind: \"127.0.0.1:@inner@\", allow: [10.0.0.0/8] }"];
    let proxy = Proxy::start(&config(&upstream, &inner, &["{ match: { path: / }, service: shop }"])).await;
    let refused = get_at(&proxy, "inner", "x", "/").await.expect(403);
    assert_eq!(proxy_error(&refused), Some("http_request_denied"));
    assert_eq!(upstream.requests(), 0);
    get_at(&proxy, "web", "x", "/").await.expect(200);
}

#[tokio::test]
async fn a_request_without_a_route_is_404_no_route_and_the_connection_goes_on() {
    let upstream = Upstream::start("blue");
    let routes = ["{ match: { host: shop.example.com, path: /api }, service: shop }"];
    let proxy = Proxy::start(&config(&upstream, &[], &routes)).await;
    let mut client = proxy.client().await;
    for (host, target) in [("shop.example.com", "/"), ("other.example.com", "/api"), ("shop.example.com", "/apis")] {
        let answer = client.request("POST", target, &[("host", host)], Some(b"body")).await.expect(404);
        assert_eq!(proxy_error(&answer), Some("destination_not_found"));
        assert!(answer.text().contains("no_route"), "{}", answer.text());
    }
    client.get_with("/api", &[("host", "shop.example.com")]).await.expect(200);
    let h2 = H2Client::connect(proxy.address("web")).await;
    let answer = h2.get("/api").await.expect(404);
    assert_eq!(proxy_error(&answer), Some("destination_not_found"));
    let grpc = h2.request("POST", "/x.Y/Z", &[("content-type", "application/grpc"), ("te", "trailers")], b"").await;
    let grpc = grpc.unwrap().expect(200);
    assert_eq!(grpc.header("grpc-status"), Some("12"));
    assert_eq!(upstream.requests(), 1);
}
