//! What is refused, with what would be right, and nothing changed.

use serde_json::json;

use super::{DRAIN, switch_and_drain, with_one_under_way};
use crate::support::{Proxy, Upstream};

#[tokio::test]
async fn bad_drains_are_refused_clearly_and_change_nothing() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = Proxy::blue_green(&blue, &green, "").await;
    let before = proxy.service("shop").await;
    let nowhere = "/api/v1/services/shop/groups/red/drain";
    for (path, body, status, code, said) in [
        (DRAIN, json!({}), 409, "live_group", "force"),
        (DRAIN, json!({ "timeout": "0s" }), 422, "invalid_duration", "45s"),
        (DRAIN, json!({ "timeout": "8760h" }), 422, "invalid_duration", "24h"),
        (DRAIN, json!({ "timeout": "soon" }), 422, "invalid_duration", "250ms"),
        (DRAIN, json!({ "upstream": "http://127.0.0.1:1" }), 404, "no_such_upstream", &blue.url()),
        (DRAIN, json!({ "time": "5s" }), 400, "bad_request", "time"),
        (nowhere, json!({}), 404, "no_such_group", "blue, green"),
        ("/api/v1/services/shops/groups/blue/drain", json!({}), 404, "no_such_service", "shop"),
    ] {
        let problem = proxy.post(path, body.clone()).await.expect(status).json();
        assert_eq!(problem["code"], code, "{path} {body}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(said), "{path} {body}: {problem}");
    }
    let none = proxy.get(DRAIN).await.expect(404).json();
    assert_eq!(none["code"], "no_drain", "{none}");
    assert_eq!(proxy.admin("DELETE", DRAIN, &[], None).await.expect(404).json()["code"], "no_drain");
    let after = proxy.service("shop").await;
    assert_eq!((&after["version"], &after["groups"]["blue"]["draining"]), (&before["version"], &json!(null)));
    let refused = proxy.events().await.into_iter().filter(|e| e["kind"] == "drain.refused").count();
    assert!(refused >= 3, "attempts are in the audit log: {refused}");
}

#[tokio::test]
async fn a_second_drain_at_once_is_refused() {
    let (proxy, _blue, _green, _client) = with_one_under_way("").await;
    switch_and_drain(&proxy, "green").await;
    let problem = proxy.post(DRAIN, json!({ "timeout": "1s" })).await.expect(409).json();
    assert_eq!(problem["code"], "drain_in_progress", "{problem}");
}

#[tokio::test]
async fn with_force_the_live_group_is_drained_and_a_switch_to_it_opens_it() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = Proxy::blue_green(&blue, &green, "").await;
    proxy.post(DRAIN, json!({ "force": true })).await.expect(200);
    let refused = proxy.client().await.get("/").await.expect(503);
    assert!(refused.header("proxy-status").is_some(), "{refused:?}");
    let ready = proxy.get("/readyz").await.json();
    assert!(ready["notes"].to_string().contains("service shop"), "{ready}");
    proxy.switch("shop", "blue").await;
    assert_eq!(proxy.client().await.get("/").await.expect(200).group(), Some("blue"));
}
