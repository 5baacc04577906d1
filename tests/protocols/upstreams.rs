//! Every kind of upstream.

use tokio::io::AsyncWriteExt;

use super::{config, in_front_of_url, mirrored, noise};
use crate::support::certs::Authority;
use crate::support::client::{H2Client, Response};
use crate::support::proxy::WEB;
use crate::support::server::Server;
use crate::support::{ByHand, Client, Proxy, eventually};

/// Two requests: what the upstream sees, and a body there and back.
async fn serves(proxy: &Proxy, version: &str) {
    let mut client = Client::connect(proxy.address(WEB)).await;
    let fields = [("host", "shop.example.com:81"), ("x-a", "b")];
    let seen = client.get_with("/a/b?c=d", &fields).await.expect(200).json();
    assert_eq!((&seen["version"], &seen["method"]), (&version.into(), &"GET".into()), "{seen}");
    assert_eq!(seen["target"], "/a/b?c=d", "{seen}");
    let host =
        if version == "HTTP/2.0" { seen["authority"].as_str() } else { mirrored(&seen, "host").first().copied() };
    assert_eq!(host, Some("shop.example.com:81"), "{seen}");
    assert_eq!(mirrored(&seen, "x-a"), ["b"]);
    let body = noise(300_000);
    assert_eq!(client.post("/echo", &body).await.expect(200).body, body);
    let h2 = H2Client::connect(proxy.address(WEB)).await;
    assert_eq!(h2.request("POST", "/echo", &[], &body).await.unwrap().expect(200).body, body);
}

#[tokio::test]
async fn an_upstream_on_a_unix_socket_is_served() {
    let dir = tempfile::TempDir::new().unwrap();
    let server = Server::unix(&dir.path().join("app.sock"));
    serves(&in_front_of_url(server.url()).await, "HTTP/1.1").await;
}

#[tokio::test]
async fn an_upstream_that_speaks_http_2_in_clear_shares_one_connection() {
    let server = Server::h2c().await;
    let proxy = Proxy::start(&(config(&format!("\"{}\"", server.url()), "") + "workers: 1\n")).await;
    serves(&proxy, "HTTP/2.0").await;
    let client = std::sync::Arc::new(H2Client::connect(proxy.address(WEB)).await);
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let client = std::sync::Arc::clone(&client);
        requests.spawn(async move { client.get("/").await.expect(200).json()["connection"].clone() });
    }
    let connections = requests.join_all().await;
    assert!(connections.iter().all(|c| *c == connections[0]), "{connections:?}");
}

#[tokio::test]
async fn an_upstream_over_tls_is_spoken_to_in_what_it_prefers() {
    let authority = Authority::new();
    let files = authority.issue("app", &["localhost"]);
    for (alpn, version) in [(&["h2", "http/1.1"][..], "HTTP/2.0"), (&["http/1.1"], "HTTP/1.1"), (&[], "HTTP/1.1")] {
        let server = Server::tls(&files, alpn).await;
        let url = format!("{{ url: \"{}\", ca: {} }}", server.url(), authority.ca().display());
        serves(&Proxy::start(&config(&url, "")).await, version).await;
    }
}

#[tokio::test]
async fn the_name_in_an_upstreams_certificate_may_be_told_apart_from_its_address() {
    let authority = Authority::new();
    let files = authority.issue("app", &["shop.internal"]);
    let server = Server::tls(&files, &["http/1.1"]).await;
    let ca = authority.ca();
    let url = format!("{{ url: \"{}\", ca: {}, server_name: shop.internal }}", server.url(), ca.display());
    serves(&Proxy::start(&config(&url, "")).await, "HTTP/1.1").await;
}

#[tokio::test]
async fn an_upstreams_certificate_that_is_not_trusted_or_names_another_is_refused() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let strange = Server::tls(&theirs.issue("app", &["localhost"]), &["http/1.1"]).await;
    let misnamed = Server::tls(&ours.issue("app", &["other.example"]), &["http/1.1"]).await;
    for server in [&strange, &misnamed] {
        let url = format!("{{ url: \"{}\", ca: {} }}", server.url(), ours.ca().display());
        let proxy = Proxy::launch(&config(&url, ""), &[]);
        let answer = answered(&proxy).await.expect(502);
        assert_eq!(answer.header("proxy-status"), Some("pointsman; error=tls_certificate_error"));
        assert_eq!(server.connections(), 0, "HTTP was spoken over it");
    }
}

#[tokio::test]
async fn what_does_not_speak_tls_is_reported_as_such() {
    let plain = ByHand::listen().await;
    let url = format!("\"https://{}\"", plain.address());
    let proxy = Proxy::launch(&config(&url, ""), &[]);
    let mut greeter = tokio::task::JoinSet::new();
    greeter.spawn(async move {
        loop {
            // Whoever connects, a probe too, is talked to in clear.
            let _ = plain.connection().await.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let answer = answered(&proxy).await.expect(502);
    assert_eq!(answer.header("proxy-status"), Some("pointsman; error=tls_protocol_error"));
}

/// The answer of a proxy that may never call itself ready.
async fn answered(proxy: &Proxy) -> Response {
    eventually("the proxy answers", || async {
        let mut client = Client::try_connect(proxy.address(WEB)).await?;
        client.try_request("GET", "/", &[], None).await
    })
    .await
}
