//! The command line: hold, release, and a switch with a command in between.

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;

use super::{GET, asking, hold, kinds, start, takes, waiting_are};
use crate::support::proxy::binary;
use crate::support::{Client, Proxy, Upstream, eventually};

async fn code_and_words(proxy: &Proxy, arguments: &[&str]) -> (Option<i32>, String) {
    let output = proxy.cli(arguments).await;
    let words = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&words).into_owned())
}

/// `switch shop green --hold 20s --run sh -c SCRIPT`.
async fn run(proxy: &Proxy, script: &str) -> (Option<i32>, String) {
    code_and_words(proxy, &["switch", "shop", "green", "--hold", "20s", "--run", "sh", "-c", script]).await
}

fn written(proxy: &Proxy, file: &str) -> Option<String> {
    std::fs::read_to_string(proxy.dir().join(file)).ok()
}

async fn is_let_go(proxy: &Proxy, live: &str) {
    let service = proxy.service("shop").await;
    assert_eq!((&service["hold"], &service["live"]), (&json!(null), &json!(live)));
    assert_eq!(proxy.client().await.get("/").await.expect(200).group(), Some(live));
}

/// A request under way at blue.
async fn under_way(proxy: &Proxy, blue: &Upstream) -> Client {
    let client = asking(proxy, GET).await;
    eventually("it has arrived", || async { blue.requests() == 1 }).await;
    client
}

#[tokio::test]
async fn hold_status_and_release_say_what_goes_on() {
    let (_blue, _green, proxy) = start("").await;
    let (code, text) = code_and_words(&proxy, &["hold", "shop", "--for", "1m", "--reason", "look"]).await;
    assert!(code == Some(0) && text.contains("let go with: pointsman release shop"), "{text}");
    let mut waits = asking(&proxy, GET).await;
    waiting_are(&proxy, "shop", 1).await;
    let (_, text) = code_and_words(&proxy, &["status"]).await;
    assert!(text.contains("shop: held by local, 1 wait, until "), "{text}");
    let (code, text) = code_and_words(&proxy, &["release", "shop"]).await;
    assert!(code == Some(0) && text.contains("1 waited at the most"), "{text}");
    waits.response_to("GET").await.unwrap().expect(200);
    let (code, text) = code_and_words(&proxy, &["release", "shop"]).await;
    assert_eq!((code, text.as_str()), (Some(0), "shop: nobody was held · nothing changed\n"));
    for time in ["0s", "11m", "soon"] {
        let (code, text) = code_and_words(&proxy, &["hold", "shop", "--for", time]).await;
        assert!(code == Some(1) && text.contains("error: "), "{text}");
    }
    let (code, text) = code_and_words(&proxy, &["switch", "shop", "green", "--hold", "10s"]).await;
    assert!(code == Some(0) && text.contains("held for "), "{text}");
    is_let_go(&proxy, "green").await;
}

#[tokio::test]
async fn a_command_runs_when_blue_is_quiet_and_its_success_switches() {
    let (blue, green, proxy) = start("").await;
    takes(&blue, Duration::from_millis(600));
    let mut client = under_way(&proxy, &blue).await;
    let look = format!(
        "curl -s http://{}/api/v1/services/shop > seen; echo $POINTSMAN_SERVICE $POINTSMAN_TO > names",
        proxy.address("admin")
    );
    let ask = async {
        eventually("it is held", || async { !proxy.service("shop").await["hold"].is_null() }).await;
        proxy.client().await.get("/").await.expect(200)
    };
    let ((code, text), held, first) = tokio::join!(run(&proxy, &look), ask, client.response_to("GET"));
    assert!(code == Some(0) && text.contains("shop: green 100 (was blue 100)"), "{text}");
    assert_eq!((first.unwrap().group(), held.group()), (Some("blue"), Some("green")));
    let seen: serde_json::Value = serde_json::from_str(&written(&proxy, "seen").unwrap()).unwrap();
    assert_eq!((&seen["groups"]["blue"]["in_flight"], &seen["live"]), (&json!(0), &json!("blue")));
    assert!(!seen["hold"].is_null());
    assert_eq!(written(&proxy, "names").unwrap(), "shop green\n");
    assert_eq!((blue.requests(), green.requests()), (1, 1));
    is_let_go(&proxy, "green").await;
    assert_eq!(kinds(&proxy).await, ["hold", "switch", "release"]);
}

#[tokio::test]
async fn a_command_that_fails_or_cannot_start_switches_nothing_and_lets_everybody_go() {
    let (_blue, _green, proxy) = start("").await;
    let (code, text) = run(&proxy, "exit 3").await;
    assert!(code == Some(1) && text.contains("released without a switch") && text.contains("exit status: 3"), "{text}");
    is_let_go(&proxy, "blue").await;
    let cannot = ["switch", "shop", "green", "--hold", "20s", "--run", "./no-such-program"];
    let (code, text) = code_and_words(&proxy, &cannot).await;
    assert!(code == Some(1) && text.contains("./no-such-program cannot be started"), "{text}");
    is_let_go(&proxy, "blue").await;
    assert_eq!(kinds(&proxy).await, ["hold", "release", "hold", "release"]);
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_ended_with_all_that_it_started_before_anybody_is_let_go() {
    let (_blue, _green, proxy) = start("").await;
    // What it starts would go on by itself, and writes as long as it lives.
    let script = "(while :; do echo x >> ticks; sleep 0.05; done) & wait";
    let arguments = ["switch", "shop", "green", "--hold", "2s", "--run", "sh", "-c", script];
    let ask = async {
        eventually("it runs", || async { written(&proxy, "ticks").is_some() }).await;
        proxy.client().await.get("/").await.expect(200)
    };
    let ((code, text), held) = tokio::join!(code_and_words(&proxy, &arguments), ask);
    assert!(code == Some(1) && text.contains("still running when the hold was about to end"), "{text}");
    let ticks = written(&proxy, "ticks").unwrap();
    assert_eq!(held.group(), Some("blue"));
    is_let_go(&proxy, "blue").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(written(&proxy, "ticks").unwrap(), ticks, "something goes on");
    assert_eq!(kinds(&proxy).await, ["hold", "release"]);
}

#[tokio::test]
async fn nothing_is_run_for_a_switch_that_would_be_refused_or_while_requests_are_under_way() {
    let (blue, green, proxy) = start("").await;
    let touch = "touch run";
    for arguments in [["switch", "shop", "red"], ["switch", "shop", "blue"], ["switch", "shpo", "green"]] {
        let all = [&arguments[..], &["--hold", "20s", "--run", "sh", "-c", touch]].concat();
        assert_eq!(code_and_words(&proxy, &all).await.0, Some(1));
    }
    green.healthy(false);
    proxy.health_is("shop", "green", "unhealthy").await;
    let (code, text) = run(&proxy, touch).await;
    assert!(code == Some(1) && text.contains("no healthy upstream"), "{text}");
    green.healthy(true);
    proxy.health_is("shop", "green", "healthy").await;
    assert_eq!(kinds(&proxy).await, [""; 0], "somebody was held");
    takes(&blue, Duration::from_secs(3));
    let _client = under_way(&proxy, &blue).await;
    let busy = ["switch", "shop", "green", "--hold", "1s", "--run", "sh", "-c", touch];
    let (code, text) = code_and_words(&proxy, &busy).await;
    assert!(code == Some(1) && text.contains("still under way"), "{text}");
    assert_eq!(kinds(&proxy).await, ["hold", "release"]);
    hold(&proxy).await;
    let (code, text) = run(&proxy, touch).await;
    assert!(code == Some(1) && text.contains("held already"), "{text}");
    assert!(!proxy.service("shop").await["hold"].is_null(), "it has let go of what another one holds");
    assert_eq!(written(&proxy, "run"), None);
}

#[tokio::test]
async fn an_interrupted_command_lets_everybody_go() {
    let (_blue, _green, proxy) = start("").await;
    let mut command = binary();
    command.args(["switch", "shop", "green", "--hold", "50s", "--run", "sh", "-c", "touch run; sleep 60"]);
    command.current_dir(proxy.dir()).env("POINTSMAN_ADMIN", format!("http://{}", proxy.address("admin")));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("it runs", || async { written(&proxy, "run").is_some() }).await;
    let pid = child.id().to_string();
    assert!(std::process::Command::new("sh").args(["-c", &format!("kill -INT {pid}")]).status().unwrap().success());
    let status = eventually("it ends", || {
        let status = child.try_wait().unwrap();
        async move { status }
    })
    .await;
    assert_eq!(status.code(), Some(1));
    is_let_go(&proxy, "blue").await;
}
