//! Floor 2: the control plane. One task, the controller, owns all desired state.
//!
//! Callers hold a [`handle::Handle`]; commands go through a channel one after another; each is decided on a copy, made
//! durable, then published. Knows nothing of requests, and nothing of HTTP on the admin port.

mod apply;
pub mod command;
mod compile;
mod controller;
mod difference;
mod drains;
mod drift;
mod events;
mod explain;
mod figures;
pub mod freeze;
mod fuses;
mod gather;
pub mod handle;
pub mod handover;
mod hold;
mod hold_switch;
mod inbox;
mod jobs;
mod journal;
mod outgoing;
mod prober;
mod receipts;
mod registry;
mod rejected;
mod reload;
mod resolver;
mod rollouts;
mod running;
#[cfg(test)]
pub(crate) mod samples;
pub mod source;
mod start;
pub mod tls;
pub mod view;
mod watch;
mod wellbeing;
mod window;

pub use reload::Watch;
pub use start::{Before, Joiner, Prepared, StartError, StartOptions, prepare, start};
