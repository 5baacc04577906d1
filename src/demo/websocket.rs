//! A WebSocket that sends back what it gets (RFC 6455), frame by frame and without holding a frame in memory.
//!
//! Owns the server's side of the handshake and of framing. Refuses to look into messages: text is not checked to be
//! UTF-8, and no extension is agreed on.

use std::io;
use std::time::Duration;

use aws_lc_rs::digest;
use http::{HeaderMap, HeaderValue, header};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;

use super::app::told_to_leave;

/// The constant of RFC 6455, section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// A peer that is silent for so long is left.
const SILENCE: Duration = Duration::from_secs(3600);
/// The longest payload of a control frame.
const CONTROL_LIMIT: u64 = 125;

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

const GOING_AWAY: u16 = 1001;
const PROTOCOL_ERROR: u16 = 1002;

/// The value of `Sec-WebSocket-Accept` for a request with these headers; none where they ask for no WebSocket of
/// version 13.
pub(super) fn accept(headers: &HeaderMap) -> Option<HeaderValue> {
    let is = |name, value: &str| {
        headers.get(name).is_some_and(|v: &HeaderValue| v.as_bytes().eq_ignore_ascii_case(value.as_bytes()))
    };
    if !is(header::UPGRADE, "websocket") || !is(header::SEC_WEBSOCKET_VERSION, "13") {
        return None;
    }
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(headers.get(header::SEC_WEBSOCKET_KEY)?.as_bytes());
    context.update(GUID);
    HeaderValue::from_str(&base64(context.finish().as_ref())).ok()
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0_u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - three.len()));
        for i in 0..4 {
            let sextet = bits >> (18 - 6 * i) & 0x3f;
            text.push(if i <= three.len() { ALPHABET[sextet as usize] as char } else { '=' });
        }
    }
    text
}

#[derive(Debug)]
struct Head {
    first: u8,
    length: u64,
    mask: [u8; 4],
}

impl Head {
    fn opcode(&self) -> u8 {
        self.first & 0x0f
    }
}

/// Echoes until the peer closes or `leaving` turns true; then it says Close and is done.
///
/// # Errors
/// When the peer breaks off or is silent for an hour.
pub(super) async fn echo<S>(mut stream: S, mut leaving: watch::Receiver<bool>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let head = tokio::select! {
            head = tokio::time::timeout(SILENCE, read_head(&mut stream)) => head.map_err(io::Error::from)??,
            () = told_to_leave(&mut leaving) => return close(&mut stream, GOING_AWAY).await,
        };
        let Some(head) = head else { return close(&mut stream, PROTOCOL_ERROR).await };
        match head.opcode() {
            CLOSE => {
                copy(&mut stream, &head, FIN | CLOSE).await?;
                return stream.shutdown().await;
            }
            PING => copy(&mut stream, &head, FIN | PONG).await?,
            PONG => drain(&mut stream, &head).await?,
            _ => copy(&mut stream, &head, head.first).await?,
        }
        stream.flush().await?;
    }
}

/// The next frame's head; none where it breaks the protocol: not masked, reserved bits set, an unknown opcode, or a
/// control frame that is long or fragmented.
async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Option<Head>> {
    let mut start = [0; 2];
    stream.read_exact(&mut start).await?;
    let length = match start[1] & !MASKED {
        126 => u64::from(stream.read_u16().await?),
        127 => stream.read_u64().await?,
        short => u64::from(short),
    };
    let mut head = Head { first: start[0], length, mask: [0; 4] };
    let control = head.opcode() >= CLOSE;
    let known = matches!(head.opcode(), 0..=2 | CLOSE..=PONG);
    let misshapen = control && (length > CONTROL_LIMIT || head.first & FIN == 0);
    if start[1] & MASKED == 0 || head.first & 0x70 != 0 || !known || misshapen {
        return Ok(None);
    }
    stream.read_exact(&mut head.mask).await?;
    Ok(Some(head))
}

/// Sends the frame back under another first byte, its payload unmasked, piece by piece.
async fn copy<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, head: &Head, first: u8) -> io::Result<()> {
    let mut out = vec![first];
    match head.length {
        short @ 0..=125 => out.push(short as u8),
        middle @ 126..=0xffff => {
            out.push(126);
            out.extend((middle as u16).to_be_bytes());
        }
        long => {
            out.push(127);
            out.extend(long.to_be_bytes());
        }
    }
    let (mut piece, mut done) = ([0; 8192], 0);
    while done < head.length {
        let wanted = (head.length - done).min(piece.len() as u64) as usize;
        let got = stream.read(&mut piece[..wanted]).await?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (i, byte) in piece[..got].iter_mut().enumerate() {
            *byte ^= head.mask[(done as usize + i) % 4];
        }
        out.extend_from_slice(&piece[..got]);
        stream.write_all(&out).await?;
        out.clear();
        done += got as u64;
    }
    stream.write_all(&out).await
}

/// Reads a payload that nobody wants.
async fn drain<S: AsyncRead + Unpin>(stream: &mut S, head: &Head) -> io::Result<()> {
    tokio::io::copy(&mut stream.take(head.length), &mut tokio::io::sink()).await.map(|_| ())
}

async fn close<S: AsyncWrite + Unpin>(stream: &mut S, code: u16) -> io::Result<()> {
    let [high, low] = code.to_be_bytes();
    stream.write_all(&[FIN | CLOSE, 2, high, low]).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handshake_of_the_standard_is_answered_as_the_standard_says() {
        let mut headers = HeaderMap::new();
        headers.insert(header::UPGRADE, HeaderValue::from_static("WebSocket"));
        headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        headers.insert(header::SEC_WEBSOCKET_KEY, HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
        assert_eq!(accept(&headers).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        headers.remove(header::SEC_WEBSOCKET_KEY);
        assert_eq!(accept(&headers), None);
    }

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut frame = vec![first];
        if payload.len() > 125 {
            frame.push(MASKED + 126);
            frame.extend((payload.len() as u16).to_be_bytes());
        } else {
            frame.push(MASKED | payload.len() as u8);
        }
        frame.extend(mask);
        frame.extend(payload.iter().enumerate().map(|(i, b)| b ^ mask[i % 4]));
        frame
    }

    async fn answer(sent: &[u8]) -> Vec<u8> {
        let (mut ours, theirs) = tokio::io::duplex(1 << 20);
        let (_keep, leaving) = watch::channel(false);
        let task = tokio::spawn(echo(theirs, leaving));
        ours.write_all(sent).await.unwrap();
        ours.shutdown().await.unwrap();
        let mut got = Vec::new();
        ours.read_to_end(&mut got).await.unwrap();
        let _ = task.await.unwrap();
        got
    }

    #[tokio::test]
    async fn messages_come_back_unmasked_and_pings_as_pongs() {
        assert_eq!(answer(&masked(0x81, b"hello")).await, b"\x81\x05hello");
        assert_eq!(answer(&masked(0x89, b"you?")).await, b"\x8a\x04you?");
        let long = vec![b'x'; 20_000];
        let got = answer(&masked(0x82, &long)).await;
        assert_eq!((&got[..2], got.len()), (&[0x82, 126][..], 20_004));
        assert!(got[4..].iter().all(|&b| b == b'x'));
    }

    #[tokio::test]
    async fn a_close_is_answered_and_a_breach_of_the_protocol_closes() {
        assert_eq!(answer(&masked(0x88, &[3, 232])).await, [0x88, 2, 3, 232]);
        assert_eq!(answer(b"\x81\x05hello").await, [0x88, 2, 3, 234]);
    }

    #[tokio::test]
    async fn who_leaves_says_so() {
        let (mut ours, theirs) = tokio::io::duplex(64);
        let (leave, leaving) = watch::channel(false);
        let task = tokio::spawn(echo(theirs, leaving));
        leave.send_replace(true);
        let mut got = Vec::new();
        ours.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, [0x88, 2, 3, 233]);
        task.await.unwrap().unwrap();
    }
}
