//! `check`, `schema`, `init` and `token`: what is done with files, without a running proxy.

use std::process::Command;

use serde_json::json;

use super::{said, stderr, stdout};
use crate::support::peers::python_client;
use crate::support::proxy::{binary, blue_green, check};
use crate::support::{Proxy, Upstream};

#[test]
fn check_says_all_that_is_wrong_in_one_run_each_with_its_place() {
    let output = check(
        "listeners:
  web: { bind: \"127.0.0.1:8080\" }
  same: { bind: \"127.0.0.1:8080\" }
services:
  shop:
    groups: { blue: { upstreams: [\"ftp://x\"] } }
    split: { blue: 60, green: 30 }
    helth: { kind: http }
routes:
  - { match: { path: shop }, service: shpo }
",
    );
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(1), ""));
    let errors = stderr(&output);
    // The keys `admin`, `state` and `workers` are three lines ahead of what is written here.
    for (line, word) in [(6, "8080"), (9, "ftp://x"), (10, "green"), (11, "helth"), (13, "shop"), (13, "shpo")] {
        let place = format!("pointsman.yaml:{line}:");
        let found = errors.lines().any(|l| l.contains(&place) && l.contains(word));
        assert!(found, "{place} {word} is not in\n{errors}");
    }
    for line in errors.lines().filter(|line| line.contains("pointsman.yaml:")) {
        assert!(line.contains("; ") || line.contains(", "), "what would be right is missing: {line}");
    }
}

#[test]
fn check_says_what_is_in_a_file_that_is_right_and_what_is_missing_in_one_that_is_not_there() {
    let output = check(
        "listeners: { web: { bind: \"127.0.0.1:0\" } }
services: { shop: { groups: { blue: { upstreams: [\"http://127.0.0.1:1\"] } } } }
routes: [ { service: shop } ]
",
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("OK (1 listener, 1 service, 1 route)"), "{}", stdout(&output));
    let output = binary().args(["check", "--config", "/nonexistent/pointsman.yaml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("/nonexistent/pointsman.yaml"), "{}", stderr(&output));
}

#[test]
fn run_refuses_a_wrong_file_with_the_same_words_as_check() {
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("pointsman.yaml");
    std::fs::write(&path, "listeners: {}\nsevices: {}\n").unwrap();
    let [checked, ran] = ["check", "run"].map(|verb| binary().args([verb, "--config"]).arg(&path).output().unwrap());
    assert_eq!((checked.status.code(), ran.status.code()), (Some(1), Some(1)));
    for line in stderr(&checked).lines().filter(|line| line.contains("pointsman.yaml:")) {
        assert!(stderr(&ran).contains(line), "{line} is not in {}", stderr(&ran));
    }
}

#[tokio::test]
async fn the_schema_is_valid_and_takes_every_example_and_no_slip() {
    let output = binary().arg("schema").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let dir = tempfile::TempDir::new().unwrap();
    let schema = dir.path().join("schema.json");
    std::fs::write(&schema, &output.stdout).unwrap();
    let slip = dir.path().join("slip.yaml");
    std::fs::write(&slip, "listeners: { web: { bynd: x } }\nservices: {}\nroutes: []\n").unwrap();
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/config");
    let arguments = [schema.to_str().unwrap(), examples, slip.to_str().unwrap()];
    let verdict = python_client("schema_check.py", &arguments).await;
    assert!(verdict["files"].as_u64().unwrap() >= 5, "{verdict}");
    assert_eq!(verdict["errors"], json!({}), "{verdict}");
    assert!(verdict["slip"].to_string().contains("bynd"), "{verdict}");
}

#[tokio::test]
async fn what_init_writes_is_checked_and_runs_as_it_is() {
    let dir = tempfile::TempDir::new().unwrap();
    let init = || binary().arg("init").current_dir(dir.path()).output().unwrap();
    let output = init();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("pointsman run --config pointsman.yaml"), "{}", stdout(&output));
    let path = dir.path().join("pointsman.yaml");
    let written = std::fs::read_to_string(&path).unwrap();
    let check = binary().args(["check"]).current_dir(dir.path()).output().unwrap();
    assert!(check.status.success(), "{}", stderr(&check));
    // What is there is never overwritten.
    let again = init();
    assert!(again.status.code() == Some(1) && stderr(&again).contains("already there"), "{}", stderr(&again));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), written);
    // It runs as it is, at ports that are free here and with upstreams that are there.
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let mut config = written;
    for (is, to) in [
        ("127.0.0.1:7070", "127.0.0.1:@admin@".to_owned()),
        ("127.0.0.1:8080", "127.0.0.1:@web@".to_owned()),
        ("http://127.0.0.1:9001", blue.url()),
        ("http://127.0.0.1:9002", green.url()),
    ] {
        assert!(config.contains(is), "{is} is not in {config}");
        config = config.replace(is, &to);
    }
    let proxy = Proxy::start(&config).await;
    assert_eq!(proxy.client().await.get("/").await.expect(200).group(), Some("blue"));
    said(&proxy, &["switch", "shop", "green"]).await;
    assert_eq!(proxy.client().await.get("/").await.expect(200).group(), Some("green"));
}

#[tokio::test]
async fn a_new_token_works_once_its_line_is_in_the_configuration() {
    let new = |name: &str, role: &str| {
        let output = binary().args(["token", "new", "--name", name, "--role", role]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let lines: Vec<_> = stdout(&output).lines().map(ToOwned::to_owned).collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(!lines[1].contains(&lines[0]), "the line holds the token itself");
        (lines[0].clone(), lines[1].clone())
    };
    let ((ops, ops_line), (dash, dash_line)) = (new("ops", "operator"), new("dash", "viewer"));
    assert!(ops != dash && ops.len() >= 32);
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let admin = format!("admin:\n  listen: 127.0.0.1:@admin@\n  tokens:\n    {ops_line}\n    {dash_line}\n");
    let proxy = Proxy::start(&format!("{admin}{}", blue_green(&blue, &green, ""))).await;
    said(&proxy, &["--token", &ops, "switch", "shop", "green"]).await;
    said(&proxy, &["--token", &dash, "status"]).await;
    let refused = super::complaint(&proxy, &["--token", &dash, "rollback", "shop"], 1).await;
    assert!(refused.contains("viewer") && refused.contains("monitor"), "{refused}");
    let history = said(&proxy, &["--token", &dash, "history"]).await;
    assert!(history.contains("ops"), "{history}");
}

#[test]
fn a_port_that_is_taken_is_said_to_be_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::TempDir::new().unwrap();
    let config = format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }} }}\nadmin: {{ listen: \"{}\" }}\nstate: {{ path: state.db }}\n\
         services: {{ shop: {{ groups: {{ blue: {{ upstreams: [\"http://127.0.0.1:1\"] }} }} }} }}\nroutes: [ {{ service: shop }} ]\n",
        taken.local_addr().unwrap()
    );
    std::fs::write(dir.path().join("pointsman.yaml"), config).unwrap();
    let mut command: Command = binary();
    let output = command.arg("run").current_dir(dir.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains(&taken.local_addr().unwrap().to_string()), "{}", stderr(&output));
}
