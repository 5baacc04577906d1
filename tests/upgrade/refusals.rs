//! Upgrades that fail: the old process serves as before, and says why.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{kinds, pid};
use crate::support::proxy::Signal;
use crate::support::{Client, Proxy, Upstream, eventually};

async fn start() -> (Upstream, Upstream, Proxy) {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = Proxy::blue_green(&blue, &green, "").await;
    (blue, green, proxy)
}

/// A program that does this, in the proxy's directory.
fn program(proxy: &Proxy, name: &str, script: &str) -> PathBuf {
    let path = proxy.dir().join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path
}

/// The old process answers, takes changes, and has no process beside it.
async fn serves_as_before(proxy: &Proxy, to: &str) {
    assert_eq!(pid(proxy).await, proxy.pid());
    proxy.switch("shop", to).await;
    assert_eq!(proxy.client().await.get("/").await.expect(200).group(), Some(to));
    assert_eq!(proxy.processes(), [proxy.pid()], "something was left behind");
    proxy.post("/api/v1/config/reload", json!({})).await.expect(200);
}

fn problem(answer: &Value) -> (&str, &str) {
    (answer["code"].as_str().unwrap(), answer["detail"].as_str().unwrap())
}

#[tokio::test]
async fn what_is_no_program_or_ends_at_once_is_refused_and_nothing_has_changed() {
    let (_blue, _green, proxy) = start().await;
    let text = proxy.dir().join("notes.txt");
    std::fs::write(&text, "no program").unwrap();
    let said = program(&proxy, "says", "exec 0</dev/null; exit 3");
    let cases = [
        (PathBuf::from("/no/such/program"), "cannot start /no/such/program: No such file"),
        (text, "Permission denied"),
        (PathBuf::from("/bin/false"), "ended with exit status: 1 before it could take over"),
        (said, "ended with exit status: 3 before it could take over"),
    ];
    for (i, (binary, why)) in cases.iter().enumerate() {
        let answer = proxy.upgrade(json!({ "binary": binary })).await.expect(409).json();
        let (code, detail) = problem(&answer);
        assert!(code == "upgrade_failed" && detail.contains(why) && detail.ends_with("as before"), "{answer}");
        serves_as_before(&proxy, if i % 2 == 0 { "green" } else { "blue" }).await;
    }
    let failed = kinds(&proxy).await.iter().filter(|kind| *kind == "upgrade.failed").count();
    assert_eq!(failed, cases.len());
}

#[tokio::test]
async fn a_file_that_is_wrong_is_refused_with_every_mistake_and_its_place() {
    let (_blue, _green, proxy) = start().await;
    let wrong = proxy.dir().join("wrong.yaml");
    let text = std::fs::read_to_string(proxy.config_path()).unwrap();
    std::fs::write(&wrong, text.replace("workers: 2", "workers: 0\nsevices: {}")).unwrap();
    let answer = proxy.upgrade(json!({ "config": wrong })).await.expect(409).json();
    let (code, detail) = problem(&answer);
    assert!(code == "upgrade_failed" && detail.contains("0 is no number of workers"), "{answer}");
    let errors = answer["errors"].to_string();
    assert!(errors.contains("wrong.yaml:") && errors.contains("did you mean `services`"), "{answer}");
    let output = proxy.cli(&["upgrade", "--config", "wrong.yaml"]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("no number of workers"), "{said}");
    serves_as_before(&proxy, "green").await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_refused_and_the_ones_that_are_shared_stay_as_they_are() {
    let (_blue, _green, proxy) = start().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let more = proxy.dir().join("more.yaml");
    let text = std::fs::read_to_string(proxy.config_path()).unwrap();
    let address = taken.local_addr().unwrap();
    std::fs::write(&more, text.replace("listeners: {", &format!("listeners: {{ more: {{ bind: \"{address}\" }},")))
        .unwrap();
    let answer = proxy.upgrade(json!({ "config": more })).await.expect(409).json();
    assert!(problem(&answer).1.contains("listeners.more: cannot listen"), "{answer}");
    serves_as_before(&proxy, "green").await;
}

#[tokio::test]
async fn a_new_process_that_fails_after_it_was_given_the_state_gives_it_back() {
    let (_blue, _green, mut proxy) = start().await;
    proxy.switch("shop", "green").await;
    let version = proxy.service("shop").await["version"].as_u64().unwrap();
    // It takes the state, changes it by another file, and is then killed before it serves: blue is never healthy.
    let text = std::fs::read_to_string(proxy.config_path()).unwrap();
    let slow = text.replace("interval: 100ms, timeout: 1s", "interval: 1m, timeout: 1m");
    let slow = regex::Regex::new("blue: \\{ upstreams: [^}]*\\}").unwrap().replace(&slow, |_: &regex::Captures<'_>| {
        format!("blue: {{ upstreams: [\"http://{}\"] }}", proxy.address("silent"))
    });
    let silent = std::net::TcpListener::from(socket(&proxy));
    let path = proxy.dir().join("slow.yaml");
    std::fs::write(&path, slow.replace("    health:", "    split: { blue: 50, green: 50 }\n    health:")).unwrap();
    let killed = async {
        let log = || proxy.log();
        eventually("the new process has the state", || async {
            let others: Vec<_> = proxy.processes().into_iter().filter(|pid| *pid != proxy.pid()).collect();
            let has = others.iter().any(|pid| {
                let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
                files.filter_map(|fd| std::fs::read_link(fd.path()).ok()).any(|to| to.ends_with("state.db"))
            });
            if has { Ok(others) } else { Err(log()) }
        })
        .await
        .iter()
        .for_each(|pid| {
            assert!(std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
        });
    };
    let (answer, ()) = tokio::join!(proxy.upgrade(json!({ "config": path })), killed);
    let answer = answer.expect(409).json();
    assert!(problem(&answer).1.contains("signal: 9"), "{answer}");
    assert_eq!(proxy.client().await.get("/").await.expect(200).group(), Some("green"));
    assert!(proxy.service("shop").await["version"].as_u64().unwrap() >= version);
    serves_as_before(&proxy, "blue").await;
    serves_as_before(&proxy, "green").await;
    drop(silent);
    assert_eq!(proxy.terminate().await.code(), Some(0));
    proxy.restart().await;
    assert_eq!(proxy.client().await.get("/").await.expect(200).group(), Some("green"), "the state in force was kept");
}

/// Takes connections and never says anything.
fn socket(proxy: &Proxy) -> socket2::Socket {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.bind(&proxy.address("silent").into()).unwrap();
    socket.listen(16).unwrap();
    socket
}

#[tokio::test]
async fn while_a_new_process_hangs_a_second_upgrade_and_a_reload_are_refused_and_traffic_changes_are_not() {
    let (_blue, _green, proxy) = start().await;
    let hangs = program(&proxy, "hangs", "while read -r line; do :; done");
    let second = async {
        eventually("it has started", || async { proxy.processes().len() > 1 }).await;
        let again = proxy.post("/api/v1/upgrade", json!({})).await.expect(409).json();
        assert_eq!(again["code"], "upgrade_in_progress", "{again}");
        let reload = proxy.post("/api/v1/config/reload", json!({})).await.expect(503);
        assert_eq!((reload.header("retry-after"), &reload.json()["code"]), (Some("1"), &"upgrading".into()));
        proxy.switch("shop", "green").await;
        assert_eq!(proxy.client().await.get("/").await.expect(200).group(), Some("green"));
    };
    let (answer, ()) = tokio::join!(proxy.upgrade(json!({ "binary": hangs })), second);
    let answer = answer.expect(409).json();
    assert!(problem(&answer).1.contains("did not come up within 10 s"), "{answer}");
    serves_as_before(&proxy, "blue").await;
}

#[tokio::test]
async fn a_file_that_changes_while_a_new_process_hangs_is_read_when_that_is_over() {
    let (blue, green, proxy) = start().await;
    let hangs = program(&proxy, "hangs", "while read -r line; do :; done");
    let edited = async {
        eventually("it has started", || async { proxy.processes().len() > 1 }).await;
        let config = crate::support::proxy::blue_green(&blue, &green, "split: { blue: 0, green: 100 }");
        proxy.rewrite(&config);
        eventually("the file was looked at", || async { proxy.log().contains("an upgrade is under way") }).await;
    };
    let (answer, ()) = tokio::join!(proxy.upgrade(json!({ "binary": hangs })), edited);
    answer.expect(409);
    eventually("it is read", || async { proxy.service("shop").await["live"] == "green" }).await;
    assert!(proxy.get("/readyz").await.expect(200).json()["notes"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn while_requests_are_held_an_upgrade_is_refused_and_they_go_on_waiting() {
    let (blue, _green, proxy) = start().await;
    proxy.post("/api/v1/services/shop/hold", json!({ "for": "30s" })).await.expect(200);
    let mut waits = proxy.client().await;
    waits.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let held = || async { proxy.service("shop").await["hold"]["waiting"] == 1 };
    eventually("somebody waits", held).await;
    let answer = proxy.upgrade(json!({})).await.expect(409).json();
    assert!(problem(&answer).0 == "hold_in_progress" && proxy.processes() == [proxy.pid()], "{answer}");
    assert!(held().await && blue.requests() == 0);
    assert!(kinds(&proxy).await.contains(&"upgrade.failed".to_owned()));
    proxy.admin("DELETE", "/api/v1/services/shop/hold", &[], None).await.expect(200);
    assert_eq!(waits.response_to("GET").await.unwrap().expect(200).group(), Some("blue"));
    serves_as_before(&proxy, "green").await;
}

/// Somebody who waits for an upgrade to this program.
async fn asking_for(proxy: &Proxy, binary: &Path) -> Client {
    let mut client = Client::connect(proxy.address("admin")).await;
    let body = json!({ "binary": binary }).to_string();
    let request =
        format!("POST /api/v1/upgrade HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    client.send(request.as_bytes()).await.unwrap();
    client
}

/// Takes everything and says that it is prepared, then waits for the state, and then to be told to end.
const TAKES_THE_STATE: &str = r#"
trap 'kill $waiting; echo > "$0.told"; exit 0' TERM
while read -r line; do case "$line" in *no_more_sockets*) break;; esac; done
echo '{"prepared":{"protocol":1,"version":"9.9.9","taken":[]}}' >&0
read -r line
sleep 600 </dev/null & waiting=$!
echo "$line" > "$0.said"
wait"#;

#[tokio::test]
async fn told_to_stop_while_a_new_process_has_the_state_it_lets_that_one_finish_what_it_has_accepted() {
    let (_blue, _green, mut proxy) = start().await;
    let takes = program(&proxy, "takes", TAKES_THE_STATE);
    let mut client = asking_for(&proxy, &takes).await;
    let said = || std::fs::read_to_string(proxy.dir().join("takes.said")).unwrap_or_default();
    eventually("it has the state", || async { said().contains("yours") }).await;
    proxy.signal(Signal::Term);
    let answer = client.response_to("POST").await.unwrap().expect(409).json();
    assert!(problem(&answer).1.contains("told to stop"), "{answer}");
    assert!(proxy.dir().join("takes.told").exists(), "it was killed");
    assert_eq!(proxy.ended().await.code(), Some(0));
    proxy.is_gone().await;
    proxy.restart().await;
    assert!(kinds(&proxy).await.contains(&"upgrade.failed".to_owned()), "the state has come back");
}

#[tokio::test]
async fn told_to_stop_while_a_new_process_hangs_it_ends_both() {
    let (_blue, _green, mut proxy) = start().await;
    let hangs = program(&proxy, "hangs", "while read -r line; do :; done");
    let mut client = asking_for(&proxy, &hangs).await;
    eventually("it has started", || async { proxy.processes().len() > 1 }).await;
    proxy.signal(Signal::Term);
    let answer = client.response_to("POST").await.unwrap().expect(409).json();
    assert!(problem(&answer).1.contains("told to stop"), "{answer}");
    assert_eq!(proxy.ended().await.code(), Some(0));
    proxy.is_gone().await;
}
