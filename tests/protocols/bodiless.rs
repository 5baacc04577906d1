//! Answers that have no body, whatever their header says, and requests whose body nobody waits for.

use super::{config, in_front_of, in_front_of_url};
use crate::support::client::H2Client;
use crate::support::h2::H2;
use crate::support::proxy::WEB;
use crate::support::{Answer, Client, Proxy, Upstream};

fn raw(text: &str) -> Answer {
    Answer::Raw(text.as_bytes().to_vec())
}

/// Answers that mean the same to every reader: no body.
const BODILESS: [(&str, &str, u16); 9] = [
    ("GET", "HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n", 204),
    ("HEAD", "HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n", 204),
    ("GET", "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n", 204),
    ("GET", "HTTP/1.1 304 Not Modified\r\ncontent-length: 99\r\n\r\n", 304),
    ("GET", "HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n", 304),
    ("HEAD", "HTTP/1.1 304 Not Modified\r\ncontent-length: 99\r\n\r\n", 304),
    ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n", 200),
    ("HEAD", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", 200),
    ("HEAD", "HTTP/1.1 200 OK\r\n\r\n", 200),
];

#[tokio::test]
async fn an_answer_without_a_body_is_over_with_its_head_whatever_length_it_names() {
    let blue = Upstream::start("blue");
    let proxy = Proxy::start(&(config(&format!("\"{}\"", blue.url()), "") + "workers: 1\n")).await;
    let mut client = proxy.client().await;
    for (method, answer, status) in BODILESS {
        blue.script(move |head| if head.path() == "/odd" { raw(answer) } else { Answer::text("next") });
        // Checks as always that 204 has no framing (RFC 9110, section 8.6).
        let got = client.request(method, "/odd", &[], None).await.expect(status);
        if status != 204 && answer.contains("content-length") {
            assert_eq!(got.header("content-length"), Some("99"), "{method} {answer:?}");
        }
        assert_ne!(got.header("content-length"), Some("0"), "{method} {answer:?}: a length that GET would not have");
        assert_eq!(client.get("/").await.expect(200).text(), "next", "behind {method} {answer:?}");
    }
}

#[tokio::test]
async fn an_answer_without_a_body_is_over_with_its_head_over_http_2_and_http_1_0_too() {
    let blue = Upstream::start("blue");
    let proxy = in_front_of(&blue).await;
    let h2 = H2Client::connect(proxy.address(WEB)).await;
    for (method, answer, status) in BODILESS {
        blue.answer(raw(answer));
        let got = h2.request(method, "/", &[], b"").await.unwrap().expect(status);
        assert_eq!(got.body, b"", "{method} {answer:?}");
        let mut old = proxy.client().await;
        old.send(format!("{method} / HTTP/1.0\r\nhost: a\r\n\r\n").as_bytes()).await.unwrap();
        let rest = String::from_utf8(old.receive_rest().await.unwrap()).unwrap();
        assert!(rest.contains(&format!(" {status} ")) && rest.ends_with("\r\n\r\n"), "{method} {answer:?}: {rest}");
        assert!(!rest.contains("transfer-encoding"), "{method} {answer:?}: {rest}");
    }
    proxy.is_idle("shop", "blue").await;
}

#[tokio::test]
async fn a_head_over_http_2_to_an_upstream_of_http_2_is_counted_as_answered() {
    // A well-kept server: END_STREAM may come in a frame of its own, behind the head.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("h2c://{}", listener.local_addr().unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        loop {
            let stream = listener.accept().await.unwrap().0;
            let Ok(mut connection) = h2::server::handshake(stream).await else { continue };
            tokio::spawn(async move {
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    let head = http::Response::builder().header("content-length", "99").body(()).unwrap();
                    let mut body = respond.send_response(head, false).unwrap();
                    tokio::spawn(async move {
                        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                        body.send_data(bytes::Bytes::new(), true)
                    });
                }
            });
        }
    });
    let proxy = in_front_of_url(&url).await;
    let mut client = proxy.client().await;
    let answer = client.request("HEAD", "/", &[], None).await.expect(200);
    assert_eq!(answer.header("content-length"), Some("99"));
    let h2 = H2::connect(proxy.address(WEB)).await;
    let (response, mut body) = h2.begin("HEAD", "/", &[]).await;
    body.send_data(bytes::Bytes::new(), true).unwrap();
    assert_eq!(response.await.unwrap().headers()["content-length"], "99");
    proxy.is_idle("shop", "blue").await;
    let metrics = proxy.get("/metrics").await.text();
    let outcomes: Vec<_> = metrics.lines().filter(|l| l.starts_with("pointsman_upstream_attempts_total")).collect();
    let ok = outcomes.iter().any(|l| l.contains("outcome=\"ok\"") && l.ends_with(" 2"));
    assert!(ok, "both were answered, and nobody left: {outcomes:?}");
}

#[tokio::test]
async fn http_1_0_gets_an_end_that_it_understands_and_is_kept_only_where_it_asks() {
    let blue = Upstream::scripted("blue", |head| match head.path() {
        "/sized" => Answer::text("twelve bytes"),
        "/chunked" => {
            raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nc\r\ntwelve bytes\r\n0\r\nx-sum: 1\r\n\r\n")
        }
        "/close" => Answer::Garbage(b"HTTP/1.1 200 OK\r\n\r\ntwelve bytes".to_vec()),
        "/old" => Answer::Garbage(b"HTTP/1.0 200 OK\r\n\r\ntwelve bytes".to_vec()),
        _ => Answer::Plain(204, String::new()),
    });
    let proxy = in_front_of(&blue).await;
    for path in ["/sized", "/chunked", "/close", "/old"] {
        for keep in ["", "connection: keep-alive\r\n"] {
            let mut client = proxy.client().await;
            client.send(format!("GET {path} HTTP/1.0\r\nhost: a\r\n{keep}\r\n").as_bytes()).await.unwrap();
            let head = client.head().await.unwrap();
            assert_eq!(head.fields.get("transfer-encoding"), None, "{path}: {head:?}");
            let kept = path == "/sized" && !keep.is_empty();
            let said = if kept { "keep-alive" } else { "close" };
            assert_eq!(head.fields.get("connection"), Some(said), "{path} {keep:?}: {head:?}");
            if kept {
                assert_eq!(client.receive_exactly(12).await.unwrap(), b"twelve bytes");
                client.send(b"GET /sized HTTP/1.0\r\nhost: a\r\n\r\n").await.unwrap();
                client.head().await.unwrap();
            }
            assert_eq!(client.receive_rest().await.unwrap(), b"twelve bytes", "{path} {keep:?}");
        }
        // The same to a client of HTTP/1.1, whose connection goes on.
        let mut client = proxy.client().await;
        for _ in 0..2 {
            let answer = client.get(path).await.expect(200);
            assert_eq!((answer.text().as_str(), answer.fields.lists("connection", "close")), ("twelve bytes", false));
        }
    }
}

#[tokio::test]
async fn an_upstream_of_http_1_0_is_kept_only_where_it_says_so() {
    let blue = Upstream::scripted("blue", |head| match head.path() {
        "/kept" => raw("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok"),
        _ => raw("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    });
    let proxy = Proxy::start(&(config(&format!("\"{}\"", blue.url()), "") + "workers: 1\n")).await;
    let mut client = proxy.client().await;
    for path in ["/kept", "/kept", "/not", "/not"] {
        assert_eq!(client.get(path).await.expect(200).text(), "ok");
    }
    let used: Vec<_> = blue.arrivals().iter().map(|a| a.connection).collect();
    assert!(used[0] == used[1] && used[1] == used[2] && used[2] != used[3], "{used:?}");
}

#[tokio::test]
async fn a_body_that_nobody_reads_does_not_become_the_next_request() {
    // The proxy's own answer to a request with a body, and the next request behind it.
    let blue = Upstream::start("blue");
    let config = config(&format!("\"{}\"", blue.url()), "")
        .replace("routes: [", "routes: [ { match: { path: /own }, respond: { status: 418, body: own } },");
    let proxy = Proxy::start(&config).await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    for (framing, body) in [
        (format!("content-length: {}", smuggled.len()), smuggled.to_owned()),
        ("transfer-encoding: chunked".to_owned(), format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len())),
        ("content-length: 200000".to_owned(), smuggled.repeat(6000)[..200_000].to_owned()),
    ] {
        let mut client = Client::connect(proxy.address(WEB)).await;
        let request =
            format!("POST /own HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n{body}GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let _ = client.send(request.as_bytes()).await;
        assert_eq!(client.response_to("POST").await.unwrap().expect(418).text(), "own");
        // It is found behind the body, or the connection is closed.
        if let Ok(answer) = client.response_to("GET").await {
            assert_eq!(answer.expect(200).text(), "blue");
        }
    }
    assert!(blue.arrivals().iter().all(|a| a.head.path() == "/"), "{:?}", blue.arrivals());
}
