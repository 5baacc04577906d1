//! Reloads: what brings one about, and that a broken file changes nothing and says everything that is wrong.

mod kept;
mod listeners;
mod splits;

use std::fs;
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::support::load::Load;
use crate::support::metrics::Scrape;
use crate::support::ports::Port;
use crate::support::proxy::{Signal, blue_green};
use crate::support::{Client, Proxy, Upstream, eventually};

/// Reads the file again, as an operator asks for it; panics unless that is done. Gives the report as it is in the audit
/// log: the file's watcher may have been faster than the operator.
async fn reload(proxy: &Proxy, config: &str) -> Value {
    proxy.rewrite(config);
    proxy.post("/api/v1/config/reload", json!({})).await.expect(200);
    events(proxy, "reload").await.pop().map_or(Value::Null, |event| event["detail"].clone())
}

/// All events of a kind so far.
async fn events(proxy: &Proxy, kind: &str) -> Vec<Value> {
    proxy.events().await.into_iter().filter(|e| e["kind"] == kind).collect()
}

/// Waits for the event of a kind by an actor.
async fn event_by(proxy: &Proxy, kind: &str, actor: &str) -> Value {
    eventually(&format!("an event {kind} by {actor}"), || async {
        let all = events(proxy, kind).await;
        all.iter().find(|e| e["actor"] == actor).cloned().ok_or_else(|| format!("{all:?}"))
    })
    .await
}

/// The usual configuration, in which responses name their group in this header.
fn exposed(blue: &Upstream, green: &Upstream, header: &str) -> String {
    blue_green(blue, green, &format!("expose: {{ response_header: {header} }}"))
}

/// The usual configuration with a second listener at a fixed port.
fn with_listener(config: &str, name: &str, port: u16) -> String {
    config.replacen("listeners: { ", &format!("listeners: {{ {name}: {{ bind: \"127.0.0.1:{port}\" }}, "), 1)
}

/// Ways in which editors and deployments save a file.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Save {
    Renamed,
    InPlace,
    OldOneMovedAway,
    MissingForAWhile,
}

async fn save(proxy: &Proxy, text: &str, way: Save) {
    let path = proxy.config_path();
    match way {
        Save::Renamed => {
            fs::write(proxy.dir().join("4913"), text).unwrap();
            return fs::rename(proxy.dir().join("4913"), path).unwrap();
        }
        Save::InPlace => {}
        Save::OldOneMovedAway => fs::rename(&path, proxy.dir().join("pointsman.yaml~")).unwrap(),
        Save::MissingForAWhile => {
            fs::remove_file(&path).unwrap();
            eventually("the file is seen to be missing", || async {
                let refused = events(proxy, "reload.refused").await;
                refused.iter().any(|e| e["detail"]["errors"].to_string().contains("No such file"))
            })
            .await;
            proxy.client().await.get("/").await.expect(200);
        }
    }
    fs::write(&path, text).unwrap();
}

#[tokio::test]
async fn the_file_is_read_again_however_it_is_saved() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let mut proxy = Proxy::start(&exposed(&blue, &green, "x-at-first")).await;
    let first = fs::read_to_string(proxy.config_path()).unwrap();
    let mut client = proxy.client().await;
    for way in [Save::Renamed, Save::InPlace, Save::OldOneMovedAway, Save::MissingForAWhile] {
        let header = format!("x-{way:?}").to_lowercase();
        save(&proxy, &first.replace("x-at-first", &header), way).await;
        eventually(&format!("the file counts: {way:?}"), || async {
            proxy.client().await.get("/").await.expect(200).header(&header) == Some("blue")
        })
        .await;
    }
    client.get("/").await.expect(200);
    assert!(events(&proxy, "reload").await.iter().all(|e| e["actor"] == "file"));
    assert!(proxy.terminate().await.success());
}

/// Only asking for it can bring it about: the file is the same, but what it needs is there now.
async fn is_read_again_when(actor: &str, ask: impl AsyncFn(&Proxy)) {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = Proxy::blue_green(&blue, &green, "").await;
    let second = Port::reserve();
    let taken = second.listen();
    proxy.rewrite(&with_listener(&blue_green(&blue, &green, ""), "second", second.number()));
    event_by(&proxy, "reload.refused", "file").await;
    ask(&proxy).await;
    event_by(&proxy, "reload.refused", actor).await;
    drop(taken);
    // Asked again and again: a process that is started from here meanwhile holds the port for another moment.
    let reloaded = eventually("the file is put to work", || async {
        ask(&proxy).await;
        events(&proxy, "reload").await.pop()
    })
    .await;
    assert_eq!(
        (&reloaded["actor"], &reloaded["detail"]["changes"]),
        (&json!(actor), &json!(["listeners.second: added"]))
    );
    Client::connect(second.address()).await.get("/").await.expect(200);
}

#[tokio::test]
async fn a_hangup_signal_reads_the_file_again() {
    is_read_again_when("signal", async |proxy| proxy.signal(Signal::Hup)).await;
}

#[tokio::test]
async fn the_command_line_reads_the_file_again() {
    is_read_again_when("local", async |proxy| {
        proxy.cli(&["reload"]).await;
    })
    .await;
}

/// Line and column of each mistake, and what is said about it.
const BROKEN: &str = "listeners: { web: { bind: nonsense } }
services:
  shop:
    groups: { blue: { upstreams: [\"http://127.0.0.1:1\"] }, green: { upstreams: [\"ftp://127.0.0.1:2\"] } }
    split: { blue: 100, green: 0.1 }
    health: { kind: http, path: /health, interval: 5 parsecs }
routes: [ { match: { path: / }, service: shoe } ]
sevices: {}
";
const MISTAKES: [(&str, &str); 6] =
    [("4:27", "nonsense"), ("7:", "ftp"), ("8:", "100.1"), ("9:", "parsecs"), ("10:", "shoe"), ("11:1", "sevices")];

#[tokio::test]
async fn a_broken_file_changes_nothing_and_says_everything_that_is_wrong_everywhere() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let mut proxy = Proxy::blue_green(&blue, &green, "").await;
    let before = proxy.service("shop").await;
    let mut client = proxy.client().await;
    client.get("/").await.expect(200);
    // Three lines are put in front of it: admin, state, workers.
    proxy.rewrite(BROKEN);
    let refused = proxy.post("/api/v1/config/reload", json!({})).await.expect(422).json();
    assert_eq!(refused["code"], "invalid_config");
    let errors: Vec<String> = serde_json::from_value(refused["errors"].clone()).unwrap();
    let path = proxy.config_path().display().to_string();
    for (place, word) in MISTAKES {
        let start = format!("{path}:{place}");
        assert!(errors.iter().any(|e| e.starts_with(&start) && e.contains(word)), "{start} {word}: {errors:#?}");
    }
    assert_eq!(errors.len(), MISTAKES.len(), "{errors:#?}");
    let noted = events(&proxy, "reload.refused").await;
    assert!(!noted.is_empty() && noted.iter().all(|e| e["detail"]["errors"] == refused["errors"]), "{noted:?}");
    assert_eq!(Scrape::of(&proxy).await.value("pointsman_config_last_reload_successful"), Some(0.0));
    let ready = proxy.get("/readyz").await.expect(200).json();
    let notes = ready["notes"].to_string();
    assert!(notes.contains("the last reload failed") && notes.contains("sevices"), "{ready}");
    let cli = proxy.cli(&["reload"]).await;
    let said = String::from_utf8_lossy(&cli.stderr).into_owned();
    assert_eq!(cli.status.code(), Some(1));
    assert!(errors.iter().all(|e| said.contains(e)), "{said}");
    let log = proxy.log();
    assert!(errors.iter().all(|e| log.contains(e)), "{log}");
    client.get("/").await.expect(200);
    assert_eq!(
        (&proxy.service("shop").await["version"], client.get("/").await.group()),
        (&before["version"], Some("blue"))
    );
    // The last good one is kept until there is a better one.
    reload(&proxy, &exposed(&blue, &green, "x-served-by")).await;
    assert_eq!(client.get("/").await.expect(200).header("x-served-by"), Some("blue"));
    assert_eq!(Scrape::of(&proxy).await.value("pointsman_config_last_reload_successful"), Some(1.0));
    assert_eq!(proxy.get("/readyz").await.expect(200).json()["notes"], json!([]));
    assert!(proxy.terminate().await.success());
}

#[tokio::test]
async fn what_takes_a_restart_is_named_and_left_as_it_was() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let mut proxy = Proxy::blue_green(&blue, &green, "").await;
    let elsewhere = "admin: { listen: \"127.0.0.1:@elsewhere@\" }
state: { path: \"@dir@/other.db\" }
workers: 1
telemetry: { log: debug }
";
    let report = reload(&proxy, &format!("{elsewhere}{}", exposed(&blue, &green, "x-served-by"))).await;
    let named: Vec<_> = report["needs_restart"].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect();
    for what in ["admin", "state", "workers", "telemetry"] {
        assert!(named.iter().any(|n| n.starts_with(what)), "{what}: {report}");
    }
    assert_eq!(named.len(), 4, "{report}");
    // The rest of the file counts already.
    assert_eq!(proxy.client().await.get("/").await.expect(200).header("x-served-by"), Some("blue"));
    proxy.switch("shop", "green").await;
    assert!(!proxy.dir().join("other.db").exists());
    let drift = proxy.get("/api/v1/config/drift").await.expect(200).json().to_string();
    assert!(drift.contains("this takes effect with a restart"), "{drift}");
    assert!(TcpListener::bind(proxy.address("elsewhere")).is_ok(), "the admin port has moved");
    assert!(proxy.terminate().await.success());
}

#[tokio::test]
async fn reloads_under_load_with_every_second_file_broken_fail_no_request_and_close_no_tunnel() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    blue.script(|head| match head.path() {
        "/tunnel" => crate::support::Answer::Upgrade,
        _ => crate::support::Answer::text("blue"),
    });
    let proxy = Proxy::blue_green(&blue, &green, "").await;
    let mut tunnel = kept::tunnel(&proxy).await;
    let load = Load::start(&proxy, 4);
    for round in 0..20 {
        load.goes_on_for(20).await;
        if round % 2 == 0 {
            reload(&proxy, &exposed(&blue, &green, &format!("x-round-{round}"))).await;
        } else {
            proxy.rewrite(BROKEN);
            proxy.post("/api/v1/config/reload", json!({})).await.expect(422);
        }
        kept::echoes(&mut tunnel, round).await;
    }
    assert!(load.nothing_failed().await >= 400);
}
