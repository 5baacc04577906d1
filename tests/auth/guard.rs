//! Host, Origin and the peer's address: looked at before anything else, on loopback too.

use serde_json::json;

use super::{ask, config, raw, start};
use crate::support::{Client, Proxy, Upstream, eventually};

#[tokio::test]
async fn a_foreign_host_is_refused_on_loopback_too_and_on_every_path() {
    let (_blue, _green, proxy) = start("hosts: [ops.example.com]", &[]).await;
    let port = proxy.address("admin").port();
    for host in ["evil.example", "evil.example:7070", "localhost.evil.example", "10.1.2.3", "user@localhost", "", "1"] {
        for path in ["/", "/healthz", "/api/v1/services", "/nothing"] {
            let refused = raw(&proxy, &format!("GET {path} HTTP/1.1\nhost: {host}")).await.expect(403);
            assert_eq!(refused.json()["code"], "bad_host", "{host}{path}");
        }
    }
    for host in
        ["localhost", "LOCALHOST", &format!("127.0.0.1:{port}"), "[::1]:1", "ops.example.com", "Ops.Example.com:443"]
    {
        raw(&proxy, &format!("GET /api/v1/services HTTP/1.1\nhost: {host}")).await.expect(200);
    }
    raw(&proxy, "GET http://evil.example/api/v1/services HTTP/1.1\nhost: localhost").await.expect(403);
    raw(&proxy, "GET /api/v1/services HTTP/1.1\nhost: localhost\nhost: evil.example").await.expect(403);
    raw(&proxy, "GET /api/v1/services HTTP/1.0").await.expect(403);
}

#[tokio::test]
async fn a_foreign_page_can_neither_read_nor_change_anything() {
    let (_blue, _green, proxy) = start("hosts: [ops.example.com]", &[]).await;
    let own = format!("http://{}", proxy.address("admin"));
    let switch = |origin: String| {
        let proxy = &proxy;
        async move {
            // What a page can send without asking first: no header of its own, a body of plain text.
            let fields = [("origin", origin.as_str()), ("content-type", "text/plain")];
            let mut client = Client::connect(proxy.address("admin")).await;
            let body = json!({"to": "green"}).to_string();
            client.request("POST", "/api/v1/services/shop/switch", &fields, Some(body.as_bytes())).await
        }
    };
    for origin in ["https://evil.example", "null", "http://localhost:1", "http://127.0.0.1", "file://", "x"] {
        let refused = switch(origin.to_owned()).await.expect(403);
        assert_eq!(refused.json()["code"], "bad_origin", "{origin}");
        assert_eq!(refused.header("access-control-allow-origin"), None);
        proxy.admin("GET", "/api/v1/services", &[("origin", origin)], None).await.expect(403);
        let asks = [("origin", origin), ("access-control-request-method", "PUT")];
        proxy.admin("OPTIONS", "/api/v1/services/shop/split", &asks, None).await.expect(403);
    }
    assert_eq!(proxy.service("shop").await["live"], "blue");
    switch(own).await.expect(200);
    switch("https://ops.example.com".to_owned()).await.expect(200);
}

#[tokio::test]
async fn the_guard_comes_before_the_token() {
    let (_blue, _green, proxy) =
        start("tokens: [ { name: ops, role: admin, env: TOKEN } ]", &[("TOKEN", "secret")]).await;
    let head = "GET /api/v1/services HTTP/1.1\nauthorization: Bearer secret\nhost: evil.example";
    assert_eq!(raw(&proxy, head).await.expect(403).json()["code"], "bad_host");
    let fields = [("authorization", "Bearer secret"), ("origin", "https://evil.example")];
    proxy.admin("GET", "/api/v1/services", &fields, None).await.expect(403);
    ask(&proxy, "secret", "GET", "/api/v1/services", None).await.expect(200);
}

#[tokio::test]
async fn who_is_not_on_the_list_may_not_even_ask_whether_it_lives() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = Proxy::launch(&config(&blue, &green, "allow: [10.0.0.0/8, \"::1/128\"]"), &[]);
    eventually("the port answers", || async { Client::try_connect(proxy.address("admin")).await }).await;
    for path in ["/healthz", "/api/v1/services"] {
        let refused = proxy.get(path).await.expect(403);
        assert_eq!(
            (refused.json()["code"].as_str(), refused.header("connection")),
            (Some("peer_not_allowed"), Some("close"))
        );
    }
    // A header cannot lend another address.
    proxy.admin("GET", "/healthz", &[("x-forwarded-for", "10.0.0.1")], None).await.expect(403);
    let (_blue, _green, proxy) = start("allow: [127.0.0.0/8]", &[]).await;
    proxy.get("/api/v1/services").await.expect(200);
}
