//! The process's own log: `tracing` events on standard error.

use tracing_subscriber::EnvFilter;

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter is not one.
    #[error("telemetry.log {filter:?} is no filter: {reason}; use for example info, or info,pointsman=debug")]
    Filter {
        /// As given.
        filter: String,
        /// The parser's explanation.
        reason: String,
    },
    /// Somebody else did it before.
    #[error("logging was set up twice in one process")]
    Twice,
}

/// Logs what `filter` lets through (as in `RUST_LOG`), for the rest of the process's life.
///
/// # Errors
/// [`LoggingError`].
pub fn init(filter: &str) -> Result<(), LoggingError> {
    let parsed = EnvFilter::try_new(filter)
        .map_err(|e| LoggingError::Filter { filter: filter.to_owned(), reason: e.to_string() })?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(parsed).with_writer(std::io::stderr).with_target(false);
    subscriber
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .try_init()
        .map_err(|_| LoggingError::Twice)
}
