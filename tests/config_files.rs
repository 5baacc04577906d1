//! Every example file in `config/` loads and starts, as it stands.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Parser;

use crate::support::{Client, Proxy, proxy};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

static MADE: std::sync::Once = std::sync::Once::new();

/// The example files; panics where there are none.
fn examples() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("config")).unwrap().map(|entry| entry.unwrap().path());
    let examples: Vec<_> = entries.filter(|path| path.extension().is_some_and(|ending| ending == "yaml")).collect();
    assert!(examples.len() >= 4, "config/ holds too few examples: {examples:?}");
    // Examples name the certificates for development, which are made, not kept; once, for all tests that want them.
    MADE.call_once(|| {
        if !root().join("certs/dev.crt").exists() {
            assert!(Command::new(root().join("certs/make")).output().unwrap().status.success());
        }
    });
    examples
}

#[test]
fn every_example_is_a_valid_configuration() {
    for path in examples() {
        let check = proxy::binary().args(["check", "--config"]).arg(&path).output().unwrap();
        let (said, errors) = (String::from_utf8_lossy(&check.stdout), String::from_utf8_lossy(&check.stderr));
        assert!(check.status.success() && said.contains("OK"), "{}: {said}{errors}", path.display());
    }
}

/// The example with each port replaced by one that is free for this test, and paths that lead there from elsewhere.
fn elsewhere(example: &str) -> String {
    let port = regex::Regex::new(r"127\.0\.0\.1:(\d+)").unwrap();
    let text = port.replace_all(example, |found: &regex::Captures<'_>| match &found[1] {
        "7070" => "127.0.0.1:@admin@".to_owned(),
        number => format!("127.0.0.1:@p{number}@"),
    });
    let certs = root().join("certs").display().to_string();
    text.replace("../certs", &certs).replace("../state", "@dir@")
}

#[tokio::test]
async fn every_example_starts_and_answers_on_each_of_its_ports() {
    for path in examples() {
        let example = fs::read_to_string(&path).unwrap();
        let mut proxy = Proxy::start(&elsewhere(&example)).await;
        let spoken: Vec<_> = example.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
        let ports = spoken.iter().filter(|line| line.contains("bind:")).count();
        // The token of config/full.yaml; where none is asked for, it does no harm.
        let metrics = proxy.admin("GET", "/metrics", &[("authorization", "Bearer test")], None).await.expect(200);
        let listening = metrics.text().lines().filter(|l| l.starts_with("pointsman_connections{")).count();
        assert!(ports > 0 && listening == ports, "{}: {listening} of {ports} listeners", path.display());
        // Nothing runs behind it, so the proxy itself answers; config/tls.yaml redirects.
        let answer = Client::connect(proxy.address("p8080")).await.get("/").await;
        let redirected = answer.header("location").is_some_and(|to| to.starts_with("https://"));
        let explained = answer.header("proxy-status").is_some_and(|why| why.starts_with("pointsman; error="));
        assert!(redirected || (answer.status == 503 && explained), "{}: {answer:?}", path.display());
        assert_eq!(proxy.terminate().await.code(), Some(0), "{}", path.display());
    }
}

/// The values of a key in a unit of systemd.
fn unit(name: &str, key: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join("config/systemd").join(name)).unwrap();
    let values = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    values.map(ToOwned::to_owned).collect()
}

#[test]
fn the_units_for_systemd_call_pointsman_as_it_can_be_called() {
    let calls = unit("pointsman.service", "ExecStart");
    assert_eq!(calls.len(), 1, "{calls:?}");
    let cli = pointsman::cli::Cli::try_parse_from(calls[0].split(' ')).unwrap_or_else(|e| panic!("{calls:?}: {e}"));
    let pointsman::cli::Verb::Run(run) = cli.verb else { panic!("{calls:?}") };
    assert_eq!(run.config, Path::new("/etc/pointsman/pointsman.yaml"));
    let starting = fs::read_to_string(root().join("config/pointsman.yaml")).unwrap();
    let sockets = unit("pointsman.socket", "ListenStream");
    assert!(!sockets.is_empty());
    for socket in sockets {
        assert!(starting.contains(&format!("bind: {socket}")), "no listener of config/pointsman.yaml is at {socket}");
    }
}

#[test]
fn a_broken_file_is_refused_with_the_place_of_what_is_wrong() {
    let check = proxy::check("listeners: { web: { bind: nonsense } }\nservices: {}\nroutes: []\nsevices: {}\n");
    let errors = String::from_utf8_lossy(&check.stderr);
    assert!(!check.status.success() && errors.contains("pointsman.yaml:") && errors.contains("sevices"), "{errors}");
}
