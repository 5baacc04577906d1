//! gRPC through the proxy, with the client and the server of another maker.

use serde_json::{Value, json};

use crate::support::client::H2Client;
use crate::support::h2::{self, H2};
use crate::support::peers::{Peer, python_client};
use crate::support::proxy::WEB;
use crate::support::{Answer, Client, Proxy, Upstream, eventually};

fn server(group: &str) -> (Peer, String) {
    let (peer, ready) = Peer::python("grpc_server.py", &["--port", "0", "--group", group]);
    (peer, format!("h2c://127.0.0.1:{}", ready["port"]))
}

fn config(blue: &str, green: &str, health: &str) -> String {
    format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:@web@\" }} }}
services:
  echo:
    groups: {{ blue: {{ upstreams: [\"{blue}\"] }}, green: {{ upstreams: [\"{green}\"] }} }}
    health: {{ {health} }}
routes: [ {{ match: {{ path: / }}, service: echo }} ]
"
    )
}

const PROBED: &str = "kind: grpc, service: test.Echo, interval: 50ms, timeout: 2s";

#[tokio::test]
async fn every_kind_of_call_goes_to_the_group_that_the_traffic_was_switched_to() {
    let ((_blue, blue), (_green, green)) = (server("blue"), server("green"));
    let proxy = Proxy::start(&config(&blue, &green, PROBED)).await;
    let target = proxy.address(WEB).to_string();
    for group in ["blue", "green"] {
        proxy.health_is("echo", group, "healthy").await;
        proxy.switch("echo", group).await;
        // Unary, server stream, both ways at once, a failing call with details, and the health service.
        let result = python_client("grpc_client.py", &[&target]).await;
        let expected = json!({ "ok": true, "group": group, "unary": 100_000, "stream": 50, "bidi": 20,
            "code": "FAILED_PRECONDITION", "details": "as asked", "health": "SERVING" });
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(&result[key], value, "{key} in {result}");
        }
        assert_eq!(result["trailers"]["x-trailer"], group, "{result}");
    }
}

#[tokio::test]
async fn the_grpc_check_follows_what_the_health_service_says() {
    let ((blue_peer, blue), (_green, green)) = (server("blue"), server("green"));
    let proxy = Proxy::start(&config(&blue, &green, PROBED)).await;
    proxy.health_is("echo", "blue", "healthy").await;
    signal(&blue_peer, "USR1");
    proxy.health_is("echo", "blue", "unhealthy").await;
    let why = proxy.service("echo").await["groups"]["blue"]["upstreams"][0]["last_check"]["why"].clone();
    assert!(why.as_str().unwrap().contains("NOT_SERVING"), "{why}");
    signal(&blue_peer, "USR2");
    proxy.health_is("echo", "blue", "healthy").await;
    // A service that the server does not know is not healthy.
    let unknown = "kind: grpc, service: test.Nobody, interval: 50ms, timeout: 2s";
    let proxy = Proxy::launch(&config(&blue, &green, unknown), &[]);
    eventually("the unknown service is unhealthy", || async {
        // It is not ready, but its admin port answers.
        let mut admin = Client::try_connect(proxy.address("admin")).await.map_err(|e| e.to_string())?;
        let seen = admin.get("/api/v1/services/echo").await.expect(200).json();
        let upstream = seen["groups"]["blue"]["upstreams"][0].clone();
        if upstream["health"] == "unhealthy" { Ok(()) } else { Err(upstream.to_string()) }
    })
    .await;
}

fn signal(peer: &Peer, name: &str) {
    let sent = std::process::Command::new("sh").args(["-c", &format!("kill -{name} {}", peer.pid())]).status();
    assert!(sent.unwrap().success());
}

/// What a gRPC client sees of a failure: one HEADERS frame that ends the stream.
async fn trailers_only(proxy: &Proxy, path: &str) -> http::HeaderMap {
    let h2 = H2::connect(proxy.address(WEB)).await;
    let fields = [("content-type", "application/grpc"), ("te", "trailers")];
    let (response, mut body) = h2.begin("POST", path, &fields).await;
    body.send_data(bytes::Bytes::from_static(b"\0\0\0\0\0"), true).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.body().is_end_stream(), "more than a head: {response:?}");
    let headers = response.headers().clone();
    assert_eq!(headers["content-type"], "application/grpc");
    assert_eq!(h2::receive(response.into_body()).await.unwrap(), (Vec::new(), None));
    headers
}

#[tokio::test]
async fn a_failure_of_the_proxy_is_told_to_grpc_clients_in_their_own_words() {
    let blue = Upstream::start("blue");
    let config = format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:@web@\" }} }}
services:
  echo: {{ groups: {{ blue: {{ upstreams: [\"{}\"] }} }}, health: {{ kind: tcp, interval: 1h }}, timeouts: {{ response: 200ms }} }}
routes: [ {{ match: {{ path: /test.Echo/ }}, service: echo }} ]
",
        blue.url()
    );
    let proxy = Proxy::start(&config).await;
    let told = trailers_only(&proxy, "/other.Service/Call").await;
    assert_eq!(
        (&told["grpc-status"], &told["proxy-status"]),
        (&"12".parse().unwrap(), &"pointsman; error=destination_not_found".parse().unwrap())
    );
    blue.answer(Answer::Hang);
    assert_eq!(trailers_only(&proxy, "/test.Echo/Unary").await["grpc-status"], "4");
    blue.answer(Answer::Close);
    assert_eq!(trailers_only(&proxy, "/test.Echo/Unary").await["grpc-status"], "14");
    blue.refuse().await;
    eventually("the upstream refuses", || async { tokio::net::TcpStream::connect(blue.address()).await.is_err() })
        .await;
    let told = trailers_only(&proxy, "/test.Echo/Unary").await;
    assert_eq!(
        (&told["grpc-status"], &told["proxy-status"]),
        (&"14".parse().unwrap(), &"pointsman; error=connection_refused".parse().unwrap())
    );
    assert!(!told["grpc-message"].is_empty());
    // Others are told as ever.
    H2Client::connect(proxy.address(WEB)).await.get("/test.Echo/Unary").await.expect(502);
}

#[tokio::test]
async fn a_grpc_calls_result_is_its_status_and_not_its_200() {
    let ((_blue, blue), (_green, green)) = (server("blue"), server("green"));
    let proxy = Proxy::start(&config(&blue, &green, "kind: tcp, interval: 1h")).await;
    let h2 = H2::connect(proxy.address(WEB)).await;
    // INTERNAL is the server's fault, NOT_FOUND is not.
    for code in ["INTERNAL", "NOT_FOUND"] {
        let fields = [("content-type", "application/grpc"), ("te", "trailers"), ("x-code", code)];
        let (response, mut body) = h2.begin("POST", "/test.Echo/Fail", &fields).await;
        body.send_data(bytes::Bytes::from_static(b"\0\0\0\0\0"), true).unwrap();
        h2::receive(response.await.unwrap().into_body()).await.unwrap();
    }
    let window = eventually("both calls are counted", || async {
        let window = proxy.service("echo").await["groups"]["blue"]["window"].clone();
        if window["requests"] == 2 { Ok(window) } else { Err(window.to_string()) }
    })
    .await;
    assert_eq!(window["errors"], Value::from(1), "{window}");
}
