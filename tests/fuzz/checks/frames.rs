//! A tracker of WebSocket frames stands where a slow and simple reading of the bytes stands, however they are cut.
//!
//! The first byte says where the others are cut.

use pointsman::model::websocket::{Border, Frames};

/// Panics where it does not.
pub(crate) fn check(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let mut whole = Frames::default();
    whole.follow(bytes);
    let (first, second) = bytes.split_at(usize::from(*cut).min(bytes.len()));
    let mut cut = Frames::default();
    cut.follow(first);
    cut.follow(second);
    assert_eq!(whole, cut);
    assert_eq!(whole, by_frames(bytes));
    assert_eq!((whole.is_between(), whole.close_code()), naive(bytes));
}

/// Follows frame by frame.
fn by_frames(bytes: &[u8]) -> Frames {
    let (mut frames, mut at) = (Frames::default(), 0);
    while at < bytes.len() {
        assert!(frames.is_between() || frames.is_lost());
        frames.follow(&bytes[at..=at]);
        at += 1 + frames.to_border(&bytes[at + 1..], Border::Frame);
    }
    frames
}

/// Whether the bytes end between two frames, and the code of the first Close frame.
fn naive(mut rest: &[u8]) -> (bool, Option<u16>) {
    let mut closed = None;
    while let [first, second, behind @ ..] = rest {
        let wide = match second & 0x7f {
            0x7e => 2,
            0x7f => 8,
            _ => 0,
        };
        let masked = if second & 0x80 == 0 { 0 } else { 4 };
        if behind.len() < wide + masked {
            return (false, closed);
        }
        let (length, behind) = behind.split_at(wide);
        let (key, payload) = behind.split_at(masked);
        let length = match length {
            [] => u64::from(second & 0x7f),
            _ => length.iter().fold(0, |all, byte| all * 256 + u64::from(*byte)),
        };
        if length > u64::MAX / 2 {
            return (false, closed);
        }
        let taken = usize::try_from(length).unwrap_or(usize::MAX).min(payload.len());
        if first & 0x0f == 8 && closed.is_none() {
            let plain = |at: usize| payload[at] ^ key.get(at).copied().unwrap_or(0);
            closed = match (length, taken) {
                (0 | 1, _) => Some(1005),
                (_, 0 | 1) => return (false, None),
                _ => Some(u16::from_be_bytes([plain(0), plain(1)])),
            };
        }
        if (taken as u64) < length {
            return (false, closed);
        }
        rest = &payload[taken..];
    }
    (rest.is_empty(), closed)
}
