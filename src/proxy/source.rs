//! Where a body comes from, whatever its sender speaks.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::error::BodyError;
use super::http1::framing::Length;
use super::http1::inbound::Inbound;
use super::http1::outbound::Outbound;

/// A body that is read piece by piece.
#[derive(Debug)]
pub(super) enum Source {
    Empty,
    /// A client's, over HTTP/1.1.
    Client(Rc<Inbound>),
    /// An upstream's, over HTTP/1.1: the connection comes along.
    Upstream(Box<Outbound>),
    /// Either one's, over HTTP/2.
    Http2(Incoming),
}

impl Source {
    /// The next piece; none at the end.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            Self::Empty => Poll::Ready(None),
            Self::Client(inbound) => inbound.poll_body(cx),
            Self::Upstream(outbound) => outbound.poll_body(cx),
            Self::Http2(incoming) => {
                Pin::new(incoming).poll_frame(cx).map(|piece| piece.map(|p| p.map_err(BodyError::Http2)))
            }
        }
    }

    /// Whether nothing more will come.
    pub(super) fn is_ended(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Client(inbound) => inbound.has_whole_body(),
            Self::Upstream(outbound) => outbound.has_whole_body(),
            Self::Http2(incoming) => incoming.is_end_stream(),
        }
    }

    /// How much will come, as far as it is known.
    pub(super) fn size(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Client(inbound) => inbound.body_size(),
            Self::Upstream(outbound) => outbound.body_size(),
            Self::Http2(incoming) => incoming.size_hint(),
        }
    }

    /// Its length in the terms of HTTP/1.1.
    pub(super) fn length(&self) -> Length {
        if self.is_ended() {
            return Length::None;
        }
        self.size().exact().map_or(Length::Chunked, Length::Exact)
    }
}
