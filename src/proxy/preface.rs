//! Tells HTTP/1.1 from HTTP/2 with prior knowledge by a connection's first bytes (RFC 9113, section 3.3), and gives
//! them back to whoever reads next.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Read at once; usually the whole first request, so that looking costs no further read.
const FIRST_READ: usize = 2048;

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    Http1,
    Http2,
}

/// A stream whose first bytes were looked at.
#[derive(Debug)]
pub(super) struct Prefaced<I> {
    first: BytesMut,
    io: I,
}

impl<I> Prefaced<I> {
    /// The bytes that were read, and the stream that goes on after them.
    pub(super) fn into_parts(self) -> (BytesMut, I) {
        (self.first, self.io)
    }
}

/// Reads until it is clear what is spoken. The caller bounds the wait. None: the client closed without a word.
pub(super) async fn read<I: AsyncRead + Unpin>(mut io: I) -> io::Result<Option<(Spoken, Prefaced<I>)>> {
    let mut first = BytesMut::with_capacity(FIRST_READ);
    loop {
        if io.read_buf(&mut first).await? == 0 {
            return Ok(None);
        }
        let seen = first.len().min(PREFACE.len());
        let spoken = match (first[..seen] == PREFACE[..seen], seen == PREFACE.len()) {
            (false, _) => Spoken::Http1,
            (true, true) => Spoken::Http2,
            (true, false) => continue,
        };
        return Ok(Some((spoken, Prefaced { first, io })));
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Prefaced<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let n = self.first.len().min(buf.remaining());
        buf.put_slice(&self.first[..n]);
        self.first.advance(n);
        if self.first.is_empty() {
            // Its memory is not needed any more, however long the connection lives.
            self.first = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Prefaced<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    async fn spoken(pieces: &[&[u8]]) -> Option<(Spoken, Vec<u8>)> {
        let (mut client, server) = tokio::io::duplex(64);
        let pieces: Vec<Vec<u8>> = pieces.iter().map(|p| p.to_vec()).collect();
        tokio::spawn(async move {
            for piece in pieces {
                client.write_all(&piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        let (spoken, mut io) = read(server).await.unwrap()?;
        let mut all = Vec::new();
        io.read_to_end(&mut all).await.unwrap();
        Some((spoken, all))
    }

    #[tokio::test]
    async fn http2_is_known_by_its_whole_preface_and_nothing_is_lost() {
        let whole = [PREFACE.as_slice(), b"more"].concat();
        assert_eq!(spoken(&[b"PRI * HT", b"TP/2.0\r\n\r\nSM", b"\r\n\r\nmore"]).await, Some((Spoken::Http2, whole)));
        let get = b"GET / HTTP/1.1\r\n\r\n";
        assert_eq!(spoken(&[get]).await, Some((Spoken::Http1, get.to_vec())));
        assert_eq!(spoken(&[b"P", b"OST /"]).await, Some((Spoken::Http1, b"POST /".to_vec())));
        assert_eq!(spoken(&[]).await, None);
    }
}
