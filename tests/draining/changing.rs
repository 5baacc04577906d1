//! What happens to a drain when somebody changes their mind.

use serde_json::{Value, json};

use super::{DRAIN, drain, drain_is, events, switch_and_drain, with_one_under_way};

#[tokio::test]
async fn a_rollback_takes_a_group_back_in_the_middle_of_its_drain() {
    let (proxy, blue, _green, mut client) = with_one_under_way("").await;
    switch_and_drain(&proxy, "green").await;
    assert_eq!(drain(&proxy).await["state"], "draining");
    proxy.post("/api/v1/services/shop/rollback", json!({})).await.expect(200);
    assert_eq!(proxy.client().await.get("/").await.expect(200).group(), Some("blue"));
    let off = drain(&proxy).await;
    assert_eq!((&off["state"], &off["lastDrainResult"]), (&json!("cancelled"), &json!("cancelled")), "{off}");
    assert_eq!(events(&proxy, "drain.cancelled").await.len(), 1);
    blue.let_go();
    assert_eq!(client.response_to("GET").await.unwrap().expect(200).text(), "blue");
}

#[tokio::test]
async fn a_drain_is_cancelled_once_and_then_there_is_nothing_to_cancel() {
    let (proxy, blue, _green, mut client) = with_one_under_way("").await;
    proxy.switch("shop", "green").await;
    proxy.post(DRAIN, json!({ "timeout": "45s", "reason": "retire" })).await.expect(200);
    let off = proxy.admin("DELETE", DRAIN, &[], None).await.expect(200).json();
    assert_eq!((&off["changed"], &off["state"]), (&json!(true), &json!("cancelled")), "{off}");
    assert_eq!(proxy.service("shop").await["groups"]["blue"]["draining"], Value::Null);
    let again = proxy.admin("DELETE", DRAIN, &[], None).await.expect(200).json();
    assert_eq!((&again["changed"], &again["version"]), (&json!(false), &off["version"]), "{again}");
    blue.let_go();
    client.response_to("GET").await.unwrap().expect(200);
}

#[tokio::test]
async fn the_same_key_begins_one_drain_and_a_stale_version_none() {
    let (proxy, _blue, _green, _client) = with_one_under_way("").await;
    proxy.switch("shop", "green").await;
    let version = proxy.service("shop").await["version"].as_u64().unwrap();
    let stale = format!("\"{}\"", version - 1);
    let refused = proxy.admin("POST", DRAIN, &[("if-match", &stale)], Some(json!({}))).await.expect(412).json();
    assert_eq!(refused["code"], "stale_version", "{refused}");
    proxy.get(DRAIN).await.expect(404);
    let key = [("idempotency-key", "one")];
    let first = proxy.admin("POST", DRAIN, &key, Some(json!({}))).await.expect(200).json();
    let second = proxy.admin("POST", DRAIN, &key, Some(json!({}))).await.expect(200).json();
    assert_eq!((&first["version"], &first["changed"]), (&json!(version + 1), &json!(true)));
    assert_eq!((&second["version"], &second["started_at"]), (&first["version"], &first["started_at"]));
    let other = proxy.admin("POST", DRAIN, &key, Some(json!({ "timeout": "1s" }))).await.expect(422).json();
    assert_eq!(other["code"], "idempotency_key_reused", "{other}");
}

#[tokio::test]
async fn a_reload_in_the_middle_of_a_drain_leaves_it_alone() {
    let (proxy, blue, green, mut client) = with_one_under_way("").await;
    switch_and_drain(&proxy, "green").await;
    let before = drain(&proxy).await;
    let config = crate::support::proxy::blue_green(&blue.upstream, &green.upstream, "balance: round_robin");
    proxy.rewrite(&config);
    proxy.post("/api/v1/config/reload", json!({})).await.expect(200);
    let after = drain(&proxy).await;
    assert_eq!((&after["state"], &after["started_at"]), (&json!("draining"), &before["started_at"]), "{after}");
    blue.let_go();
    client.response_to("GET").await.unwrap().expect(200);
    drain_is(&proxy, "drained").await;
}
