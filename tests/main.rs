//! The one integration binary: a module for each promise.

// A test that cannot do its work has failed; there is nobody to hand an error to. Speed is no matter here.
#![allow(clippy::unwrap_used, clippy::format_push_string, clippy::format_collect)]

mod admin_api;
mod architecture;
mod auth;
mod claims;
mod cli;
mod cohorts;
mod config_files;
mod dependencies;
mod fixtures;
mod routing;
mod support;
mod switching;
