//! Written on a connection that had served before, and not one byte came back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::JoinSet;

use super::{attempts, config, quoted};
use crate::support::{Answer, Client, Proxy, Upstream};

/// Answers `/die` in this way for the first `times`, everything else as usual.
fn dying(answer: Answer, times: usize) -> Upstream {
    let died = AtomicUsize::new(0);
    Upstream::scripted("blue", move |head| {
        if head.path() == "/die" && died.fetch_add(1, Ordering::AcqRel) < times {
            return answer.clone();
        }
        Answer::text("blue")
    })
}

async fn start(blue: &Upstream) -> (Proxy, Client) {
    let proxy = Proxy::start(&config(&[("blue", &[quoted(&blue.url())])], &[])).await;
    let client = proxy.client().await;
    (proxy, client)
}

/// The connections on which `/die` arrived.
fn deaths(blue: &Upstream) -> Vec<u64> {
    blue.arrivals().iter().filter(|a| a.head.path() == "/die").map(|a| a.connection).collect()
}

#[tokio::test]
async fn an_idempotent_request_is_sent_once_more_on_a_fresh_connection() {
    for answer in [Answer::Close, Answer::Reset] {
        for method in ["GET", "HEAD", "OPTIONS", "DELETE", "PUT"] {
            let blue = dying(answer.clone(), 1);
            let (proxy, mut client) = start(&blue).await;
            client.get("/").await.expect(200);
            client.request(method, "/die", &[], None).await.expect(200);
            let on = deaths(&blue);
            assert_eq!(on.len(), 2, "{method} {answer:?}");
            assert_ne!(on[0], on[1], "{method} {answer:?}: not a fresh connection");
            assert_eq!((attempts(&proxy, "blue", "ok").await, attempts(&proxy, "blue", "broken").await), (2, 1));
        }
    }
}

#[tokio::test]
async fn it_is_sent_once_more_and_not_again() {
    let blue = dying(Answer::Close, usize::MAX);
    let (_proxy, mut client) = start(&blue).await;
    client.get("/").await.expect(200);
    let answer = client.get("/die").await.expect(502);
    assert_eq!(answer.header("proxy-status"), Some("pointsman; error=connection_terminated"));
    assert_eq!(deaths(&blue).len(), 2);
}

#[tokio::test]
async fn what_the_upstream_may_have_acted_on_is_never_sent_twice() {
    for (method, body) in
        [("POST", None), ("POST", Some(&b"abc"[..])), ("PATCH", Some(b"abc")), ("LOCK", None), ("PUT", Some(b"abc"))]
    {
        let blue = dying(Answer::Close, 1);
        let (_proxy, mut client) = start(&blue).await;
        client.get("/").await.expect(200);
        client.request(method, "/die", &[], body).await.expect(502);
        assert_eq!(deaths(&blue).len(), 1, "{method} {body:?} was sent twice");
        // The next request finds a connection again.
        client.get("/").await.expect(200);
    }
}

#[tokio::test]
async fn a_fresh_connection_that_dies_is_no_excuse() {
    let blue = dying(Answer::Close, 1);
    let (_proxy, mut client) = start(&blue).await;
    client.get("/die").await.expect(502);
    assert_eq!(deaths(&blue).len(), 1);
}

#[tokio::test]
async fn one_byte_of_an_answer_rules_a_second_attempt_out() {
    for at in [1, 12, 20] {
        let blue = dying(Answer::CutAt(at, Box::new(Answer::text("never"))), 1);
        let (_proxy, mut client) = start(&blue).await;
        client.get("/").await.expect(200);
        client.get("/die").await.expect(502);
        assert_eq!(deaths(&blue).len(), 1, "sent again after {at} bytes");
    }
    let nonsense = dying(Answer::Garbage(b"SSH-2.0-OpenSSH\r\n".to_vec()), 1);
    let (_proxy, mut client) = start(&nonsense).await;
    client.get("/").await.expect(200);
    let answer = client.get("/die").await.expect(502);
    assert_eq!(answer.header("proxy-status"), Some("pointsman; error=http_protocol_error"));
    assert_eq!(deaths(&nonsense).len(), 1);
}

/// An upstream of HTTP/2 that ends the connection, or with `reset` only the stream, of each request for `/die`, and
/// counts them.
async fn dying_over_http_2(times: usize, reset: Option<h2::Reason>) -> (String, Arc<AtomicUsize>, JoinSet<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("h2c://{}", listener.local_addr().unwrap());
    let deaths = Arc::new(AtomicUsize::new(0));
    let (counted, mut tasks) = (Arc::clone(&deaths), JoinSet::new());
    tasks.spawn(async move {
        loop {
            let stream = listener.accept().await.unwrap().0;
            // A probe says nothing.
            let Ok(mut connection) = h2::server::handshake(stream).await else { continue };
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let dies = request.uri().path() == "/die" && counted.fetch_add(1, Ordering::AcqRel) < times;
                    match reset {
                        _ if !dies => drop(respond.send_response(http::Response::new(()), true)),
                        Some(reason) => respond.send_reset(reason),
                        None => return,
                    }
                }
            });
        }
    });
    (url, deaths, tasks)
}

#[tokio::test]
async fn an_http_2_connection_that_dies_without_a_word_is_replaced_for_what_is_idempotent() {
    for (method, status, arrivals) in [("GET", 200, 2), ("POST", 502, 1)] {
        let (url, deaths, _tasks) = dying_over_http_2(1, None).await;
        let proxy = Proxy::start(&config(&[("blue", &[quoted(&url)])], &[])).await;
        let mut client = proxy.client().await;
        client.get("/").await.expect(200);
        client.request(method, "/die", &[], None).await.expect(status);
        assert_eq!(deaths.load(Ordering::Acquire), arrivals, "{method}");
        client.get("/").await.expect(200);
    }
}

#[tokio::test]
async fn an_http_2_stream_that_the_upstream_reset_by_itself_is_not_sent_again() {
    for reason in [h2::Reason::INTERNAL_ERROR, h2::Reason::CANCEL, h2::Reason::ENHANCE_YOUR_CALM] {
        let (url, deaths, _tasks) = dying_over_http_2(usize::MAX, Some(reason)).await;
        let proxy = Proxy::start(&config(&[("blue", &[quoted(&url)])], &[])).await;
        let mut client = proxy.client().await;
        client.get("/").await.expect(200);
        client.get("/die").await.expect(502);
        assert_eq!(deaths.load(Ordering::Acquire), 1, "the upstream had taken it, and got it again: {reason:?}");
    }
}
