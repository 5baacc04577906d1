//! Requests that two readers would cut at different places (request smuggling).

use super::Bystander;
use crate::protocols;
use crate::support::{Answer, Client, Proxy, Upstream};

/// What the client gets for these bytes, up to the end of its connection: statuses of all answers.
async fn statuses(client: &mut Client, bytes: &[u8]) -> Vec<u16> {
    client.send(bytes).await.unwrap();
    let mut statuses = Vec::new();
    while let Ok(answer) = client.response_to("GET").await {
        statuses.push(answer.status);
        if answer.fields.lists("connection", "close") || answer.status >= 400 {
            break;
        }
    }
    statuses
}

async fn start() -> (Upstream, Proxy) {
    let blue = Upstream::start("blue");
    blue.answer(Answer::Mirror);
    let proxy = protocols::in_front_of(&blue).await;
    (blue, proxy)
}

/// Arrivals that are not the bystander's.
fn arrived(blue: &Upstream) -> Vec<String> {
    let others = blue.arrivals().into_iter().filter(|a| a.head.path() != "/bystander");
    others.map(|a| a.head.first).collect()
}

#[tokio::test]
async fn a_body_of_doubtful_length_is_refused_and_reaches_nobody() {
    let (blue, proxy) = start().await;
    let bystander = Bystander::start(&proxy).await;
    let hidden = "GET /hidden HTTP/1.1\r\nhost: a\r\n\r\n";
    for fields in [
        "content-length: 3\r\ncontent-length: 6",
        "content-length: 3, 6",
        "content-length: +3",
        "content-length: -3",
        "content-length: 0x3",
        "content-length: 3 3",
        "content-length: 99999999999999999999999",
        "content-length: ",
        "content-length : 3",
        "transfer-encoding : chunked",
        " transfer-encoding: chunked",
        "transfer-encoding: identity",
        "transfer-encoding: xchunked",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: gzip",
        "transfer-encoding: \"chunked\"",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity",
        "x: y\r\n content-length: 3",
        "x: y\r\n\tz",
        "transfer-encoding:\r\n chunked",
    ] {
        let mut client = proxy.client().await;
        let bytes = format!("POST /a HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n0\r\n\r\n{hidden}");
        assert_eq!(statuses(&mut client, bytes.as_bytes()).await, [400], "{fields:?}");
        assert!(client.is_closed().await, "the connection is used on after {fields:?}");
        assert_eq!(arrived(&blue), [""; 0], "{fields:?}");
    }
    bystander.was_served_throughout().await;
}

#[tokio::test]
async fn a_length_beside_chunks_never_decides_and_ends_the_connection() {
    let (blue, proxy) = start().await;
    let bystander = Bystander::start(&proxy).await;
    let hidden = "GET /hidden HTTP/1.1\r\nhost: a\r\n\r\n";
    for fields in [
        "content-length: 6\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 6",
        "content-length: 0\r\ntransfer-encoding: chunked",
        "content-length: 42\r\ntransfer-encoding: chunked",
    ] {
        let mut client = proxy.client().await;
        let before = blue.arrivals().len();
        let bytes = format!("POST /a HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n3\r\nabc\r\n0\r\n\r\n{hidden}");
        let got = statuses(&mut client, bytes.as_bytes()).await;
        // Refused; or cut where the chunks end, framed once, and what follows is not trusted to be a request.
        assert!(got == [400] || got == [200], "{fields:?} got {got:?}");
        assert!(client.receive_rest().await.is_ok_and(|rest| rest.is_empty()), "more answers after {fields:?}");
        for arrival in blue.arrivals().into_iter().skip(before).filter(|a| a.head.path() != "/bystander") {
            assert_eq!(arrival.head.first, "POST /a HTTP/1.1", "{fields:?}");
            let framing = ["content-length", "transfer-encoding"].map(|name| arrival.head.fields.all(name).count());
            assert_eq!(framing, [0, 1], "{:?}", arrival.head);
        }
    }
    bystander.was_served_throughout().await;
}

#[tokio::test]
async fn lines_that_end_in_anything_but_crlf_are_refused_or_written_anew() {
    let (blue, proxy) = start().await;
    let bystander = Bystander::start(&proxy).await;
    // The upstream fixture takes CRLF only: a bare LF that went through would be part of a value, and be seen.
    for bytes in [
        "GET /a HTTP/1.1\nhost: a\n\n",
        "GET /a HTTP/1.1\r\nhost: a\n\r\n",
        "GET /a HTTP/1.1\r\nhost: a\r\n\n",
        "GET /a HTTP/1.1\r\nhost: a\r\nx: y\nz: 1\r\n\r\n",
    ] {
        let mut client = proxy.client().await;
        client.send(bytes.as_bytes()).await.unwrap();
        let answer = client.response_to("GET").await.unwrap();
        assert!([200, 400].contains(&answer.status), "{bytes:?}");
    }
    for arrival in blue.arrivals().into_iter().filter(|a| a.head.path() != "/bystander") {
        assert_eq!(arrival.head.first, "GET /a HTTP/1.1");
        assert_eq!(arrival.head.fields.get("host"), Some("a"));
        assert!([None, Some("y")].contains(&arrival.head.fields.get("x")), "{:?}", arrival.head);
    }
    let before = arrived(&blue).len();
    for bytes in [
        "GET /a HTTP/1.1\r\nhost: a\r\nx: y\rz: 1\r\n\r\n",
        "GET /a HTTP/1.1\rhost: a\r\r",
        "GET /a HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n",
    ] {
        let mut client = proxy.client().await;
        assert_eq!(statuses(&mut client, bytes.as_bytes()).await, [400], "{bytes:?}");
        assert_eq!(arrived(&blue).len(), before, "{bytes:?}");
    }
    bystander.was_served_throughout().await;
}

#[tokio::test]
async fn a_chunked_body_that_is_none_is_cut_and_not_passed_on_as_whole() {
    let (blue, proxy) = start().await;
    let bystander = Bystander::start(&proxy).await;
    for body in [
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "g\r\nabc\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        "\r\n0\r\n\r\n",
        "3;a=\nb\r\nabc\r\n0\r\n\r\n",
    ] {
        let mut client = proxy.client().await;
        let bytes = format!("POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{body}");
        let got = statuses(&mut client, bytes.as_bytes()).await;
        // The upstream reads whole bodies before it answers: 200 would mean that it got one.
        assert!(got != [200], "{body:?} was passed on as a whole body");
    }
    assert!(blue.arrivals().iter().all(|a| a.head.path() == "/a" || a.head.path() == "/bystander"));
    bystander.was_served_throughout().await;
}

#[tokio::test]
async fn what_http_1_0_cannot_mean_is_refused() {
    let (blue, proxy) = start().await;
    for bytes in [
        "POST /a HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET /a\r\n\r\n",
        "GET /a HTTP/1.2\r\nhost: a\r\n\r\n",
        "GET /a HTTP/2.0\r\nhost: a\r\n\r\n",
        "GET /a HTTP/11.1\r\nhost: a\r\n\r\n",
        "GET  /a HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /a b HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET a HTTP/1.1\r\nhost: a\r\n\r\n",
    ] {
        let mut client = proxy.client().await;
        let got = statuses(&mut client, bytes.as_bytes()).await;
        assert!(got.iter().all(|s| (400..=505).contains(s)) && !got.is_empty(), "{bytes:?} got {got:?}");
        assert_eq!(arrived(&blue), [""; 0], "{bytes:?}");
    }
}

#[tokio::test]
async fn lengths_that_agree_are_one_length() {
    // RFC 9110, section 8.6: a recipient may take a repeated, equal length for one.
    let (blue, proxy) = start().await;
    let mut client = proxy.client().await;
    let bytes = "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\nabc";
    client.send(bytes.as_bytes()).await.unwrap();
    let answer = client.response_to("POST").await.unwrap();
    if answer.status == 200 {
        let head = &blue.arrivals()[0].head;
        assert_eq!(head.fields.all("content-length").collect::<Vec<_>>(), ["3"]);
    } else {
        answer.expect(400);
    }
}

#[tokio::test]
async fn an_answer_of_doubtful_length_is_no_answer() {
    let (blue, proxy) = start().await;
    for fields in [
        "content-length: 5\r\ncontent-length: 6",
        "content-length: +5",
        "transfer-encoding: chunked, identity",
        "content-length: 99999999999999999999999",
    ] {
        blue.answer(Answer::Garbage(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\nhello").into_bytes()));
        let mut client = proxy.client().await;
        // Either refused, or read to the end of the connection and framed anew.
        let answer = client.try_request("GET", "/", &[], None).await;
        let safe = answer.as_ref().is_ok_and(|a| a.status == 502 || a.header("transfer-encoding").is_some());
        assert!(safe || answer.is_err(), "{fields:?}: {answer:?}");
    }
    // Chunked wins over a length, and the length goes no further.
    let both = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    blue.answer(Answer::Garbage(both.as_bytes().to_vec()));
    let answer = proxy.client().await.get("/").await;
    assert!(
        answer.status == 502 || (answer.text() == "hello" && answer.header("content-length").is_none()),
        "{answer:?}"
    );
}
