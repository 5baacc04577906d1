//! A client's connection that speaks HTTP/1.1: heads and bodies of requests in, answers out.
//!
//! Shared, within one task, by whoever serves the connection and the upload that reads a request's body from it.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::{Frame, SizeHint};

use super::decoder::{Broken, Decoder};
use super::framing::Length;
use super::head::{self, Refusal, RequestHead, Search};
use super::io::{HEAD_ROOM, Io};
use super::render::{self, Manner};
use crate::model::fields::{Fields, Known};
use crate::proxy::body::ResponseBody;
use crate::proxy::error::BodyError;
use crate::proxy::wire::Wire;

/// A client's connection.
#[derive(Debug)]
pub(in crate::proxy) struct Inbound(RefCell<State>);

#[derive(Debug)]
struct State {
    io: Io,
    search: Search,
    /// The present request's.
    body: Decoder,
    asked: Asked,
    /// The client has closed its side: nothing more will come.
    said_all: bool,
    /// Its connection has failed, or it has broken off its body.
    gone: bool,
    /// HTTP/1.1: it understands answers ahead of the answer.
    takes_interim: bool,
}

/// Whether the client was asked for its body (`Expect: 100-continue`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// It does not wait for that.
    NeedNot,
    NotYet,
    Yes,
}

/// What came instead of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum NoHead {
    Refused(Refusal),
    /// The client has closed.
    Closed,
}

/// What a client does while it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Presence {
    Waits,
    /// It has closed its side; it may still be reading, or be gone.
    HalfClosed,
    Gone,
}

/// How an answer went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Delivered {
    Whole,
    /// It broke off; the client must notice.
    Broken,
}

impl Inbound {
    /// `io` may have read the beginning already.
    pub(in crate::proxy) fn new(io: Io) -> Rc<Self> {
        Rc::new(Self(RefCell::new(State {
            io,
            search: Search::default(),
            body: Decoder::Ended,
            asked: Asked::NeedNot,
            said_all: false,
            gone: false,
            takes_interim: false,
        })))
    }

    /// Its wire and buffers, when nobody else has a hand on it.
    pub(in crate::proxy) fn into_io(self: Rc<Self>) -> Option<Io> {
        Rc::into_inner(self).map(|inbound| inbound.0.into_inner().io)
    }

    /// Its wire, when nothing is left in its buffers.
    pub(in crate::proxy) fn into_wire(self: Rc<Self>) -> Option<Wire> {
        self.into_io().map(Io::into_parts).filter(|(_, rest)| rest.is_empty()).map(|(wire, _)| wire)
    }

    /// Whether some of the next request has come.
    pub(in crate::proxy) fn has_begun(&self) -> bool {
        !self.0.borrow().io.input.is_empty()
    }

    /// How much has come that nobody has used yet.
    pub(in crate::proxy) fn buffered(&self) -> usize {
        self.0.borrow().io.input.len()
    }

    /// Whether it has closed its side, even where not all that it has said was read.
    pub(in crate::proxy) fn has_hung_up(&self) -> bool {
        self.0.borrow().io.has_hung_up()
    }

    /// The head of the next request. From then on its body can be read.
    pub(in crate::proxy) fn poll_head(&self, cx: &mut Context<'_>) -> Poll<Result<RequestHead, NoHead>> {
        let state = &mut *self.0.borrow_mut();
        loop {
            if let Some(head) = head::request(&mut state.io.input, &mut state.search).map_err(NoHead::Refused)? {
                state.body = Decoder::new(head.length);
                state.asked = if head.expects { Asked::NotYet } else { Asked::NeedNot };
                state.takes_interim = head.call.version == http::Version::HTTP_11;
                return Poll::Ready(Ok(head));
            }
            if state.said_all {
                return Poll::Ready(Err(NoHead::Closed));
            }
            match ready!(state.io.poll_fill(cx, HEAD_ROOM)) {
                Ok(0) | Err(_) => return Poll::Ready(Err(NoHead::Closed)),
                Ok(_) => {}
            }
        }
    }

    /// The next piece of the request's body; none at its end. A client that waits to be asked is asked first.
    pub(in crate::proxy) fn poll_body(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let state = &mut *self.0.borrow_mut();
        if state.asked == Asked::NotYet {
            state.asked = Asked::Yes;
            // Where some of it has come unasked, there is nothing to ask for (RFC 9110, section 10.1.1).
            if state.io.input.is_empty() {
                render::interim(&mut state.io.output, StatusCode::CONTINUE, &Fields::new());
            }
        }
        if state.io.has_output() {
            // That it cannot be written is found out by reading, or by whoever writes the answer.
            let _ = state.io.poll_flush(cx);
        }
        let polled = state.body.poll(&mut state.io, cx);
        match &polled {
            Poll::Ready(Some(Err(Broken::Cut))) => state.said_all = true,
            // An error is told once: nobody would see it who reads again.
            Poll::Ready(Some(Err(Broken::Io(_) | Broken::Malformed(_)))) => state.gone = true,
            _ => {}
        }
        polled.map(|piece| piece.map(|p| p.map_err(BodyError::Http1)))
    }

    pub(in crate::proxy) fn has_whole_body(&self) -> bool {
        self.0.borrow().body.is_ended()
    }

    /// Whether it waits to be asked for its body, and nobody did.
    pub(in crate::proxy) fn waits_in_vain(&self) -> bool {
        self.0.borrow().asked == Asked::NotYet
    }

    pub(in crate::proxy) fn body_size(&self) -> SizeHint {
        self.0.borrow().body.size()
    }

    /// Adds an answer ahead of the answer; it leaves with what follows, or when there is time.
    pub(in crate::proxy) fn interim(&self, status: StatusCode, header: &Fields) {
        let state = &mut *self.0.borrow_mut();
        if state.takes_interim {
            render::interim(&mut state.io.output, status, header);
        }
    }

    /// Looks whether the client is still there. Of what it says meanwhile, no more than one read is taken.
    pub(in crate::proxy) fn poll_presence(&self, cx: &mut Context<'_>) -> Presence {
        let state = &mut *self.0.borrow_mut();
        if state.gone || (state.io.has_output() && matches!(state.io.poll_flush(cx), Poll::Ready(Err(_)))) {
            return Presence::Gone;
        }
        let listens = state.body.is_ended() && state.io.input.is_empty() && !state.said_all;
        if listens && state.io.poll_readable(cx).is_ready() {
            match state.io.poll_fill(cx, HEAD_ROOM) {
                Poll::Ready(Ok(0)) => state.said_all = true,
                Poll::Ready(Err(_)) => return Presence::Gone,
                Poll::Ready(Ok(_)) | Poll::Pending => {}
            }
        }
        if state.said_all { Presence::HalfClosed } else { Presence::Waits }
    }

    /// Puts the head of an answer into the output.
    pub(in crate::proxy) fn begin_answer(
        &self,
        status: StatusCode,
        header: &Fields,
        manner: Manner,
        date: &HeaderValue,
    ) {
        render::response(&mut self.0.borrow_mut().io.output, status, header, manner, date);
    }

    /// Whether there is something that the client has yet to take.
    pub(in crate::proxy) fn has_output(&self) -> bool {
        self.0.borrow().io.has_output()
    }

    /// Bytes written so far, in all answers.
    pub(in crate::proxy) fn written(&self) -> u64 {
        self.0.borrow().io.written()
    }

    /// Moves the answer's body out, in the framing that its head has named.
    pub(in crate::proxy) fn poll_answer(
        &self,
        cx: &mut Context<'_>,
        body: &mut ResponseBody,
        framing: &mut Length,
    ) -> Poll<Delivered> {
        loop {
            if *framing == Length::None || self.is_full() {
                match ready!(self.poll_flush(cx)) {
                    Ok(()) if *framing == Length::None => return Poll::Ready(Delivered::Whole),
                    Ok(()) => {}
                    Err(_) => return Poll::Ready(Delivered::Broken),
                }
            }
            // The body may read from this very connection: it must not be borrowed meanwhile.
            match body.poll(cx) {
                Poll::Ready(Some(Ok(frame))) => self.add(frame, body, framing),
                Poll::Ready(None) => self.end_answer(framing, &HeaderMap::new()),
                Poll::Ready(Some(Err(_))) => {
                    let _ = self.poll_flush(cx);
                    return Poll::Ready(Delivered::Broken);
                }
                Poll::Pending => {
                    return match self.poll_flush(cx) {
                        Poll::Ready(Err(_)) => Poll::Ready(Delivered::Broken),
                        Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
                    };
                }
            }
        }
    }

    fn is_full(&self) -> bool {
        self.0.borrow().io.is_full()
    }

    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.0.borrow_mut().io.poll_flush(cx)
    }

    /// Adds a piece; after it, `framing` says none when it was the last.
    fn add(&self, frame: Frame<Bytes>, body: &ResponseBody, framing: &mut Length) {
        match (frame.into_data(), *framing) {
            (Ok(data), Length::Chunked) => self.0.borrow_mut().io.push_chunk(data),
            (Ok(data), _) => self.0.borrow_mut().io.push(data),
            (Err(frame), _) => return self.end_answer(framing, &frame.into_trailers().unwrap_or_default()),
        }
        if body.has_ended() {
            self.end_answer(framing, &HeaderMap::new());
        }
    }

    fn end_answer(&self, framing: &mut Length, trailers: &HeaderMap) {
        if *framing == Length::Chunked {
            self.0.borrow_mut().io.finish_chunks(trailers);
        }
        *framing = Length::None;
    }

    /// Reads and forgets what the client still sends; ready when it has closed.
    pub(in crate::proxy) fn poll_ignore(&self, cx: &mut Context<'_>) -> Poll<()> {
        let state = &mut *self.0.borrow_mut();
        loop {
            state.io.input.clear();
            match ready!(state.io.poll_fill(cx, HEAD_ROOM)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
    }

    /// Has the connection reset when it is dropped.
    pub(in crate::proxy) fn break_off(&self) {
        self.0.borrow().io.break_off();
    }

    /// Says that nothing more will come.
    pub(in crate::proxy) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.borrow_mut().io.poll_shutdown(cx).map(|_| ())
    }
}

/// How the head of an answer is written, for a client of that version, to a request with that method.
pub(in crate::proxy) fn manner(
    status: StatusCode,
    header: &Fields,
    length: Length,
    request: Request,
    connection: Connection,
) -> Manner {
    let bodiless = status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    // RFC 9110, section 8.6: 204 has no length at all.
    let told = status == StatusCode::NOT_MODIFIED || (request.head && !bodiless);
    let keeps_length = told && header.has(Known::ContentLength);
    let length = match length {
        _ if bodiless || keeps_length => Length::None,
        Length::None if request.head => Length::None,
        Length::None => Length::Exact(0),
        Length::Exact(length) => Length::Exact(length),
        Length::Chunked | Length::UntilClose if request.version_1_0 => Length::UntilClose,
        Length::Chunked | Length::UntilClose => Length::Chunked,
    };
    let connection = match connection {
        Connection::Close => Some("close"),
        _ if length == Length::UntilClose => Some("close"),
        Connection::Keep => request.version_1_0.then_some("keep-alive"),
    };
    Manner { length, keeps_length, connection }
}

/// What an answer has to know of its request.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct Request {
    pub(in crate::proxy) head: bool,
    pub(in crate::proxy) version_1_0: bool,
}

/// What becomes of the connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Connection {
    Keep,
    Close,
}
