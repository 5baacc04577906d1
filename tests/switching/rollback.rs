//! Where a rollback goes: to the stable split, from wherever, as often as somebody asks.

use serde_json::{Value, json};

use super::{rollback, split};
use crate::support::{Proxy, Upstream};

async fn start() -> (Upstream, Upstream, Proxy) {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = Proxy::blue_green(&blue, &green, "").await;
    (blue, green, proxy)
}

fn shares(blue: u32) -> Value {
    json!({"blue": blue, "green": 100 - blue})
}

async fn shift(proxy: &Proxy, to: f64) {
    proxy.post("/api/v1/services/shop/shift", json!({"group": "green", "to": to})).await.expect(200);
}

#[tokio::test]
async fn steps_by_hand_and_then_a_rollback_lead_back_to_nothing() {
    let (_blue, _green, proxy) = start().await;
    for step in [10.0, 25.0, 50.0] {
        shift(&proxy, step).await;
        assert_eq!(proxy.service("shop").await["stable_split"], shares(100));
    }
    assert_eq!(rollback(&proxy).await["split"], shares(100));
    assert_eq!(proxy.client().await.get("/").await.group(), Some("blue"));
}

#[tokio::test]
async fn after_a_completed_switch_a_rollback_leads_to_the_old_group_and_repeating_it_changes_nothing() {
    let (_blue, green, proxy) = start().await;
    proxy.switch("shop", "green").await;
    let first = rollback(&proxy).await;
    assert_eq!((&first["changed"], &first["split"]), (&json!(true), &shares(100)));
    for _ in 0..3 {
        let again = rollback(&proxy).await;
        assert_eq!((&again["changed"], &again["version"]), (&json!(false), &first["version"]));
        assert_eq!((&again["split"], &again["event"]), (&shares(100), &Value::Null));
    }
    assert_eq!(proxy.client().await.get("/").await.group(), Some("blue"));
    assert_eq!(green.requests(), 0);
}

#[tokio::test]
async fn steps_up_to_100_and_then_a_rollback_lead_to_the_old_group() {
    let (_blue, _green, proxy) = start().await;
    for step in [10.0, 50.0, 100.0] {
        shift(&proxy, step).await;
    }
    assert_eq!(rollback(&proxy).await["split"], shares(100));
}

#[tokio::test]
async fn what_has_100_when_a_change_begins_becomes_stable_and_a_rollback_never_changes_that() {
    let (_blue, _green, proxy) = start().await;
    proxy.switch("shop", "green").await;
    assert_eq!(proxy.service("shop").await["stable_split"], shares(100));
    // The next change begins while green has everything.
    split(&proxy, 20.0, false).await;
    assert_eq!(proxy.service("shop").await["stable_split"], shares(0));
    assert_eq!(rollback(&proxy).await["split"], shares(0));
    assert_eq!(proxy.service("shop").await["stable_split"], shares(0));
    assert_eq!(rollback(&proxy).await["changed"], false);
}

#[tokio::test]
async fn a_change_that_changes_nothing_does_not_move_the_way_back() {
    let (_blue, _green, proxy) = start().await;
    proxy.switch("shop", "green").await;
    for _ in 0..2 {
        let again = proxy.switch("shop", "green").await;
        assert_eq!((&again["changed"], &again["stable_split"]), (&json!(false), &shares(100)));
    }
    assert_eq!(rollback(&proxy).await["split"], shares(100));
}

#[tokio::test]
async fn a_split_that_is_declared_stable_is_where_a_rollback_goes() {
    let (_blue, _green, mut proxy) = start().await;
    let declared = split(&proxy, 50.0, true).await;
    assert_eq!((&declared["split"], &declared["stable_split"]), (&shares(50), &shares(50)));
    split(&proxy, 20.0, false).await;
    assert_eq!(rollback(&proxy).await["split"], shares(50));
    split(&proxy, 20.0, false).await;
    proxy.kill().await;
    proxy.restart().await;
    assert_eq!(rollback(&proxy).await["split"], shares(50), "also after a crash");
    // Declaring what is so already moves no traffic, and still is a change.
    split(&proxy, 30.0, false).await;
    let declared = split(&proxy, 30.0, true).await;
    assert_eq!((&declared["changed"], &declared["stable_split"]), (&json!(true), &shares(30)));
    assert_eq!(rollback(&proxy).await["changed"], false);
}

#[tokio::test]
async fn a_rollback_counts_and_says_who_and_why() {
    let (_blue, _green, proxy) = start().await;
    proxy.switch("shop", "green").await;
    let body = json!({"reason": "error rate\nof 5 %"});
    let event = proxy.post("/api/v1/services/shop/rollback", body).await.expect(200).json()["event"].as_u64().unwrap();
    rollback(&proxy).await;
    let page = proxy.get(&format!("/api/v1/events?since={}", event - 1)).await.expect(200).json();
    let line = &page["events"][0];
    assert_eq!(
        (&line["kind"], &line["actor"], &line["service"]),
        (&json!("rollback"), &json!("local"), &json!("shop"))
    );
    assert_eq!((&line["detail"]["before"], &line["detail"]["after"]), (&shares(0), &shares(100)));
    assert_eq!(line["detail"]["reason"], "error rate of 5 %");
    let metrics = proxy.get("/metrics").await.expect(200).text();
    let line = "pointsman_rollbacks_total{service=\"shop\",cause=\"operator\"} 1";
    assert!(metrics.lines().any(|l| l == line), "{line} is not in {metrics}");
}
