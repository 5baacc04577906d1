//! TLS toward clients: which certificate they see, when it is exchanged, and who must show one.

use std::path::Path;

use crate::support::certs::{Authority, Files};
use crate::support::proxy::WEB;
use crate::support::tls::{Dial, chain, shown};
use crate::support::{Client, Proxy, Upstream, eventually};

fn config(upstream: &Upstream, certificates: &[&Files], client_ca: Option<&Path>) -> String {
    let pair = |f: &&Files| format!("{{ cert: {}, key: {} }}", f.cert.display(), f.key.display());
    let pairs: Vec<_> = certificates.iter().map(pair).collect();
    let demanded = client_ca.map(|ca| format!(", client_ca: {}", ca.display())).unwrap_or_default();
    format!(
        "listeners: {{ secure: {{ bind: \"127.0.0.1:@web@\", tls: {{ certificates: [{}]{demanded} }} }} }}
services: {{ shop: {{ groups: {{ blue: {{ upstreams: [\"{}\"] }} }}, health: {{ kind: tcp, interval: 1h }} }} }}
routes: [ {{ match: {{ path: / }}, service: shop }} ]
",
        pairs.join(", "),
        upstream.url()
    )
}

fn leaf(files: &Files) -> rustls::pki_types::CertificateDer<'static> {
    chain(&files.cert).remove(0)
}

#[tokio::test]
async fn the_certificate_is_the_one_for_the_name_that_the_client_asks_for() {
    let (authority, blue) = (Authority::new(), Upstream::start("blue"));
    let default = authority.issue("default", &["default.test", "127.0.0.1", "unheard.of"]);
    let exact = authority.issue("exact", &["shop.example.com", "other.example.com"]);
    let wildcard = authority.issue("wildcard", &["*.example.com"]);
    let proxy = Proxy::start(&config(&blue, &[&default, &wildcard, &exact], None)).await;
    for (name, expected) in [
        ("shop.example.com", &exact),
        ("SHOP.example.com", &exact),
        ("other.example.com", &exact),
        ("api.example.com", &wildcard),
        ("default.test", &default),
        ("unheard.of", &default),
        // An address is not sent as a name at all.
        ("127.0.0.1", &default),
    ] {
        let stream = Dial::to(&authority, name).connect(proxy.address(WEB)).await.unwrap();
        assert!(shown(&stream) == leaf(expected), "another certificate for {name}");
        Client::over(stream, name).get("/").await.expect(200);
    }
}

#[tokio::test]
async fn alpn_offers_both_versions_and_a_client_of_neither_gets_http_1_1() {
    let (authority, blue) = (Authority::new(), Upstream::start("blue"));
    let files = authority.issue("web", &["a.test"]);
    let proxy = Proxy::start(&config(&blue, &[&files], None)).await;
    let agreed: [(&[&str], _); 3] =
        [(&["h2", "http/1.1"], Some(&b"h2"[..])), (&["http/1.1"], Some(b"http/1.1")), (&[], None)];
    for (alpn, expected) in agreed {
        let stream = Dial { alpn, ..Dial::to(&authority, "a.test") }.connect(proxy.address(WEB)).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), expected);
        if expected != Some(b"h2") {
            Client::over(stream, "a.test").get("/").await.expect(200);
        }
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_used_without_a_restart_and_open_connections_go_on() {
    let (authority, blue) = (Authority::new(), Upstream::start("blue"));
    let old = authority.issue("web", &["a.test"]);
    let old_leaf = leaf(&old);
    let proxy = Proxy::start(&config(&blue, &[&old], None)).await;
    let dial = Dial::to(&authority, "a.test");
    let stream = dial.connect(proxy.address(WEB)).await.unwrap();
    assert!(shown(&stream) == old_leaf);
    let mut open = Client::over(stream, "a.test");
    open.get("/").await.expect(200);
    // The same files, other contents: as certbot and its like do it.
    let new_leaf = leaf(&authority.issue("web", &["a.test"]));
    assert!(new_leaf != old_leaf);
    eventually("the new certificate is shown", || async {
        let stream = dial.connect(proxy.address(WEB)).await.map_err(|e| e.to_string())?;
        if shown(&stream) == new_leaf { Ok(()) } else { Err("the old one".to_owned()) }
    })
    .await;
    open.get("/").await.expect(200);
    assert_eq!(blue.requests(), 2);
}

#[tokio::test]
async fn a_broken_renewal_keeps_the_old_certificate_and_is_reported() {
    let (authority, blue) = (Authority::new(), Upstream::start("blue"));
    let files = authority.issue("web", &["a.test"]);
    let (old_leaf, old_key) = (leaf(&files), std::fs::read(&files.key).unwrap());
    let other = authority.issue("other", &["a.test"]);
    let proxy = Proxy::start(&config(&blue, &[&files], None)).await;
    let dial = Dial::to(&authority, "a.test");
    let broken: [(&str, Vec<u8>); 3] = [
        ("another certificate's key", std::fs::read(&other.key).unwrap()),
        ("nonsense", b"-----BEGIN nonsense".to_vec()),
        ("nothing", Vec::new()),
    ];
    for (what, content) in broken {
        std::fs::write(&files.key, content).unwrap();
        let refused = proxy.post("/api/v1/config/reload", serde_json::json!({})).await.expect(422);
        // Line and column of the certificate in the configuration.
        assert!(refused.text().contains("pointsman.yaml:4:"), "{what}: {}", refused.text());
        let stream = dial.connect(proxy.address(WEB)).await.unwrap();
        assert!(shown(&stream) == old_leaf, "{what} was taken");
        Client::over(stream, "a.test").get("/").await.expect(200);
    }
    std::fs::write(&files.key, old_key).unwrap();
    proxy.post("/api/v1/config/reload", serde_json::json!({})).await.expect(200);
}

#[tokio::test]
async fn without_a_certificate_of_the_demanded_authority_nobody_is_served() {
    let (ours, theirs, blue) = (Authority::new(), Authority::new(), Upstream::start("blue"));
    let files = ours.issue("web", &["a.test"]);
    let (friend, stranger) = (ours.issue("friend", &["friend"]), theirs.issue("stranger", &["stranger"]));
    let ca = ours.ca();
    let proxy = Proxy::start(&config(&blue, &[&files], Some(&ca))).await;
    let dial = |identity| Dial { identity, ..Dial::to(&ours, "a.test") };
    for identity in [None, Some(&stranger)] {
        // With TLS 1.3 the client's side of the handshake is over before it is refused.
        if let Ok(stream) = dial(identity).connect(proxy.address(WEB)).await {
            let answer = Client::over(stream, "a.test").try_request("GET", "/", &[], None).await;
            assert!(answer.is_err(), "served: {answer:?}");
        }
    }
    assert_eq!(blue.requests(), 0);
    let stream = dial(Some(&friend)).connect(proxy.address(WEB)).await.unwrap();
    Client::over(stream, "a.test").get("/").await.expect(200);
}

#[tokio::test]
async fn who_talks_in_clear_to_a_tls_port_or_stops_in_mid_handshake_disturbs_nobody() {
    let (authority, blue) = (Authority::new(), Upstream::start("blue"));
    let files = authority.issue("web", &["a.test"]);
    let proxy = Proxy::start(&config(&blue, &[&files], None)).await;
    let mut half_open = Vec::new();
    for _ in 0..20 {
        let mut plain = Client::connect(proxy.address(WEB)).await;
        plain.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        // An alert at most, and the end.
        assert!(!String::from_utf8_lossy(&plain.receive_rest().await.unwrap()).contains("HTTP/"));
        let mut stopped = Client::connect(proxy.address(WEB)).await;
        stopped.send(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
        half_open.push(stopped);
    }
    let stream = Dial::to(&authority, "a.test").connect(proxy.address(WEB)).await.unwrap();
    Client::over(stream, "a.test").get("/").await.expect(200);
    assert_eq!(blue.requests(), 1);
}
