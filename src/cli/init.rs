//! `pointsman init`: writes a configuration to start from.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

/// What is written: the commented example.
const STARTING_CONFIG: &str = include_str!("../../config/pointsman.yaml");

/// Write a commented configuration to start from.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to write it. A file that is there is never overwritten.
    #[arg(value_name = "FILE", default_value = "pointsman.yaml")]
    pub path: PathBuf,
}

/// Writes the file and prints what to type next.
///
/// # Errors
/// When the file is already there or cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    write(&args.path)?;
    let path = args.path.display();
    println!("Wrote {path}. It sends 127.0.0.1:8080 to blue (127.0.0.1:9001) and green (127.0.0.1:9002).");
    println!("Next:");
    println!("  pointsman check --config {path}");
    println!("  pointsman run --config {path}");
    println!("  pointsman switch shop green");
    Ok(ExitCode::SUCCESS)
}

fn write(path: &Path) -> anyhow::Result<()> {
    // `create_new` decides and creates in one step: nobody's file is lost to a race.
    let mut file = match File::create_new(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{} is already there and stays as it is; name another file", path.display());
        }
        file => file.with_context(|| format!("cannot create {}", path.display()))?,
    };
    file.write_all(STARTING_CONFIG.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_a_valid_configuration_and_nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pointsman.yaml");
        write(&path).unwrap();
        crate::config::load(&path, &|_| None).unwrap();
        std::fs::write(&path, "mine").unwrap();
        let error = write(&path).unwrap_err().to_string();
        assert!(error.contains("is already there"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }
}
