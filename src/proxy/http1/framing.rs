//! How long a message is (RFC 9112, section 6), decided so that nobody can read it in two ways.
//!
//! What another implementation might read differently is refused, not repaired: two lengths that differ, a length
//! beside chunks, codings that do not end in `chunked`, chunks in HTTP/1.0. That is what request smuggling lives on.

use http::{Method, StatusCode, Version};

use super::head::Refusal;

/// The length of a message's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Length {
    /// There is none, and no length is named.
    None,
    Exact(u64),
    Chunked,
    /// It ends with the connection; answers only.
    UntilClose,
}

/// What the framing fields of a head say; filled in line by line.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Framing {
    length: Option<u64>,
    coding: Coding,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Coding {
    #[default]
    None,
    /// The last one so far is `chunked`, and the only one.
    Chunked,
    /// The last one so far is another, or there are others before `chunked`.
    Other,
}

impl Framing {
    /// A line of `Content-Length`: digits, or the same digits several times (RFC 9112, section 6.3, item 5).
    pub(super) fn length_line(&mut self, value: &[u8]) -> Result<(), Refusal> {
        for part in value.split(|b| *b == b',') {
            let length = decimal(part.trim_ascii()).ok_or(Refusal::Malformed("Content-Length is not a number"))?;
            if self.length.is_some_and(|other| other != length) {
                return Err(Refusal::Malformed("two Content-Lengths that differ"));
            }
            self.length = Some(length);
        }
        Ok(())
    }

    /// A line of `Transfer-Encoding`.
    pub(super) fn coding_line(&mut self, value: &[u8]) {
        for part in value.split(|b| *b == b',') {
            let chunked = part.trim_ascii().eq_ignore_ascii_case(b"chunked");
            self.coding = if chunked && self.coding == Coding::None { Coding::Chunked } else { Coding::Other };
        }
    }

    /// The body's length where either side may name it.
    fn named(self, version: Version) -> Result<Option<Length>, Refusal> {
        match (self.coding, self.length) {
            (Coding::None, length) => Ok(length.map(Length::Exact)),
            (_, Some(_)) => Err(Refusal::Malformed("Content-Length beside Transfer-Encoding")),
            (_, None) if version < Version::HTTP_11 => Err(Refusal::Malformed("Transfer-Encoding in HTTP/1.0")),
            (Coding::Chunked, None) => Ok(Some(Length::Chunked)),
            (Coding::Other, None) => Err(Refusal::Malformed("a Transfer-Encoding other than chunked")),
        }
    }

    /// The length of a request.
    pub(super) fn request(self, version: Version) -> Result<Length, Refusal> {
        Ok(self.named(version)?.unwrap_or(Length::None))
    }

    /// The length of the answer to a request with `method`.
    pub(super) fn response(self, version: Version, status: StatusCode, method: &Method) -> Result<Length, Refusal> {
        // A length is named here for what a GET would have got; nothing follows, whatever is said.
        let named = self.named(version)?;
        let bodiless = *method == Method::HEAD
            || status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        Ok(if bodiless { Length::None } else { named.unwrap_or(Length::UntilClose) })
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing(lengths: &[&str], codings: &[&str]) -> Result<Framing, Refusal> {
        let mut framing = Framing::default();
        lengths.iter().try_for_each(|l| framing.length_line(l.as_bytes()))?;
        for coding in codings {
            framing.coding_line(coding.as_bytes());
        }
        Ok(framing)
    }

    fn request(lengths: &[&str], codings: &[&str]) -> Option<Length> {
        framing(lengths, codings).and_then(|f| f.request(Version::HTTP_11)).ok()
    }

    #[test]
    fn a_request_has_one_length_or_is_refused() {
        for (lengths, codings, expected) in [
            (&[][..], &[][..], Some(Length::None)),
            (&["7"], &[], Some(Length::Exact(7))),
            (&["7", "7"], &[], Some(Length::Exact(7))),
            (&["7, 7"], &[], Some(Length::Exact(7))),
            (&[], &["Chunked"], Some(Length::Chunked)),
            (&["7", "8"], &[], None),
            (&["7,8"], &[], None),
            (&[""], &[], None),
            (&["+7"], &[], None),
            (&["-1"], &[], None),
            (&["0x7"], &[], None),
            (&["7 7"], &[], None),
            (&["99999999999999999999999"], &[], None),
            (&["7"], &["chunked"], None),
            (&[], &["identity"], None),
            (&[], &["gzip, chunked"], None),
            (&[], &["chunked", "identity"], None),
            (&[], &["chunked, chunked"], None),
            (&[], &["xchunked"], None),
            (&[], &["\x0bchunked"], None),
            (&[], &["chunked;q=1"], None),
            (&[], &[""], None),
            (&[], &["chunked,"], None),
        ] {
            assert_eq!(request(lengths, codings), expected, "{lengths:?} {codings:?}");
        }
        let old = framing(&[], &["chunked"]).unwrap();
        assert!(old.request(Version::HTTP_10).is_err());
    }

    #[test]
    fn an_answer_without_a_length_ends_with_its_connection_unless_it_can_have_no_body() {
        let none = framing(&[], &[]).unwrap();
        let seven = framing(&["7"], &[]).unwrap();
        let of = |framing: Framing, status: u16, method| {
            framing.response(Version::HTTP_11, StatusCode::from_u16(status).unwrap(), &method).unwrap()
        };
        assert_eq!(of(none, 200, Method::GET), Length::UntilClose);
        assert_eq!(of(seven, 200, Method::GET), Length::Exact(7));
        assert_eq!(of(seven, 200, Method::HEAD), Length::None);
        for status in [100, 103, 204, 304] {
            assert_eq!(of(seven, status, Method::GET), Length::None, "{status}");
        }
    }
}
