//! The one integration binary: a module for each promise.

// A test that cannot do its work has failed; there is nobody to hand an error to. Speed is no matter here.
#![allow(clippy::unwrap_used, clippy::format_push_string, clippy::format_collect)]

mod admin_api;
mod architecture;
mod auth;
mod bad_input;
mod balance;
mod claims;
mod cli;
mod cohorts;
mod config_files;
mod demo;
mod dependencies;
mod draining;
mod fixtures;
mod fuzzed;
mod grpc;
mod health;
mod hold;
mod hostile;
mod jobs;
mod judged;
mod limits;
mod names;
mod protocols;
mod proxy_protocol;
mod readme;
mod reload;
mod restart;
mod retries;
mod rollouts;
mod routing;
mod shutdown;
mod support;
mod switching;
mod tally;
mod telemetry;
mod tls;
mod tunnels;
mod upgrade;
