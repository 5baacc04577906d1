//! Drills: each guard notices the fault that it is there for, none cries wolf, and users notice nothing.

use serde_json::{Value, json};

use crate::judged::Shop;
use crate::support::Answer;
use crate::support::load::Load;

/// A plan with a guard of every kind.
const GUARDS: &str = "rollout: { guards: { error_rate: { above: 5% }, latency_p95: { above_baseline: 50% }, \
     latency_mean: { above: 2s }, unhealthy_for: 90s, connect_failures: 3, \
     prometheus: [{ name: carts, url: \"http://127.0.0.1:1\", query: up, above: 1 }] } }";

fn run<'a>(drilled: &'a Value, fault: &str) -> &'a Value {
    let runs = drilled["runs"].as_array().unwrap();
    runs.iter().find(|run| run["fault"] == fault).unwrap_or_else(|| panic!("no run with {fault} in {drilled:#}"))
}

/// After how much each guard has fired.
fn fired(run: &Value) -> Vec<(String, u64)> {
    let guards = run["guards"].as_array().unwrap().iter();
    guards.filter_map(|g| Some((g["guard"].as_str()?.to_owned(), g["fired_after"].as_u64()?))).collect()
}

#[tokio::test]
async fn each_guard_notices_its_fault_none_cries_wolf_and_nobody_is_moved() {
    let shop = Shop::new(GUARDS).await;
    let before = shop.proxy.service("shop").await;
    let load = Load::start(&shop.proxy, 2);
    let output =
        shop.proxy.cli(&["rollout", "drill", "shop", "green", "--path", "/carts?n=1", "--output", "json"]).await;
    let drilled: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    assert_eq!((output.status.code(), &drilled["as_expected"]), (Some(0), &json!(true)), "{drilled:#}");
    load.nothing_failed().await;

    let well = run(&drilled, "none");
    assert_eq!((&well["sent"], &well["hit"]), (&json!(300), &json!(0)));
    assert_eq!(fired(well), [], "{well:#}");
    let errors = run(&drilled, "errors");
    assert_eq!(fired(errors).iter().map(|(g, _)| g.as_str()).collect::<Vec<_>>(), ["error_rate"], "{errors:#}");
    // Half of them fail, and it stops as soon as that is noticed.
    let (sent, hit) = (errors["sent"].as_u64().unwrap(), errors["hit"].as_u64().unwrap());
    assert!((4..100).contains(&sent) && hit == sent / 2, "{errors:#}");
    let slow = fired(run(&drilled, "slow"));
    assert_eq!(slow.iter().map(|(g, _)| g.as_str()).collect::<Vec<_>>(), ["latency_p95", "latency_mean"]);
    assert_eq!(fired(run(&drilled, "unreachable")), [("connect_failures".to_owned(), 3)]);
    assert!(fired(run(&drilled, "unhealthy")).contains(&("unhealthy_for".to_owned(), 95)), "{drilled:#}");
    // Nobody is there; that is worth knowing ahead of the release.
    let outside = &drilled["not_drilled"][0];
    assert_eq!(outside["guard"], "carts");
    assert!(outside["why"].as_str().unwrap().contains("asked now, it says undecided: "), "{outside}");
    assert_eq!(drilled["on_failure"], json!({ "state": "rolled_back", "split": { "blue": 100, "green": 0 } }));

    // The requests were real, were marked, and were all that reached the candidate.
    let marked = shop.green.arrivals();
    assert!(marked.len() > 300, "{}", marked.len());
    assert!(marked.iter().all(|a| a.head.target() == "/carts?n=1"));
    assert!(marked.iter().all(|a| a.head.fields.get("x-pointsman-drill") == Some("1")));
    let after = shop.proxy.service("shop").await;
    for key in ["version", "split", "stable_split", "rollout"] {
        assert_eq!(before[key], after[key], "{key}");
    }
    let event = shop.proxy.events().await.into_iter().find(|e| e["kind"] == "rollout.drill").unwrap();
    assert_eq!((&event["service"], &event["detail"]["as_expected"]), (&json!("shop"), &json!(true)), "{event}");
    assert_eq!(event["detail"]["runs"][3]["fired_after"], json!({ "connect_failures": 3 }), "{event}");
}

#[tokio::test]
async fn a_limit_that_notices_nothing_and_a_candidate_that_is_bad_already_are_found_out() {
    let shop = Shop::new("").await;
    let deaf = r#"{"guards":{"error_rate":{"above":"80%"}}}"#;
    let text = shop.cli(&["rollout", "drill", "shop", "green", "--plan", deaf, "--requests", "60"], 1).await;
    assert!(text.contains("is silent") && text.contains("errors: not noticed"), "{text}");
    shop.green.answer(Answer::Plain(500, "no table `carts`".to_owned()));
    let text = shop.cli(&["rollout", "drill", "shop", "green"], 1).await;
    assert!(text.contains("a guard fails the candidate as it is"), "{text}");
    let text = shop.cli(&["rollout", "drill", "shop", "green", "--share", "100", "--path", "/x"], 1).await;
    assert!(text.contains("GET /x; faults hit 100 %"), "{text}");
}

#[tokio::test]
async fn websockets_are_drilled_where_one_is_named() {
    let shop = Shop::new("rollout: { guards: { websocket_success: { below: 95% } } }").await;
    shop.blue.answer(Answer::Upgrade);
    shop.green.answer(Answer::Upgrade);
    let path = "/api/v1/services/shop/rollouts/drill";
    let without = shop.proxy.post(path, json!({ "to": "green", "path": "/", "requests": 1 })).await.expect(200).json();
    assert_eq!(without["not_drilled"][0]["guard"], "websocket_success", "{without:#}");
    let body = json!({ "to": "green", "websocket_path": "/ws", "requests": 100 });
    shop.green.script(|head| if head.target() == "/ws" { Answer::Upgrade } else { Answer::text("green") });
    shop.blue.script(|head| if head.target() == "/ws" { Answer::Upgrade } else { Answer::text("blue") });
    let drilled = shop.proxy.post(path, body).await.expect(200).json();
    let handshakes = run(&drilled, "handshakes");
    assert_eq!(fired(handshakes).len(), 1, "{handshakes:#}");
    assert_eq!((&drilled["as_expected"], &drilled["not_drilled"]), (&json!(true), &json!([])), "{drilled:#}");
}

#[tokio::test]
async fn what_cannot_be_drilled_is_refused_with_the_reason() {
    let shop = Shop::new("health: { kind: http, path: /health, interval: 50ms, timeout: 1s }").await;
    let path = "/api/v1/services/shop/rollouts/drill";
    for (body, status, code) in [
        (json!({ "to": "blue" }), 409, "already_live"),
        (json!({ "to": "red" }), 404, "no_such_group"),
        (json!({ "to": "green", "bake": "soon" }), 422, "invalid_plan"),
        (json!({ "to": "green", "share": 120 }), 422, "invalid_split"),
        (json!({ "to": "green", "requests": 0 }), 400, "bad_request"),
        (json!({ "to": "green", "path": "x y" }), 400, "bad_request"),
    ] {
        let problem = shop.proxy.post(path, body.clone()).await.expect(status).json();
        assert_eq!(problem["code"], code, "{body}: {problem}");
    }
    shop.green.healthy(false);
    shop.proxy.health_is("shop", "green", "unhealthy").await;
    let problem = shop.proxy.post(path, json!({ "to": "green" })).await.expect(409).json();
    assert_eq!(problem["code"], "no_healthy_upstream", "{problem}");
    shop.green.healthy(true);
    shop.proxy.health_is("shop", "green", "healthy").await;
    shop.begins(json!({})).await;
    let problem = shop.proxy.post(path, json!({ "to": "green" })).await.expect(409).json();
    assert_eq!(problem["code"], "rollout_in_progress", "{problem}");
}
