//! What `run` and `demo` are told. Doing it is composition, above this floor.

use std::path::PathBuf;

use clap::Args;

/// What `pointsman run` is told.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// The configuration file.
    #[arg(long, short, value_name = "FILE", default_value = "pointsman.yaml")]
    pub config: PathBuf,
}

/// What `pointsman demo` is told.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Port for clients.
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub port: u16,
    /// Port of the admin API.
    #[arg(long, value_name = "PORT", default_value_t = 7070)]
    pub admin_port: u16,
}
