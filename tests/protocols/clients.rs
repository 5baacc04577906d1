//! Real clients, in every version of HTTP.

use std::process::Command;

use super::in_front_of;
use crate::support::certs::Authority;
use crate::support::peers::{self, Nginx, curl, tool};
use crate::support::proxy::WEB;
use crate::support::{Answer, Client, Proxy, Upstream};

const SAY: [&str; 2] = ["--write-out", " %{http_version} %{http_code}"];

#[tokio::test]
async fn curl_is_answered_in_each_version_that_it_speaks() {
    let blue = Upstream::start("blue");
    let proxy = in_front_of(&blue).await;
    let url = format!("http://{}/", proxy.address(WEB));
    // The answer names the version that the server speaks (RFC 9110, section 2.5).
    for (option, version) in [("--http1.0", "1.1"), ("--http1.1", "1.1"), ("--http2-prior-knowledge", "2")] {
        let said = curl(&[&[option, &url], &SAY[..]].concat()).await;
        assert_eq!(said, format!("blue {version} 200"), "{option}");
    }
    assert_eq!(blue.requests(), 3);
    assert!(blue.arrivals().iter().all(|a| a.head.first == "GET / HTTP/1.1"), "{:?}", blue.arrivals());
}

#[tokio::test]
async fn curl_agrees_by_alpn_on_http_2_or_http_1_1() {
    let (authority, blue) = (Authority::new(), Upstream::start("blue"));
    let files = authority.issue("web", &["localhost"]);
    let config = format!(
        "listeners:
  secure: {{ bind: \"127.0.0.1:@web@\", tls: {{ certificates: [ {{ cert: {}, key: {} }} ] }} }}
services: {{ shop: {{ groups: {{ blue: {{ upstreams: [\"{}\"] }} }} }} }}
routes: [ {{ match: {{ path: / }}, service: shop }} ]
",
        files.cert.display(),
        files.key.display(),
        blue.url()
    );
    let proxy = Proxy::start(&config).await;
    let port = proxy.address(WEB).port();
    let (url, resolve) = (format!("https://localhost:{port}/"), format!("localhost:{port}:127.0.0.1"));
    let ca = authority.ca();
    for (option, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let trust = ["--cacert", ca.to_str().unwrap(), "--resolve", &resolve];
        let said = curl(&[&[option, url.as_str()], &trust[..], &SAY[..]].concat()).await;
        assert_eq!(said, format!("blue {version} 200"), "{option}");
    }
    let told = blue.arrivals();
    assert!(told.iter().all(|a| a.head.fields.get("x-forwarded-proto") == Some("https")), "{told:?}");
}

#[tokio::test]
async fn curl_gets_back_byte_by_byte_what_it_uploads() {
    let blue = Upstream::start("blue");
    blue.answer(Answer::Echo);
    let proxy = in_front_of(&blue).await;
    let (file, echo) = (proxy.dir().join("upload"), proxy.dir().join("echo"));
    std::fs::write(&file, super::noise(3 << 20)).unwrap();
    let (url, upload) = (format!("http://{}/", proxy.address(WEB)), format!("@{}", file.display()));
    for option in ["--http1.1", "--http2-prior-knowledge"] {
        // curl asks for `100 Continue` by itself before so large a body over HTTP/1.1.
        let store = ["--data-binary", &upload, "--output", echo.to_str().unwrap(), &url];
        let said = curl(&[&[option], &store[..], &SAY[..]].concat()).await;
        assert!(said.ends_with(" 200"), "{option}: {said}");
        assert!(std::fs::read(&file).unwrap() == std::fs::read(&echo).unwrap(), "{option}: another body came back");
    }
}

#[tokio::test]
async fn nghttp_and_h2load_are_served_over_http_2_with_prior_knowledge() {
    let blue = Upstream::start("blue");
    let proxy = in_front_of(&blue).await;
    let url = format!("http://{}/", proxy.address(WEB));
    let mut nghttp = Command::new(tool("nghttp"));
    let output = peers::run({
        nghttp.args(["--verbose", "--no-content-length", "-d", "/dev/null", &url]);
        nghttp
    })
    .await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains(":status: 200") && said.contains("blue"), "{said}{output:?}");
    let mut h2load = Command::new(tool("h2load"));
    h2load.args(["-n", "500", "-c", "5", "-m", "20", &url]);
    let output = peers::run(h2load).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("500 succeeded, 0 failed, 0 errored"), "{said}");
    assert_eq!(blue.requests(), 501);
}

#[tokio::test]
async fn nginx_with_keepalive_serves_hundreds_of_requests_over_a_few_connections() {
    let server = "keepalive_requests 20; location / { add_header x-connection $connection; return 200 ok; }";
    let nginx = Nginx::start(server).await;
    let proxy = super::in_front_of_url(&nginx.url()).await;
    let mut connections = std::collections::BTreeSet::new();
    let mut client = proxy.client().await;
    for n in 0..200 {
        let method = if n % 2 == 0 { "GET" } else { "POST" };
        let answer = client.request(method, "/", &[], (n % 2 == 1).then_some(&b"x"[..])).await.expect(200);
        connections.insert(answer.header("x-connection").unwrap().to_owned());
    }
    // Twenty requests a connection, as nginx is told, and all of them used.
    assert!((10..=12).contains(&connections.len()), "{connections:?}");
}

#[tokio::test]
async fn http_1_0_is_answered_and_the_upstream_still_learns_a_host() {
    let blue = Upstream::start("blue");
    blue.answer(Answer::Mirror);
    let proxy = in_front_of(&blue).await;
    let mut client = proxy.client().await;
    client.send(b"GET /old HTTP/1.0\r\n\r\n").await.unwrap();
    let rest = String::from_utf8(client.receive_rest().await.unwrap()).unwrap();
    assert!(rest.starts_with("HTTP/1.") && rest.contains(" 200 OK\r\n") && !rest.contains("chunked"), "{rest}");
    let arrived = blue.arrivals().remove(0).head;
    assert_eq!(arrived.first, "GET /old HTTP/1.1");
    // RFC 9112, section 3.2: a request in HTTP/1.1 without Host is answered 400.
    assert_eq!(arrived.fields.get("host"), Some(blue.address().to_string().as_str()), "{arrived:?}");
    let mut kept = Client::connect(proxy.address(WEB)).await;
    for _ in 0..2 {
        kept.send(b"GET / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n").await.unwrap();
        let head = kept.head().await.unwrap();
        let length = head.fields.get("content-length").unwrap().parse().unwrap();
        kept.receive_exactly(length).await.unwrap();
    }
}

#[tokio::test]
async fn a_chunked_answer_reaches_http_1_0_without_chunks() {
    let blue = Upstream::start("blue");
    let chunks = vec![b"one ".to_vec(), b"two".to_vec()];
    blue.answer(Answer::Chunked { chunks, pause: std::time::Duration::ZERO, trailers: vec![] });
    let proxy = in_front_of(&blue).await;
    let mut client = proxy.client().await;
    client.send(b"GET / HTTP/1.0\r\nhost: a\r\n\r\n").await.unwrap();
    let rest = String::from_utf8(client.receive_rest().await.unwrap()).unwrap();
    assert!(rest.ends_with("\r\n\r\none two") && !rest.to_lowercase().contains("transfer-encoding"), "{rest}");
}
