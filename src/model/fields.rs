//! A message's header fields, as they came: in their order, in their spelling, without a copy.
//!
//! A map would hash each name, copy what it does not know and forget the spelling; but a message has a dozen fields,
//! most are only passed on, and the few that matter are known by name. So this is a list of places in the received
//! block, with a note of which well-known names are there; what is added is kept beside the block.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

macro_rules! known {
    ($($(#[$doc:meta])* $variant:ident = $text:literal),+ $(,)?) => {
        /// Names that mean something to a proxy.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        #[expect(missing_docs, reason = "each is the field of that name")]
        pub enum Known { $($(#[$doc])* $variant),+ }

        impl Known {
            #[cfg(test)]
            const ALL: &[Known] = &[$(Known::$variant),+];

            /// The name, in lower case.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Known::$variant => $text),+ }
            }
        }
    };
}

known! {
    Host = "host",
    Connection = "connection",
    KeepAlive = "keep-alive",
    ProxyConnection = "proxy-connection",
    Te = "te",
    TransferEncoding = "transfer-encoding",
    Upgrade = "upgrade",
    ProxyAuthenticate = "proxy-authenticate",
    ProxyAuthorization = "proxy-authorization",
    ContentLength = "content-length",
    ContentType = "content-type",
    Expect = "expect",
    Cookie = "cookie",
    SetCookie = "set-cookie",
    Date = "date",
    Expires = "expires",
    CacheControl = "cache-control",
    Forwarded = "forwarded",
    ForwardedFor = "x-forwarded-for",
    ForwardedProto = "x-forwarded-proto",
    ForwardedHost = "x-forwarded-host",
    Location = "location",
    ProxyStatus = "proxy-status",
    RetryAfter = "retry-after",
    GrpcStatus = "grpc-status",
    GrpcMessage = "grpc-message",
}

impl Known {
    /// The well-known name that `name` is, in any case.
    #[must_use]
    pub fn of(name: &[u8]) -> Option<Self> {
        use Known as K;
        // Length and first letter tell all of them apart, and most other names from all of them.
        let first = name.first()? | 0x20;
        let known = match (name.len(), first) {
            (2, _) => K::Te,
            (4, b'h') => K::Host,
            (4, _) => K::Date,
            (6, b'c') => K::Cookie,
            (6, _) => K::Expect,
            (7, b'u') => K::Upgrade,
            (7, _) => K::Expires,
            (8, _) => K::Location,
            (9, _) => K::Forwarded,
            (10, b'c') => K::Connection,
            (10, b'k') => K::KeepAlive,
            (10, _) => K::SetCookie,
            (11, b'g') => K::GrpcStatus,
            (11, _) => K::RetryAfter,
            (12, b'c') => K::ContentType,
            (12, b'p') => K::ProxyStatus,
            (12, _) => K::GrpcMessage,
            (13, _) => K::CacheControl,
            (14, _) => K::ContentLength,
            (15, _) => K::ForwardedFor,
            (16, b'p') => K::ProxyConnection,
            (16, _) => K::ForwardedHost,
            (17, b't') => K::TransferEncoding,
            (17, _) => K::ForwardedProto,
            (18, _) => K::ProxyAuthenticate,
            (19, _) => K::ProxyAuthorization,
            _ => return None,
        };
        // In a name there are no characters but those of a token, so this bit makes letters small and keeps the hyphen.
        let same = known.text().bytes().zip(name).all(|(known, name)| known == name | 0x20);
        same.then_some(known)
    }

    const fn bit(self) -> u32 {
        1 << self as u8
    }
}

/// A place in the received block, or in what was added.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    length: u32,
    added: bool,
}

#[derive(Clone, Copy, Debug)]
struct Line {
    known: Option<Known>,
    /// Of a name that is well known and was added, nothing is kept.
    name: Span,
    value: Span,
}

/// Header fields.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    received: Bytes,
    added: Vec<u8>,
    lines: Vec<Line>,
    /// A bit for each well-known name that may be among the lines.
    present: u32,
}

const NOTHING: Span = Span { start: 0, length: 0, added: true };

impl Fields {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// None yet, of those that lie in `received`; there may come `lines` of them.
    #[must_use]
    pub fn within(received: Bytes, lines: usize) -> Self {
        // Room for what is added on the way.
        Self { received, added: Vec::new(), lines: Vec::with_capacity(lines + 5), present: 0 }
    }

    /// Notes a line whose name and value are slices of the received block, and says which name it is. Its syntax was
    /// checked by whoever took the block apart.
    ///
    /// # Panics
    /// When they are no slices of the block.
    pub fn note(&mut self, name: &[u8], value: &[u8]) -> Option<Known> {
        let base = self.received.as_ptr() as usize;
        let place = |part: &[u8]| {
            let start = (part.as_ptr() as usize).wrapping_sub(base);
            assert!(part.is_empty() || start + part.len() <= self.received.len(), "a slice of the received block");
            let start = if part.is_empty() { 0 } else { start as u32 };
            Span { start, length: part.len() as u32, added: false }
        };
        let known = Known::of(name);
        let line = Line { known, name: place(name), value: place(value) };
        self.lines.push(line);
        self.present |= known.map_or(0, Known::bit);
        known
    }

    /// How many bytes are kept for them, about.
    #[must_use]
    pub fn size(&self) -> usize {
        self.received.len() + self.added.len()
    }

    fn bytes(&self, span: Span) -> &[u8] {
        let all = if span.added { &self.added[..] } else { &self.received[..] };
        &all[span.start as usize..(span.start + span.length) as usize]
    }

    fn name(&self, line: &Line) -> &[u8] {
        match line.known {
            Some(known) if line.name.length == 0 => known.text().as_bytes(),
            _ => self.bytes(line.name),
        }
    }

    /// All lines in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.lines.iter().map(|line| (self.name(line), self.bytes(line.value)))
    }

    /// Appends all lines to `output`, each with its CR LF, but for those named in `left_out`.
    pub fn render(&self, output: &mut Vec<u8>, left_out: &[Known]) {
        let left_out = left_out.iter().fold(0, |bits, known| bits | known.bit());
        let is_out = |line: &Line| line.known.is_some_and(|k| k.bit() & left_out != 0);
        let mut run = 0..0;
        for line in self.lines.iter().filter(|l| !is_out(l)) {
            // Lines that came one after the other leave in one piece.
            let whole = self.as_received(line);
            if whole.as_ref().is_some_and(|w| w.start == run.end) {
                run.end = whole.map_or(run.end, |w| w.end);
                continue;
            }
            output.extend_from_slice(&self.received[std::mem::take(&mut run)]);
            if let Some(whole) = whole {
                run = whole;
            } else {
                let (name, value) = (self.name(line), self.bytes(line.value));
                output.reserve(name.len() + value.len() + 4);
                output.extend_from_slice(name);
                output.extend_from_slice(b": ");
                output.extend_from_slice(value);
                output.extend_from_slice(b"\r\n");
            }
        }
        output.extend_from_slice(&self.received[run]);
    }

    /// Where the whole line lies in the received block, when it came in the form in which it would be sent.
    fn as_received(&self, line: &Line) -> Option<std::ops::Range<usize>> {
        let value = line.value.start as usize;
        let name = line.name.start as usize..(line.name.start + line.name.length) as usize;
        let end = value + line.value.length as usize;
        let plain = !line.name.added && !line.value.added && value == name.end + 2;
        (plain && self.received[name.end..].starts_with(b": ") && self.received[end..].starts_with(b"\r\n"))
            .then_some(name.start..end + 2)
    }

    /// Whether there is a line with this name.
    #[must_use]
    pub fn has(&self, known: Known) -> bool {
        self.present & known.bit() != 0
    }

    /// Whether there is a line with one of these names.
    #[must_use]
    pub fn has_any(&self, names: &[Known]) -> bool {
        self.present & names.iter().fold(0, |bits, known| bits | known.bit()) != 0
    }

    /// The values of all lines with this name.
    pub fn all(&self, known: Known) -> impl DoubleEndedIterator<Item = &[u8]> {
        // Most are not there, and need not be looked for.
        let lines = if self.has(known) { &self.lines[..] } else { &[] };
        lines.iter().filter(move |l| l.known == Some(known)).map(|l| self.bytes(l.value))
    }

    /// The value of the first line with this name.
    #[must_use]
    pub fn get(&self, known: Known) -> Option<&[u8]> {
        self.all(known).next()
    }

    /// The values of all lines with this name, which an operator chose.
    pub fn all_named<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
        self.lines.iter().filter(move |l| self.is_named(l, name.as_str().as_bytes())).map(|l| self.bytes(l.value))
    }

    fn is_named(&self, line: &Line, name: &[u8]) -> bool {
        self.name(line).eq_ignore_ascii_case(name)
    }

    /// Removes all lines with this name.
    pub fn remove(&mut self, known: Known) {
        if self.has(known) {
            self.lines.retain(|l| l.known != Some(known));
            self.present &= !known.bit();
        }
    }

    /// Removes all lines with this name, in any case.
    pub fn remove_named(&mut self, name: &[u8]) {
        if let Some(known) = Known::of(name) {
            return self.remove(known);
        }
        let mut lines = std::mem::take(&mut self.lines);
        lines.retain(|l| !self.is_named(l, name));
        self.lines = lines;
    }

    /// Adds a line. A value that no line may hold (it has control characters) is left out.
    pub fn add(&mut self, known: Known, value: &[u8]) {
        if let Some(value) = self.keep(value) {
            self.push(Line { known: Some(known), name: NOTHING, value });
        }
    }

    /// In place of all lines with this name, one.
    pub fn set(&mut self, known: Known, value: &[u8]) {
        self.remove(known);
        self.add(known, value);
    }

    /// In place of all lines named `known`, one with the value of the first line named `from`, where there is one.
    pub fn set_from(&mut self, known: Known, from: Known) {
        self.remove(known);
        let first = if self.has(from) { self.lines.iter().find(|l| l.known == Some(from)) } else { None };
        if let Some(value) = first.map(|l| l.value) {
            self.push(Line { known: Some(known), name: NOTHING, value });
        }
    }

    /// Adds a line with a name that an operator chose, or that came over HTTP/2.
    pub fn add_named(&mut self, name: &HeaderName, value: &HeaderValue) {
        let name = name.as_str().as_bytes();
        let known = Known::of(name);
        let name = if known.is_some() { Some(NOTHING) } else { self.keep(name) };
        if let (Some(name), Some(value)) = (name, self.keep(value.as_bytes())) {
            self.push(Line { known, name, value });
        }
    }

    /// In place of all lines with this name, one.
    pub fn set_named(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.remove_named(name.as_str().as_bytes());
        self.add_named(name, value);
    }

    fn push(&mut self, line: Line) {
        self.present |= line.known.map_or(0, Known::bit);
        self.lines.push(line);
    }

    fn keep(&mut self, bytes: &[u8]) -> Option<Span> {
        if bytes.iter().any(|b| (*b < b' ' && *b != b'\t') || *b == 0x7f) {
            return None;
        }
        let start = self.added.len() as u32;
        if self.added.capacity() == 0 {
            self.added.reserve(256);
        }
        self.added.extend_from_slice(bytes);
        Some(Span { start, length: bytes.len() as u32, added: true })
    }

    /// As a map, for HTTP/2.
    #[must_use]
    pub fn to_map(&self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(self.lines.len());
        for (name, value) in self.iter() {
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                map.append(name, value);
            }
        }
        map
    }
}

impl From<&HeaderMap> for Fields {
    fn from(map: &HeaderMap) -> Self {
        let mut fields = Self { lines: Vec::with_capacity(map.len() + 5), ..Self::default() };
        fields.added.reserve(map.iter().map(|(n, v)| n.as_str().len() + v.len()).sum::<usize>() + 256);
        map.iter().for_each(|(name, value)| fields.add_named(name, value));
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From `name: value` lines.
    fn fields(lines: &[(&str, &str)]) -> Fields {
        let block = lines.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect::<Vec<_>>().concat();
        let block = Bytes::from(block);
        let mut fields = Fields::within(block.clone(), lines.len());
        let mut at = 0;
        for (name, value) in lines {
            let value_at = at + name.len() + 2;
            fields.note(&block[at..at + name.len()], &block[value_at..value_at + value.len()]);
            at = value_at + value.len() + 2;
        }
        fields
    }

    fn text(fields: &Fields) -> String {
        let line = |(n, v)| format!("{}: {}\n", String::from_utf8_lossy(n), String::from_utf8_lossy(v));
        fields.iter().map(line).collect::<Vec<_>>().concat()
    }

    #[test]
    fn every_well_known_name_is_known_in_any_case() {
        for known in Known::ALL {
            assert_eq!(Known::of(known.text().as_bytes()), Some(*known));
            assert_eq!(Known::of(known.text().to_uppercase().as_bytes()), Some(*known));
        }
        assert!(Known::ALL.len() <= 32, "one bit each");
        assert_eq!((Known::of(b"hos"), Known::of(b"hast"), Known::of(b"")), (None, None, None));
    }

    #[test]
    fn lines_keep_their_order_and_spelling() {
        let mut fields = fields(&[("X-B", "1"), ("Host", "a"), ("x-b", "2"), ("Set-Cookie", "c=1"), ("X-E", "")]);
        assert_eq!(text(&fields), "X-B: 1\nHost: a\nx-b: 2\nSet-Cookie: c=1\nX-E: \n");
        let name = HeaderName::from_static("x-b");
        assert_eq!(fields.all_named(&name).collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!((fields.get(Known::Host), fields.get(Known::Te)), (Some(&b"a"[..]), None));
        fields.add(Known::SetCookie, b"d=2");
        fields.set_from(Known::ForwardedHost, Known::Host);
        fields.set_from(Known::ForwardedFor, Known::Te);
        fields.set_named(&name, &HeaderValue::from_static("3"));
        fields.set(Known::Host, b"b");
        let expected = "Set-Cookie: c=1\nX-E: \nset-cookie: d=2\nx-forwarded-host: a\nx-b: 3\nhost: b\n";
        assert_eq!(text(&fields), expected);
        assert_eq!(fields.all(Known::SetCookie).rev().collect::<Vec<_>>(), [b"d=2", b"c=1"]);
    }

    #[test]
    fn lines_are_rendered_as_they_came_or_as_they_should_have_come() {
        let block = Bytes::from_static(b"X-A: 1\r\nHost:a\r\nX-B: 2 \r\nTe: t\r\nX-C: 3\r\nX-D: 4\r\nX-E:\r\n");
        let mut fields = Fields::within(block.clone(), 6);
        for (name, value) in [(0..3, 5..6), (8..12, 13..14), (16..19, 21..22), (25..27, 29..30), (32..35, 37..38)] {
            fields.note(&block[name], &block[value]);
        }
        fields.note(&block[40..43], &block[45..46]);
        fields.note(&block[48..51], &block[52..52]);
        fields.add(Known::ForwardedFor, b"::1");
        fields.set_from(Known::ForwardedHost, Known::Host);
        let mut output = b"> ".to_vec();
        fields.render(&mut output, &[Known::Te, Known::Date]);
        let expected = "> X-A: 1\r\nHost: a\r\nX-B: 2\r\nX-C: 3\r\nX-D: 4\r\nX-E: \r\nx-forwarded-for: ::1\r\n\
                        x-forwarded-host: a\r\n";
        assert_eq!(String::from_utf8(output).unwrap(), expected);
    }

    #[test]
    fn what_would_end_a_line_is_never_added() {
        let mut fields = Fields::new();
        fields.add(Known::Location, b"/a\r\nset-cookie: x");
        assert!(fields.iter().next().is_none() && !fields.has(Known::Location));
    }

    #[test]
    fn a_map_and_back_is_the_same() {
        let mut map = HeaderMap::new();
        for (name, value) in [("x-a", "1"), ("host", "h"), ("x-a", "2")] {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let mut fields = Fields::from(&map);
        assert_eq!(fields.to_map(), map);
        fields.remove_named(b"X-A");
        assert_eq!((text(&fields), fields.has_any(&[Known::Te, Known::Host])), ("host: h\n".to_owned(), true));
    }
}
