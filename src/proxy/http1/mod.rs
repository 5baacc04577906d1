//! HTTP/1.1 (RFC 9112), spoken by the request's own task on the connection's own buffers.
//!
//! Own code, and not hyper's, because both sides of a request then live in one task: no channel, no second wake-up,
//! no copy of a header that may have to be sent again; and because what is refused, passed on or answered at each byte
//! is ours to say. The rules of messages are pure ([`framing`], [`chunked`], [`head`], [`lines`], [`render`]); [`io`] moves bytes;
//! [`inbound`] is the connection of a client, [`outbound`] one to an upstream.

pub(super) mod chunked;
pub(super) mod decoder;
pub(super) mod framing;
pub(super) mod head;
pub(super) mod inbound;
pub(super) mod io;
mod lines;
pub(super) mod outbound;
pub(super) mod render;
pub(super) mod serve;
