//! Header fields: what is one hop's business stays there, who the client is cannot be forged, the rest is untouched.

use super::{in_front_of, mirrored};
use crate::support::client::H2Client;
use crate::support::proxy::WEB;
use crate::support::{Answer, Client, Proxy, Upstream};

async fn mirror() -> (Upstream, Proxy) {
    let blue = Upstream::start("blue");
    blue.answer(Answer::Mirror);
    let proxy = in_front_of(&blue).await;
    (blue, proxy)
}

#[tokio::test]
async fn fields_of_one_hop_go_no_further() {
    let (_blue, proxy) = mirror().await;
    let mut client = proxy.client().await;
    let sent = [
        ("connection", "keep-alive, x-secret"),
        ("x-secret", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("proxy-authorization", "Basic eA=="),
        ("te", "gzip, trailers"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAMAAABkAAQAAP__"),
        ("x-stays", "a"),
    ];
    let seen = client.get_with("/", &sent).await.expect(200).json();
    for gone in ["connection", "x-secret", "keep-alive", "proxy-connection", "proxy-authorization", "upgrade"] {
        assert!(mirrored(&seen, gone).is_empty(), "{gone} went through: {seen}");
    }
    assert_eq!((mirrored(&seen, "te"), mirrored(&seen, "x-stays")), (vec!["trailers"], vec!["a"]), "{seen}");
    // A client cannot have the fields removed that make the request what it is.
    let sent = [("connection", "close, host, x-forwarded-for, content-type"), ("content-type", "text/plain")];
    let seen = client.get_with("/", &sent).await.expect(200).json();
    for stays in ["host", "x-forwarded-for", "content-type"] {
        assert_eq!(mirrored(&seen, stays).len(), 1, "{stays}: {seen}");
    }
}

#[tokio::test]
async fn an_answers_fields_of_one_hop_go_no_further() {
    let blue = Upstream::start("blue");
    let fields = [
        ("connection", "x-internal"),
        ("x-internal", "1"),
        ("keep-alive", "timeout=60"),
        ("proxy-connection", "keep-alive"),
        ("upgrade", "h2,h2c"),
        ("x-stays", "a"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
    ];
    blue.answer(Answer::With(fields.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(), b"x".to_vec()));
    let proxy = in_front_of(&blue).await;
    let mut client = proxy.client().await;
    let h2 = H2Client::connect(proxy.address(WEB)).await;
    for answer in [client.get("/").await.expect(200), h2.get("/").await.expect(200)] {
        assert!(answer.fields.all("x-internal").next().is_none() && answer.fields.all("upgrade").next().is_none());
        assert_eq!(answer.header("x-stays"), Some("a"));
        assert_eq!(answer.fields.all("set-cookie").collect::<Vec<_>>(), ["a=1", "b=2"]);
    }
}

#[tokio::test]
async fn a_stranger_cannot_forge_where_it_comes_from() {
    let (_blue, proxy) = mirror().await;
    let mut client = proxy.client().await;
    let forged = [
        ("host", "shop.example.com"),
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-for", "7.7.7.7"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.example"),
        ("forwarded", "for=6.6.6.6;proto=https"),
    ];
    let seen = client.get_with("/", &forged).await.expect(200).json();
    assert_eq!(mirrored(&seen, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(mirrored(&seen, "x-forwarded-proto"), ["http"]);
    assert_eq!(mirrored(&seen, "x-forwarded-host"), ["shop.example.com"]);
    assert_eq!(mirrored(&seen, "forwarded"), ["for=127.0.0.1;proto=http;host=\"shop.example.com\""]);
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_and_joins_the_chain() {
    let blue = Upstream::start("blue");
    blue.answer(Answer::Mirror);
    let config = super::config(&format!("\"{}\"", blue.url()), "")
        .replace("bind: \"127.0.0.1:@web@\"", "bind: \"127.0.0.1:@web@\", trusted_proxies: [127.0.0.0/8, 10.0.0.0/8]");
    // Who is let in depends on the client behind the proxies.
    let config = config.replace("service: shop }", "service: shop, allow: [198.51.100.0/24] }");
    let proxy = Proxy::start(&config).await;
    let mut client = proxy.client().await;
    let told = [
        ("x-forwarded-for", "198.51.100.1, 10.1.1.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "shop.example.com"),
        ("forwarded", "for=198.51.100.1"),
    ];
    let seen = client.get_with("/", &told).await.expect(200).json();
    assert_eq!(mirrored(&seen, "x-forwarded-for"), ["198.51.100.1, 10.1.1.1, 127.0.0.1"]);
    assert_eq!(mirrored(&seen, "x-forwarded-proto"), ["https"]);
    assert_eq!(mirrored(&seen, "x-forwarded-host"), ["shop.example.com"]);
    assert_eq!(mirrored(&seen, "forwarded"), ["for=198.51.100.1", "for=127.0.0.1;proto=http"]);
    // What stands left of the right-most stranger is hearsay.
    let told = [("x-forwarded-for", "198.51.100.1, 203.0.113.7, 10.1.1.1")];
    client.get_with("/", &told).await.expect(403);
    client.get("/").await.expect(403);
}

#[tokio::test]
async fn the_host_reaches_the_upstream_as_the_client_wrote_it() {
    let (_blue, proxy) = mirror().await;
    let mut client = proxy.client().await;
    for host in ["shop.example.com", "Shop.Example.com:8080", "[::1]:80"] {
        let seen = client.get_with("/", &[("host", host)]).await.expect(200).json();
        assert_eq!(mirrored(&seen, "host"), [host]);
    }
    let h2 = H2Client::over(tokio::net::TcpStream::connect(proxy.address(WEB)).await.unwrap(), "shop.example.com:81");
    let seen = h2.await.get("/").await.expect(200).json();
    assert_eq!(mirrored(&seen, "host"), ["shop.example.com:81"]);
}

#[tokio::test]
async fn cookies_that_http_2_cut_are_joined_for_http_1_1() {
    let (_blue, proxy) = mirror().await;
    let h2 = H2Client::connect(proxy.address(WEB)).await;
    let seen = h2.request("GET", "/", &[("cookie", "a=1"), ("cookie", "b=2")], b"").await.unwrap().expect(200).json();
    assert_eq!(mirrored(&seen, "cookie"), ["a=1; b=2"]);
}

#[tokio::test]
async fn a_route_edits_fields_and_a_group_sets_its_own() {
    let blue = Upstream::start("blue");
    blue.answer(Answer::Mirror);
    let config = format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:@web@\" }} }}
services: {{ shop: {{ groups: {{ blue: {{ upstreams: [\"{}\"], headers: {{ x-release: \"2.5\" }} }} }} }} }}
routes:
  - match: {{ path: /api/ }}
    service: shop
    strip_prefix: /api
    headers:
      request: {{ set: {{ x-env: prod }}, remove: [x-debug, cookie] }}
      response: {{ set: {{ x-frame-options: DENY }}, remove: [x-upstream] }}
",
        blue.url()
    );
    let proxy = Proxy::start(&config).await;
    let mut client = Client::connect(proxy.address(WEB)).await;
    let sent = [("x-env", "forged"), ("x-debug", "1"), ("cookie", "a=1"), ("x-release", "forged")];
    let answer = client.get_with("/api/a%2Fb?c=%20", &sent).await.expect(200);
    let seen = answer.json();
    assert_eq!((answer.header("x-frame-options"), answer.header("x-upstream")), (Some("DENY"), None));
    assert_eq!(seen["first"], "GET /a%2Fb?c=%20 HTTP/1.1");
    assert_eq!((mirrored(&seen, "x-env"), mirrored(&seen, "x-release")), (vec!["prod"], vec!["2.5"]));
    assert!(mirrored(&seen, "x-debug").is_empty() && mirrored(&seen, "cookie").is_empty(), "{seen}");
}
