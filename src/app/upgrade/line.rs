//! The line between two processes: one JSON value a line, with descriptors beside it (`SCM_RIGHTS`, unix(7)).
//!
//! It blocks, each wait with its time: call it where blocking is allowed. Bytes are read one at a time, so that
//! descriptors are never mistaken for those of the next line; what is said here is short and seldom.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Descriptors beside one line at the most; the kernel takes 253.
pub(super) const MOST: usize = 250;

/// The longest line.
const LONGEST: usize = 4 << 20;

/// One end of it.
#[derive(Debug)]
pub(super) struct Line {
    stream: UnixStream,
}

impl Line {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream }
    }

    /// Says something, and hands over descriptors with it.
    pub(super) fn say(&self, what: &impl Serialize, with: &[BorrowedFd<'_>], within: Duration) -> io::Result<()> {
        let mut text = serde_json::to_vec(what)?;
        text.push(b'\n');
        let deadline = Instant::now() + within;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !with.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(with)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors for one line"));
        }
        let mut rest = &text[..];
        while !rest.is_empty() {
            self.stream.set_write_timeout(Some(left(deadline)?))?;
            match sendmsg(&self.stream, &[IoSlice::new(rest)], &mut beside, SendFlags::NOSIGNAL) {
                Ok(sent) => {
                    rest = &rest[sent..];
                    // They have gone with the first byte.
                    beside.clear();
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(in_time(error)),
            }
        }
        Ok(())
    }

    /// What the other side says next, and the descriptors that come with it.
    pub(super) fn hear<T: DeserializeOwned>(&self, within: Duration) -> io::Result<(T, Vec<OwnedFd>)> {
        let deadline = Instant::now() + within;
        let (mut text, mut with) = (Vec::new(), Vec::new());
        loop {
            self.stream.set_read_timeout(Some(left(deadline)?))?;
            match self.byte(&mut with) {
                Ok(None) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(Some(b'\n')) => return Ok((serde_json::from_slice(&text)?, with)),
                Ok(Some(_)) if text.len() == LONGEST => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "a line without an end"));
                }
                Ok(Some(byte)) => text.push(byte),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(in_time(error)),
            }
        }
    }

    fn byte(&self, with: &mut Vec<OwnedFd>) -> rustix::io::Result<Option<u8>> {
        let mut byte = [0];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(&self.stream, &mut [IoSliceMut::new(&mut byte)], &mut beside, RecvFlags::CMSG_CLOEXEC)?;
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                with.extend(descriptors);
            }
        }
        Ok((received.bytes == 1).then_some(byte[0]))
    }

    /// Ends it: whoever waits on it, on either side, is told so.
    pub(super) fn hang_up(&self) {
        // It may be gone already.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// A socket's own time-out calls itself something else; and whoever ends without having read all resets the line.
fn in_time(error: rustix::io::Errno) -> io::Error {
    match error {
        rustix::io::Errno::AGAIN => io::ErrorKind::TimedOut.into(),
        rustix::io::Errno::CONNRESET => io::ErrorKind::UnexpectedEof.into(),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::fd::AsFd;

    const SOON: Duration = Duration::from_secs(10);

    fn pair() -> (Line, Line) {
        let (one, other) = UnixStream::pair().unwrap();
        (Line::new(one), Line::new(other))
    }

    #[test]
    fn descriptors_arrive_with_the_line_that_they_were_sent_with() {
        let (old, new) = pair();
        let sockets: Vec<_> = (0..5).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let descriptors: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
        old.say(&"none", &[], SOON).unwrap();
        old.say(&"two", &descriptors[..2], SOON).unwrap();
        old.say(&"three", &descriptors[2..], SOON).unwrap();
        old.say(&"none", &[], SOON).unwrap();
        let mut ports = Vec::new();
        for (said, count) in [("none", 0), ("two", 2), ("three", 3), ("none", 0)] {
            let (heard, with): (String, _) = new.hear(SOON).unwrap();
            assert_eq!((heard.as_str(), with.len()), (said, count));
            ports.extend(with.into_iter().map(|fd| TcpListener::from(fd).local_addr().unwrap()));
        }
        assert!(ports.iter().eq(&sockets.iter().map(|s| s.local_addr().unwrap()).collect::<Vec<_>>()));
    }

    #[test]
    fn as_many_descriptors_as_allowed_fit_and_more_are_refused() {
        let (old, new) = pair();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        old.say(&1, &vec![socket.as_fd(); MOST], SOON).unwrap();
        assert_eq!(new.hear::<u8>(SOON).unwrap().1.len(), MOST);
        assert!(old.say(&1, &vec![socket.as_fd(); MOST + 10], SOON).is_err());
    }

    #[test]
    fn silence_and_an_end_are_told_apart() {
        let (old, new) = pair();
        let silent = new.hear::<u8>(Duration::from_millis(20)).unwrap_err();
        assert_eq!(silent.kind(), io::ErrorKind::TimedOut);
        old.hang_up();
        assert_eq!(new.hear::<u8>(SOON).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(old.say(&1, &[], SOON).is_err());
        let (old, new) = pair();
        old.say(&1, &[], SOON).unwrap();
        drop(new);
        assert_eq!(old.hear::<u8>(SOON).unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "it has not read all");
    }
}
