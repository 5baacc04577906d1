//! Heads of messages: found in the input, taken apart, and refused where they are not what they should be.
//!
//! A line ends with CR LF and nothing else (RFC 9112, section 2.2 allows a bare LF, but then two readers may see two
//! messages), and framing must be unambiguous.

use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, Method, StatusCode, Uri, Version};
use memchr::memmem::Finder;

use super::framing::{Framing, Length};
use super::lines::{BARE, Lines};
use crate::model::fields::{Fields, Known};

/// Largest head, in bytes.
pub(in crate::proxy) const LARGEST: usize = 64 << 10;
/// Most header fields.
const MOST_FIELDS: usize = 128;
/// Room for so many of them is made at once.
const USUAL_FIELDS: usize = 11;

/// Why a head is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::proxy) enum Refusal {
    #[error("{0}")]
    Malformed(&'static str),
    #[error("its request line is too long")]
    LongTarget,
    #[error("its header is too large")]
    LargeHeader,
    #[error("neither HTTP/1.1 nor HTTP/1.0")]
    Version,
}

/// What a request asks for.
#[derive(Debug)]
pub(in crate::proxy) struct Call {
    pub(in crate::proxy) method: Method,
    pub(in crate::proxy) path: PathAndQuery,
    /// Of a target in absolute form, or HTTP/2's `:authority`.
    pub(in crate::proxy) authority: Option<Authority>,
    pub(in crate::proxy) version: Version,
    pub(in crate::proxy) fields: Fields,
}

/// The head of a request, and what it means for the connection.
#[derive(Debug)]
pub(in crate::proxy) struct RequestHead {
    pub(in crate::proxy) call: Call,
    pub(in crate::proxy) length: Length,
    /// Another request may follow on the connection.
    pub(in crate::proxy) keeps: bool,
    /// The client waits to be asked for the body.
    pub(in crate::proxy) expects: bool,
}

/// The head of an answer, and what it means for the connection.
#[derive(Debug)]
pub(in crate::proxy) struct ResponseHead {
    pub(in crate::proxy) status: StatusCode,
    pub(in crate::proxy) fields: Fields,
    pub(in crate::proxy) length: Length,
    /// The connection may be used again.
    pub(in crate::proxy) keeps: bool,
}

/// Looks for the end of a head, and remembers how far it has looked.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::proxy) struct Search {
    /// Where the line begins that is not all there yet.
    line: usize,
    /// Everything before was looked at.
    looked: usize,
}

impl Search {
    /// The length of the head with its empty line; none while it is not all there.
    pub(in crate::proxy) fn end(&mut self, input: &[u8]) -> Result<Option<usize>, Refusal> {
        while let Some(found) = memchr::memchr2(b'\r', b'\n', &input[self.looked..]) {
            let at = self.looked + found;
            self.looked = at;
            // Also where all of it came at once: what is refused must not depend on how it arrives.
            if at + 2 > LARGEST {
                return Err(self.too_large());
            }
            match (input[at], input.get(at + 1)) {
                (b'\r', Some(b'\n')) => {}
                (b'\r', None) => return Ok(None),
                _ => return Err(BARE),
            }
            let empty = at == self.line;
            (self.line, self.looked) = (at + 2, at + 2);
            if empty {
                return Ok(Some(at + 2));
            }
        }
        self.looked = input.len();
        if input.len() > LARGEST { Err(self.too_large()) } else { Ok(None) }
    }

    fn too_large(self) -> Refusal {
        if self.line == 0 { Refusal::LongTarget } else { Refusal::LargeHeader }
    }
}

/// The first look at a head, which usually is all there. Whether its lines end as they must is left to whoever takes
/// them apart ([`Facts::gather`]): that costs less than looking for the end of each line beforehand.
fn first_look(input: &[u8], search: &Search) -> Option<usize> {
    static END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\n\r\n"));
    if search.looked > 0 {
        return None;
    }
    END.find(&input[..input.len().min(LARGEST)]).map(|at| at + 4)
}

/// [`Search::end`] for those who need not go on where they stopped.
pub(in crate::proxy) fn end(input: &[u8], from: usize) -> Result<Option<usize>, Refusal> {
    Search { line: from, looked: from }.end(input)
}

/// Takes a request's head off `input`; none while it is not all there.
pub(in crate::proxy) fn request(input: &mut BytesMut, search: &mut Search) -> Result<Option<RequestHead>, Refusal> {
    // An empty line before a request is left over from an older client's body (RFC 9112, section 2.2).
    while search.line == 0 && input.starts_with(b"\r\n") {
        bytes::Buf::advance(input, 2);
        *search = Search::default();
    }
    let end = if let Some(end) = first_look(input, search) { Some(end) } else { search.end(input)? };
    let Some(end) = end else { return Ok(None) };
    *search = Search::default();
    parse_request(input.split_to(end).freeze()).map(Some)
}

fn parse_request(block: Bytes) -> Result<RequestHead, Refusal> {
    let mut lines = Lines::of(&block);
    let (method, path, minor) = lines.request()?;
    let method = Method::from_bytes(method).map_err(|_| Refusal::Malformed("its method"))?;
    let (path, authority) = target(&block, path, &method)?;
    let version = version(minor);
    let mut facts = Facts::default();
    let fields = facts.gather(&block, lines)?;
    Ok(RequestHead {
        length: facts.framing.request(version)?,
        keeps: facts.keeps(version),
        expects: facts.expects && version == Version::HTTP_11,
        call: Call { method, path, authority, version, fields },
    })
}

/// The request's target: origin form, absolute form, or `*` for OPTIONS (RFC 9112, section 3.2).
fn target(block: &Bytes, path: &[u8], method: &Method) -> Result<(PathAndQuery, Option<Authority>), Refusal> {
    let malformed = Refusal::Malformed("its target");
    let text = block.slice_ref(path);
    match path {
        [b'/', ..] => PathAndQuery::from_maybe_shared(text).map(|path| (path, None)).map_err(|_| malformed),
        b"*" if *method == Method::OPTIONS => Ok((PathAndQuery::from_static("*"), None)),
        _ => {
            let uri = Uri::from_maybe_shared(text).map_err(|_| malformed)?.into_parts();
            if uri.authority.is_none() || (uri.scheme.is_none() && *method != Method::CONNECT) {
                return Err(malformed);
            }
            let path = match uri.path_and_query {
                // An absolute target may have a query and no path (RFC 9112, section 3.2.1).
                Some(query) if query.as_str().starts_with('?') => {
                    format!("/{}", query.as_str()).parse().map_err(|_| malformed)?
                }
                Some(path) => path,
                None => PathAndQuery::from_static("/"),
            };
            Ok((path, uri.authority))
        }
    }
}

/// Takes an answer's head off `input`; none while it is not all there. `method` is the request's.
pub(in crate::proxy) fn response(
    input: &mut BytesMut,
    search: &mut Search,
    method: &Method,
) -> Result<Option<ResponseHead>, Refusal> {
    // What is no answer at all need not be read to its end.
    if !input.is_empty() && input.iter().zip(b"HTTP/1.").any(|(a, b)| a != b) {
        return Err(Refusal::Malformed("its first line"));
    }
    let end = if let Some(end) = first_look(input, search) { Some(end) } else { search.end(input)? };
    let Some(end) = end else { return Ok(None) };
    *search = Search::default();
    parse_response(input.split_to(end).freeze(), method).map(Some)
}

fn parse_response(block: Bytes, method: &Method) -> Result<ResponseHead, Refusal> {
    let mut lines = Lines::of(&block);
    let (minor, code) = lines.status()?;
    let status = StatusCode::from_bytes(code).map_err(|_| Refusal::Malformed("its status"))?;
    let version = version(minor);
    let mut facts = Facts::default();
    let fields = facts.gather(&block, lines)?;
    let length = facts.framing.response(version, status, method)?;
    Ok(ResponseHead { status, fields, length, keeps: facts.keeps(version) })
}

/// Header fields alone, as in trailers; `block` ends with an empty line.
pub(in crate::proxy) fn trailers(block: &Bytes) -> Result<HeaderMap, Refusal> {
    Ok(Facts::default().gather(block, Lines::of(block))?.to_map())
}

/// What is learned from the lines of a header on the way.
#[derive(Debug, Default)]
struct Facts {
    framing: Framing,
    close: bool,
    keep_alive: bool,
    expects: bool,
}

impl Facts {
    /// Notes the lines of `block`, without copying them.
    fn gather(&mut self, block: &Bytes, mut lines: Lines<'_>) -> Result<Fields, Refusal> {
        let mut fields = Fields::within(block.clone(), USUAL_FIELDS);
        let mut count = 0;
        while let Some((name, value)) = lines.field()? {
            count += 1;
            if count > MOST_FIELDS {
                return Err(Refusal::LargeHeader);
            }
            match fields.note(name, value) {
                Some(Known::ContentLength) => self.framing.length_line(value)?,
                Some(Known::TransferEncoding) => self.framing.coding_line(value),
                Some(Known::Connection) => self.connection_line(value),
                Some(Known::Expect) => self.expects |= value.eq_ignore_ascii_case(b"100-continue"),
                _ => {}
            }
        }
        Ok(fields)
    }

    fn connection_line(&mut self, value: &[u8]) {
        for option in value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// Whether the connection lasts (RFC 9112, section 9.3).
    fn keeps(&self, version: Version) -> bool {
        !self.close && (version == Version::HTTP_11 || self.keep_alive)
    }
}

fn version(minor: u8) -> Version {
    if minor == 0 { Version::HTTP_10 } else { Version::HTTP_11 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(head: &str) -> Result<RequestHead, Refusal> {
        let mut input = BytesMut::from(head);
        request(&mut input, &mut Search::default()).map(|found| found.expect("a whole head"))
    }

    #[test]
    fn a_head_is_the_same_wherever_it_is_cut() {
        let head = b"\r\nPOST /a?b=c HTTP/1.1\r\nHost: x\r\nX-A:  1 \r\nContent-Length: 3\r\n\r\nabc";
        for cut in 0..head.len() {
            let (mut input, mut search) = (BytesMut::from(&head[..cut]), Search::default());
            let first = request(&mut input, &mut search).unwrap();
            input.extend_from_slice(&head[cut..]);
            let found = match first {
                Some(found) => found,
                None => request(&mut input, &mut search).unwrap().unwrap(),
            };
            assert_eq!(&input[..], b"abc", "cut at {cut}");
            assert_eq!((found.call.method, found.call.path.path()), (Method::POST, "/a"));
            let name = http::HeaderName::from_static("x-a");
            assert_eq!((found.length, found.call.fields.all_named(&name).next()), (Length::Exact(3), Some(&b"1"[..])));
            assert!(found.keeps && !found.expects);
        }
    }

    #[test]
    fn what_others_might_read_differently_is_refused() {
        for head in [
            "GET / HTTP/1.1\nHost: x\r\n\r\n",
            "\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "\r\n\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET / HTTP/1.1\n\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\n\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\n\nGET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\n\n",
            "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
            "GET / HTTP/1.1\r\nA : b\r\n\r\n",
            "GET / HTTP/1.1\r\n: b\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\rc\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\0c\r\n\r\n",
            "GET  / HTTP/1.1\r\n\r\n",
            "GET /a b HTTP/1.1\r\n\r\n",
            "GET / HTTP/2.0\r\n\r\n",
            "GET / HTTP/1.1 \r\n\r\n",
            "GET x HTTP/1.1\r\n\r\n",
            "GET * HTTP/1.1\r\n\r\n",
            "GET /\r\n\r\n",
            " GET / HTTP/1.1\r\n\r\n",
            "GET / http/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nA\r\n\r\n",
            "GET / HTTP/1.1\r\nA: \x7f\r\n\r\n",
            "G(T / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            assert!(whole(head).is_err(), "{head:?}");
        }
        assert_eq!(whole("GET / HTTP/1.2\r\n\r\n").err(), Some(Refusal::Version));
    }

    #[test]
    fn a_head_without_end_is_refused_by_what_is_too_long() {
        let mut search = Search::default();
        assert_eq!(search.end(&vec![b'a'; LARGEST + 1]), Err(Refusal::LongTarget));
        let mut long = b"GET / HTTP/1.1\r\n".to_vec();
        long.resize(LARGEST + 1, b'a');
        assert_eq!(Search::default().end(&long), Err(Refusal::LargeHeader));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MOST_FIELDS + 1));
        assert_eq!(whole(&many).err(), Some(Refusal::LargeHeader));
    }

    #[test]
    fn connections_last_as_the_version_and_the_field_say() {
        for (version, field, keeps) in [
            ("1.1", "", true),
            ("1.1", "Connection: x, Close\r\n", false),
            ("1.0", "", false),
            ("1.0", "Connection: Keep-Alive\r\n", true),
            ("1.0", "Connection: keep-alive, close\r\n", false),
        ] {
            let head = whole(&format!("GET / HTTP/{version}\r\n{field}\r\n")).unwrap();
            assert_eq!(head.keeps, keeps, "{version} {field}");
        }
    }

    #[test]
    fn an_answer_is_read_with_the_method_in_mind() {
        let parse = |text: &str, method| response(&mut BytesMut::from(text), &mut Search::default(), &method);
        let ok = parse("HTTP/1.1 200 Fine\r\nContent-Length: 5\r\n\r\n", Method::GET).unwrap().unwrap();
        assert_eq!((ok.status, ok.length, ok.keeps), (StatusCode::OK, Length::Exact(5), true));
        let head = parse("HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\n", Method::HEAD).unwrap().unwrap();
        assert_eq!(head.length, Length::None);
        let old = parse("HTTP/1.0 200 OK\r\n\r\n", Method::GET).unwrap().unwrap();
        assert_eq!((old.length, old.keeps), (Length::UntilClose, false));
        for bad in ["HTTP/1.1 2x0 OK\r\n\r\n", "HTTP/1.1 099 OK\r\n\r\n", "ICY 200 OK\r\n\r\n", "garbage\r\n\r\n"] {
            assert!(parse(bad, Method::GET).is_err(), "{bad:?}");
        }
    }
}
