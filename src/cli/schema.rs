//! `pointsman schema`: the JSON Schema of the configuration file, for editors.

use std::io::Write;
use std::process::ExitCode;

/// Print the JSON Schema of the configuration file.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Prints the schema to standard output.
///
/// # Errors
/// When standard output cannot be written to.
pub fn run(_args: &Args) -> anyhow::Result<ExitCode> {
    let text = serde_json::to_string_pretty(&crate::config::schema())?;
    writeln!(std::io::stdout().lock(), "{text}")?;
    Ok(ExitCode::SUCCESS)
}
