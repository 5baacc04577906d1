//! Answers that do not wait for the end of an upload, and answers in their order.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;

use super::{in_front_of, in_front_of_url, noise};
use crate::support::by_hand::{ByHand, write};
use crate::support::h2::{self, H2};
use crate::support::peers::{self, curl, tool};
use crate::support::proxy::WEB;
use crate::support::{Answer, Client, Upstream, eventually};

const TOO_LARGE: &str = "HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 8\r\n\r\ntoo much";

#[tokio::test]
async fn an_early_answer_reaches_a_client_that_is_still_sending() {
    let upstream = ByHand::listen().await;
    let proxy = in_front_of_url(&upstream.url()).await;
    for (framing, chunk) in [("content-length: 100000000", "x"), ("transfer-encoding: chunked", "1\r\nx\r\n")] {
        // The upstream closes at once, or goes on for a while without reading.
        for closes in [true, false] {
            let mut client = proxy.client().await;
            let head = format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n");
            client.send(&[head.as_bytes(), chunk.repeat(1000).as_bytes()].concat()).await.unwrap();
            let (mut wire, _) = upstream.request().await;
            write(&mut wire, TOO_LARGE).await;
            let kept = (!closes).then_some(wire);
            let answer = client.response_to("POST").await.unwrap().expect(413);
            assert_eq!(answer.text(), "too much", "{framing}, closes: {closes}");
            // It cannot tell what follows: no further request is served here.
            let _ = client.send(chunk.repeat(1000).as_bytes()).await;
            let rest = client.receive_rest().await.unwrap_or_default();
            assert!(rest.is_empty(), "{:?}", String::from_utf8_lossy(&rest));
            drop(kept);
        }
    }
    proxy.is_idle("shop", "blue").await;
}

#[tokio::test]
async fn an_early_answer_reaches_a_client_whose_upload_is_stuck() {
    let upstream = ByHand::listen().await;
    let proxy = in_front_of_url(&upstream.url()).await;
    let stream = tokio::net::TcpStream::connect(proxy.address(WEB)).await.unwrap();
    let (reading, mut writing) = stream.into_split();
    writing.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000000\r\n\r\n").await.unwrap();
    let mut sending = tokio::task::JoinSet::new();
    sending.spawn(async move {
        let piece = vec![0; 64 << 10];
        while writing.write_all(&piece).await.is_ok() {}
    });
    // It reads nothing, and everything on the way is full.
    let (mut wire, _) = upstream.request().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    write(&mut wire, TOO_LARGE).await;
    let mut client = crate::support::wire::Buffered::new(reading);
    let head = tokio::time::timeout(Duration::from_secs(10), client.head()).await.unwrap().unwrap().unwrap();
    assert_eq!(head.status().unwrap(), 413);
    assert_eq!(client.exactly(8).await.unwrap(), b"too much");
    // Then the connection ends, also for who goes on sending.
    tokio::time::timeout(Duration::from_secs(10), sending.join_next()).await.expect("the upload goes on for ever");
    proxy.is_idle("shop", "blue").await;
}

#[tokio::test]
async fn an_early_answer_ends_an_upload_over_http_2_and_the_connection_goes_on() {
    let upstream = ByHand::listen().await;
    let proxy = in_front_of_url(&upstream.url()).await;
    let h2 = H2::connect(proxy.address(WEB)).await;
    for _ in 0..3 {
        let (response, mut body) = h2.begin("POST", "/", &[]).await;
        body.send_data(Bytes::from_static(b"first"), false).unwrap();
        let (mut wire, _) = upstream.request().await;
        write(&mut wire, TOO_LARGE).await;
        let response = response.await.unwrap();
        assert_eq!(response.status(), 413);
        assert_eq!(h2::receive(response.into_body()).await.unwrap().0, b"too much");
        // The client is told to stop (RFC 9113, section 8.1), not left waiting for a window.
        let stopped = tokio::time::timeout(Duration::from_secs(10), std::future::poll_fn(|cx| body.poll_reset(cx)));
        assert_eq!(stopped.await.expect("the upload is never ended").unwrap(), ::h2::Reason::NO_ERROR);
    }
    let (answer, ()) = tokio::join!(h2.get("/", &[]), async {
        let (mut wire, _) = upstream.request().await;
        write(&mut wire, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
    });
    assert_eq!(answer.unwrap().status(), 200);
    proxy.is_idle("shop", "blue").await;
}

/// Uploads a file over HTTP/2; gives everything that is said.
async fn nghttp(file: &Path, url: &str) -> String {
    let mut command = Command::new(tool("nghttp"));
    command.arg("--verbose").arg("-d").arg(file).arg(url);
    String::from_utf8_lossy(&peers::run(command).await.stdout).into_owned()
}

#[tokio::test]
async fn curl_and_nghttp_show_an_early_answer_to_a_large_upload() {
    let blue = Upstream::start("blue");
    blue.answer(Answer::WithoutReading(Box::new(Answer::Plain(413, "too much".to_owned()))));
    let proxy = in_front_of(&blue).await;
    let file = proxy.dir().join("upload");
    std::fs::write(&file, noise(20 << 20)).unwrap();
    let (url, upload) = (format!("http://{}/", proxy.address(WEB)), format!("@{}", file.display()));
    for expect in ["expect:", "expect: 100-continue"] {
        let sent = ["--header", expect, "--data-binary", &upload, "--write-out", " %{http_code}", &url];
        assert_eq!(curl(&sent).await, "too much 413", "{expect}");
    }
    // Over HTTP/2 curl 7.88 takes the end of an upload for an error, before it reads the answer that came ahead of it.
    assert!(nghttp(&file, &url).await.contains("too much"));
    proxy.is_idle("shop", "blue").await;
    eventually("the upstream is left alone", || async { blue.open_connections() == 0 }).await;
}

#[tokio::test]
async fn a_large_upload_that_is_refused_by_the_proxy_itself_is_told_so() {
    // No route: the proxy answers at once, and the client gets to see it, however much it has to send.
    let blue = Upstream::start("blue");
    let config = super::config(&format!("\"{}\"", blue.url()), "").replace("path: /", "path: /here/");
    let proxy = crate::support::Proxy::start(&config).await;
    let file = proxy.dir().join("upload");
    std::fs::write(&file, noise(20 << 20)).unwrap();
    let (url, upload) = (format!("http://{}/", proxy.address(WEB)), format!("@{}", file.display()));
    let said = curl(&["--header", "expect:", "--data-binary", &upload, "--write-out", " %{http_code}", &url]).await;
    assert!(said.ends_with(" 404"), "{said}");
    let said = nghttp(&file, &url).await;
    assert!(said.contains(":status: 404") && said.contains("no_route"), "{said}");
    assert_eq!(blue.requests(), 0);
}

#[tokio::test]
async fn requests_behind_one_another_are_answered_in_their_order_whoever_is_slow_or_wrong() {
    let blue = Upstream::scripted("blue", |head| match head.path() {
        "/slow" => Answer::Later(Duration::from_millis(200), Box::new(Answer::text("slow"))),
        "/chunked" => Answer::Chunked {
            chunks: vec![b"chu".to_vec(), b"nked".to_vec()],
            pause: Duration::from_millis(20),
            trailers: vec![],
        },
        "/close" => Answer::Garbage(b"HTTP/1.1 200 OK\r\n\r\nclose".to_vec()),
        "/dead" => Answer::Close,
        "/large" => Answer::With(vec![], noise(1 << 20)),
        _ => Answer::Echo,
    });
    let proxy = in_front_of(&blue).await;
    let mut client = Client::connect(proxy.address(WEB)).await;
    let request = |method: &str, path: &str, body: &str| {
        format!("{method} {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    };
    let paths = ["/slow", "/chunked", "/close", "/dead", "/large", "/last"];
    let all: String = paths.iter().map(|p| request("GET", p, "") + &request("POST", "/echo", p)).collect();
    client.send(all.as_bytes()).await.unwrap();
    for path in paths {
        let answer = client.response_to("GET").await.unwrap();
        match path {
            "/dead" => drop(answer.expect(502)),
            "/large" => assert!(answer.expect(200).body == noise(1 << 20)),
            "/last" => assert_eq!(answer.expect(200).text(), ""),
            _ => assert_eq!(answer.expect(200).text(), &path[1..]),
        }
        assert_eq!(client.response_to("POST").await.unwrap().expect(200).text(), path);
    }
    // What cannot be read ends it, behind the answers that were due.
    client
        .send((request("GET", "/slow", "") + "G@T / HTTP/1.1\r\n\r\n" + &request("GET", "/", "")).as_bytes())
        .await
        .unwrap();
    assert_eq!(client.response_to("GET").await.unwrap().expect(200).text(), "slow");
    client.response_to("GET").await.unwrap().expect(400);
    assert!(client.is_closed().await);
}

/// An upstream of HTTP/2 that answers `/early` with its head alone, and anything else with the body that came.
async fn answers_early() -> (String, tokio::task::JoinSet<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("h2c://{}", listener.local_addr().unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        loop {
            let stream = listener.accept().await.unwrap().0;
            let Ok(mut connection) = ::h2::server::handshake(stream).await else { continue };
            tokio::spawn(async move {
                let mut unread = Vec::new();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    if request.uri().path() == "/early" {
                        respond.send_response(http::Response::new(()), true).unwrap();
                        // Neither read nor refused.
                        unread.push(request.into_body());
                        continue;
                    }
                    tokio::spawn(async move {
                        let mut body = request.into_body();
                        let mut all = Vec::new();
                        while let Some(Ok(data)) = body.data().await {
                            all.extend_from_slice(&data);
                        }
                        let mut echo = respond.send_response(http::Response::new(()), false).unwrap();
                        echo.send_data(all.into(), true)
                    });
                }
            });
        }
    });
    (url, tasks)
}

#[tokio::test]
async fn an_early_answer_over_http_2_leaves_the_next_request_its_own_body() {
    let (url, _upstream) = answers_early().await;
    let proxy = in_front_of_url(&url).await;
    let mut client = proxy.client().await;
    for round in 0..20 {
        client.send(b"POST /early HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nabc").await.unwrap();
        client.response_to("POST").await.unwrap().expect(200);
        let next = format!("POST /next HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", 1000 + round);
        client.send(format!("def{next}").as_bytes()).await.unwrap();
        let body = noise(1000 + round);
        for piece in body.chunks(100) {
            client.send(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(client.response_to("POST").await.unwrap().expect(200).body, body, "round {round}");
    }
    proxy.is_idle("shop", "blue").await;
}
