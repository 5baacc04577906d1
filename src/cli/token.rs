//! `token new`: a secret for a caller, and the line that goes into the configuration. Nothing is kept.

use anyhow::{Context, ensure};
use aws_lc_rs::rand;
use clap::{Args, Subcommand, ValueEnum};

use super::output::{say, say_json};
use super::{Output, Target};
use crate::admin::auth::{label, sha256};
use crate::config::spec;

/// Random bytes of a token: 256 bits cannot be guessed, so a plain digest is enough to keep.
const BYTES: usize = 32;

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenVerb {
    /// Make one: prints it, this once, and the line for the configuration.
    New(NewArgs),
}

/// For whom the token is.
#[derive(Debug, Args)]
pub struct NewArgs {
    /// Its name: who did something, in the audit log.
    #[arg(long)]
    name: String,
    /// What it may do.
    #[arg(long, value_enum)]
    role: Role,
}

/// What a token may do; each role may do all that the ones before it may.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Role {
    /// Read.
    Viewer,
    /// Read and roll back.
    Monitor,
    /// All changes of traffic.
    Operator,
    /// Reload the configuration, too.
    Admin,
}

impl From<Role> for spec::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Viewer => spec::Role::Viewer,
            Role::Monitor => spec::Role::Monitor,
            Role::Operator => spec::Role::Operator,
            Role::Admin => spec::Role::Admin,
        }
    }
}

pub(super) fn run(verb: &TokenVerb, target: &Target) -> anyhow::Result<()> {
    let TokenVerb::New(args) = verb;
    let mut secret = [0; BYTES];
    rand::fill(&mut secret).ok().context("the system gives no randomness")?;
    let token = format!("pm_{}", hex(&secret));
    let line = config_line(&args.name, args.role.into(), &token)?;
    if target.output == Output::Json {
        let sha256 = hex(&sha256(token.as_bytes()));
        return say_json(&serde_json::json!({"token": token, "sha256": sha256, "config": line}));
    }
    say(&format!("{token}\n"))?;
    eprintln!("\nThat was the token; it is shown this once. In the configuration, under admin.tokens:\n");
    Ok(say(&format!("{line}\n"))?)
}

/// The entry of `admin.tokens`.
fn config_line(name: &str, role: spec::Role, token: &str) -> anyhow::Result<String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
    ensure!(
        !name.is_empty() && name.len() <= 63 && name.chars().all(fine),
        "a name takes 1 to 63 of a-z A-Z 0-9 . _ - @"
    );
    Ok(format!("- {{ name: \"{name}\", role: {}, sha256: \"{}\" }}", label(role), hex(&sha256(token.as_bytes()))))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").expect("writing to a string cannot fail");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_holds_the_digest_and_not_the_token() {
        let line = config_line("ops", spec::Role::Operator, "test").unwrap();
        // printf test | sha256sum
        let digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        assert_eq!(line, format!("- {{ name: \"ops\", role: operator, sha256: \"{digest}\" }}"));
    }

    #[test]
    fn a_name_that_would_break_the_line_is_refused() {
        for name in ["", "a b", "a\"", "a\n", &"x".repeat(64)] {
            assert!(config_line(name, spec::Role::Viewer, "t").is_err(), "{name:?}");
        }
    }
}
