//! A client's body on its way to an upstream, streamed, never held whole.
//!
//! An upload that nobody has begun to read can be given to a second attempt.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::alarm::Alarm;
use super::error::BodyError;
use super::http1::framing::Length;
use super::source::Source;

/// An upstream may never have heard of `Expect` (RFC 9110, section 10.1.1): then the body is sent after so long.
const PATIENCE_WITH_EXPECT: Duration = Duration::from_secs(1);

/// The client's body, which attempts share until one of them has begun to read it.
#[derive(Debug)]
pub(super) struct Upload {
    source: RefCell<Source>,
    /// Most bytes that are let through.
    limit: u64,
    passed: Cell<u64>,
    state: Cell<State>,
    last: Cell<Instant>,
    /// Whether it is the client that keeps the upstream waiting, and not the other way round.
    awaited: Cell<bool>,
    gate: RefCell<Option<Gate>>,
    /// A task of its own that waits for more, where HTTP/2 has one.
    reader: RefCell<Option<Waker>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nobody has begun to read it.
    Held,
    Begun,
    Ended,
    Failed,
    TooLarge,
    /// Nobody wants the rest.
    Stopped,
}

/// Keeps a body back until the upstream asks for it, or has let us wait for long enough.
#[derive(Debug)]
struct Gate {
    until: Instant,
    alarm: Alarm,
}

impl Upload {
    /// A body of which no more than `limit` bytes are let through.
    pub(super) fn new(source: Source, limit: u64) -> Rc<Self> {
        Rc::new(Self {
            source: RefCell::new(source),
            limit,
            passed: Cell::new(0),
            state: Cell::new(State::Held),
            last: Cell::new(Instant::now()),
            awaited: Cell::new(false),
            gate: RefCell::new(None),
            reader: RefCell::new(None),
        })
    }

    /// Reads no more of it, whoever still holds it: what comes next on the client's connection is not its own.
    fn stop(&self) {
        *self.source.borrow_mut() = Source::Empty;
        if matches!(self.state.get(), State::Held | State::Begun) {
            self.state.set(State::Stopped);
        }
        if let Some(reader) = self.reader.borrow_mut().take() {
            reader.wake();
        }
    }

    /// Its length, as the client says.
    pub(super) fn length(&self) -> Length {
        self.source.borrow().length()
    }

    /// Whether the last that was heard of it is that the client has no more of it yet.
    pub(super) fn is_awaited(&self) -> bool {
        self.awaited.get()
    }

    /// Reads none of it, and so does not tell the client to send it, before [`Self::let_go`].
    pub(super) fn hold_back(&self) {
        let gate = Gate { until: Instant::now() + PATIENCE_WITH_EXPECT, alarm: Alarm::default() };
        *self.gate.borrow_mut() = Some(gate);
    }

    /// Lets it be read at once.
    pub(super) fn let_go(&self) {
        *self.gate.borrow_mut() = None;
    }

    fn poll_gate(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut gate = self.gate.borrow_mut();
        if let Some(closed) = &mut *gate {
            ready!(closed.alarm.poll(cx, closed.until));
            *gate = None;
        }
        Poll::Ready(())
    }

    /// Whether an attempt has begun to read it: no other attempt can have it.
    pub(super) fn has_begun(&self) -> bool {
        self.state.get() != State::Held
    }

    /// Whether it has arrived whole.
    pub(super) fn has_ended(&self) -> bool {
        self.state.get() == State::Ended
    }

    /// Whether the client broke it off.
    pub(super) fn has_failed(&self) -> bool {
        self.state.get() == State::Failed
    }

    /// Whether it was larger than it may be.
    pub(super) fn is_too_large(&self) -> bool {
        self.state.get() == State::TooLarge
    }

    /// When the last byte came.
    pub(super) fn last_byte(&self) -> Instant {
        self.last.get()
    }

    /// Its next piece.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if matches!(self.state.get(), State::Failed | State::TooLarge | State::Stopped) {
            return Poll::Ready(Some(Err(BodyError::Stopped)));
        }
        ready!(self.poll_gate(cx));
        if self.state.get() == State::Held {
            self.state.set(State::Begun);
        }
        let mut source = self.source.borrow_mut();
        let polled = source.poll(cx);
        self.awaited.set(polled.is_pending());
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.last.set(Instant::now());
                let length = frame.data_ref().map_or(0, Bytes::len);
                self.passed.set(self.passed.get() + length as u64);
                if self.passed.get() > self.limit {
                    self.state.set(State::TooLarge);
                    return Poll::Ready(Some(Err(BodyError::TooLarge)));
                }
            }
            Poll::Ready(Some(Err(_))) => {
                self.state.set(State::Failed);
                return polled;
            }
            Poll::Ready(None) | Poll::Pending => {}
        }
        if matches!(polled, Poll::Ready(None)) || source.is_ended() {
            self.state.set(State::Ended);
        }
        polled
    }
}

/// Stops an upload when its request is over. Over HTTP/2 the body is sent by a task of its own, which outlives an answer
/// that came early; it would go on to read what the client sends next.
#[derive(Debug)]
pub(super) struct StopsUpload(pub(super) Rc<Upload>);

impl Drop for StopsUpload {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// What is sent to an upstream over HTTP/2.
#[derive(Debug)]
pub(super) enum OutgoingBody {
    /// Nothing.
    Empty,
    /// The client's body.
    Upload(Rc<Upload>),
}

impl Body for OutgoingBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Upload(upload) => {
                let polled = upload.poll(cx);
                if polled.is_pending() {
                    *upload.reader.borrow_mut() = Some(cx.waker().clone());
                }
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Upload(upload) => upload.source.borrow().is_ended(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Upload(upload) => upload.source.borrow().size(),
        }
    }
}
