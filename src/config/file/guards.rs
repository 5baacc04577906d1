//! `guards` of a rollout as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Increase, List, Maybe, Number, Percentage, Period};

/// What a candidate is judged by: those that are named here, and the two hard ones, `unhealthy_for` and
/// `connect_failures`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Guards {
    /// The part of the attempts that fail.
    pub(in crate::config) error_rate: Maybe<Above>,
    /// The median of the time to an answer's head.
    pub(in crate::config) latency_p50: Maybe<Latency>,
    /// What 90 % of these times stay below.
    pub(in crate::config) latency_p90: Maybe<Latency>,
    /// What 95 % of these times stay below.
    pub(in crate::config) latency_p95: Maybe<Latency>,
    /// What 99 % of these times stay below.
    pub(in crate::config) latency_p99: Maybe<Latency>,
    /// The mean of these times.
    pub(in crate::config) latency_mean: Maybe<Latency>,
    /// The part of the WebSocket handshakes that succeed.
    pub(in crate::config) websocket_success: Maybe<Below>,
    /// Hard: no upstream of the candidate has been healthy for so long; default 30s.
    pub(in crate::config) unhealthy_for: Maybe<Period>,
    /// Hard: so many attempts in a row that could not connect; default 3.
    pub(in crate::config) connect_failures: Maybe<u32>,
    /// Questions to a Prometheus server.
    pub(in crate::config) prometheus: List<PrometheusGuard>,
    /// Questions to anybody else.
    pub(in crate::config) http: List<HttpGuard>,
}

/// More than this is bad.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Above {
    /// In per cent, more than 0 and less than 100.
    #[schemars(required)]
    pub(in crate::config) above: Maybe<Percentage>,
}

/// Less than this is bad.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Below {
    /// In per cent, more than 0 and less than 100.
    #[schemars(required)]
    pub(in crate::config) below: Maybe<Percentage>,
}

/// A longer time is bad: exactly one of above, above_baseline.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Latency {
    /// Longer than this.
    pub(in crate::config) above: Maybe<Period>,
    /// Longer than at the other groups in the same minutes by so much: 50% is half as long again.
    pub(in crate::config) above_baseline: Maybe<Increase>,
}

/// An instant query whose answer is one number; exactly one of above, below.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct PrometheusGuard {
    /// Its name in verdicts.
    #[schemars(required)]
    pub(in crate::config) name: Maybe<String>,
    /// The server, like http://127.0.0.1:9090.
    #[schemars(required)]
    pub(in crate::config) url: Maybe<String>,
    /// The query; {service}, {candidate} and {baseline} stand for names.
    #[schemars(required)]
    pub(in crate::config) query: Maybe<String>,
    /// A larger value is bad.
    pub(in crate::config) above: Maybe<Number>,
    /// A smaller value is bad.
    pub(in crate::config) below: Maybe<Number>,
    /// From one question to the next; default 15s.
    pub(in crate::config) every: Maybe<Period>,
}

/// A GET: 200 passes, 202 is undecided, any other status fails.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct HttpGuard {
    /// Its name in verdicts.
    #[schemars(required)]
    pub(in crate::config) name: Maybe<String>,
    /// Where.
    #[schemars(required)]
    pub(in crate::config) url: Maybe<String>,
    /// From one question to the next; default 15s.
    pub(in crate::config) every: Maybe<Period>,
    /// How long an answer may take; default 5s.
    pub(in crate::config) timeout: Maybe<Period>,
}
