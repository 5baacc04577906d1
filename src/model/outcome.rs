//! How one attempt at an upstream ended.

/// What became of an attempt. Guards judge attempts, not what the client saw after retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Outcome {
    /// An answer below 500 (for gRPC: a status that is not the server's fault).
    Ok,
    /// An answer of 500 or more (for gRPC: a status that is the server's fault).
    ServerError,
    /// No connection: refused, unreachable, name not found, TLS failed, or not in time.
    ConnectFailed,
    /// Connected, but no answer in time.
    TimedOut,
    /// Connected, and broken off before the answer was complete, or an answer that is not HTTP.
    Broken,
    /// The upstream refused it unprocessed (a dead pooled connection, HTTP/2 REFUSED_STREAM): nobody's failure.
    Unprocessed,
    /// The client went away first; not counted against anybody.
    ClientGone,
}

impl Outcome {
    /// All outcomes, in the order of their numbers.
    pub const ALL: [Outcome; 7] = [
        Outcome::Ok,
        Outcome::ServerError,
        Outcome::ConnectFailed,
        Outcome::TimedOut,
        Outcome::Broken,
        Outcome::Unprocessed,
        Outcome::ClientGone,
    ];

    /// The value of the metric label `outcome`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::ServerError => "server_error",
            Outcome::ConnectFailed => "connect_failed",
            Outcome::TimedOut => "timed_out",
            Outcome::Broken => "broken",
            Outcome::Unprocessed => "unprocessed",
            Outcome::ClientGone => "client_gone",
        }
    }

    /// Whether it counts as an error of the upstream.
    #[must_use]
    pub fn is_failure(self) -> bool {
        matches!(self, Outcome::ServerError | Outcome::ConnectFailed | Outcome::TimedOut | Outcome::Broken)
    }

    /// Whether it is held against the upstream that an attempt has asked for a WebSocket and got none. An answer of 3xx
    /// or 4xx has something against the client (it is to log in, it has a session that is over); one of 2xx knows
    /// nothing of WebSockets there.
    #[must_use]
    pub fn fails_handshake(self, status: Option<u16>) -> bool {
        match self {
            Outcome::Ok => !matches!(status, Some(300..=499)),
            Outcome::Unprocessed | Outcome::ClientGone => false,
            _ => self.is_failure(),
        }
    }
}

/// How a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelEnd {
    /// One of the sides said so (a Close frame of WebSocket).
    Closed,
    /// Without a word: a connection ended or failed.
    Cut,
    /// Nothing had passed for too long.
    Idle,
    /// The proxy has told both sides so, with a Close frame each.
    Told,
}

impl TunnelEnd {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Closed, Self::Cut, Self::Idle, Self::Told];

    /// Its name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Cut => "cut",
            Self::Idle => "idle",
            Self::Told => "told",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_websocket_that_was_not_opened_is_held_against_the_upstream_unless_the_client_was_at_fault() {
        let fails = |outcome: Outcome, status| outcome.fails_handshake(status);
        assert!(fails(Outcome::Ok, Some(200)) && fails(Outcome::Ok, None) && fails(Outcome::ServerError, Some(503)));
        assert!(fails(Outcome::ConnectFailed, None) && fails(Outcome::TimedOut, None) && fails(Outcome::Broken, None));
        for status in [302, 401, 404, 426] {
            assert!(!fails(Outcome::Ok, Some(status)), "{status}");
        }
        assert!(!fails(Outcome::ClientGone, None) && !fails(Outcome::Unprocessed, None));
    }
}
