//! What holds for any bytes that are read as HTTP/1.1 or as a PROXY protocol header; built only for tests and for fuzzing (`tests/fuzz`).

use bytes::BytesMut;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode, Version};

use super::http1::chunked::{Chunked, Piece};
use super::http1::framing::Length;
use super::http1::head::{self, RequestHead, Search};
use super::http1::render::{self, Manner};
use super::proxy_protocol::{self, Parsed};
use super::target;

/// Reads the bytes as a request. The first one says where they are cut.
pub fn request(bytes: &[u8]) {
    let Some((cut, message)) = bytes.split_first() else { return };
    let parse = |input: &mut BytesMut, search: &mut Search| {
        let found = head::request(input, search).map_err(|_| ())?;
        Ok(found.map(|head| (format!("{:?}", head.call), head.length, head)))
    };
    let whole = read(message, message.len(), parse);
    assert_eq!(said(&whole), said(&read(message, usize::from(*cut), parse)), "cut at {cut}");
    let Read::Message { head, .. } = whole else { return };
    let headers = head.call.fields.to_map();
    lines_are_whole(message, &headers);
    length_is_the_one_named(head.length, &headers, head.call.version);
    is_read_again_as_the_same(&head);
}

/// Reads the bytes as an answer. The first one says where they are cut, and whether it is the answer to HEAD.
pub fn answer(bytes: &[u8]) {
    let Some((cut, message)) = bytes.split_first() else { return };
    let method = if cut % 2 == 0 { Method::GET } else { Method::HEAD };
    let parse = |input: &mut BytesMut, search: &mut Search| {
        let found = head::response(input, search, &method).map_err(|_| ())?;
        Ok(found.map(|head| (format!("{:?} {:?}", head.status, head.fields), head.length, head)))
    };
    let whole = read(message, message.len(), parse);
    assert_eq!(said(&whole), said(&read(message, usize::from(*cut), parse)), "cut at {cut}");
    let Read::Message { head, .. } = whole else { return };
    let headers = head.fields.to_map();
    lines_are_whole(message, &headers);
    let status = head.status;
    let bodiless = method == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    assert!(!bodiless || head.length == Length::None, "{status} to {method} has a body");
    if !bodiless {
        // Chunks in an answer of HTTP/1.0 are refused where its length is decided.
        length_is_the_one_named(head.length, &headers, Version::HTTP_11);
    }
    let manner = Manner { length: head.length, keeps_length: false, connection: None };
    let mut output = Vec::new();
    render::response(&mut output, status, &head.fields, manner, &http::HeaderValue::from_static("now"));
    let mut output = BytesMut::from(&output[..]);
    let again = head::response(&mut output, &mut Search::default(), &method).expect("what is written can be read");
    let again = again.expect("what is written is whole");
    assert_eq!((again.status, again.length, output.len()), (status, head.length, 0));
}

/// Reads the bytes as a PROXY protocol header: the same one is found however much of it has come, and never more than it
/// is asked for.
pub fn proxy_header(bytes: &[u8]) {
    let Parsed::Header { source, length } = proxy_protocol::parse(bytes) else { return };
    assert!(length <= bytes.len(), "{length} bytes of {}", bytes.len());
    assert_eq!(proxy_protocol::parse(&bytes[..length]), Parsed::Header { source, length }, "what follows changes it");
    for cut in 0..length {
        match proxy_protocol::parse(&bytes[..cut]) {
            Parsed::Incomplete { missing } => assert!((1..=length - cut).contains(&missing), "{missing} after {cut}"),
            other => panic!("{other:?} after {cut} bytes of {length}"),
        }
    }
}

/// What came of some bytes.
#[derive(Debug)]
enum Read<H> {
    Incomplete,
    Refused,
    Message { text: String, head: H, body: Option<(Vec<u8>, HeaderMap)>, rest: Vec<u8> },
}

fn said<H>(read: &Read<H>) -> String {
    match read {
        Read::Incomplete => "incomplete".to_owned(),
        Read::Refused => "refused".to_owned(),
        Read::Message { text, body, rest, .. } => format!("{text} {body:?} {rest:?}"),
    }
}

/// Reads a message whose first bytes, up to `cut`, come first.
fn read<H>(
    message: &[u8],
    cut: usize,
    mut parse: impl FnMut(&mut BytesMut, &mut Search) -> Result<Option<(String, Length, H)>, ()>,
) -> Read<H> {
    let (mut input, mut search) = (BytesMut::new(), Search::default());
    let (mut found, mut chunks) = (None, Chunked::new());
    let (mut data, mut trailers) = (Vec::new(), HeaderMap::new());
    let (first, second) = message.split_at(cut.min(message.len()));
    for piece in [first, second] {
        input.extend_from_slice(piece);
        if found.is_none() {
            match parse(&mut input, &mut search) {
                Ok(head) => found = head,
                Err(()) => return Read::Refused,
            }
        }
        if !matches!(found, Some((_, Length::Chunked, _))) {
            continue;
        }
        loop {
            match chunks.decode(&mut input) {
                Ok(Piece::Data(more)) => data.extend_from_slice(&more),
                Ok(Piece::Trailers(fields)) => trailers = fields,
                Ok(Piece::End | Piece::Incomplete) => break,
                Err(_) => return Read::Refused,
            }
        }
    }
    let Some((text, length, head)) = found else { return Read::Incomplete };
    let body = (length == Length::Chunked).then_some((data, trailers));
    if body.is_some() && !chunks.is_ended() {
        return Read::Incomplete;
    }
    if let Some((data, trailers)) = &body {
        is_sent_on_as_the_same(data, trailers);
    }
    Read::Message { text, head, body, rest: input.to_vec() }
}

/// Nobody can see another line than we do.
fn lines_are_whole(message: &[u8], headers: &HeaderMap) {
    let end = message.windows(4).position(|w| w == b"\r\n\r\n").expect("a head has an end");
    let mut rest = &message[..end];
    while let Some(at) = rest.iter().position(|b| matches!(b, b'\r' | b'\n' | 0)) {
        assert_eq!(rest.get(at..at + 2), Some(&b"\r\n"[..]), "a bare line end or a NUL");
        rest = &rest[at + 2..];
        assert!(!matches!(rest.first(), Some(b' ' | b'\t')), "a folded line");
    }
    for value in headers.values() {
        assert!(!value.as_bytes().iter().any(|b| matches!(b, b'\r' | b'\n' | 0)), "{value:?}");
    }
}

/// One length by a simple reading of the header, and the one that was taken.
fn length_is_the_one_named(length: Length, headers: &HeaderMap, version: Version) {
    let lengths: Vec<u64> = headers
        .get_all(CONTENT_LENGTH)
        .iter()
        .flat_map(|value| value.to_str().expect("digits").split(','))
        .map(|part| part.trim_matches([' ', '\t']).parse().expect("a number"))
        .collect();
    let codings: Vec<_> = headers.get_all(TRANSFER_ENCODING).iter().collect();
    match length {
        Length::Exact(n) => assert!(!lengths.is_empty() && lengths.iter().all(|l| *l == n) && codings.is_empty()),
        Length::Chunked => {
            assert!(lengths.is_empty() && codings.len() == 1 && version == Version::HTTP_11);
            let coding = codings[0].to_str().expect("a word").trim_matches([' ', '\t']);
            assert!(coding.eq_ignore_ascii_case("chunked"), "{coding:?}");
        }
        Length::None | Length::UntilClose => assert!(lengths.is_empty() && codings.is_empty()),
    }
}

/// What is sent on is read by another such as ours as what came.
fn is_read_again_as_the_same(head: &RequestHead) {
    let call = &head.call;
    if target::check(call).is_err() {
        return;
    }
    let path = target::path(&call.path, None).expect("without a prefix nothing can go wrong");
    let mut output = Vec::new();
    render::request(&mut output, &call.method, path.as_str(), &call.fields, head.length);
    let written = String::from_utf8_lossy(&output).into_owned();
    let mut output = BytesMut::from(&output[..]);
    let again = head::request(&mut output, &mut Search::default());
    let again = again.unwrap_or_else(|e| panic!("{e}: {written:?}")).expect("what is written is whole");
    assert!(output.is_empty(), "{output:?} is left over");
    assert_eq!((&again.call.method, again.call.path.as_str()), (&call.method, path.as_str()));
    let said = |length| if length == Length::None { Length::Exact(0) } else { length };
    assert_eq!(said(again.length), said(head.length));
    let (sent, read) = (call.fields.to_map(), again.call.fields.to_map());
    for (name, value) in sent.iter().filter(|(n, _)| **n != CONTENT_LENGTH && **n != TRANSFER_ENCODING) {
        assert!(read.get_all(name).iter().any(|v| v == value), "{name} is lost");
    }
}

fn is_sent_on_as_the_same(data: &[u8], trailers: &HeaderMap) {
    let mut output = Vec::new();
    for chunk in data.chunks(7) {
        render::chunk_start(&mut output, chunk.len());
        output.extend_from_slice(chunk);
        output.extend_from_slice(render::CHUNK_END);
    }
    render::last_chunk(&mut output, trailers);
    let mut output = BytesMut::from(&output[..]);
    let (mut chunks, mut again) = (Chunked::new(), Vec::new());
    loop {
        match chunks.decode(&mut output).expect("what is written can be read") {
            Piece::Data(more) => again.extend_from_slice(&more),
            Piece::Trailers(fields) => assert_eq!(&fields, trailers),
            Piece::End => break,
            Piece::Incomplete => panic!("what is written is whole"),
        }
    }
    assert_eq!((again.as_slice(), output.len()), (data, 0));
}

#[cfg(test)]
mod tests {
    /// Runs every file of a target's corpus.
    fn replay(target: &str, check: fn(&[u8])) {
        let folder = format!("{}/tests/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
        let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
        assert!(files.len() >= 10, "{} files only", files.len());
        for file in files {
            let bytes = std::fs::read(&file).unwrap();
            let checked = std::panic::catch_unwind(|| check(&bytes));
            assert!(checked.is_ok(), "{}", file.display());
        }
    }

    #[test]
    fn what_was_found_in_requests_stays_mended() {
        replay("http1_request", super::request);
    }

    #[test]
    fn what_was_found_in_proxy_headers_stays_mended() {
        replay("proxy_header", super::proxy_header);
    }

    #[test]
    fn what_was_found_in_answers_stays_mended() {
        replay("http1_answer", super::answer);
    }
}
