//! Floor 1: logs and metrics. Passed in, no globals beside the tracing subscriber of the process.

pub mod access_log;
pub mod logging;
