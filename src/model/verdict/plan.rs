//! What a candidate is judged by: the guards of a rollout and their limits.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::split::Share;

/// The guards of a rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Guards {
    /// The fraction of attempts that may fail.
    pub error_rate: Option<Share>,
    /// Quantiles of the time to an answer's head.
    pub latency_quantiles: Vec<QuantileLimit>,
    /// The mean of the time to an answer's head.
    pub latency_mean: Option<Bound>,
    /// The fraction of WebSocket handshakes that must succeed.
    pub websocket_success: Option<Share>,
    /// A hard guard: no upstream of the candidate has been healthy for so long.
    pub unhealthy_for: Option<Duration>,
    /// A hard guard: so many attempts in a row that could not connect. At least 1.
    pub connect_failures: u32,
    /// Questions to a Prometheus server.
    pub prometheus: Vec<PrometheusGuard>,
    /// Questions to anybody else.
    pub http: Vec<HttpGuard>,
}

impl Default for Guards {
    /// The hard guards, and 5 % of errors.
    fn default() -> Self {
        Self {
            error_rate: Some(Share::from_percent(5.0).unwrap_or(Share::NONE)),
            latency_quantiles: Vec::new(),
            latency_mean: None,
            websocket_success: None,
            unhealthy_for: Some(Duration::from_secs(30)),
            connect_failures: 3,
            prometheus: Vec::new(),
            http: Vec::new(),
        }
    }
}

/// What a time must not exceed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// This.
    Above(Duration),
    /// The baseline's, increased by this fraction: 0.5 is half as long again.
    AboveBaseline(f64),
}

/// A quantile of durations and what it must not exceed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuantileLimit {
    /// Which, in per cent: 50, 90, 95 or 99.
    pub percent: u8,
    /// Its bound.
    pub bound: Bound,
}

/// What an outside figure must not exceed or fall below.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Threshold {
    /// Larger is bad.
    Above(f64),
    /// Smaller is bad.
    Below(f64),
}

/// A question to a Prometheus server: an instant query whose answer is one number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrometheusGuard {
    /// Its name in verdicts.
    pub name: String,
    /// The server: `http://127.0.0.1:9090`.
    pub url: String,
    /// The query; `{service}`, `{candidate}` and `{baseline}` stand for names.
    pub query: String,
    /// What its value must not be.
    pub threshold: Threshold,
    /// From one question to the next.
    pub every: Duration,
}

impl PrometheusGuard {
    /// How long an answer may take.
    pub const TIMEOUT: Duration = Duration::from_secs(10);
}

/// A question to a URL: 200 passes, 202 is undecided, any other status fails.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HttpGuard {
    /// Its name in verdicts.
    pub name: String,
    /// Where it is asked, by GET.
    pub url: String,
    /// From one question to the next.
    pub every: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
}
