//! What the promises are tested with: upstreams that misbehave on demand, clients that check what must always hold,
//! the proxy as the real binary, and real programs of other makers.
//!
//! A fixture that panics fails its test; everything that waits is bounded.

// Each promise uses its own part of this, and a fixture may well be ahead of its first user.
#![allow(dead_code, unreachable_pub)]

pub mod answer;
pub mod by_hand;
pub mod certs;
pub mod client;
pub mod dns;
pub mod eventually;
pub mod h2;
pub mod haproxy;
pub mod load;
pub mod metrics;
pub mod peers;
pub mod ports;
pub mod proxy;
pub mod server;
pub mod tls;
pub mod upstream;
pub mod wire;

pub use answer::Answer;
#[allow(unused_imports)]
pub use by_hand::ByHand;
pub use client::Client;
pub use eventually::{eventually, eventually_within};
#[allow(unused_imports)]
pub use proxy::Proxy;
pub use upstream::Upstream;
