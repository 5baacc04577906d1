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
    /// Both sides get what is theirs, up to a border. Neither gets its Close before both directions have come to one:
    /// whoever hears it answers at once, in the middle of what it is saying.
    Words,
    /// Both get a Close, and answer.
    Answers,
    /// Both connections end.
    Ends,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    /// A message is under way.
    UnderWay,
    /// It stands at a border, and is to end with this.
    Waits(Word),
    /// Its last bytes are under way.
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
                    let up = self.up.reach(self.border, client, upstream, pulse, scratch, cx);
                    let down = self.down.reach(self.border, upstream, client, pulse, scratch, cx);
                    up.is_ready() && down.is_ready()
                }
                Step::Answers => {
                    let up = self.up.leave(client, upstream, pulse, cx);
                    let down = self.down.leave(upstream, client, pulse, cx);
                    // Who was told nothing has nothing to answer.
                    let client = self.down.word() == Word::Nothing || poll_answer(client, scratch, cx).is_ready();
                    let upstream = self.up.word() == Word::Nothing || poll_answer(upstream, scratch, cx).is_ready();
                    up.is_ready() && down.is_ready() && client && upstream
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
                Step::Words => {
                    self.up.go(client, || masked(self.code));
                    self.down.go(upstream, || websocket::close_frame(self.code, None));
                    self.step = Step::Answers;
                }
                Step::Answers => self.step = Step::Ends,
                Step::Ends => return Poll::Ready(self.end()),
            }
            self.due = Instant::now() + PATIENCE;
        }
    }

    fn end(&self) -> TunnelEnd {
        match (self.up, self.down) {
            (Direction::Over(Word::Theirs), Direction::Over(Word::Theirs)) => TunnelEnd::Closed,
            (Direction::Over(up), Direction::Over(down)) if up != Word::Nothing && down != Word::Nothing => {
                TunnelEnd::Told
            }
            _ => TunnelEnd::Cut,
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
    /// What it has ended with, or is to end with; nothing where there is no saying.
    fn word(self) -> Word {
        match self {
            Self::UnderWay => Word::Nothing,
            Self::Waits(word) | Self::Leaving(word) | Self::Over(word) => word,
        }
    }

    /// Passes on what is left up to `border`. Ready there, or where it will never come to one.
    fn reach<F, T>(
        &mut self,
        border: Border,
        from: &mut Side<F>,
        to: &mut Side<T>,
        pulse: &mut Pulse,
        scratch: &mut [u8],
        cx: &mut Context<'_>,
    ) -> Poll<()>
    where
        F: AsyncRead + AsyncWrite + Unpin,
        T: AsyncWrite + Unpin,
    {
        while *self == Self::UnderWay {
            if from.frames.is_at(border) {
                *self = Self::Waits(from.last_word());
                break;
            }
            if ready!(from.poll_deliver(to, pulse, cx)).is_err() || from.state != State::Open {
                *self = Self::Over(Word::Nothing);
                break;
            }
            let Ok(read) = ready!(from.poll_read(scratch, cx)) else {
                *self = Self::Over(Word::Nothing);
                break;
            };
            let passed = from.frames.to_border(read, border);
            from.held.extend_from_slice(&read[..passed]);
            if from.frames.is_lost() {
                *self = Self::Over(Word::Nothing);
            } else if from.frames.is_at(border) {
                *self = Self::Waits(from.last_word());
                // What comes behind the border is only looked at: it may be an answer.
                from.frames.follow(&read[passed..]);
            }
        }
        Poll::Ready(())
    }

    /// Both directions have come as far as they will: this one ends with its Close, where it has come to a border.
    fn go<F>(&mut self, from: &mut Side<F>, close: impl Fn() -> Vec<u8>) {
        *self = match *self {
            Self::UnderWay | Self::Waits(Word::Nothing) => Self::Over(Word::Nothing),
            Self::Waits(word) => {
                if word == Word::Ours {
                    from.held.extend_from_slice(&close());
                }
                Self::Leaving(word)
            }
            other => other,
        };
    }

    /// Delivers its last bytes.
    fn leave<F, T>(&mut self, from: &mut Side<F>, to: &mut Side<T>, pulse: &mut Pulse, cx: &mut Context<'_>) -> Poll<()>
    where
        F: AsyncRead + AsyncWrite + Unpin,
        T: AsyncWrite + Unpin,
    {
        if let Self::Leaving(word) = *self {
            let left = ready!(from.poll_deliver(to, pulse, cx)).is_ok();
            *self = Self::Over(if left { word } else { Word::Nothing });
        }
        Poll::Ready(())
    }
}

impl<W> Side<W> {
    /// At a border: what is to be the last that it says.
    fn last_word(&self) -> Word {
        if self.frames.close_code().is_some() {
            return Word::Theirs;
        }
        // Where the other side was told that nothing more will come, nothing more comes.
        if self.state == State::Closed { Word::Nothing } else { Word::Ours }
    }
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
