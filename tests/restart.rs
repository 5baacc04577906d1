//! What outlives the process, however it ends: traffic, cohorts, answers given, the audit log.

pub(crate) mod audit;
mod store;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Proxy, Upstream};

#[tokio::test]
async fn a_switch_that_was_answered_counts_after_kill_9_every_time() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let mut proxy = Proxy::blue_green(&blue, &green, "").await;
    for round in 0..20 {
        let group = if round % 2 == 0 { "green" } else { "blue" };
        let receipt = proxy.switch("shop", group).await;
        proxy.kill().await;
        proxy.restart().await;
        let answer = proxy.client().await.get("/").await.expect(200);
        assert_eq!(answer.group(), Some(group), "round {round}");
        assert_eq!(proxy.service("shop").await["version"], receipt["version"], "round {round}");
    }
}

/// The cohort cookie of a new visitor, and the group that answered.
async fn visitor(proxy: &Proxy) -> (String, String) {
    let answer = proxy.client().await.get("/").await.expect(200);
    let cookie = answer.header("set-cookie").expect("a cohort cookie").split(';').next().unwrap().to_owned();
    (cookie, answer.group().unwrap().to_owned())
}

async fn group_of(proxy: &Proxy, cookie: &str) -> String {
    let answer = proxy.client().await.get_with("/", &[("cookie", cookie)]).await.expect(200);
    answer.group().unwrap().to_owned()
}

#[tokio::test]
async fn every_user_stays_with_their_group_over_a_restart_and_a_crash() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let mut proxy = Proxy::blue_green(&blue, &green, "split: { blue: 50, green: 50 }").await;
    let mut visitors = BTreeMap::new();
    for _ in 0..40 {
        let (cookie, group) = visitor(&proxy).await;
        visitors.insert(cookie, group);
    }
    assert!(visitors.values().any(|g| g == "blue") && visitors.values().any(|g| g == "green"), "{visitors:?}");
    for crash in [false, true] {
        if crash {
            proxy.kill().await;
        } else {
            assert!(proxy.terminate().await.success());
        }
        proxy.restart().await;
        for (cookie, group) in &visitors {
            assert_eq!(&group_of(&proxy, cookie).await, group, "{cookie} after a restart (crash: {crash})");
        }
    }
}

#[tokio::test]
async fn a_repeated_request_gets_its_first_answer_also_from_the_next_process() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let mut proxy = Proxy::blue_green(&blue, &green, "").await;
    let path = "/api/v1/services/shop/switch";
    let key = [("idempotency-key", "deploy-1")];
    let first: Value = proxy.admin("POST", path, &key, Some(json!({ "to": "green" }))).await.expect(200).json();
    assert_eq!(first["changed"], true);
    proxy.switch("shop", "blue").await;
    proxy.kill().await;
    proxy.restart().await;
    let again = proxy.admin("POST", path, &key, Some(json!({ "to": "green" }))).await.expect(200).json();
    assert_eq!((&again["version"], &again["changed"]), (&first["version"], &first["changed"]));
    assert_eq!(proxy.service("shop").await["live"], "blue", "the repetition was carried out");
    let other = proxy.admin("POST", path, &key, Some(json!({ "to": "blue" }))).await.expect(422).json();
    assert_eq!(other["code"], "idempotency_key_reused");
}

#[tokio::test]
async fn what_rollback_leads_to_outlives_the_process() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let mut proxy = Proxy::blue_green(&blue, &green, "").await;
    for share in [10, 25, 50] {
        let weights = json!({ "weights": { "blue": 100 - share, "green": share } });
        proxy.put("/api/v1/services/shop/split", weights).await.expect(200);
    }
    proxy.kill().await;
    proxy.restart().await;
    let before = proxy.service("shop").await;
    assert_eq!((&before["split"]["green"], &before["stable_split"]), (&json!(50), &json!({ "blue": 100, "green": 0 })));
    proxy.post("/api/v1/services/shop/rollback", json!({})).await.expect(200);
    assert_eq!(proxy.service("shop").await["split"], json!({ "blue": 100, "green": 0 }));
}
