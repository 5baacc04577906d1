//! Rollouts as they are asked for, steered and shown: on the command line and over the admin API.

mod alarms;
mod approval;
mod drill;
mod report;
mod roles;
mod verbs;

use std::process::Output;

use serde_json::Value;

use crate::judged::Shop;

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

impl Shop {
    /// Runs the command line, which ends with this code; what it has said.
    async fn cli(&self, arguments: &[&str], code: i32) -> String {
        let output = self.proxy.cli(arguments).await;
        let both = format!("{}{}", stdout(&output), stderr(&output));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {both}");
        both
    }

    /// The JSON that a command prints.
    async fn json(&self, arguments: &[&str]) -> Value {
        let output = self.proxy.cli(&[arguments, &["--output", "json"]].concat()).await;
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}
