//! What an upstream may be told to answer, rightly or wrongly, and the bytes of a head.

use std::time::Duration;

/// How a request is answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// This status and body, with a content length.
    Plain(u16, String),
    /// 200, with these further header fields and body, and a content length.
    With(Vec<(String, String)>, Vec<u8>),
    /// 200, what the request looked like, as JSON: `first`, `fields`, `trailers`, `body`, `connection`.
    Mirror,
    /// 200, the request's body back.
    Echo,
    /// 200, chunked; each chunk after `pause`; with these trailers.
    Chunked {
        /// The chunks.
        chunks: Vec<Vec<u8>>,
        /// Before each.
        pause: Duration,
        /// Behind the last one.
        trailers: Vec<(String, String)>,
    },
    /// 200, a content length, and the body one byte after each pause.
    Trickle(Vec<u8>, Duration),
    /// These informational heads first, each with its fields (`103`, `link: …`), then the answer.
    Informational(Vec<(u16, Vec<(String, String)>)>, Box<Answer>),
    /// The answer, as soon as this says so.
    When(tokio::sync::watch::Receiver<bool>, Box<Answer>),
    /// The answer, later.
    Later(Duration, Box<Answer>),
    /// The answer up to this byte of it, head included, then the end of the connection.
    CutAt(usize, Box<Answer>),
    /// The answer, and `Connection: close`.
    Last(Box<Answer>),
    /// These very bytes; the connection stays open.
    Raw(Vec<u8>),
    /// These very bytes, then the end of the connection.
    Garbage(Vec<u8>),
    /// The head is read, then the connection is closed.
    Close,
    /// The head is read, then the connection is reset (RST).
    Reset,
    /// The head is read, then nothing ever happens.
    Hang,
    /// 101, then every byte comes back. The key is answered as RFC 6455 asks for.
    Upgrade,
    /// The answer is sent before the request's body is read, which is then left unread.
    WithoutReading(Box<Answer>),
}

impl Answer {
    /// 200 and a text.
    pub fn text(body: &str) -> Self {
        Answer::Plain(200, body.to_owned())
    }

    /// Whether the request's body is read before it.
    pub fn wants_body(&self) -> bool {
        match self {
            Answer::Close | Answer::Reset | Answer::Hang | Answer::Upgrade | Answer::WithoutReading(_) => false,
            Answer::Informational(_, inner)
            | Answer::When(_, inner)
            | Answer::Later(_, inner)
            | Answer::CutAt(_, inner)
            | Answer::Last(inner) => inner.wants_body(),
            _ => true,
        }
    }
}

/// A response's head.
pub fn rendered_head(status: u16, fields: &[(String, String)]) -> Vec<u8> {
    let reason = http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("");
    let fields: String = fields.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
    format!("HTTP/1.1 {status} {reason}\r\n{fields}\r\n").into_bytes()
}

/// What RFC 6455, section 1.3, makes of a key.
pub fn websocket_accept(key: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    let bits: String = digest.as_ref().iter().map(|byte| format!("{byte:08b}")).collect();
    let sextets = bits.as_bytes().chunks(6).map(|six| {
        let six = format!("{:0<6}", std::str::from_utf8(six).unwrap());
        ALPHABET[usize::from_str_radix(&six, 2).unwrap()] as char
    });
    // 20 bytes are 27 characters and one of padding.
    sextets.chain(['=']).collect()
}
