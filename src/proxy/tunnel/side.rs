//! One side of a tunnel: what it says is read and passed on to the other one.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::model::websocket::Frames;

/// When one side has closed, the other may be silent for so long before it is closed, too.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Signs of life of a tunnel.
#[derive(Debug)]
pub(super) struct Pulse {
    /// When something passed in either direction.
    pub(super) last: Instant,
    pub(super) idle: Duration,
}

impl Pulse {
    /// When it has been silent for too long. Once a side has closed, the other one may have something left to say, but
    /// no longer anybody who waits for it.
    pub(super) fn due(&self, half_closed: bool) -> Instant {
        self.last + if half_closed { self.idle.min(LAST_WORDS) } else { self.idle }
    }
}

/// One side of a tunnel, as a source.
#[derive(Debug)]
pub(super) struct Side<W> {
    pub(super) wire: W,
    /// What was read from it, and the other side did not take yet.
    pub(super) held: BytesMut,
    /// Bytes read from it and taken by the other side.
    pub(super) passed: u64,
    /// What it says, followed in step.
    pub(super) frames: Frames,
    pub(super) state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Open,
    /// It has nothing more to say; the other side is yet to be told.
    Closing,
    Closed,
}

impl<W: AsyncRead + AsyncWrite + Unpin> Side<W> {
    /// `held` was read from it already.
    pub(super) fn new(wire: W, held: BytesMut) -> Self {
        let mut frames = Frames::default();
        frames.follow(&held);
        Self { wire, held, passed: 0, frames, state: State::Open }
    }

    /// Moves what can be moved. Ready when this side has closed and the other one knows.
    pub(super) fn copy_to<O: AsyncWrite + Unpin>(
        &mut self,
        other: &mut Side<O>,
        scratch: &mut [u8],
        pulse: &mut Pulse,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.state == State::Closed {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_deliver(other, pulse, cx))?;
            if self.state == State::Closing {
                ready!(Pin::new(&mut other.wire).poll_shutdown(cx))?;
                self.state = State::Closed;
                continue;
            }
            let read = ready!(self.poll_read(scratch, cx))?;
            if read.is_empty() {
                pulse.last = Instant::now();
                continue;
            }
            self.frames.follow(read);
            match Pin::new(&mut other.wire).poll_write(cx, read)? {
                Poll::Ready(taken) => {
                    self.pass(taken, pulse)?;
                    self.held.extend_from_slice(&read[taken..]);
                }
                Poll::Pending => self.held.extend_from_slice(read),
            }
        }
    }

    /// Ready when the other side has taken all that is held.
    pub(super) fn poll_deliver<O: AsyncWrite + Unpin>(
        &mut self,
        other: &mut Side<O>,
        pulse: &mut Pulse,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let taken = ready!(Pin::new(&mut other.wire).poll_write(cx, &self.held))?;
            self.pass(taken, pulse)?;
            self.held.advance(taken);
        }
        self.held = BytesMut::new();
        Pin::new(&mut other.wire).poll_flush(cx)
    }

    /// What it says next; nothing when it has closed.
    pub(super) fn poll_read<'s>(&mut self, scratch: &'s mut [u8], cx: &mut Context<'_>) -> Poll<io::Result<&'s [u8]>> {
        let mut read = ReadBuf::new(scratch);
        ready!(Pin::new(&mut self.wire).poll_read(cx, &mut read))?;
        let length = read.filled().len();
        if length == 0 {
            self.state = State::Closing;
        }
        Poll::Ready(Ok(&scratch[..length]))
    }

    fn pass(&mut self, taken: usize, pulse: &mut Pulse) -> io::Result<()> {
        if taken == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.passed += taken as u64;
        pulse.last = Instant::now();
        Ok(())
    }
}
