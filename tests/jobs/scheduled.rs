//! Rollouts that begin later: at their time, once, for whoever wanted them; or it is said why not.

use serde_json::{Value, json};

use super::{events_of, job, switched};
use crate::judged::{Shop, brief};
use crate::support::client::Response;
use crate::support::eventually;

/// So many seconds from now.
fn at(seconds: i64) -> String {
    (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds)).to_string()
}

async fn wished(shop: &Shop, more: Value) -> Response {
    let mut body = json!({ "to": "green", "steps": [{ "share": 10, "hold": "1h" }, { "share": 100 }] });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    shop.proxy.post("/api/v1/services/shop/rollouts", body).await
}

#[tokio::test]
async fn at_its_time_it_begins_for_whoever_wanted_it_also_after_kill_9() {
    let mut shop = Shop::new("").await;
    let scheduled = wished(&shop, json!({ "at": at(4), "reason": "2.0 by night" })).await.expect(202).json();
    let told = events_of(&shop.proxy, "rollout.scheduled").await.remove(0);
    assert_eq!((&told["detail"]["job"], &told["service"]), (&scheduled["job"], &json!("shop")));
    shop.proxy.kill().await;
    shop.proxy.restart().await;
    shop.is("shifting").await;
    let rollout = shop.rollout().await;
    let first = rollout["timeline"][0]["cause"].as_str().unwrap();
    assert!(first.contains("as scheduled") && first.contains("2.0 by night"), "{}", brief(&rollout));
    assert_eq!((&rollout["started_by"], &rollout["reason"]), (&told["actor"], &json!("2.0 by night")));
    let done = job(&shop.proxy, "start_rollout", "done", |_| true).await;
    assert_eq!(done["id"], scheduled["job"]);
}

#[tokio::test]
async fn a_time_that_makes_no_sense_is_refused_at_once_and_so_is_what_is_known_to_fail() {
    let shop = Shop::new("rollout: { freeze: [ { cron: \"* * * * *\", for: 1h, zone: UTC } ] }").await;
    for (wish, status, code) in [
        (json!({ "at": "2020-01-01T00:00:00Z" }), 422, "invalid_time"),
        (json!({ "at": at(500 * 24 * 3600) }), 422, "invalid_time"),
        (json!({ "at": at(3600), "to": "red" }), 404, "no_such_group"),
        (json!({ "at": at(3600), "bake": "soon" }), 422, "invalid_plan"),
        (json!({ "at": at(3600) }), 409, "frozen"),
    ] {
        let refused = wished(&shop, wish.clone()).await;
        assert_eq!((refused.status, &refused.json()["code"]), (status, &json!(code)), "{wish}: {}", refused.text());
    }
    assert_eq!(shop.proxy.get("/api/v1/jobs").await.expect(200).json()["jobs"], json!([]));
    wished(&shop, json!({ "at": at(3600), "override_freeze": true })).await.expect(202);
}

#[tokio::test]
async fn what_cannot_begin_then_is_dead_and_that_is_said_and_it_can_be_retried() {
    let shop = Shop::new("").await;
    let scheduled = wished(&shop, json!({ "at": at(2) })).await.expect(202).json();
    shop.begins(json!({ "steps": [{ "share": 30, "hold": "1h" }, { "share": 100 }] })).await;
    let dead = job(&shop.proxy, "start_rollout", "dead", |_| true).await;
    assert_eq!(dead["id"], scheduled["job"]);
    assert!(dead["last_error"].as_str().unwrap().contains("is in rollout r1"), "{dead:#}");
    let event = eventually("it is said", || async { events_of(&shop.proxy, "job.dead").await.pop() }).await;
    assert_eq!(event["detail"]["services"], json!(["shop"]));
    assert_eq!(events_of(&shop.proxy, "rollout.start.refused").await[0]["service"], "shop");
    shop.steer("abort").await.expect(200);
    shop.proxy.post(&format!("/api/v1/jobs/{}/retry", dead["id"]), json!({})).await.expect(200);
    shop.is("shifting").await;
}

#[tokio::test]
async fn what_nobody_wants_any_more_does_not_begin() {
    let shop = Shop::new("").await;
    let scheduled = wished(&shop, json!({ "at": at(3600) })).await.expect(202).json();
    let id = scheduled["job"].to_string();
    let cancelled = shop.proxy.cli(&["jobs", "cancel", &id, "--reason", "not tonight"]).await;
    assert!(cancelled.status.success(), "{cancelled:?}");
    job(&shop.proxy, "start_rollout", "cancelled", |job| job["id"] == scheduled["job"]).await;
    assert_eq!(events_of(&shop.proxy, "job.cancelled").await[0]["detail"]["reason"], "not tonight");
    let again = shop.proxy.admin("DELETE", &format!("/api/v1/jobs/{id}"), &[], None).await;
    assert_eq!((again.status, &again.json()["code"]), (409, &json!("job_not_cancellable")));
    switched(&shop.proxy, "green").await;
}
