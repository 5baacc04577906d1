//! The command line: what it says, and the code it ends with.

mod files;
mod refusals;
mod verbs;

use std::process::Output;

use serde_json::Value;

use crate::support::{Proxy, Upstream};

async fn start() -> (Upstream, Upstream, Proxy) {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = Proxy::blue_green(&blue, &green, "").await;
    (blue, green, proxy)
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Standard output of a command that succeeds.
async fn said(proxy: &Proxy, arguments: &[&str]) -> String {
    let output = proxy.cli(arguments).await;
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}{}", stdout(&output), stderr(&output));
    stdout(&output)
}

/// The JSON that a command prints.
async fn json_of(proxy: &Proxy, arguments: &[&str]) -> Value {
    let text = said(proxy, &[arguments, &["--output", "json"]].concat()).await;
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{arguments:?}: {e} in {text}"))
}

/// Standard error of a command that fails with this code, and says nothing on standard output.
async fn complaint(proxy: &Proxy, arguments: &[&str], code: i32) -> String {
    let output = proxy.cli(arguments).await;
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}{}", stdout(&output), stderr(&output));
    assert_eq!(stdout(&output), "", "{arguments:?}");
    stderr(&output)
}
