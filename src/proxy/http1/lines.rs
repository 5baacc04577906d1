//! The lines of a head, one by one (RFC 9112, sections 3 to 5).
//!
//! A head that is known to be whole (it ends with an empty line) needs no parser that can stop anywhere; and as each
//! line is looked at once, what a line may consist of and how it has to end is checked on the way.

use super::head::Refusal;
use crate::proxy::octets;

const NAME: Refusal = Refusal::Malformed("a field's name");
const VALUE: Refusal = Refusal::Malformed("a field's value");
const FIRST: Refusal = Refusal::Malformed("its first line");
/// A line must end with CR LF.
pub(super) const BARE: Refusal = Refusal::Malformed("a line that does not end with CR LF");

/// What a token may consist of (RFC 9110, section 5.6.2).
const TOKEN: [bool; 256] = octets::alphanumeric_and(b"!#$%&'*+-.^_`|~");

/// A field's name and value.
pub(super) type Field<'a> = (&'a [u8], &'a [u8]);

/// Takes a head apart from its beginning on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Lines<'a> {
    /// `head` ends with an empty line.
    pub(super) fn of(head: &'a [u8]) -> Self {
        Self { rest: head }
    }

    /// The request line: method, target, and the version's minor number.
    pub(super) fn request(&mut self) -> Result<(&'a [u8], &'a [u8], u8), Refusal> {
        let line = self.line()?;
        let method = line.iter().position(|b| !TOKEN[usize::from(*b)]).unwrap_or(line.len());
        let (method, rest) = line.split_at(method);
        let rest = rest.strip_prefix(b" ").ok_or(FIRST)?;
        let target = memchr::memchr(b' ', rest).ok_or(FIRST)?;
        let (target, version) = (&rest[..target], &rest[target + 1..]);
        // Also where a fragment is left out later: what stands there is not looked at again.
        if method.is_empty() || target.is_empty() || !is_text(target) {
            return Err(FIRST);
        }
        Ok((method, target, minor(version)?))
    }

    /// The status line: the version's minor number and the status code.
    pub(super) fn status(&mut self) -> Result<(u8, &'a [u8]), Refusal> {
        let line = self.line()?;
        let (version, rest) = line.split_at_checked(8).ok_or(FIRST)?;
        let (code, reason) = rest.strip_prefix(b" ").and_then(|r| r.split_at_checked(3)).ok_or(FIRST)?;
        // Many leave out the space before an empty reason.
        if !(reason.is_empty() || reason[0] == b' ') || !is_text(reason) {
            return Err(FIRST);
        }
        Ok((minor(version)?, code))
    }

    /// The next field's name and value; none at the end of the head.
    pub(super) fn field(&mut self) -> Result<Option<Field<'a>>, Refusal> {
        if self.rest == b"\r\n" {
            return Ok(None);
        }
        let colon = self.rest.iter().position(|b| !TOKEN[usize::from(*b)]).ok_or(NAME)?;
        if colon == 0 || self.rest[colon] != b':' {
            return Err(NAME);
        }
        let name = &self.rest[..colon];
        self.rest = &self.rest[colon + 1..];
        let value = self.line()?;
        if is_text(value) { Ok(Some((name, trimmed(value)))) } else { Err(VALUE) }
    }

    /// Up to the next CR LF.
    fn line(&mut self) -> Result<&'a [u8], Refusal> {
        let end = memchr::memchr2(b'\r', b'\n', self.rest).ok_or(BARE)?;
        let line = &self.rest[..end];
        self.rest = self.rest[end..].strip_prefix(b"\r\n").ok_or(BARE)?;
        Ok(line)
    }
}

fn minor(version: &[u8]) -> Result<u8, Refusal> {
    match version {
        b"HTTP/1.1" => Ok(1),
        b"HTTP/1.0" => Ok(0),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => Err(Refusal::Version),
        _ => Err(FIRST),
    }
}

/// Whether these bytes may stand in a value: no control characters but the tab (RFC 9110, section 5.5).
fn is_text(bytes: &[u8]) -> bool {
    // Without an early way out, so that several bytes are looked at in one step.
    let bad = |b: &u8| u8::from((*b < b' ' && *b != b'\t') || *b == 0x7f);
    bytes.iter().fold(0, |found, b| found | bad(b)) == 0
}

/// Without spaces and tabs around it.
fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}
