//! Floor 1: what can be seen of a running process. Passed in where it is needed; there are no globals beside the
//! process's tracing subscriber.

pub mod access_log;
pub mod logging;
pub mod metrics;
