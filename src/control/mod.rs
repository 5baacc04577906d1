//! Floor 2: the control plane. One task, the controller, owns all desired state.
//!
//! Callers hold a [`handle::Handle`]; commands go through a channel one after another; each is decided on a copy, made
//! durable, then published. Knows nothing of requests, and nothing of HTTP on the admin port.

pub mod command;
mod compile;
pub mod handle;
mod prober;
mod registry;
#[cfg(test)]
pub(crate) mod samples;
pub mod tls;
pub mod view;
