//! The program: parse, dispatch, exit code.

use std::process::ExitCode;

use clap::Parser;
use pointsman::cli::{self, Cli, Verb};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let output = cli.target.output;
    dispatch(cli).unwrap_or_else(|error| cli::complain(&error, output))
}

fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.verb {
        Verb::Run(args) => pointsman::app::run(&args),
        Verb::Demo(args) => pointsman::app::demo(&args),
        verb => cli::run(verb, &cli.target),
    }
}

/// Help and version are no errors; everything else is wrong usage.
fn usage(error: &clap::Error) -> ExitCode {
    let wrong = error.use_stderr();
    // Nobody is left to tell when this fails.
    drop(error.print());
    if wrong { ExitCode::from(cli::WRONG_USAGE) } else { ExitCode::SUCCESS }
}
