//! HTTP/2, frame by frame: the proxy says that it leaves, waits until the client must know, and answers all that was
//! sent before that.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{refuses, slowly};
use crate::support::proxy::Signal;
use crate::support::{Answer, Proxy, Upstream, eventually};

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
/// END_STREAM and END_HEADERS.
const WHOLE: u8 = 5;
const ACK: u8 = 1;

/// A connection whose frames are written and read one by one.
struct Raw(TcpStream);

#[derive(Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Raw {
    async fn connect(proxy: &Proxy) -> Self {
        let mut raw = Self(TcpStream::connect(proxy.address("web")).await.unwrap());
        raw.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        raw.write(SETTINGS, 0, 0, &[]).await;
        raw
    }

    async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.0.write_all(&frame).await.unwrap();
    }

    /// GET /, of the static table (RFC 7541, appendix A), with the authority `x`.
    async fn get(&mut self, stream: u32) {
        self.write(HEADERS, WHOLE, stream, &[0x82, 0x86, 0x84, 0x41, 1, b'x']).await;
    }

    /// The next frame; none at the end.
    async fn frame(&mut self) -> Option<Frame> {
        let reading = async {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.ok()?;
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            self.0.read_exact(&mut payload).await.ok()?;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            Some(Frame { kind: head[3], flags: head[4], stream, payload })
        };
        tokio::time::timeout(Duration::from_secs(20), reading).await.expect("a frame in time")
    }

    /// The next frame of this kind that is no acknowledgement.
    async fn next(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.frame().await.unwrap_or_else(|| panic!("the end came before a frame of kind {kind}"));
            if frame.kind == kind && !(kind == PING && frame.flags == ACK) {
                return frame;
            }
        }
    }
}

/// The last stream that is answered, and the error.
fn goaway(frame: &Frame) -> (u32, u32) {
    let number = |at: usize| u32::from_be_bytes(frame.payload[at..at + 4].try_into().unwrap());
    (number(0), number(4))
}

#[tokio::test]
async fn http2_clients_are_told_in_two_steps_and_what_they_sent_in_between_is_answered() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let mut proxy = Proxy::blue_green(&blue, &green, "").await;
    blue.answer(slowly(Answer::text("slow")));
    let mut raw = Raw::connect(&proxy).await;
    raw.get(1).await;
    eventually("it has arrived", || async { blue.requests() == 1 }).await;
    proxy.signal(Signal::Term);
    refuses(&proxy).await;
    let first = raw.next(GOAWAY).await;
    assert_eq!(goaway(&first), ((1 << 31) - 1, 0), "every stream may still be opened");
    let ping = raw.next(PING).await;
    // Sent before the client could know: it has yet to answer the PING.
    raw.get(3).await;
    raw.write(PING, ACK, 0, &ping.payload).await;
    let mut answered = Vec::new();
    let mut last = None;
    while let Some(frame) = raw.frame().await {
        match frame.kind {
            GOAWAY => last = Some(goaway(&frame)),
            HEADERS => {
                // `:status: 200` of the static table.
                assert_eq!(frame.payload[0], 0x88, "{frame:?}");
                answered.push(frame.stream);
            }
            _ => {}
        }
    }
    answered.sort_unstable();
    assert_eq!((answered, last), (vec![1, 3], Some((3, 0))));
    assert_eq!(proxy.ended().await.code(), Some(0));
}

#[tokio::test]
async fn an_http2_client_that_does_not_answer_does_not_hold_up_the_end() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let mut proxy = Proxy::blue_green(&blue, &green, "").await;
    let mut raw = Raw::connect(&proxy).await;
    raw.get(1).await;
    raw.next(HEADERS).await;
    let started = std::time::Instant::now();
    assert_eq!(proxy.terminate().await.code(), Some(0), "an idle connection is not cut");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}
