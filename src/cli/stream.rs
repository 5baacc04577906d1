//! Server-sent events on the receiving side: bytes in, events out (WHATWG HTML, section 9.2.6).

/// What a stream holds back at most, in bytes; a longer line is not from pointsman.
const MAX_HELD: usize = 4 << 20;

/// The text that is longer than any event.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("an event of the stream is larger than {MAX_HELD} bytes")]
pub(super) struct TooLong;

/// Takes the stream apart. Comments, names and other fields are left out: an event's data says all there is.
#[derive(Debug, Default)]
pub(super) struct Parser {
    held: Vec<u8>,
    data: String,
}

impl Parser {
    /// The data of the events that are complete with these bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>, TooLong> {
        self.held.extend_from_slice(bytes);
        let mut complete = Vec::new();
        while let Some(end) = self.held.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.held.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            complete.extend(self.line(line.trim_end_matches(['\r', '\n'])));
        }
        if self.held.len() + self.data.len() > MAX_HELD { Err(TooLong) } else { Ok(complete) }
    }

    fn line(&mut self, line: &str) -> Option<String> {
        if line.is_empty() {
            return Some(std::mem::take(&mut self.data)).filter(|data| !data.is_empty());
        }
        if let Some(data) = line.strip_prefix("data:") {
            if !self.data.is_empty() {
                self.data.push('\n');
            }
            self.data.push_str(data.strip_prefix(' ').unwrap_or(data));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_whole_wherever_the_bytes_are_cut() {
        let text = "retry: 1000\n\n: still here\n\nid: 1\nevent: a\ndata: {\"x\":\"é\"}\n\nid: 2\r\ndata: b\r\ndata: c\r\n\r\n";
        for size in 1..text.len() {
            let mut parser = Parser::default();
            let mut found = Vec::new();
            for chunk in text.as_bytes().chunks(size) {
                found.extend(parser.push(chunk).unwrap());
            }
            assert_eq!(found, ["{\"x\":\"é\"}", "b\nc"], "in pieces of {size}");
        }
    }

    #[test]
    fn a_line_without_an_end_is_refused() {
        assert_eq!(Parser::default().push(&vec![b'x'; MAX_HELD + 1]), Err(TooLong));
    }
}
