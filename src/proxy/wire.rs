//! The byte streams that the proxy speaks over: TCP or a unix socket, plain or in TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsStream;

/// A connected socket.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A socket, or TLS over it.
#[derive(Debug)]
pub(super) enum Wire {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

impl Wire {
    fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Has the connection reset when it is dropped, so that the other side does not take its end for that of a message.
    pub(super) fn break_off(&self) {
        if let Socket::Tcp(stream) = self.socket() {
            // Where that fails, nothing tells the other side.
            let _ = stream.set_zero_linger();
        }
    }

    /// Whether there may be something to read; if not, the task is woken when there is. As [`Self::readable`].
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self.socket() {
            Socket::Tcp(stream) => stream.poll_read_ready(cx).map(|_| ()),
            Socket::Unix(stream) => stream.poll_read_ready(cx).map(|_| ()),
        }
    }

    /// Whether the other side has closed, even where something is still to be read. As of the last event; no system call.
    pub(super) fn has_hung_up(&self) -> bool {
        // Beside urgent data, which nobody sends, this interest means the end of what will come, and not that something
        // has come.
        let closed = Interest::PRIORITY;
        match self.socket() {
            Socket::Tcp(stream) => stream.try_io(closed, || Ok(())).is_ok(),
            Socket::Unix(stream) => stream.try_io(closed, || Ok(())).is_ok(),
        }
    }

    /// Resolves when there is something to read, or the other side has closed. Whoever waits must have seen a read
    /// that had nothing to give before: TLS may hold what it has read already.
    pub(super) async fn readable(&self) -> io::Result<()> {
        match self.socket() {
            Socket::Tcp(stream) => stream.readable().await,
            Socket::Unix(stream) => stream.readable().await,
        }
    }
}

macro_rules! delegate {
    ($type:ident: $($variant:ident),+) => {
        impl AsyncRead for $type {
            fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() { $(Self::$variant(stream) => Pin::new(stream).poll_read(cx, buf)),+ }
            }
        }

        impl AsyncWrite for $type {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
                match self.get_mut() { $(Self::$variant(stream) => Pin::new(stream).poll_write(cx, buf)),+ }
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() { $(Self::$variant(stream) => Pin::new(stream).poll_write_vectored(cx, bufs)),+ }
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() { $(Self::$variant(stream) => Pin::new(stream).poll_flush(cx)),+ }
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() { $(Self::$variant(stream) => Pin::new(stream).poll_shutdown(cx)),+ }
            }
        }
    };
}

delegate!(Socket: Tcp, Unix);
delegate!(Wire: Plain, Tls);
