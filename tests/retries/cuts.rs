//! An upstream that dies at every byte of its answer: the client sees the whole of it, an error, or a broken body;
//! never a part that looks whole, and never the effect of two requests.

use super::{config, quoted};
use crate::support::client::H2Client;
use crate::support::proxy::WEB;
use crate::support::{Answer, Client, Proxy, Upstream};

const SIZED: &str = "HTTP/1.1 200 OK\r\nx-upstream: blue\r\ncontent-length: 5\r\n\r\nhello";
const CHUNKED: &str =
    "HTTP/1.1 200 OK\r\nx-upstream: blue\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n";

/// Cuts the answer to `/cut/N` at byte N, and answers everything else in full.
fn cutting(answer: &'static str) -> Upstream {
    Upstream::scripted("blue", move |head| {
        let whole = Answer::Raw(answer.as_bytes().to_vec());
        match head.path().strip_prefix("/cut/") {
            Some(at) => Answer::CutAt(at.parse().unwrap(), Box::new(whole)),
            None => whole,
        }
    })
}

/// What the client got.
#[derive(Debug, PartialEq)]
enum Got {
    Whole,
    Refused(u16),
    Broken,
}

async fn over_http_1(client: &mut Client, path: &str) -> Got {
    match client.try_request("GET", path, &[], None).await {
        Ok(answer) if answer.status == 200 => {
            assert_eq!(answer.text(), "hello");
            Got::Whole
        }
        Ok(answer) => Got::Refused(answer.status),
        Err(_) => Got::Broken,
    }
}

async fn over_http_2(client: &H2Client, path: &str) -> Got {
    match client.request("GET", path, &[], b"").await {
        Ok(answer) if answer.status == 200 => {
            assert_eq!(answer.text(), "hello");
            Got::Whole
        }
        Ok(answer) => Got::Refused(answer.status),
        Err(_) => Got::Broken,
    }
}

async fn at_every_byte(answer: &'static str, reused: bool) {
    let blue = cutting(answer);
    let proxy = Proxy::start(&config(&[("blue", &[quoted(&blue.url())])], &["retries: { budget: 100% }"])).await;
    let head = answer.find("\r\n\r\n").unwrap() + 4;
    let h2 = H2Client::connect(proxy.address(WEB)).await;
    for at in 0..=answer.len() {
        let path = format!("/cut/{at}");
        let mut client = proxy.client().await;
        for http_2 in [false, true] {
            if reused {
                h2.get("/warm").await.expect(200);
            }
            let before = blue.requests();
            let got = if http_2 { over_http_2(&h2, &path).await } else { over_http_1(&mut client, &path).await };
            let expected = match at {
                _ if at == answer.len() => Got::Whole,
                _ if at < head => Got::Refused(502),
                _ => Got::Broken,
            };
            assert_eq!(got, expected, "cut at {at} of {answer:?}, reused: {reused}, HTTP/2: {http_2}");
            // Without a byte, on a reused connection, it may have died while idle: once more.
            let arrivals = blue.requests() - before;
            assert_eq!(arrivals, if at == 0 && reused { 2 } else { 1 }, "cut at {at}, reused: {reused}");
        }
    }
    proxy.is_idle("shop", "blue").await;
}

#[tokio::test]
async fn an_answer_with_a_length_is_whole_or_known_to_be_cut_on_fresh_connections() {
    at_every_byte(SIZED, false).await;
}

#[tokio::test]
async fn an_answer_with_a_length_is_whole_or_known_to_be_cut_on_reused_connections() {
    at_every_byte(SIZED, true).await;
}

#[tokio::test]
async fn a_chunked_answer_is_whole_or_known_to_be_cut_on_fresh_connections() {
    at_every_byte(CHUNKED, false).await;
}

#[tokio::test]
async fn a_chunked_answer_is_whole_or_known_to_be_cut_on_reused_connections() {
    at_every_byte(CHUNKED, true).await;
}
