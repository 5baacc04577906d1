//! Candidates that fail: how soon everybody is taken back, wherever the rollout is, and what users see of it.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Shop, brief, cause};
use crate::support::Answer;
use crate::support::load::Load;
use crate::support::metrics::Scrape;

/// Attempts of users at the candidate that have failed.
async fn failed_attempts(shop: &Shop) -> f64 {
    let name = "pointsman_attempts_counted_total{service=\"shop\",group=\"green\",outcome=\"failed\"}";
    Scrape::of(&shop.proxy).await.value(name).unwrap()
}

fn fails() -> Answer {
    Answer::Plain(500, "broken".to_owned())
}

/// The guards that have failed, by the figures of the last entry.
fn failed(rollout: &Value) -> Vec<String> {
    let figures = rollout["timeline"].as_array().unwrap().last().unwrap()["figures"].as_array().unwrap().clone();
    let failed = figures.iter().filter(|f| f["status"] == "fail");
    failed.map(|f| f["guard"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_candidate_that_is_dead_costs_five_attempts_at_the_most_and_no_user_a_request() {
    for round in 0..5 {
        let shop = Shop::new("").await;
        let load = Load::start(&shop.proxy, 8);
        load.goes_on_for(50).await;
        shop.green.refuse().await;
        shop.begins(json!({ "steps": [{ "share": 10, "hold": "1h" }, { "share": 100 }] })).await;
        let rollout = shop.is("rolled_back").await;
        load.goes_on_for(50).await;
        let failed = failed_attempts(&shop).await;
        // Those who were on their way at once come on top of three in a row; here they are few.
        assert!((1.0..=5.0).contains(&failed), "round {round}: {failed} failed; {}", brief(&rollout));
        assert!(cause(&rollout).contains("connect"), "{}", brief(&rollout));
        load.nothing_failed().await;
        shop.is_back().await;
        let rollbacks = "pointsman_rollbacks_total{service=\"shop\",cause=\"guard\"}";
        assert_eq!(Scrape::of(&shop.proxy).await.value(rollbacks), Some(1.0));
    }
}

#[tokio::test]
async fn a_candidate_that_answers_500_is_left_after_a_handful_of_them() {
    let shop = Shop::new("retries: { attempts: 0 }").await;
    shop.green.answer(fails());
    let load = Load::start(&shop.proxy, 4);
    shop.begins(json!({ "steps": [{ "share": 10, "hold": "1h" }, { "share": 100 }] })).await;
    let rollout = shop.is("rolled_back").await;
    let failures = load.stopped().await.1;
    assert!((1..=12).contains(&failures.len()), "{} failures; {}", failures.len(), brief(&rollout));
    assert_eq!(failed(&rollout), ["error_rate"], "{}", brief(&rollout));
    assert!(cause(&rollout).starts_with("guard error_rate has failed: "), "{}", brief(&rollout));
    shop.is_back().await;
}

#[tokio::test]
async fn a_threshold_that_is_crossed_while_it_is_paused_leads_back() {
    let shop = Shop::new("").await;
    let load = Load::start(&shop.proxy, 4);
    shop.begins(json!({ "steps": [{ "share": 20, "hold": "1h" }, { "share": 100 }] })).await;
    shop.has_share(20.0).await;
    assert_eq!(shop.steer("pause").await.expect(200).json()["state"], "paused");
    load.goes_on_for(100).await;
    assert_eq!(shop.rollout().await["state"], "paused");
    shop.green.answer(fails());
    let rollout = shop.is_back().await;
    assert_eq!(failed(&rollout), ["error_rate"], "{}", brief(&rollout));
    load.stopped().await;
}

#[tokio::test]
async fn a_threshold_that_is_crossed_while_somebody_has_to_agree_leads_back() {
    let shop = Shop::new("").await;
    let load = Load::start(&shop.proxy, 4);
    let steps = json!([{ "share": 20, "hold": "0s" }, { "share": 100 }]);
    shop.begins(json!({ "steps": steps, "approval": { "before": [100], "within": "1h" } })).await;
    shop.is("awaiting_approval").await;
    load.goes_on_for(100).await;
    shop.green.answer(fails());
    let rollout = shop.is_back().await;
    assert_eq!(failed(&rollout), ["error_rate"], "{}", brief(&rollout));
    assert_eq!(shop.steer("approve").await.status, 404);
    load.stopped().await;
}

#[tokio::test]
async fn a_threshold_that_is_crossed_while_it_bakes_leads_back_to_a_group_that_is_still_warm() {
    let shop = Shop::new("").await;
    let load = Load::start(&shop.proxy, 4);
    shop.begins(json!({ "steps": [{ "share": 20, "hold": "0s" }, { "share": 100 }], "bake": "1h" })).await;
    shop.is("baking").await;
    load.goes_on_for(100).await;
    shop.green.answer(fails());
    let rollout = shop.is_back().await;
    assert_eq!(failed(&rollout), ["error_rate"], "{}", brief(&rollout));
    load.stopped().await;
}

#[tokio::test]
async fn a_candidate_that_dies_while_it_bakes_is_hidden_from_users_by_the_old_group() {
    let shop = Shop::new("").await;
    let load = Load::start(&shop.proxy, 4);
    shop.begins(json!({ "steps": [{ "share": 20, "hold": "0s" }, { "share": 100 }], "bake": "1h" })).await;
    shop.is("baking").await;
    load.goes_on_for(100).await;
    shop.green.refuse().await;
    shop.is_back().await;
    // Requests that were under way at green went down with it; every other one was served.
    let (_, failures) = load.stopped().await;
    assert!(failures.len() <= 4, "{failures:#?}");
}

#[tokio::test]
async fn a_slow_candidate_goes_down_the_steps_where_the_plan_says_so() {
    let shop = Shop::new("").await;
    shop.blue.answer(Answer::Later(Duration::from_millis(2), Box::new(Answer::text("blue"))));
    let load = Load::start(&shop.proxy, 4);
    let plan = json!({
        "steps": [{ "share": 60, "hold": "1h" }, { "share": 100 }],
        "guards": { "latency_p95": { "above_baseline": "50%" } },
        "on_failure": { "step_down": [30, 10, 0], "every": "200ms" },
    });
    shop.begins(plan).await;
    shop.has_share(60.0).await;
    load.goes_on_for(100).await;
    shop.green.answer(Answer::Later(Duration::from_millis(30), Box::new(Answer::text("green"))));
    let rollout = shop.is_back().await;
    let way: Vec<_> = rollout["timeline"].as_array().unwrap().iter().map(|e| e["share"].as_f64().unwrap()).collect();
    assert_eq!(way, [0.0, 60.0, 30.0, 10.0, 0.0], "{}", brief(&rollout));
    load.nothing_failed().await;
}

#[tokio::test]
async fn a_candidate_that_gets_everything_at_once_is_compared_with_what_was_there_before() {
    let shop = Shop::new("").await;
    shop.blue.answer(Answer::Later(Duration::from_millis(2), Box::new(Answer::text("blue"))));
    shop.green.answer(Answer::Later(Duration::from_millis(30), Box::new(Answer::text("green"))));
    let load = Load::start(&shop.proxy, 4);
    let plan = json!({
        "steps": [100], "approval": { "before": ["first_step"], "within": "1h" }, "bake": "1h",
        "guards": { "latency_p95": { "above_baseline": "50%" } },
    });
    shop.begins(plan).await;
    shop.is("awaiting_approval").await;
    load.goes_on_for(2000).await;
    shop.steer("approve").await.expect(200);
    let rollout = shop.is_back().await;
    assert_eq!(failed(&rollout), ["latency_p95"], "{}", brief(&rollout));
    load.nothing_failed().await;
}

#[tokio::test]
async fn an_ill_candidate_is_refused_at_once_and_one_that_cannot_be_warmed_gets_nobody() {
    let shop = Shop::new("health: { kind: http, path: /health, interval: 50ms, timeout: 1s }").await;
    shop.green.healthy(false);
    shop.proxy.health_is("shop", "green", "unhealthy").await;
    let refused = shop.proxy.post("/api/v1/services/shop/rollouts", json!({ "to": "green" })).await;
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert_eq!(refused.json()["code"], "no_healthy_upstream");
    shop.green.healthy(true);
    shop.proxy.health_is("shop", "green", "healthy").await;
    shop.green.script(|head| if head.path() == "/warm" { fails() } else { Answer::text("green") });
    shop.begins(json!({ "warm_up": [{ "path": "/warm", "times": 2 }] })).await;
    let rollout = shop.is("failed").await;
    assert!(cause(&rollout).contains("/warm: status 500"), "{}", brief(&rollout));
    assert_eq!(shop.proxy.service("shop").await["split"], json!({ "blue": 100, "green": 0 }));
}
