//! Floor 3: the admin port, where people and programs see and change traffic.
//!
//! It translates: HTTP and JSON on one side, [`Handle`] on the other. It decides who may ask ([`auth`], [`gate`]) and
//! what an answer looks like ([`wire`], [`problem`]); it refuses to know what a change means, how it is kept, and
//! that there is a data plane.
//!
//! A request's way: [`server`] accepts it, [`gate`] looks at peer, Host and Origin, [`auth`] at its token,
//! [`router`] at the role that its route needs; then one file per resource answers.

mod approval;
pub mod auth;
mod change;
mod config;
mod drain;
mod drill;
mod events;
mod explain;
mod extract;
mod follow;
pub mod gate;
mod hold;
mod hooks;
mod jobs;
mod markdown;
mod metrics;
mod openapi;
mod precondition;
pub mod problem;
mod report;
mod rollout;
mod router;
pub mod server;
mod services;
mod status;
mod upgrade;
mod validation;
pub mod wire;

use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

use crate::config::spec;
use crate::control::handle::Handle;

pub use server::{Listener, Orders, ServeError, serve};
pub use upgrade::{UpgradeError, UpgradeWish, Upgrades};

/// Event streams that may be open at a time.
const MAX_STREAMS: usize = 64;

/// What the admin port is told when it starts; a change needs a restart.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who may use it, and under which names it answers.
    pub admin: spec::Admin,
    /// HTTPS when present; made from `admin.tls`, client certificates included.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

/// What every resource needs to answer. Clone freely.
#[derive(Clone, Debug)]
struct Desk {
    handle: Handle,
    upgrades: Upgrades,
    /// Turns true when the port closes; only the server writes it, event streams read it.
    closing: watch::Receiver<bool>,
    /// Places for event streams.
    streams: Arc<Semaphore>,
}

impl Desk {
    fn new(handle: Handle, upgrades: Upgrades, closing: watch::Receiver<bool>) -> Self {
        Self { handle, upgrades, closing, streams: Arc::new(Semaphore::new(MAX_STREAMS)) }
    }
}
