//! HTTP/1.1 as bytes, simple and strict: what the raw upstream and the raw client share.
//!
//! Written apart from the proxy's own parser, so that the two check each other.

use std::fmt;
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest head that a fixture takes.
const MAX_HEAD: usize = 1 << 20;

/// Header fields in their order, names in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<(String, String)>);

impl Fields {
    /// The value of the only field of this name; panics where it is repeated.
    #[track_caller]
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut all = self.0.iter().filter(|(n, _)| n == name);
        let first = all.next();
        assert!(all.next().is_none(), "{name} is repeated in {self:?}");
        first.map(|(_, v)| v.as_str())
    }

    /// The values of every field of this name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Whether a comma-separated field has this member, whatever its case.
    pub fn lists(&self, name: &str, member: &str) -> bool {
        self.all(name).flat_map(|v| v.split(',')).any(|m| m.trim().eq_ignore_ascii_case(member))
    }

    fn parse(lines: &str) -> io::Result<Self> {
        let fields = lines.split("\r\n").filter(|line| !line.is_empty()).map(|line| {
            let (name, value) = line.split_once(':').ok_or_else(|| broken(format!("no colon in {line:?}")))?;
            let token = !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic());
            if !token || line.contains(['\r', '\n']) {
                return Err(broken(format!("not a header field: {line:?}")));
            }
            Ok((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
        });
        fields.collect::<io::Result<_>>().map(Self)
    }
}

/// The first line and the header fields of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Without the line's end.
    pub first: String,
    /// The fields.
    pub fields: Fields,
}

impl Head {
    /// A request's method.
    pub fn method(&self) -> &str {
        self.first.split(' ').next().unwrap_or_default()
    }

    /// A request's target.
    pub fn target(&self) -> &str {
        self.first.split(' ').nth(1).unwrap_or_default()
    }

    /// A request's path, without the query.
    pub fn path(&self) -> &str {
        self.target().split('?').next().unwrap_or_default()
    }

    /// A response's status.
    pub fn status(&self) -> io::Result<u16> {
        let code = self.first.strip_prefix("HTTP/1.1 ").or_else(|| self.first.strip_prefix("HTTP/1.0 "));
        let code = code.and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
        code.filter(|code| (100..600).contains(code))
            .ok_or_else(|| broken(format!("not a status line: {:?}", self.first)))
    }
}

/// What went wrong on the wire, as an error of kind `InvalidData`.
pub fn broken(what: impl fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}

/// A stream and what was read from it ahead.
#[derive(Debug)]
pub struct Buffered<S> {
    /// The stream, for writing. Reading from it directly would miss what was read ahead.
    pub stream: S,
    ahead: Vec<u8>,
}

impl<S: AsyncRead + Unpin> Buffered<S> {
    /// Nothing read ahead yet.
    pub fn new(stream: S) -> Self {
        Self { stream, ahead: Vec::new() }
    }

    /// Reads some more; `false` at the end of the stream.
    async fn fill(&mut self) -> io::Result<bool> {
        Ok(self.stream.read_buf(&mut self.ahead).await? > 0)
    }

    /// Some bytes, as they come; empty at the end of the stream.
    pub async fn some(&mut self) -> io::Result<Vec<u8>> {
        if self.ahead.is_empty() {
            self.fill().await?;
        }
        Ok(std::mem::take(&mut self.ahead))
    }

    /// Exactly `n` bytes.
    pub async fn exactly(&mut self, n: usize) -> io::Result<Vec<u8>> {
        while self.ahead.len() < n {
            if !self.fill().await? {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    format!("{} of {n} bytes came", self.ahead.len()),
                ));
            }
        }
        let rest = self.ahead.split_off(n);
        Ok(std::mem::replace(&mut self.ahead, rest))
    }

    /// Everything up to the end of the stream.
    pub async fn rest(&mut self) -> io::Result<Vec<u8>> {
        while self.fill().await? {}
        Ok(std::mem::take(&mut self.ahead))
    }

    /// Up to and without `end`; none where the stream ends before a first byte.
    async fn until(&mut self, end: &[u8]) -> io::Result<Option<String>> {
        loop {
            if let Some(at) = self.ahead.windows(end.len()).position(|w| w == end) {
                let found = self.exactly(at + end.len()).await?;
                return String::from_utf8(found[..at].to_vec()).map(Some).map_err(broken);
            }
            if self.ahead.len() > MAX_HEAD {
                return Err(broken("an endless head"));
            }
            if !self.fill().await? {
                return if self.ahead.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    /// A message's head; none where the stream ends before it begins.
    pub async fn head(&mut self) -> io::Result<Option<Head>> {
        let Some(text) = self.until(b"\r\n\r\n").await? else { return Ok(None) };
        let (first, fields) = text.split_once("\r\n").unwrap_or((&text, ""));
        Ok(Some(Head { first: first.to_owned(), fields: Fields::parse(fields)? }))
    }

    /// One chunk of a chunked body; empty for the last one, whose trailers are still to be read.
    pub async fn chunk(&mut self) -> io::Result<Vec<u8>> {
        let line = self.until(b"\r\n").await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let size = line.split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size, 16).map_err(|_| broken(format!("not a chunk size: {line:?}")))?;
        if size == 0 {
            return Ok(Vec::new());
        }
        let chunk = self.exactly(size).await?;
        if self.exactly(2).await? != b"\r\n" {
            return Err(broken("a chunk without its line end"));
        }
        Ok(chunk)
    }

    /// A whole chunked body and its trailers.
    pub async fn chunked(&mut self) -> io::Result<(Vec<u8>, Fields)> {
        let mut body = Vec::new();
        loop {
            let chunk = self.chunk().await?;
            if chunk.is_empty() {
                return Ok((body, self.trailers().await?));
            }
            body.extend(chunk);
        }
    }

    /// The trailers behind the last chunk.
    pub async fn trailers(&mut self) -> io::Result<Fields> {
        let mut lines = String::new();
        loop {
            let line = self.until(b"\r\n").await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if line.is_empty() {
                return Fields::parse(&lines);
            }
            lines.push_str(&line);
            lines.push_str("\r\n");
        }
    }

    /// A request's body, however it is framed.
    pub async fn request_body(&mut self, head: &Head) -> io::Result<(Vec<u8>, Fields)> {
        if head.fields.get("transfer-encoding").is_some() {
            return self.chunked().await;
        }
        let length = head.fields.get("content-length").map_or(Ok(0), str::parse).map_err(broken)?;
        Ok((self.exactly(length).await?, Fields::default()))
    }
}
