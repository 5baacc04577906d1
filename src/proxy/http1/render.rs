//! Messages as bytes: heads and chunks, written into a connection's output.
//!
//! Framing is always ours: whatever lengths and codings a header names, they are left out, and what is true is written.

use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::framing::Length;
use crate::model::fields::{Fields, Known};

/// What is ours to write.
const FRAMING: &[Known] = &[Known::ContentLength, Known::TransferEncoding];
const FRAMING_AND_CONNECTION: &[Known] = &[Known::ContentLength, Known::TransferEncoding, Known::Connection];

/// The request line and the header, with the framing for a body of `length`.
pub(in crate::proxy) fn request(output: &mut Vec<u8>, method: &Method, path: &str, header: &Fields, length: Length) {
    output.reserve(512);
    output.extend_from_slice(method.as_str().as_bytes());
    output.push(b' ');
    output.extend_from_slice(path.as_bytes());
    output.extend_from_slice(b" HTTP/1.1\r\n");
    header.render(output, FRAMING);
    match length {
        // What usually has a body says that it has none (RFC 9110, section 8.6).
        Length::None if matches!(*method, Method::POST | Method::PUT | Method::PATCH) => content_length(output, 0),
        Length::None | Length::UntilClose => {}
        Length::Exact(length) => content_length(output, length),
        Length::Chunked => output.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    output.extend_from_slice(b"\r\n");
}

/// What an answer's head says besides the header.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct Manner {
    pub(in crate::proxy) length: Length,
    /// The header's own `Content-Length` stays: it tells of a body that is not sent (HEAD, 304).
    pub(in crate::proxy) keeps_length: bool,
    /// `Connection: close` or, to a client of HTTP/1.0, `keep-alive`; none: nothing to say.
    pub(in crate::proxy) connection: Option<&'static str>,
}

/// The status line and the header.
pub(in crate::proxy) fn response(
    output: &mut Vec<u8>,
    status: StatusCode,
    header: &Fields,
    manner: Manner,
    date: &HeaderValue,
) {
    output.reserve(512);
    status_line(output, status);
    header.render(output, if manner.connection.is_some() { FRAMING_AND_CONNECTION } else { FRAMING });
    if manner.keeps_length
        && let Some(length) = header.get(Known::ContentLength)
    {
        field(output, Known::ContentLength.text().as_bytes(), length);
    }
    if !header.has(Known::Date) && !status.is_informational() {
        field(output, Known::Date.text().as_bytes(), date.as_bytes());
    }
    match manner.length {
        Length::Exact(length) => content_length(output, length),
        Length::Chunked => output.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Length::None | Length::UntilClose => {}
    }
    if let Some(connection) = manner.connection {
        output.extend_from_slice(b"connection: ");
        output.extend_from_slice(connection.as_bytes());
        output.extend_from_slice(b"\r\n");
    }
    output.extend_from_slice(b"\r\n");
}

/// An answer ahead of the answer (RFC 9110, section 15.2).
pub(in crate::proxy) fn interim(output: &mut Vec<u8>, status: StatusCode, header: &Fields) {
    status_line(output, status);
    header.render(output, FRAMING);
    output.extend_from_slice(b"\r\n");
}

fn status_line(output: &mut Vec<u8>, status: StatusCode) {
    output.extend_from_slice(b"HTTP/1.1 ");
    output.extend_from_slice(status.as_str().as_bytes());
    output.push(b' ');
    output.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    output.extend_from_slice(b"\r\n");
}

fn field(output: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    output.reserve(name.len() + value.len() + 4);
    output.extend_from_slice(name);
    output.extend_from_slice(b": ");
    output.extend_from_slice(value);
    output.extend_from_slice(b"\r\n");
}

fn content_length(output: &mut Vec<u8>, length: u64) {
    output.extend_from_slice(b"content-length: ");
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = length;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    output.extend_from_slice(&digits[at..]);
    output.extend_from_slice(b"\r\n");
}

/// What goes before a chunk's data; the data is followed by [`CHUNK_END`].
pub(in crate::proxy) fn chunk_start(output: &mut Vec<u8>, length: usize) {
    output.reserve(18);
    let mut shift = usize::BITS - length.leading_zeros().min(usize::BITS - 4);
    shift = shift.next_multiple_of(4);
    while shift > 0 {
        shift -= 4;
        output.push(b"0123456789abcdef"[(length >> shift) & 15]);
    }
    output.extend_from_slice(b"\r\n");
}

/// What follows a chunk's data.
pub(in crate::proxy) const CHUNK_END: &[u8] = b"\r\n";

/// The end of a chunked body.
pub(in crate::proxy) fn last_chunk(output: &mut Vec<u8>, trailers: &HeaderMap) {
    output.extend_from_slice(b"0\r\n");
    for (name, value) in trailers {
        field(output, name.as_str().as_bytes(), value.as_bytes());
    }
    output.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_as_they_are_read() {
        for length in [0_usize, 1, 9, 10, 15, 16, 255, 256, 4096, 65_536, 1 << 40] {
            let mut output = Vec::new();
            chunk_start(&mut output, length);
            let text = String::from_utf8(output).unwrap();
            assert_eq!(usize::from_str_radix(text.trim_end(), 16), Ok(length));
            let mut output = Vec::new();
            content_length(&mut output, length as u64);
            assert_eq!(&output[..], format!("content-length: {length}\r\n").as_bytes());
        }
    }

    #[test]
    fn the_framing_is_ours_whatever_the_header_says() {
        let mut headers = Fields::new();
        headers.add(Known::ContentLength, b"7");
        headers.add_named(&http::HeaderName::from_static("x-a"), &HeaderValue::from_static("1"));
        let mut output = Vec::new();
        request(&mut output, &Method::PUT, "/a", &headers, Length::Chunked);
        assert_eq!(&output[..], b"PUT /a HTTP/1.1\r\nx-a: 1\r\ntransfer-encoding: chunked\r\n\r\n");
        let manner = Manner { length: Length::None, keeps_length: true, connection: Some("close") };
        let mut output = Vec::new();
        response(&mut output, StatusCode::OK, &headers, manner, &HeaderValue::from_static("now"));
        let expected = "HTTP/1.1 200 OK\r\nx-a: 1\r\ncontent-length: 7\r\ndate: now\r\nconnection: close\r\n\r\n";
        assert_eq!(&output[..], expected.as_bytes());
    }
}
