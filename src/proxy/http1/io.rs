//! A wire with what was read from it and not yet used, and what is to be written.
//!
//! Small pieces gather in one buffer and leave together; a large one is sent from where it lies. Whoever adds more
//! looks at [`Io::is_full`] first: that is how back-pressure reaches the other side.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use tokio::io::{AsyncReadExt, AsyncWrite};

use super::render;
use crate::proxy::wire::Wire;

/// Read at once for heads.
pub(in crate::proxy) const HEAD_ROOM: usize = 4 << 10;
/// Pieces up to this size are copied together with what goes before and after them.
const SMALL: usize = 8 << 10;
/// Small pieces gather up to this size.
const FULL: usize = 16 << 10;

/// A wire with its buffers.
#[derive(Debug)]
pub(in crate::proxy) struct Io {
    wire: Wire,
    pub(in crate::proxy) input: BytesMut,
    pub(in crate::proxy) output: Vec<u8>,
    /// So much of `output` has left.
    left: usize,
    /// Goes after `output`.
    piece: Bytes,
    /// Goes after `piece`.
    after: Bytes,
    written: u64,
}

impl Io {
    /// `input` was read already.
    pub(in crate::proxy) fn new(wire: Wire, input: BytesMut) -> Self {
        Self { wire, input, output: Vec::new(), left: 0, piece: Bytes::new(), after: Bytes::new(), written: 0 }
    }

    /// Bytes written so far.
    pub(in crate::proxy) fn written(&self) -> u64 {
        self.written
    }

    /// The wire, and what was read from it and not used. There should be nothing left to write.
    pub(in crate::proxy) fn into_parts(self) -> (Wire, BytesMut) {
        (self.wire, self.input)
    }

    /// Reads more input, up to about `room` bytes at a time; 0: the other side has nothing more to say.
    pub(in crate::proxy) fn poll_fill(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        if self.input.capacity() - self.input.len() < room / 4 {
            self.input.reserve(room);
        }
        pin!(self.wire.read_buf(&mut self.input)).poll(cx)
    }

    /// Whether there may be something to read; if not, the task is woken when there is.
    pub(in crate::proxy) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.wire.poll_readable(cx)
    }

    /// Whether the other side has closed, even where something is still to be read.
    pub(in crate::proxy) fn has_hung_up(&self) -> bool {
        self.wire.has_hung_up()
    }

    /// Whether an idle connection is of no use any more: the other side has closed it, or says what nobody asked for.
    pub(in crate::proxy) fn has_died(&mut self) -> bool {
        !self.input.is_empty() || self.poll_fill(&mut Context::from_waker(Waker::noop()), HEAD_ROOM).is_ready()
    }

    /// Whether what is to be written should leave before anything is added.
    pub(in crate::proxy) fn is_full(&self) -> bool {
        !self.piece.is_empty() || self.output.len() - self.left >= FULL
    }

    pub(in crate::proxy) fn has_output(&self) -> bool {
        !self.output.is_empty() || !self.piece.is_empty()
    }

    /// Adds a piece of a body. Only when not [`Self::is_full`].
    pub(in crate::proxy) fn push(&mut self, data: Bytes) {
        if data.len() <= SMALL {
            self.output.extend_from_slice(&data);
        } else {
            self.piece = data;
        }
    }

    /// Adds a piece of a body as a chunk. Only when not [`Self::is_full`].
    pub(in crate::proxy) fn push_chunk(&mut self, data: Bytes) {
        if data.is_empty() {
            // An empty chunk would be the last.
            return;
        }
        render::chunk_start(&mut self.output, data.len());
        let small = data.len() <= SMALL;
        self.push(data);
        if small {
            self.output.extend_from_slice(render::CHUNK_END);
        } else {
            self.after = Bytes::from_static(render::CHUNK_END);
        }
    }

    /// Adds the end of a chunked body; also while [`Self::is_full`].
    pub(in crate::proxy) fn finish_chunks(&mut self, trailers: &HeaderMap) {
        if self.piece.is_empty() {
            return render::last_chunk(&mut self.output, trailers);
        }
        let mut after = self.after.to_vec();
        render::last_chunk(&mut after, trailers);
        self.after = after.into();
    }

    /// Writes what there is to write. Ready when all of it has left.
    pub(in crate::proxy) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.has_output() {
            let wire = Pin::new(&mut self.wire);
            let written = if self.piece.is_empty() {
                ready!(wire.poll_write(cx, &self.output[self.left..]))?
            } else {
                let slices =
                    [IoSlice::new(&self.output[self.left..]), IoSlice::new(&self.piece), IoSlice::new(&self.after)];
                ready!(wire.poll_write_vectored(cx, &slices[usize::from(self.output.is_empty())..]))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += written as u64;
            self.take_off(written);
        }
        Pin::new(&mut self.wire).poll_flush(cx)
    }

    fn take_off(&mut self, written: usize) {
        let head = written.min(self.output.len() - self.left);
        self.left += head;
        if self.left == self.output.len() {
            self.output.clear();
            self.left = 0;
        }
        let piece = (written - head).min(self.piece.len());
        self.piece.advance(piece);
        if self.piece.is_empty() {
            self.piece = Bytes::new();
            // What is left of it is too little to be sent alone.
            self.output.extend_from_slice(&self.after[written - head - piece..]);
            self.after = Bytes::new();
        }
    }

    /// Tells the other side that nothing more will be said.
    pub(in crate::proxy) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(cx)
    }

    /// Has the connection reset when it is dropped.
    pub(in crate::proxy) fn break_off(&self) {
        self.wire.break_off();
    }

    /// Gives the memory of empty buffers back.
    pub(in crate::proxy) fn shrink(&mut self) {
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        if self.output.is_empty() {
            self.output = Vec::new();
        }
    }
}
