//! Floor 1: what can be seen of a running process. Passed in where it is needed; there are no globals.

pub mod metrics;
