//! `pointsman check`: says everything that is wrong with a configuration file, without starting anything.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::config;
use crate::config::spec::Spec;

/// Check a configuration file and report everything that is wrong with it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration file.
    #[arg(long, short, value_name = "FILE", default_value = "pointsman.yaml")]
    pub config: PathBuf,
}

/// Prints `FILE: OK (…)` to standard output, or every problem to standard error.
///
/// # Errors
/// None of its own; a wrong file is exit code 1.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match config::load(&args.config, &|name| std::env::var(name).ok()) {
        Ok(loaded) => {
            println!("{}: OK ({})", args.config.display(), summary(&loaded.spec));
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            eprintln!("{error}");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// `2 listeners, 3 services, 4 routes`.
fn summary(spec: &Spec) -> String {
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    [count(spec.listeners.len(), "listener"), count(spec.services.len(), "service"), count(spec.routes.len(), "route")]
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_in_words() {
        let text = "listeners: { web: { bind: 127.0.0.1:0 } }\nservices: { s: { groups: { b: { upstreams: \
                    [http://x] } } } }\nroutes: [{ service: s }, { service: s }]\n";
        let loaded = config::parse(text, std::path::Path::new("x.yaml"), &|_| None).unwrap();
        assert_eq!(summary(&loaded.spec), "1 listener, 1 service, 2 routes");
    }

    #[test]
    fn a_wrong_file_is_exit_code_1() {
        let args = Args { config: PathBuf::from("/nonexistent/pointsman.yaml") };
        assert_eq!(format!("{:?}", run(&args).unwrap()), format!("{:?}", ExitCode::FAILURE));
    }
}
