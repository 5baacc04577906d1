//! The faults of a drill, and the guards that are meant to notice them.

/// What goes wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: the candidate as it is.
    None,
    /// Answers of the candidate become errors of the server (503).
    Errors,
    /// Answers of the candidate come later: the time is added to what was measured, and not waited for.
    Slow,
    /// Connections lead to a port of this machine where nobody listens, all of them.
    Unreachable,
    /// WebSockets that the candidate has accepted become refused ones.
    Handshakes,
    /// Its health checks fail; the time that takes is not waited for.
    Unhealthy,
}

impl Fault {
    /// Those that are none only by name.
    pub(super) const INJECTED: [Self; 5] =
        [Self::Errors, Self::Slow, Self::Unreachable, Self::Handshakes, Self::Unhealthy];

    /// Its name in the API.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Errors => "errors",
            Self::Slow => "slow",
            Self::Unreachable => "unreachable",
            Self::Handshakes => "handshakes",
            Self::Unhealthy => "unhealthy",
        }
    }

    /// Whether this guard is there to notice it.
    pub(super) fn is_noticed_by(self, guard: &str) -> bool {
        match self {
            Self::None => false,
            Self::Errors => guard == "error_rate",
            Self::Slow => guard.starts_with("latency_"),
            Self::Unreachable => guard == "connect_failures",
            Self::Handshakes => guard == "websocket_success",
            Self::Unhealthy => guard == "unhealthy_for",
        }
    }
}
