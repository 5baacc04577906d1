//! How much a client may send, and how long it may take.

use super::behind;
use crate::support::client::H2Client;
use crate::support::proxy::WEB;
use crate::support::{Answer, Upstream};

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_by_its_length_or_when_it_turns_out_so() {
    let (blue, green) = (Upstream::scripted("blue", |_| Answer::Mirror), Upstream::start("green"));
    let proxy = behind("max_connections: 100", &blue, &green, "limits: { body: 1KiB }").await;
    let mut client = proxy.client().await;
    client.post("/", &[b'a'; 1024]).await.expect(200);
    let told = proxy.client().await.post("/told", &[b'a'; 1025]).await.expect(413);
    assert_eq!(told.header("proxy-status"), Some("pointsman; error=http_request_error"));
    let mut client = proxy.client().await;
    let chunks = format!("{}0\r\n\r\n", format!("100\r\n{}\r\n", "a".repeat(256)).repeat(5));
    let head = "POST /chunks HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    client.send(format!("{head}{chunks}").as_bytes()).await.unwrap();
    client.response_to("POST").await.unwrap().expect(413);
    assert!(blue.arrivals().iter().all(|a| a.head.path() != "/told"), "it was refused before anything was sent");
    let h2 = H2Client::connect(proxy.address(WEB)).await;
    h2.request("POST", "/h2", &[], &[b'a'; 1025]).await.unwrap().expect(413);
    h2.get("/").await.expect(200);
}

#[tokio::test]
async fn a_head_that_does_not_come_to_its_end_is_408() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = behind("head_timeout: 500ms", &blue, &green, "").await;
    let mut client = proxy.client().await;
    client.get("/").await.expect(200);
    client.send(b"GET /slow HTTP/1.1\r\nhost: a\r\nx: ").await.unwrap();
    let answer = client.response_to("GET").await.unwrap().expect(408);
    assert_eq!(answer.header("proxy-status"), Some("pointsman; error=http_request_error"));
    assert!(client.is_closed().await);
    assert_eq!(blue.requests(), 1);
}

#[tokio::test]
async fn a_connection_without_requests_is_closed_and_one_at_work_is_not() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = behind("idle_timeout: 1s", &blue, &green, "").await;
    let (mut idle, mut busy) = (proxy.client().await, proxy.client().await);
    idle.get("/").await.expect(200);
    let work = async {
        loop {
            busy.get("/").await.expect(200);
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        closed = idle.is_closed() => assert!(closed),
        () = work => unreachable!("it goes on for ever"),
    }
}

#[tokio::test]
async fn a_connection_that_has_rested_goes_on_as_before() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = behind("idle_timeout: 60s", &blue, &green, "").await;
    let mut client = proxy.client().await;
    client.get("/").await.expect(200);
    // Longer than it takes a connection to be taken apart.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    client.get("/").await.expect(200);
    client.send(b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\nGET ").await.unwrap();
    client.response_to("GET").await.unwrap().expect(200);
    client.response_to("GET").await.unwrap().expect(200);
    // Half a head is waited for, however idle the connection looks.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    client.send(b"/3 HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    client.response_to("GET").await.unwrap().expect(200);
    assert_eq!(blue.requests(), 5);
}
