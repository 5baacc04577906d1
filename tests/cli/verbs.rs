//! What the verbs do and say when all is well.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::json;

use super::{json_of, said, start};
use crate::support::proxy::{binary, blue_green};
use crate::support::{Proxy, Upstream};

#[tokio::test]
async fn switch_shift_and_rollback_say_what_is_what_was_and_the_way_back() {
    let (_blue, _green, proxy) = start().await;
    let text = said(&proxy, &["switch", "shop", "green", "--reason", "release 2.5.0"]).await;
    assert!(text.starts_with("shop: green 100 (was blue 100) · version 2 · "), "{text}");
    assert!(text.ends_with(" · back with: pointsman rollback shop\n"), "{text}");
    let text = said(&proxy, &["switch", "shop", "green"]).await;
    assert_eq!(text, "shop: green 100 (already so) · version 2 · nothing changed\n");
    let text = said(&proxy, &["rollback", "shop", "--reason", "errors"]).await;
    assert!(text.starts_with("shop: blue 100 (was green 100) · version 3 · ") && !text.contains("back with"), "{text}");
    let text = said(&proxy, &["shift", "shop", "green", "--to", "12.5"]).await;
    assert!(text.starts_with("shop: blue 87.5, green 12.5 (was blue 100) · version 4"), "{text}");
    assert_eq!(proxy.service("shop").await["split"], json!({"blue": 87.5, "green": 12.5}));
    let events = proxy.get("/api/v1/events?service=shop").await.json().to_string();
    assert!(events.contains("release 2.5.0") && events.contains("\"reason\":\"errors\""), "{events}");
}

#[tokio::test]
async fn several_services_and_all_of_them_move_with_one_command() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let config = blue_green(&blue, &green, "");
    let second = config.lines().skip_while(|line| *line != "  shop:").take_while(|line| !line.starts_with("routes"));
    let second: String = second.map(|line| format!("{}\n", line.replace("  shop:", "  api:"))).collect();
    let proxy = Proxy::start(&config.replace("routes:", &format!("{second}routes:"))).await;
    let text = said(&proxy, &["switch", "shop,api", "green"]).await;
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[..2], ["shop: green 100 (was blue 100)", "api: green 100 (was blue 100)"]);
    assert!(
        lines[2].starts_with("version 2 · ") && lines[2].ends_with("back with: pointsman rollback shop,api"),
        "{text}"
    );
    said(&proxy, &["rollback", "--all"]).await;
    assert_eq!(proxy.service("api").await["live"], "blue");
    said(&proxy, &["switch", "--all", "green"]).await;
    assert_eq!(
        (&proxy.service("shop").await["live"], &proxy.service("api").await["live"]),
        (&json!("green"), &json!("green"))
    );
}

#[tokio::test]
async fn status_shows_shares_health_and_why_something_is_not_healthy() {
    let (_blue, green, proxy) = start().await;
    green.health(crate::support::Answer::Plain(500, "disk full".to_owned()));
    proxy.health_is("shop", "green", "unhealthy").await;
    said(&proxy, &["shift", "shop", "green", "--to", "25"]).await;
    for arguments in [&["status"][..], &["status", "shop"]] {
        let text = said(&proxy, arguments).await;
        let row = |group: &str| text.lines().find(|line| line.contains(&format!(" {group} "))).unwrap_or_default();
        assert!(row("blue").contains("75 %") && row("blue").contains("1 of 1"), "{text}");
        assert!(row("green").contains("25 %") && row("green").contains("0 of 1"), "{text}");
        assert!(text.contains("a rollback goes to blue 100") && text.contains("disk full"), "{text}");
        assert!(!text.contains('\u{1b}'), "colours without a terminal: {text:?}");
    }
}

#[tokio::test]
async fn explain_history_events_drift_config_export_and_reload_say_what_the_api_says() {
    let (blue, green, proxy) = start().await;
    assert_eq!(said(&proxy, &["drift"]).await, "the file and what is running are the same\n");
    assert_eq!(said(&proxy, &["history"]).await, "nothing was changed yet\n");
    said(&proxy, &["shift", "shop", "green", "--to", "40"]).await;
    let text = said(&proxy, &["explain", "shop", "--cookie", "pointsman=abc", "--header", "x: y"]).await;
    let cohort = proxy.client().await.get_with("/", &[("cookie", "pointsman=abc")]).await;
    assert!(text.starts_with(&format!("{} (by cohort): cookie pointsman is at ", cohort.group().unwrap())), "{text}");
    let history = said(&proxy, &["history", "shop"]).await;
    assert!(history.contains("split") && history.contains("blue 100 → blue 60, green 40"), "{history}");
    assert!(!history.contains("health"), "{history}");
    let id = json_of(&proxy, &["history"]).await["events"][0]["id"].as_u64().unwrap();
    let events = said(&proxy, &["events", "--limit", "1", "--since", &(id - 1).to_string()]).await;
    assert!(events.lines().count() == 1 && events.contains("split shop by local"), "{events}");
    let drift = said(&proxy, &["drift"]).await;
    assert!(drift.contains("services.shop.split") && drift.contains("local"), "{drift}");
    let export = said(&proxy, &["export"]).await;
    assert!(export.contains("40") && export.contains(&green.url()), "{export}");
    let config = said(&proxy, &["config"]).await;
    assert!(config.contains(&blue.url()) && config.contains(&proxy.address("web").to_string()), "{config}");
    assert!(said(&proxy, &["reload"]).await.starts_with("nothing changed · version 2"));
    proxy.rewrite(&blue_green(&blue, &green, "expose: { response_header: x-by }"));
    let reloaded = said(&proxy, &["reload"]).await;
    // The change of the file may have been noticed a moment before.
    assert!(reloaded.contains("version 2"), "{reloaded}");
    assert!(proxy.client().await.get("/").await.header("x-by").is_some());
}

#[tokio::test]
async fn with_output_json_every_verb_prints_one_document() {
    let (_blue, _green, proxy) = start().await;
    assert_eq!(json_of(&proxy, &["switch", "shop", "green"]).await["split"]["green"], 100);
    assert_eq!(json_of(&proxy, &["shift", "shop", "green", "--to", "50"]).await["split"]["green"], 50);
    assert_eq!(json_of(&proxy, &["rollback", "shop"]).await["split"]["green"], 100);
    assert_eq!(json_of(&proxy, &["status"]).await["services"][0]["name"], "shop");
    assert_eq!(json_of(&proxy, &["status", "shop"]).await["live"], "green");
    assert_eq!(json_of(&proxy, &["explain", "shop"]).await["group"], "green");
    assert_eq!(json_of(&proxy, &["events", "--since", "0"]).await["events"][0]["id"], 1);
    assert_eq!(json_of(&proxy, &["history"]).await["events"][0]["kind"], "switch");
    assert_eq!(json_of(&proxy, &["drift"]).await["drift"], true);
    assert_eq!(json_of(&proxy, &["config"]).await["version"], 4);
    assert_eq!(json_of(&proxy, &["reload"]).await["changed"], false);
    let token = json_of(&proxy, &["token", "new", "--name", "ops", "--role", "viewer"]).await;
    assert!(token["token"].is_string() && token["sha256"].is_string(), "{token}");
}

/// A command that goes on until it is dropped, and the lines that it prints.
struct Following {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Following {
    fn start(proxy: &Proxy, arguments: &[&str]) -> Self {
        let mut command = binary();
        command.args(arguments).env("POINTSMAN_ADMIN", format!("http://{}", proxy.address("admin")));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        // Ends with the command, whose end closes the pipe.
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    fn next(&self) -> String {
        self.lines.recv_timeout(Duration::from_secs(20)).unwrap()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_followed_over_a_restart_of_the_proxy() {
    let (_blue, _green, mut proxy) = start().await;
    let first = proxy.switch("shop", "green").await["event"].as_u64().unwrap();
    let following = Following::start(&proxy, &["events", "--follow", "--since", "0", "--output", "json"]);
    let mut expected = 1;
    let mut until = |last: u64, following: &Following| {
        while expected <= last {
            let event: serde_json::Value = serde_json::from_str(&following.next()).unwrap();
            assert_eq!(event["id"], expected);
            expected += 1;
        }
    };
    until(first, &following);
    proxy.terminate().await;
    proxy.restart().await;
    until(proxy.switch("shop", "blue").await["event"].as_u64().unwrap(), &following);
}
