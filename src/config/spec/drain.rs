//! The specification of how a group is let go of.

use std::fmt;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};

/// How a group is let go of.
#[derive(Clone, Debug, PartialEq)]
pub struct Drain {
    /// From the begin of a drain to its deadline. Default 30 s.
    pub timeout: Duration,
    /// What becomes of tunnels that are left at the deadline.
    pub tunnels: TunnelClose,
    /// Asks the application to finish work of its own.
    pub hook: Option<DrainHook>,
}

/// What becomes of tunnels that are left at the deadline: each gets a Close frame (RFC 6455, section 5.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelClose {
    /// The code in it. Default 1012 (service restart).
    pub code: u16,
    /// They are closed one after another over this time. Default 5 s.
    pub spread: Duration,
}

impl Default for TunnelClose {
    fn default() -> Self {
        Self { code: 1012, spread: Duration::from_secs(5) }
    }
}

/// Asks the application to finish work of its own. Each upstream of the group is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct DrainHook {
    /// Sent when the drain begins.
    pub start: Option<HookCall>,
    /// Sent until the answer is as expected.
    pub poll: Option<HookPoll>,
    /// Sent when the drain is cancelled.
    pub cancel: Option<HookCall>,
}

/// A request to the application.
#[derive(Clone, PartialEq)]
pub struct HookCall {
    /// Its method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// Header fields; they may hold secrets.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub json: Option<serde_json::Value>,
}

impl fmt::Debug for HookCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The values may be secrets.
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("HookCall")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("headers", &names)
            .finish_non_exhaustive()
    }
}

/// A question to the application.
#[derive(Clone, Debug, PartialEq)]
pub struct HookPoll {
    /// What is asked.
    pub call: HookCall,
    /// From one question to the next.
    pub every: Duration,
    /// Dotted paths into the JSON of the answer and the values there; empty: any answer from 200 to 299 will do.
    pub until: Vec<(String, serde_json::Value)>,
}
