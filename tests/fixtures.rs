//! The fixtures do what they promise: a test that leans on one must not pass because the fixture did nothing.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use crate::support::certs::Authority;
use crate::support::client::{H2Client, always_holds};
use crate::support::peers::{self, Nginx, Peer};
use crate::support::ports::Port;
use crate::support::wire::Fields;
use crate::support::{Answer, Client, Upstream, eventually, eventually_within};

fn fields(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
}

async fn client(upstream: &Upstream) -> Client {
    Client::connect(upstream.address()).await
}

#[tokio::test]
async fn an_upstream_names_its_group_counts_and_logs() {
    let upstream = Upstream::start("blue");
    let mut client = client(&upstream).await;
    let before = std::time::Instant::now();
    for _ in 0..3 {
        let answer = client.get("/a?b=c").await.expect(200);
        assert_eq!((answer.group(), answer.text().as_str()), (Some("blue"), "blue"));
    }
    client.get("/health").await.expect(200);
    assert_eq!((upstream.requests(), upstream.probes(), upstream.connections()), (3, 1, 1));
    let arrivals = upstream.arrivals_after(before);
    assert_eq!((arrivals.len(), arrivals[0].head.target(), arrivals[0].head.path()), (3, "/a?b=c", "/a"));
    upstream.healthy(false);
    client.get("/health").await.expect(503);
}

#[tokio::test]
async fn an_upstream_refuses_and_accepts_again_at_the_same_address() {
    let upstream = Upstream::start("blue");
    let mut open = client(&upstream).await;
    open.get("/").await.expect(200);
    upstream.refuse().await;
    eventually("it refuses", || async { Client::try_connect(upstream.address()).await.is_err() }).await;
    assert!(open.is_closed().await);
    upstream.accept();
    client(&upstream).await.get("/").await.expect(200);
}

#[tokio::test]
async fn an_upstream_closes_idle_and_used_up_connections_without_a_word() {
    let upstream = Upstream::start("blue");
    upstream.close_idle_after(Duration::from_millis(20));
    let mut idle = client(&upstream).await;
    assert!(!idle.get("/").await.fields.lists("connection", "close"));
    assert!(idle.is_closed().await);
    let upstream = Upstream::start("blue");
    upstream.close_after_requests(2);
    let mut used_up = client(&upstream).await;
    used_up.get("/").await.expect(200);
    assert!(!used_up.get("/").await.fields.lists("connection", "close"));
    assert!(used_up.is_closed().await);
}

#[tokio::test]
async fn an_upstream_misbehaves_in_every_way_it_is_told() {
    let upstream = Upstream::start("blue");
    upstream.answer(Answer::Close);
    assert!(client(&upstream).await.try_request("GET", "/", &[], None).await.is_err());
    upstream.answer(Answer::Reset);
    let error = client(&upstream).await.try_request("GET", "/", &[], None).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    upstream.answer(Answer::Garbage(b"\x00\x01nonsense\r\n\r\n".to_vec()));
    assert!(client(&upstream).await.try_request("GET", "/", &[], None).await.is_err());
    upstream.answer(Answer::CutAt(20, Box::new(Answer::text("hello"))));
    let mut cut = client(&upstream).await;
    cut.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert_eq!(cut.receive_rest().await.unwrap(), b"HTTP/1.1 200 OK\r\nx-u");
    upstream.answer(Answer::Hang);
    let mut hung = client(&upstream).await;
    let hanging = tokio::time::timeout(Duration::from_millis(100), hung.get("/")).await;
    assert!(hanging.is_err(), "it answered");
    upstream.answer(Answer::Last(Box::new(Answer::text("bye"))));
    let mut last = client(&upstream).await;
    last.get("/").await.expect(200);
    assert!(last.is_closed().await);
}

#[tokio::test]
async fn an_upstream_streams_informs_and_upgrades() {
    let upstream = Upstream::scripted("green", |head| match head.path() {
        "/chunked" => Answer::Chunked {
            chunks: vec![b"one ".to_vec(), b"two".to_vec()],
            pause: Duration::from_millis(1),
            trailers: fields(&[("x-sum", "2")]),
        },
        "/slow" => Answer::Trickle(b"abc".to_vec(), Duration::from_millis(1)),
        "/early" => {
            Answer::Informational(vec![(103, fields(&[("link", "</a>; rel=preload")]))], Box::new(Answer::text("late")))
        }
        "/echo" => Answer::Echo,
        "/mirror" => Answer::Mirror,
        "/unread" => Answer::WithoutReading(Box::new(Answer::Plain(413, "too much".to_owned()))),
        "/with" => Answer::With(fields(&[("cache-control", "no-store")]), b"with".to_vec()),
        _ => Answer::Upgrade,
    });
    let mut client = client(&upstream).await;
    let chunked = client.get("/chunked").await;
    assert_eq!((chunked.text().as_str(), chunked.trailers.get("x-sum")), ("one two", Some("2")));
    assert_eq!(client.get("/slow").await.text(), "abc");
    let early = client.get("/early").await;
    assert_eq!((early.informational[0].status().unwrap(), early.text().as_str()), (103, "late"));
    assert_eq!(client.post("/echo", b"there").await.text(), "there");
    assert_eq!(client.get("/with").await.header("cache-control"), Some("no-store"));
    let continued = client.request("POST", "/echo", &[("expect", "100-continue")], Some(b"x")).await;
    assert_eq!(continued.informational.len(), 1);
    let mirrored = client.get_with("/mirror", &[("x-a", "b")]).await.json();
    assert_eq!(mirrored["first"], "GET /mirror HTTP/1.1");
    assert!(mirrored["fields"].as_array().unwrap().contains(&serde_json::json!(["x-a", "b"])));
    let asks = [("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")];
    let upgraded = client.get_with("/ws", &asks).await.expect(101);
    assert_eq!(upgraded.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    client.send(b"anything").await.unwrap();
    assert_eq!(client.receive_exactly(8).await.unwrap(), b"anything");
    let mut unread = Client::connect(upstream.address()).await;
    unread.send(b"POST /unread HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n").await.unwrap();
    unread.response_to("POST").await.unwrap().expect(413);
}

#[tokio::test]
async fn a_panic_within_an_upstream_fails_its_test() {
    let upstream = Upstream::scripted("blue", |_| panic!("on purpose, to see whether it is noticed"));
    assert!(client(&upstream).await.try_request("GET", "/", &[], None).await.is_err());
    let dropped = std::panic::catch_unwind(AssertUnwindSafe(|| drop(upstream)));
    assert!(dropped.is_err(), "nobody noticed");
}

#[test]
fn the_client_notices_what_must_never_be() {
    let broken: &[(u16, &[(&str, &str)])] = &[
        (200, &[("content-length", "1"), ("transfer-encoding", "chunked")]),
        (200, &[]),
        (200, &[("content-length", "1"), ("keep-alive", "timeout=5")]),
        (200, &[("content-length", "1"), ("connection", "x-secret")]),
        (200, &[("content-length", "1"), ("upgrade", "h2c")]),
        (204, &[("content-length", "0")]),
        (200, &[("content-length", "1"), ("proxy-status", "pointsman; error=connection_refused")]),
        (200, &[("content-length", "1"), ("content-length", "1")]),
        (200, &[("content-length", "1"), ("cache-control", "public"), ("set-cookie", "pointsman=1")]),
    ];
    for (status, lines) in broken {
        let checked = std::panic::catch_unwind(|| always_holds("GET", *status, &Fields(fields(lines))));
        assert!(checked.is_err(), "{status} {lines:?} passed");
    }
    always_holds("GET", 200, &Fields(fields(&[("content-length", "1"), ("connection", "keep-alive")])));
    always_holds("HEAD", 200, &Fields::default());
}

#[tokio::test]
async fn waiting_says_what_was_waited_for_and_what_was_seen() {
    let waited = tokio::spawn(async {
        eventually_within(Duration::from_millis(30), "pigs fly", || async { Err::<(), _>("they walk") }).await;
    });
    let panic = waited.await.unwrap_err().into_panic();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("pigs fly") && text.contains("they walk") && text.contains("fixtures.rs"), "{text}");
}

#[tokio::test]
async fn a_reserved_port_refuses_until_somebody_listens() {
    let port = Port::reserve();
    assert!(Client::try_connect(port.address()).await.is_err());
    let listener = port.listen();
    assert!(Client::try_connect(port.address()).await.is_ok());
    drop(listener);
    let exclusive = std::net::TcpListener::bind(port.address()).expect("SO_REUSEADDR is enough");
    assert!(Client::try_connect(port.address()).await.is_ok());
    drop(exclusive);
}

#[tokio::test]
async fn the_demonstration_application_speaks_h2c_to_the_h2_client() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let options = pointsman::demo::app::AppOptions::new("blue", "2.5.0");
    tokio::spawn(pointsman::demo::app::serve(listener, options, std::future::pending()));
    let client = H2Client::connect(address).await;
    let (a, b) = tokio::join!(client.get("/whoami"), client.request("POST", "/echo", &[], b"both at once"));
    assert_eq!((a.group(), b.unwrap().text().as_str()), (Some("blue"), "both at once"));
}

#[tokio::test]
async fn certificates_are_issued_and_trusted() {
    let authority = Authority::new();
    let files = authority.issue("leaf", &["localhost", "127.0.0.1"]);
    let verify = std::process::Command::new(peers::tool("openssl"))
        .args(["verify", "-verify_hostname", "localhost", "-CAfile"])
        .args([authority.ca(), files.cert])
        .output()
        .unwrap();
    assert!(verify.status.success(), "{verify:?}");
}

#[tokio::test]
async fn nginx_serves_as_an_upstream() {
    let nginx = Nginx::start("return 200 'from nginx';").await;
    assert_eq!(peers::curl(&[&nginx.url()]).await, "from nginx");
}

#[tokio::test]
async fn the_websocket_peers_understand_each_other_and_the_demonstration() {
    let (_server, ready) = Peer::python("ws_server.py", &["--port", "0", "--group", "blue"]);
    let url = format!("ws://127.0.0.1:{}/", ready["port"]);
    let result =
        peers::python_client("ws_client.py", &[&url, "--messages", "20", "--sizes", "0,1,125,126,70000"]).await;
    assert_eq!((&result["echoed"], &result["group"]), (&20.into(), &"blue".into()), "{result}");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/ws", listener.local_addr().unwrap());
    let options = pointsman::demo::app::AppOptions::new("green", "2.5.0");
    tokio::spawn(pointsman::demo::app::serve(listener, options, std::future::pending()));
    let result =
        peers::python_client("ws_client.py", &[&url, "--messages", "20", "--sizes", "0,1,125,126,70000"]).await;
    assert_eq!((&result["echoed"], &result["group"]), (&20.into(), &"green".into()), "{result}");
}

#[tokio::test]
async fn the_grpc_peers_understand_each_other() {
    let (_server, ready) = Peer::python("grpc_server.py", &["--port", "0", "--group", "blue"]);
    let target = format!("127.0.0.1:{}", ready["port"]);
    let result = peers::python_client("grpc_client.py", &[&target]).await;
    assert_eq!(result["ok"], true, "{result}");
    assert_eq!((&result["group"], &result["health"]), (&"blue".into(), &"SERVING".into()), "{result}");
}
