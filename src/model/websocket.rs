//! Where the frames of a WebSocket begin and end (RFC 6455, section 5.2), followed on the way through; and the Close
//! frame that can be put in between.
//!
//! A proxy passes the bytes on as they are. But whether a tunnel was closed or cut, and where something could be put in
//! between, is known only to somebody who keeps in step with the headers of the frames.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What RFC 6455, section 1.3, appends to the key of a handshake.
const MAGIC: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Largest header: two bytes, a length of eight, a key of four.
const LARGEST_HEADER: usize = 14;
/// The opcode of a Close frame.
const CLOSE: u8 = 8;
/// "No status code was present" (RFC 6455, section 7.4.1).
const NO_CODE: u16 = 1005;

/// One direction of a WebSocket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frames {
    header: [u8; LARGEST_HEADER],
    /// So much of the next header has come.
    have: usize,
    /// So much of the present frame's payload is still to come.
    left: u64,
    closing: Closing,
    step: Step,
    message: Message,
}

/// Where one may stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Border {
    /// Between two messages.
    Message,
    /// Between two frames, be they fragments of one message.
    Frame,
}

/// Whether the message of the last data frame goes on after it (section 5.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Message {
    #[default]
    Whole,
    Fragmented,
}

/// How far the Close frame has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Closing {
    #[default]
    No,
    /// Its payload begins with the code, of which this is known.
    Code {
        key: [u8; 2],
        first: Option<u8>,
    },
    Done(u16),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Step {
    #[default]
    In,
    /// What came is no WebSocket; nothing more can be said.
    Lost,
}

impl Frames {
    /// Follows `bytes`, the next that pass.
    pub fn follow(&mut self, mut bytes: &[u8]) {
        while self.step == Step::In && !bytes.is_empty() {
            bytes = &bytes[self.piece(bytes)..];
        }
    }

    /// Follows `bytes` to the next border, and says how many of them come before it: none at a border, all of them where
    /// there is none.
    pub fn to_border(&mut self, bytes: &[u8], border: Border) -> usize {
        let mut passed = 0;
        while self.step == Step::In && !self.is_at(border) && passed < bytes.len() {
            passed += self.piece(&bytes[passed..]);
        }
        if self.step == Step::In { passed } else { bytes.len() }
    }

    /// Whether the next byte begins a frame; and, where it is between messages that one may stop, a message.
    #[must_use]
    pub fn is_at(&self, border: Border) -> bool {
        self.is_between() && (border == Border::Frame || self.message == Message::Whole)
    }

    /// Whether what came is no WebSocket, so that nobody can tell where a frame ends.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.step == Step::Lost
    }

    /// Whether the next byte begins a frame: only there may another be put in between.
    #[must_use]
    pub fn is_between(&self) -> bool {
        self.step == Step::In && self.left == 0 && self.have == 0
    }

    /// The code of the Close frame that has passed; 1005 for one without a code.
    #[must_use]
    pub fn close_code(&self) -> Option<u16> {
        if let Closing::Done(code) = self.closing { Some(code) } else { None }
    }

    /// Follows the first of `bytes`, of which there are some, and says how many.
    fn piece(&mut self, bytes: &[u8]) -> usize {
        if self.left > 0 { self.payload(bytes) } else { self.byte_of_header(bytes[0]) }
    }

    fn payload(&mut self, bytes: &[u8]) -> usize {
        let taken = usize::try_from(self.left).map_or(bytes.len(), |left| left.min(bytes.len()));
        for byte in &bytes[..taken.min(2)] {
            self.closing = match self.closing {
                Closing::Code { key, first: None } => Closing::Code { key, first: Some(byte ^ key[0]) },
                Closing::Code { key, first: Some(first) } => Closing::Done(u16::from_be_bytes([first, byte ^ key[1]])),
                other => other,
            };
        }
        self.left -= taken as u64;
        taken
    }

    fn byte_of_header(&mut self, byte: u8) -> usize {
        self.header[self.have] = byte;
        self.have += 1;
        if self.have >= 2 && self.have == self.header_length() {
            self.begin_payload();
        }
        1
    }

    fn header_length(&self) -> usize {
        let key = if self.header[1] & 0x80 == 0 { 0 } else { 4 };
        let length = match self.header[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + key
    }

    fn begin_payload(&mut self) {
        let header = &self.header[..self.have];
        let masked = header[1] & 0x80 != 0;
        let length = &header[2..header.len() - if masked { 4 } else { 0 }];
        let length = match length {
            [] => u64::from(header[1] & 0x7f),
            _ => length.iter().fold(0, |all, byte| all << 8 | u64::from(*byte)),
        };
        if length >> 63 != 0 {
            // Its most significant bit must be 0.
            self.step = Step::Lost;
            return;
        }
        // Control frames may stand between the fragments of a message, and change nothing about it.
        if header[0] & 0x08 == 0 {
            self.message = if header[0] & 0x80 == 0 { Message::Fragmented } else { Message::Whole };
        }
        if header[0] & 0x0f == CLOSE && self.closing == Closing::No {
            let key = if masked { [header[self.have - 4], header[self.have - 3]] } else { [0, 0] };
            self.closing = if length < 2 { Closing::Done(NO_CODE) } else { Closing::Code { key, first: None } };
        }
        (self.left, self.have) = (length, 0);
    }
}

/// A Close frame with this code and a short reason (section 5.5.1). What goes to a server is masked with `key`, as it
/// has to be (section 5.3); what goes to a client is not.
#[must_use]
pub fn close_frame(code: u16, key: Option<[u8; 4]>) -> Vec<u8> {
    let payload = [&code.to_be_bytes()[..], reason(code).as_bytes()].concat();
    let mask = if key.is_some() { 0x80 } else { 0 };
    // Shorter than 126 bytes, as that of every control frame.
    let mut frame = vec![0x80 | CLOSE, mask | payload.len() as u8];
    frame.extend(key.into_iter().flatten());
    let key = key.unwrap_or_default();
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// For people who look at what their client was told; the codes are those of the registry for RFC 6455, section 11.7.
fn reason(code: u16) -> &'static str {
    match code {
        1000 | 1001 => "going away",
        1008 => "policy",
        1011 => "server error",
        1013 => "try again later",
        1014 => "bad gateway",
        _ => "service restart",
    }
}

/// The answer to the key of a handshake (section 4.2.2).
#[must_use]
pub fn accept(key: &str) -> String {
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{MAGIC}").as_bytes()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(opcode: u8, key: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
        let mask = if key.is_some() { 0x80 } else { 0 };
        let mut bytes = vec![0x80 | opcode];
        match payload.len() {
            length @ ..=0x7d => bytes.push(mask | length as u8),
            length @ ..=65_535 => {
                bytes.push(mask | 0x7e);
                bytes.extend((length as u16).to_be_bytes());
            }
            length => {
                bytes.push(mask | 0x7f);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.extend(key.into_iter().flatten());
        let key = key.unwrap_or_default();
        bytes.extend(payload.iter().enumerate().map(|(i, b)| b ^ key[i % 4]));
        bytes
    }

    proptest! {
        #[test]
        fn borders_and_the_close_are_found_wherever_the_bytes_are_cut(
            payloads in prop::collection::vec((0_u8..3, any::<Option<[u8; 4]>>(), 0_usize..70_000), 0..4),
            close in prop::option::of((any::<Option<[u8; 4]>>(), 1000_u16..5000)),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let mut frames: Vec<_> = payloads.iter().map(|(op, key, length)| frame(*op, *key, &vec![7; *length])).collect();
            if let Some((key, code)) = close {
                frames.push(frame(CLOSE, key, &[&code.to_be_bytes()[..], b"bye"].concat()));
            }
            let borders: Vec<usize> = frames.iter().scan(0, |at, f| { *at += f.len(); Some(*at) }).collect();
            let all = frames.concat();
            let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(all.len() + 1)).collect();
            cuts.extend([0, all.len()]);
            cuts.sort_unstable();
            let mut followed = Frames::default();
            for piece in cuts.windows(2) {
                followed.follow(&all[piece[0]..piece[1]]);
                prop_assert_eq!(followed.is_between(), piece[1] == 0 || borders.contains(&piece[1]));
            }
            prop_assert_eq!(followed.close_code(), close.map(|(_, code)| code));
        }

        #[test]
        fn whole_frames_and_one_close_reach_the_other_side_whenever_the_order_comes(
            payloads in prop::collection::vec((0_u8..3, any::<Option<[u8; 4]>>(), 0_usize..300), 1..6),
            close in prop::option::of(any::<Option<[u8; 4]>>()),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
            moment in any::<prop::sample::Index>(),
            key in any::<Option<[u8; 4]>>(),
        ) {
            let mut sent: Vec<_> = payloads.iter().map(|(op, key, length)| frame(*op, *key, &vec![7; *length])).collect();
            if let Some(key) = close {
                sent.push(frame(CLOSE, key, &1000_u16.to_be_bytes()));
            }
            let all = sent.concat();
            let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(all.len() + 1)).collect();
            cuts.extend([0, all.len()]);
            cuts.sort_unstable();
            // After so many pieces the tunnel is told to end.
            let moment = moment.index(cuts.len());
            let (mut frames, mut received) = (Frames::default(), Vec::new());
            for (number, piece) in cuts.windows(2).enumerate() {
                let piece = &all[piece[0]..piece[1]];
                let passed = if number < moment { frames.follow(piece); piece.len() } else { frames.to_border(piece, Border::Frame) };
                received.extend_from_slice(&piece[..passed]);
            }
            prop_assert!(frames.is_between());
            let said = frames.close_code();
            if said.is_none() {
                received.extend(close_frame(1012, key));
                prop_assert!(received.len() >= cuts[moment], "what came before the order was passed on");
            }
            // Taken apart frame by frame, as the other side does.
            let whole: Vec<_> = borders(&received);
            let closes = whole.iter().filter(|f| f[0] == 0x80 | CLOSE).count();
            prop_assert_eq!((closes, whole.last().map(|f| f[0])), (1, Some(0x80 | CLOSE)));
            prop_assert!(whole.len() <= sent.len() + 1);
            prop_assert!(whole[..whole.len() - 1].iter().zip(&sent).all(|(got, sent)| got == sent));
        }

        #[test]
        fn a_fragmented_message_is_whole_before_one_stops_between_messages(
            messages in prop::collection::vec(prop::collection::vec((0_usize..200, any::<bool>()), 1..4), 1..5),
            key in any::<Option<[u8; 4]>>(),
            moment in any::<prop::sample::Index>(),
        ) {
            // Each message in fragments, behind some of which a ping comes.
            let whole: Vec<Vec<u8>> = messages.iter().map(|fragments| {
                let last = fragments.len() - 1;
                fragments.iter().enumerate().flat_map(|(i, (length, pinged))| {
                    let mut fragment = frame(u8::from(i == 0), key, &vec![7; *length]);
                    fragment[0] = (fragment[0] & 0x7f) | if i == last { 0x80 } else { 0 };
                    let ping = if *pinged && i < last { frame(9, key, b"?") } else { Vec::new() };
                    [fragment, ping].concat()
                }).collect()
            }).collect();
            let all = whole.concat();
            let borders: Vec<usize> = whole.iter().scan(0, |at, m| { *at += m.len(); Some(*at) }).collect();
            let moment = moment.index(all.len() + 1);
            let mut frames = Frames::default();
            frames.follow(&all[..moment]);
            let stopped = moment + frames.to_border(&all[moment..], Border::Message);
            prop_assert!(stopped == 0 || borders.contains(&stopped), "{} is within a message", stopped);
            prop_assert!(!borders.iter().any(|b| (moment..stopped).contains(b)), "it went on for too long");
        }

        #[test]
        fn any_bytes_are_followed(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0_usize..300) {
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            let mut frames = Frames::default();
            frames.follow(first);
            let mut whole = frames;
            let passed = frames.to_border(second, Border::Frame);
            whole.follow(&second[..passed]);
            prop_assert_eq!(frames, whole);
            prop_assert!(frames.is_between() || frames.is_lost() || passed == second.len());
        }
    }

    /// Cuts bytes into the frames that they are; panics where they do not end with one.
    fn borders(mut bytes: &[u8]) -> Vec<&[u8]> {
        let mut all = Vec::new();
        while !bytes.is_empty() {
            let (mut frames, mut length) = (Frames::default(), 0);
            while length == 0 || !frames.is_between() {
                frames.follow(&bytes[length..=length]);
                length += 1;
            }
            let (frame, rest) = bytes.split_at(length);
            all.push(frame);
            bytes = rest;
        }
        all
    }

    #[test]
    fn a_close_frame_is_read_as_what_it_says_masked_or_not() {
        for key in [None, Some([0, 0, 0, 0]), Some([1, 0x80, 0xff, 4])] {
            let close = close_frame(1012, key);
            assert_eq!((close[0], close[1] & 0x80 != 0), (0x88, key.is_some()), "one whole frame, masked with a key");
            let payload = &close[if key.is_some() { 6 } else { 2 }..];
            let plain: Vec<u8> =
                payload.iter().zip(key.unwrap_or_default().iter().cycle()).map(|(b, k)| b ^ k).collect();
            assert_eq!(plain, b"\x03\xf4service restart");
            assert_eq!(usize::from(close[1] & 0x7f), payload.len());
        }
        assert!((1000..5000).all(|code| close_frame(code, None).len() < 127));
    }

    #[test]
    fn the_answer_to_the_key_is_that_of_the_example_in_rfc_6455() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_close_without_a_code_and_a_length_that_cannot_be() {
        let mut frames = Frames::default();
        frames.follow(&frame(CLOSE, Some([1, 2, 3, 4]), b""));
        assert_eq!((frames.close_code(), frames.is_between()), (Some(1005), true));
        let mut frames = Frames::default();
        frames.follow(&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3]);
        assert!(!frames.is_between());
    }
}
