//! The `grpc` check: `grpc.health.v1.Health/Check` must say SERVING.
//!
//! The two messages of that protocol have one field each; they are written and read by hand.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, TE};
use http::{HeaderValue, Method};
use http_body_util::Full;
use tokio::time::Instant;

use super::connect::{self, Version};
use super::exchange::{Answer, Wanted, exchange, request};
use super::{Failed, Finding, Target, expect};

const PATH: &str = "/grpc.health.v1.Health/Check";

/// `HealthCheckResponse.ServingStatus.SERVING`.
const SERVING: u64 = 1;

pub(super) async fn probe(target: &Target, service: &str, deadline: Instant) -> Result<Finding, Failed> {
    let (stream, version) = connect::open(target, &[b"h2"], deadline).await?;
    let asked = format!("{} at {}", &PATH[1..], target.live.endpoint.url);
    if target.tls.is_some() && version != Version::Http2 {
        return Err(format!("{asked}: the upstream does not speak HTTP/2").into());
    }
    let mut request = request(target, Version::Http2, Method::POST, PATH, None)?;
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
    *request.body_mut() = Full::new(framed(service));
    let wanted = |_| Wanted::Body;
    let answer =
        exchange(stream, Version::Http2, request, wanted, deadline).await.map_err(|e| format!("{asked} {e}"))?;
    let problem = problem(&answer).map(|what| format!("{asked} {what}"));
    Ok(Finding { status: Some(answer.head.status.as_u16()), problem })
}

/// `HealthCheckRequest { service = 1 }` in gRPC's frame: not compressed, length, message.
fn framed(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        put_varint(&mut message, service.len() as u64);
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.put_slice(&message);
    frame.freeze()
}

fn put_varint(to: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        to.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    to.put_u8(value as u8);
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// What is wrong with the answer; none: SERVING.
fn problem(answer: &Answer) -> Option<String> {
    if answer.head.status != http::StatusCode::OK {
        return Some(format!("answered {}; the body begins: {}", answer.head.status, expect::shown(&answer.body)));
    }
    // A Trailers-Only answer carries its status in the head.
    let field = |name: &str| {
        let trailers = answer.trailers.as_ref().and_then(|t| t.get(name));
        trailers.or_else(|| answer.head.headers.get(name)).map(|v| expect::shown(v.as_bytes()))
    };
    match field("grpc-status").as_deref() {
        Some("0") => {}
        Some(code) => {
            let message = field("grpc-message").map(|m| format!(" ({m})")).unwrap_or_default();
            let hint = if code == "12" { ": it does not offer the health service" } else { "" };
            return Some(format!("answered grpc-status {code}{message}{hint}"));
        }
        None => return Some("answered without a grpc-status".to_owned()),
    }
    match serving_status(&answer.body) {
        Some(SERVING) => None,
        Some(0) => Some("answered UNKNOWN, expected SERVING".to_owned()),
        Some(2) => Some("answered NOT_SERVING, expected SERVING".to_owned()),
        Some(3) => Some("answered SERVICE_UNKNOWN, expected SERVING".to_owned()),
        Some(other) => Some(format!("answered the unknown status {other}, expected SERVING")),
        None => Some("answered with a message that is no HealthCheckResponse".to_owned()),
    }
}

/// The field `status = 1` of the first message; a field that is left out is 0. Unknown fields are skipped.
fn serving_status(body: &[u8]) -> Option<u64> {
    let (frame, rest) = body.split_at_checked(5)?;
    let length = u32::from_be_bytes(frame[1..].try_into().ok()?) as usize;
    let mut message = rest.get(..length).filter(|_| frame[0] == 0)?;
    let mut status = 0;
    while !message.is_empty() {
        match varint(&mut message)? {
            0x08 => status = varint(&mut message)?,
            key => skip(&mut message, key & 7)?,
        }
    }
    Some(status)
}

fn skip(message: &mut &[u8], wire_type: u64) -> Option<()> {
    let length = match wire_type {
        0 => return varint(message).map(|_| ()),
        1 => 8,
        2 => usize::try_from(varint(message)?).ok()?,
        5 => 4,
        _ => return None,
    };
    *message = message.get(length..)?;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_are_those_of_the_protocol() {
        assert_eq!(&framed("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&framed("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(framed(&"x".repeat(200))[5..8], [0x0a, 0xc8, 0x01]);
        assert_eq!(serving_status(&[0, 0, 0, 0, 2, 8, 1]), Some(1));
        assert_eq!(serving_status(&[0, 0, 0, 0, 0]), Some(0));
        assert_eq!(serving_status(&[0, 0, 0, 0, 6, 0x12, 2, 9, 9, 8, 2]), Some(2));
    }

    #[test]
    fn bytes_that_are_no_message_are_none() {
        for bytes in [&[][..], &[0, 0, 0], &[1, 0, 0, 0, 2, 8, 1], &[0, 0, 0, 0, 9, 8, 1], &[0, 0, 0, 0, 1, 0x0b]] {
            assert_eq!(serving_status(bytes), None, "{bytes:?}");
        }
        assert_eq!(serving_status(&[0, 0, 0, 0, 11, 8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255]), None);
    }
}
