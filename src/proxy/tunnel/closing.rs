//! The end of a tunnel that was told to end: a Close frame each way (RFC 6455, section 5.5.1), then the answers to
//! them, then the ends of both connections, which whoever has answered ends, too.
//!
//! A Close frame stands between two messages: what is left of the message under way is passed on first, and nothing
//! that comes after it. Where a message in fragments takes too long for that, it stands between two fragments, which the
//! protocol allows (section 5.4), but not every library understands. A direction that has carried a Close already gets
//! none.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};

use super::side::{Pulse, Side, State};
use crate::model::outcome::TunnelEnd;
use crate::model::websocket::{self, Border};
use crate::proxy::alarm::Alarm;
use crate::routing::table::Farewell;

/// Each step takes this long at the most: to the end of the message, else to that of the frame; for the answers; for the
/// ends.
const PATIENCE: Duration = Duration::from_millis(Farewell::LONGEST_END.as_millis() as u64 / 4);

/// How far the end of a tunnel has come.
#[derive(Debug)]
pub(super) struct Closing {
    code: u16,
    /// What the client says, on its way to the upstream.
    up: Direction,
    down: Direction,
    step: Step,
    /// Where the words may end.
    border: Border,
    due: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Both sides get what is theirs, up to a Close.
    Words,
    /// Both sides answer.
    Answers,
    /// Both connections end.
    Ends,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    /// A message is under way.
    UnderWay,
    /// Its last bytes are.
    Leaving(Word),
    Over(Word),
}

/// What a direction ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    /// Our Close.
    Ours,
    /// The one of the side that speaks.
    Theirs,
    /// None.
    Nothing,
}

/// How a direction ends.
struct Last<'a> {
    border: Border,
    close: &'a dyn Fn() -> Vec<u8>,
}

impl Closing {
    pub(super) fn new(code: u16, now: Instant) -> Self {
        let (up, down) = (Direction::UnderWay, Direction::UnderWay);
        Self { code, up, down, step: Step::Words, border: Border::Message, due: now + PATIENCE }
    }

    /// Ready when it is over.
    pub(super) fn poll<C, U>(
        &mut self,
        client: &mut Side<C>,
        upstream: &mut Side<U>,
        pulse: &mut Pulse,
        alarm: &mut Alarm,
        scratch: &mut [u8],
        cx: &mut Context<'_>,
    ) -> Poll<TunnelEnd>
    where
        C: AsyncRead + AsyncWrite + Unpin,
        U: AsyncRead + AsyncWrite + Unpin,
    {
        loop {
            let done = match self.step {
                Step::Words => {
                    let masked = Last { border: self.border, close: &|| masked(self.code) };
                    let up = self.up.poll(client, upstream, &masked, pulse, scratch, cx);
                    let plain = Last { border: self.border, close: &|| websocket::close_frame(self.code, None) };
                    let down = self.down.poll(upstream, client, &plain, pulse, scratch, cx);
                    up.is_ready() && down.is_ready()
                }
                Step::Answers => {
                    // Who was told nothing has nothing to answer.
                    let client = self.down.word() == Word::Nothing || poll_answer(client, scratch, cx).is_ready();
                    let upstream = self.up.word() == Word::Nothing || poll_answer(upstream, scratch, cx).is_ready();
                    client && upstream
                }
                Step::Ends => {
                    let client = poll_end(client, scratch, cx);
                    let upstream = poll_end(upstream, scratch, cx);
                    client.is_ready() && upstream.is_ready()
                }
            };
            // The clock first: where bytes come without end, a timer has no turn.
            if !done && Instant::now() < self.due {
                ready!(alarm.poll(cx, self.due));
            }
            match self.step {
                Step::Words if !done && self.border == Border::Message => self.border = Border::Frame,
                Step::Words => self.step = Step::Answers,
                Step::Answers => self.step = Step::Ends,
                Step::Ends => return Poll::Ready(self.end()),
            }
            self.due = Instant::now() + PATIENCE;
        }
    }

    fn end(&self) -> TunnelEnd {
        match (self.up.word(), self.down.word()) {
            (Word::Nothing, _) | (_, Word::Nothing) => TunnelEnd::Cut,
            (Word::Theirs, Word::Theirs) => TunnelEnd::Closed,
            (Word::Ours, _) | (_, Word::Ours) => TunnelEnd::Told,
        }
    }
}

/// What goes to a server is masked, each frame with a key of its own that nobody can foresee (section 5.3).
fn masked(code: u16) -> Vec<u8> {
    let mut key = [0; 4];
    // Without randomness nobody could foresee less: the frame has nothing that a client has chosen.
    let _ = aws_lc_rs::rand::fill(&mut key);
    websocket::close_frame(code, Some(key))
}

impl Direction {
    /// What it has ended with; nothing where it has not.
    fn word(self) -> Word {
        if let Self::Over(word) = self { word } else { Word::Nothing }
    }

    /// Passes on what is left to be passed on. Ready when that is over; from then on what comes is only looked at.
    fn poll<F, T>(
        &mut self,
        from: &mut Side<F>,
        to: &mut Side<T>,
        last: &Last<'_>,
        pulse: &mut Pulse,
        scratch: &mut [u8],
        cx: &mut Context<'_>,
    ) -> Poll<()>
    where
        F: AsyncRead + AsyncWrite + Unpin,
        T: AsyncWrite + Unpin,
    {
        loop {
            match *self {
                Self::UnderWay if from.frames.is_at(last.border) => *self = arrive(from, last.close),
                Self::UnderWay => {
                    if ready!(from.poll_deliver(to, pulse, cx)).is_err() || from.state != State::Open {
                        *self = Self::Over(Word::Nothing);
                        continue;
                    }
                    let Ok(read) = ready!(from.poll_read(scratch, cx)) else {
                        *self = Self::Over(Word::Nothing);
                        continue;
                    };
                    let passed = from.frames.to_border(read, last.border);
                    from.held.extend_from_slice(&read[..passed]);
                    if from.frames.is_at(last.border) {
                        *self = arrive(from, last.close);
                        from.frames.follow(&read[passed..]);
                    } else if from.frames.is_lost() {
                        *self = Self::Over(Word::Nothing);
                    }
                }
                Self::Leaving(word) => {
                    let left = ready!(from.poll_deliver(to, pulse, cx)).is_ok();
                    *self = Self::Over(if left { word } else { Word::Nothing });
                }
                Self::Over(_) => {
                    // Read on: whoever cannot say what it says may not listen, either.
                    let _ = poll_answer(from, scratch, cx);
                    return Poll::Ready(());
                }
            }
        }
    }
}

/// At the end of a frame: adds the Close, where there was none.
fn arrive<F>(from: &mut Side<F>, close: &dyn Fn() -> Vec<u8>) -> Direction {
    if from.frames.close_code().is_some() {
        return Direction::Leaving(Word::Theirs);
    }
    if from.state == State::Closed {
        // The other side was told that nothing more will come.
        return Direction::Over(Word::Nothing);
    }
    from.held.extend_from_slice(&close());
    Direction::Leaving(Word::Ours)
}

/// Reads what a side says, and passes on none of it. Ready when it has said Close, or nothing more will come.
fn poll_answer<W>(side: &mut Side<W>, scratch: &mut [u8], cx: &mut Context<'_>) -> Poll<()>
where
    W: AsyncRead + AsyncWrite + Unpin,
{
    while side.frames.close_code().is_none() && side.state == State::Open {
        match ready!(side.poll_read(scratch, cx)) {
            Ok(read) => side.frames.follow(read),
            Err(_) => side.state = State::Closing,
        }
    }
    Poll::Ready(())
}

/// Ends a connection. Ready when whoever has said Close has ended it, too: what was not read by then would break it off
/// before the other side has read all.
fn poll_end<W>(side: &mut Side<W>, scratch: &mut [u8], cx: &mut Context<'_>) -> Poll<()>
where
    W: AsyncRead + AsyncWrite + Unpin,
{
    let ended = Pin::new(&mut side.wire).poll_shutdown(cx);
    while side.frames.close_code().is_some() && side.state == State::Open {
        if ready!(side.poll_read(scratch, cx)).is_err() {
            side.state = State::Closing;
        }
    }
    ended.map(|_| ())
}
