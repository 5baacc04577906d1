//! Floor 2: the data plane. One thread per core, from `accept` to `respond`.
//!
//! Each worker owns a single-threaded runtime, its own accepting sockets and its own pools of upstream connections.
//! Nothing on a request's path takes a lock, waits for the control plane or writes a memory line of another worker.
//! Holds a [`crate::routing::publish::Reader`] and nothing else of the control plane. Start reading at [`request`].

mod accept;
mod affinity;
mod alarm;
mod balance;
mod body;
mod choose;
mod client;
mod connect;
mod connection;
mod error;
mod exchange;
mod forward;
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
mod headers;
mod hold;
mod http1;
mod leaving;
mod octets;
mod outgoing;
mod pool;
mod preface;
mod proxy_protocol;
pub mod request;
mod respond;
mod retry;
#[cfg(test)]
mod samples;
mod send;
mod source;
mod target;
mod tunnel;
mod tunnels;
mod upload;
#[cfg(test)]
mod watched_tests;
mod wire;
mod worker;

pub use leaving::{Departure, Idle, Leaving, UnderWay};
pub use worker::{Workers, start};
