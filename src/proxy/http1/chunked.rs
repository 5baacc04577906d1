//! Chunks (RFC 9112, section 7.1), taken apart as they arrive, however they are cut.
//!
//! Line ends are CR LF and nothing else, sizes are plain hexadecimal, extensions are skipped but not without end.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};

use super::head;

/// Longest line with a chunk's size and its extensions, in bytes.
const LONGEST_LINE: usize = 4 << 10;
/// Extensions of a whole body, in bytes: a sender of nothing but extensions is up to no good.
const MOST_EXTENSIONS: usize = 64 << 10;
/// Largest trailer section, in bytes.
const MOST_TRAILERS: usize = 16 << 10;

/// Where a decoder stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Size,
    Data { left: u64 },
    DataEnd,
    Trailers,
    End,
}

/// Decodes one body.
#[derive(Debug)]
pub(in crate::proxy) struct Chunked {
    at: At,
    extensions: usize,
}

/// What was found next.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Piece {
    Data(Bytes),
    /// The last piece, where there are trailers.
    Trailers(HeaderMap),
    End,
    /// More input is needed.
    Incomplete,
}

/// The input is not a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("chunks are malformed")]
pub(in crate::proxy) struct Malformed;

impl Chunked {
    pub(in crate::proxy) fn new() -> Self {
        Self { at: At::Size, extensions: 0 }
    }

    pub(in crate::proxy) fn is_ended(&self) -> bool {
        self.at == At::End
    }

    /// How many bytes of the present chunk are still to come.
    pub(in crate::proxy) fn expected(&self) -> u64 {
        if let At::Data { left } = self.at { left } else { 0 }
    }

    /// Takes the next piece off `input`.
    pub(in crate::proxy) fn decode(&mut self, input: &mut BytesMut) -> Result<Piece, Malformed> {
        loop {
            match self.at {
                At::Size => match self.size(input)? {
                    Some(0) => self.at = At::Trailers,
                    Some(left) => self.at = At::Data { left },
                    None => return Ok(Piece::Incomplete),
                },
                At::Data { .. } if input.is_empty() => return Ok(Piece::Incomplete),
                At::Data { left } => {
                    let taken = left.min(input.len() as u64);
                    self.at = if taken == left { At::DataEnd } else { At::Data { left: left - taken } };
                    return Ok(Piece::Data(input.split_to(taken as usize).freeze()));
                }
                At::DataEnd => {
                    let end = &input[..input.len().min(2)];
                    if !b"\r\n".starts_with(end) {
                        return Err(Malformed);
                    }
                    if end.len() < 2 {
                        return Ok(Piece::Incomplete);
                    }
                    input.advance(2);
                    self.at = At::Size;
                }
                At::Trailers => return self.trailers(input),
                At::End => return Ok(Piece::End),
            }
        }
    }

    /// The line that opens a chunk; none while it is not all there.
    fn size(&mut self, input: &mut BytesMut) -> Result<Option<u64>, Malformed> {
        let Some(end) = memchr::memchr(b'\n', input) else {
            return if input.len() > LONGEST_LINE { Err(Malformed) } else { Ok(None) };
        };
        // Also where all of it came at once: what is refused must not depend on how it arrives.
        if end > LONGEST_LINE {
            return Err(Malformed);
        }
        let line = input[..end].strip_suffix(b"\r").ok_or(Malformed)?;
        let digits = line.iter().position(|b| !b.is_ascii_hexdigit()).unwrap_or(line.len());
        let extensions = &line[digits..];
        self.extensions += extensions.len();
        let spoken = extensions.iter().all(|b| matches!(b, b'\t' | b' '..=b'~' | 0x80..));
        let opened = extensions.trim_ascii_start().first().is_none_or(|b| *b == b';');
        if !(1..=16).contains(&digits) || !spoken || !opened || self.extensions > MOST_EXTENSIONS {
            return Err(Malformed);
        }
        let hex = std::str::from_utf8(&line[..digits]).map_err(|_| Malformed)?;
        let size = u64::from_str_radix(hex, 16).map_err(|_| Malformed)?;
        input.advance(end + 1);
        Ok(Some(size))
    }

    fn trailers(&mut self, input: &mut BytesMut) -> Result<Piece, Malformed> {
        if input.starts_with(b"\r\n") {
            input.advance(2);
            self.at = At::End;
            return Ok(Piece::End);
        }
        match head::end(input, 0) {
            Ok(Some(end)) if end <= MOST_TRAILERS => {
                let lines = input.split_to(end).freeze();
                let mut trailers = head::trailers(&lines).map_err(|_| Malformed)?;
                // They frame and route the message, which was done long ago (RFC 9110, section 6.5.1).
                for name in [CONTENT_LENGTH, TRANSFER_ENCODING, HOST] {
                    trailers.remove(name);
                }
                self.at = At::End;
                Ok(if trailers.is_empty() { Piece::End } else { Piece::Trailers(trailers) })
            }
            Ok(None) if input.len() <= MOST_TRAILERS => Ok(Piece::Incomplete),
            _ => Err(Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Decoded = (Vec<u8>, HeaderMap, Vec<u8>);

    /// Decodes `pieces`, which arrive one after the other: the data, the trailers, and what is left over.
    fn decode(pieces: &[&[u8]]) -> Result<Option<Decoded>, Malformed> {
        let (mut decoder, mut input) = (Chunked::new(), BytesMut::new());
        let (mut data, mut trailers) = (Vec::new(), HeaderMap::new());
        for piece in pieces {
            input.extend_from_slice(piece);
            loop {
                match decoder.decode(&mut input)? {
                    Piece::Data(more) => data.extend_from_slice(&more),
                    Piece::Trailers(found) => trailers = found,
                    Piece::End | Piece::Incomplete => break,
                }
            }
        }
        Ok(decoder.is_ended().then(|| (data, trailers, input.to_vec())))
    }

    #[test]
    fn a_body_is_the_same_wherever_it_is_cut() {
        let body = b"5\r\nhello\r\n6;name=\"v\"\r\n world\r\n000\r\nx-sum: 7\r\ncontent-length: 9\r\n\r\nGET /";
        for cut in 0..body.len() {
            let (data, trailers, rest) = decode(&[&body[..cut], &body[cut..]]).unwrap().unwrap();
            assert_eq!((&data[..], &rest[..]), (&b"hello world"[..], &b"GET /"[..]), "cut at {cut}");
            assert_eq!((trailers.len(), &trailers["x-sum"]), (1, &http::HeaderValue::from_static("7")));
            if cut < body.len() - 5 {
                assert_eq!(decode(&[&body[..cut]]), Ok(None), "cut at {cut}");
            }
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for body in [
            "5\nhello\r\n0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhelloX",
            "5 5\r\n",
            "0x5\r\n",
            "-1\r\n",
            "\r\n",
            ";ext\r\n",
            "5;a\rb\r\n",
            "5;a\0\r\n",
            "10000000000000000\r\n",
            "0\r\nx-a: 1\n\r\n",
            "0\r\n folded\r\n\r\n",
            "0\r\nGET / HTTP/1.1\r\n\r\n",
        ] {
            assert_eq!(decode(&[body.as_bytes()]), Err(Malformed), "{body:?}");
        }
        let endless = format!("5;{}", "x".repeat(LONGEST_LINE));
        assert_eq!(decode(&[endless.as_bytes()]), Err(Malformed));
        let whole = format!("{endless}\r\nhello\r\n0\r\n\r\n");
        assert_eq!(decode(&[whole.as_bytes()]), Err(Malformed), "it is no shorter for having an end");
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&[&bytes]);
        }

        #[test]
        fn what_was_sent_in_chunks_arrives_whole(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut sent = Vec::new();
            for chunk in &chunks {
                sent.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                sent.extend_from_slice(chunk);
                sent.extend_from_slice(b"\r\n");
            }
            sent.extend_from_slice(b"0\r\n\r\n");
            let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(sent.len())).collect();
            cuts.extend([0, sent.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &sent[w[0]..w[1]]).collect();
            let (data, _, rest) = decode(&pieces).unwrap().unwrap();
            prop_assert_eq!(data, chunks.concat());
            prop_assert!(rest.is_empty());
        }
    }
}
