//! The application's hook: started, asked until it is content, told when it may stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

use super::{drain, drain_is, switch_and_drain};
use crate::support::{Answer, Proxy, Upstream, eventually};

const SECRET: &str = "hunter2-and-more";

const HOOK: &str = "drain:
  timeout: @time@
  hook:
    start: { method: POST, path: /workers/drain, headers: { x-worker-drain-secret: \"${DRAIN_SECRET}\" }, json: { timeoutMs: 45000 } }
    poll: { path: /workers/state, every: 20ms, until: { json: { queueDepth: 0, lastDrainResult: success } } }
    cancel: { method: POST, path: /workers/cancel }";

/// An application whose queue is as deep as told.
fn working(group: &str) -> (Upstream, Arc<AtomicU64>) {
    let (upstream, depth) = (Upstream::start(group), Arc::new(AtomicU64::new(3)));
    let (name, seen) = (group.to_owned(), Arc::clone(&depth));
    upstream.script(move |head| match head.path() {
        "/workers/drain" | "/workers/cancel" => Answer::Plain(202, "{}".to_owned()),
        "/workers/state" => match seen.load(Ordering::Acquire) {
            0 => Answer::text(r#"{"queueDepth": 0, "lastDrainResult": "success"}"#),
            depth => Answer::text(&format!(r#"{{"queueDepth": {depth}, "lastDrainResult": null}}"#)),
        },
        _ => Answer::text(&name),
    });
    (upstream, depth)
}

async fn proxy(blue: &Upstream, green: &Upstream, time: &str) -> Proxy {
    let config = crate::support::proxy::blue_green(blue, green, &HOOK.replace("@time@", time));
    Proxy::start_with(&config, &[("DRAIN_SECRET", SECRET)]).await
}

fn asked(upstream: &Upstream, path: &str) -> usize {
    upstream.arrivals().iter().filter(|a| a.head.path() == path).count()
}

#[tokio::test]
async fn a_drain_waits_for_the_application_to_finish_its_own_work() {
    let ((blue, depth), (green, _)) = (working("blue"), working("green"));
    let proxy = proxy(&blue, &green, "30s").await;
    switch_and_drain(&proxy, "green").await;
    let detail = eventually("it was asked and is not content", || async {
        let seen = drain(&proxy).await;
        let detail = seen["hook"]["detail"].as_str().unwrap_or_default().to_owned();
        if detail.contains("queueDepth is 3, expected 0") { Ok(seen) } else { Err(seen.to_string()) }
    })
    .await;
    assert_eq!((&detail["hook"]["state"], &detail["in_flight"]), (&json!("polling"), &json!(0)), "{detail}");
    assert_eq!(detail["hook"]["answer"], json!({ "queueDepth": 3, "lastDrainResult": null }), "{detail}");
    depth.store(0, Ordering::Release);
    let ended = drain_is(&proxy, "drained").await;
    let done = json!({ "state": "done", "detail": "", "answer": { "queueDepth": 0, "lastDrainResult": "success" } });
    assert_eq!(ended["hook"], done, "{ended}");
    let start = blue.arrivals().into_iter().find(|a| a.head.path() == "/workers/drain").unwrap().head;
    assert_eq!((start.method(), start.fields.get("x-worker-drain-secret")), ("POST", Some(SECRET)));
    assert_eq!(start.fields.get("content-type"), Some("application/json"));
    assert_eq!((asked(&blue, "/workers/drain"), asked(&blue, "/workers/cancel")), (1, 0));
    assert_eq!(asked(&green, "/workers/drain"), 0);
    let poll = blue.arrivals().into_iter().find(|a| a.head.path() == "/workers/state").unwrap().head;
    assert_eq!(poll.fields.get("x-worker-drain-secret"), Some(SECRET));
    let told = format!("{}{}{}", proxy.log(), json!(proxy.events().await), proxy.get("/api/v1/config").await.text());
    assert!(!told.contains(SECRET), "a secret is told");
    let exported = proxy.cli(&["export"]).await;
    assert!(!String::from_utf8_lossy(&exported.stdout).contains(SECRET));
}

#[tokio::test]
async fn what_is_never_true_ends_at_the_deadline_with_the_reason() {
    let ((blue, _), (green, _)) = (working("blue"), working("green"));
    let proxy = proxy(&blue, &green, "500ms").await;
    switch_and_drain(&proxy, "green").await;
    let ended = drain_is(&proxy, "timed_out").await;
    assert!(ended["why"].as_str().unwrap().contains("queueDepth is 3, expected 0"), "{ended}");
}

#[tokio::test]
async fn what_is_unreachable_or_hangs_ends_at_the_deadline_with_the_reason() {
    let ((blue, _), (green, _)) = (working("blue"), working("green"));
    let proxy = proxy(&blue, &green, "500ms").await;
    blue.script(|_| Answer::Hang);
    switch_and_drain(&proxy, "green").await;
    let ended = drain_is(&proxy, "timed_out").await;
    assert!(ended["why"].as_str().unwrap().contains("the hook was not content"), "{ended}");
    switch_back(&proxy).await;
    green.script(|_| Answer::Plain(503, "broken".to_owned()));
    proxy.post("/api/v1/services/shop/switch", json!({ "to": "blue", "drain": true, "force": true })).await.expect(200);
    let path = "/api/v1/services/shop/groups/green/drain";
    let ended = eventually("green's drain is over", || async {
        let seen = proxy.get(path).await.json();
        if seen["state"] == "timed_out" { Ok(seen) } else { Err(seen.to_string()) }
    })
    .await;
    let why = ended["why"].as_str().unwrap();
    assert!(why.contains("503") && why.contains("/workers/drain"), "{ended}");
}

/// Everything at green, nothing drained there.
async fn switch_back(proxy: &Proxy) {
    proxy.switch("shop", "green").await;
}

#[tokio::test]
async fn a_drain_that_is_called_off_tells_the_application() {
    let ((blue, _), (green, _)) = (working("blue"), working("green"));
    let proxy = proxy(&blue, &green, "30s").await;
    switch_and_drain(&proxy, "green").await;
    eventually("it was started", || async { asked(&blue, "/workers/state") > 0 }).await;
    proxy.post("/api/v1/services/shop/rollback", json!({})).await.expect(200);
    eventually("it was told", || async { asked(&blue, "/workers/cancel") == 1 }).await;
    let told = blue.arrivals().into_iter().find(|a| a.head.path() == "/workers/cancel").unwrap().head;
    assert_eq!(told.fields.get("x-worker-drain-secret"), Some(SECRET));
    let off = drain(&proxy).await;
    assert_eq!(off["state"], "cancelled", "{off}");
    assert_eq!(proxy.client().await.get("/").await.expect(200).group(), Some("blue"));
}

#[tokio::test]
async fn an_application_that_was_drained_is_told_when_its_users_come_back() {
    let ((blue, depth), (green, _)) = (working("blue"), working("green"));
    depth.store(0, Ordering::Release);
    let mut proxy = proxy(&blue, &green, "30s").await;
    switch_and_drain(&proxy, "green").await;
    drain_is(&proxy, "drained").await;
    assert_eq!(asked(&blue, "/workers/cancel"), 0);
    // Also by a process that was started in between.
    proxy.terminate().await;
    proxy.restart().await;
    proxy.post("/api/v1/services/shop/rollback", json!({})).await.expect(200);
    eventually("it was told", || async { asked(&blue, "/workers/cancel") == 1 }).await;
    assert_eq!(asked(&blue, "/workers/drain"), 1);
}

#[tokio::test]
async fn a_secret_that_the_application_repeats_is_not_repeated() {
    let ((blue, _), (green, _)) = (working("blue"), working("green"));
    let proxy = proxy(&blue, &green, "300ms").await;
    blue.script(|head| {
        let secret = head.fields.get("x-worker-drain-secret").unwrap_or_default();
        Answer::Plain(500, format!("what does {secret} mean?"))
    });
    switch_and_drain(&proxy, "green").await;
    let ended = drain_is(&proxy, "timed_out").await;
    assert!(ended["why"].as_str().unwrap().contains("what does … mean?"), "{ended}");
    let told = format!("{}{}{ended}", proxy.log(), json!(proxy.events().await));
    assert!(!told.contains(SECRET), "a secret is told");
}
