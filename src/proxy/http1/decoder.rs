//! A message's body, taken off a connection's input as its framing says.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::chunked::{Chunked, Malformed, Piece};
use super::framing::Length;
use super::io::{HEAD_ROOM, Io};

/// Read at once of a large body.
const LARGE: usize = 128 << 10;
/// Read at once of a body whose size nobody knows.
const UNKNOWN: usize = 32 << 10;

/// What is left of a body.
#[derive(Debug)]
pub(in crate::proxy) enum Decoder {
    Ended,
    Exact { left: u64 },
    Chunked(Chunked),
    UntilClose,
}

/// Why a body could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum Broken {
    #[error("it ended early")]
    Cut,
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error(transparent)]
    Io(#[from] io::Error),
}

type Next = Option<Result<Frame<Bytes>, Broken>>;

impl Decoder {
    pub(in crate::proxy) fn new(length: Length) -> Self {
        match length {
            Length::None | Length::Exact(0) => Self::Ended,
            Length::Exact(left) => Self::Exact { left },
            Length::Chunked => Self::Chunked(Chunked::new()),
            Length::UntilClose => Self::UntilClose,
        }
    }

    pub(in crate::proxy) fn is_ended(&self) -> bool {
        match self {
            Self::Ended => true,
            Self::Chunked(chunked) => chunked.is_ended(),
            Self::Exact { .. } | Self::UntilClose => false,
        }
    }

    /// How much is left.
    pub(in crate::proxy) fn size(&self) -> SizeHint {
        match self {
            Self::Ended => SizeHint::with_exact(0),
            Self::Exact { left } => SizeHint::with_exact(*left),
            Self::Chunked(_) | Self::UntilClose => SizeHint::new(),
        }
    }

    /// The next piece; none at the end.
    pub(in crate::proxy) fn poll(&mut self, io: &mut Io, cx: &mut Context<'_>) -> Poll<Next> {
        loop {
            match self.take(io) {
                Ok(Piece::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Piece::Trailers(trailers)) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Ok(Piece::End) => return Poll::Ready(None),
                Ok(Piece::Incomplete) => {}
                Err(malformed) => return Poll::Ready(Some(Err(malformed.into()))),
            }
            match ready!(io.poll_fill(cx, self.room())) {
                Ok(0) if matches!(self, Self::UntilClose) => *self = Self::Ended,
                Ok(0) => return Poll::Ready(Some(Err(Broken::Cut))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
    }

    fn take(&mut self, io: &mut Io) -> Result<Piece, Malformed> {
        match self {
            Self::Ended => Ok(Piece::End),
            Self::Chunked(chunked) => chunked.decode(&mut io.input),
            _ if io.input.is_empty() => Ok(Piece::Incomplete),
            Self::UntilClose => Ok(Piece::Data(io.input.split().freeze())),
            Self::Exact { left } => {
                let taken = (*left).min(io.input.len() as u64);
                *left -= taken;
                if *left == 0 {
                    *self = Self::Ended;
                }
                Ok(Piece::Data(io.input.split_to(taken as usize).freeze()))
            }
        }
    }

    /// How much to read at once: large reads are what makes large bodies cheap.
    fn room(&self) -> usize {
        let known = |left: u64| (left as usize).clamp(HEAD_ROOM, LARGE);
        match self {
            Self::Exact { left } => known(*left),
            Self::Chunked(chunked) => known(chunked.expected()).max(UNKNOWN),
            Self::UntilClose | Self::Ended => UNKNOWN,
        }
    }
}
