//! Prometheus Alertmanager's webhook: what fires rolls back, whoever it was that got it wrong.

use serde_json::{Value, json};

use super::roles::{post, with_tokens};
use crate::judged::{Shop, cause};
use crate::support::client::Response;
use crate::support::{Proxy, Upstream};

/// As Alertmanager sends it (webhook, version 4).
fn webhook(alerts: &[Value]) -> Value {
    json!({
        "version": "4", "groupKey": "{}:{alertname=\"HighErrorRate\"}", "truncatedAlerts": 0, "status": "firing",
        "receiver": "pointsman", "groupLabels": { "alertname": "HighErrorRate" }, "commonLabels": {},
        "commonAnnotations": {}, "externalURL": "http://alertmanager:9093", "alerts": alerts
    })
}

fn alert(status: &str, service: &str, wish: &str) -> Value {
    json!({
        "status": status, "labels": { "alertname": "HighErrorRate", "service": service, "pointsman": wish },
        "annotations": { "summary": "7 % of checkouts fail" }, "startsAt": "2026-11-05T10:00:00.000Z",
        "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "http://prometheus:9090/graph", "fingerprint": "c6eb"
    })
}

async fn sent(proxy: &Proxy, alerts: &[Value]) -> Response {
    proxy.post("/hooks/alertmanager", webhook(alerts)).await
}

#[tokio::test]
async fn a_firing_alert_rolls_its_service_back_and_the_rollout_says_which_alert_it_was() {
    let shop = Shop::new("").await;
    shop.begins(json!({ "steps": [{ "share": 30, "hold": "1h" }, { "share": 100 }] })).await;
    shop.has_share(30.0).await;
    for harmless in [alert("resolved", "shop", "rollback"), alert("firing", "shop", "page")] {
        let answer = sent(&shop.proxy, &[harmless]).await.expect(200).json();
        assert_eq!(answer, json!({ "services": [], "ignored": 1 }));
    }
    assert_eq!(shop.rollout().await["state"], "shifting");
    let firing = [alert("resolved", "shop", "rollback"), alert("firing", "shop", "rollback")];
    let answer = sent(&shop.proxy, &firing).await.expect(200).json();
    assert_eq!(answer["ignored"], 1);
    let done = &answer["services"][0];
    assert_eq!((&done["service"], &done["changed"], &done["code"]), (&json!("shop"), &json!(true), &Value::Null));
    let rollout = shop.is_back().await;
    let why = cause(&rollout);
    assert!(why.contains("alert HighErrorRate: 7 % of checkouts fail"), "{why}");
    // Alertmanager repeats what goes on firing: that never flips forward, and is no error.
    let again = sent(&shop.proxy, &firing).await.expect(200).json();
    assert_eq!((&again["services"][0]["changed"], &again["services"][0]["code"]), (&json!(false), &Value::Null));
    assert_eq!(shop.proxy.service("shop").await["split"], json!({ "blue": 100, "green": 0 }));
    let metrics = shop.proxy.get("/metrics").await.expect(200).text();
    assert!(metrics.contains("pointsman_rollbacks_total{service=\"shop\",cause=\"monitor\"} 1"), "{metrics}");
}

#[tokio::test]
async fn the_service_may_stand_in_the_address_and_what_is_wrong_for_one_keeps_no_other_back() {
    let shop = Shop::new("").await;
    shop.proxy.switch("shop", "green").await;
    let mut plain = alert("firing", "", "");
    plain["labels"] = json!({ "alertname": "Latency" });
    let answer =
        shop.proxy.post("/hooks/alertmanager?service=shop", webhook(&[plain.clone()])).await.expect(200).json();
    assert_eq!(answer["services"][0]["changed"], true, "{answer}");
    assert_eq!(shop.proxy.service("shop").await["live"], "blue");
    shop.proxy.switch("shop", "green").await;
    let mut nameless = alert("firing", "shop", "rollback");
    nameless["labels"].as_object_mut().unwrap().remove("service");
    let alerts = [alert("firing", "sohp", "rollback"), nameless, alert("firing", "shop", "rollback")];
    let answer = sent(&shop.proxy, &alerts).await.expect(200).json();
    let codes: Vec<_> = answer["services"].as_array().unwrap().iter().map(|s| s["code"].clone()).collect();
    assert_eq!(codes, [json!("no_such_service"), json!("bad_request"), Value::Null], "{answer:#}");
    assert_eq!(shop.proxy.service("shop").await["live"], "blue");
    let wrong = shop.proxy.post("/hooks/alertmanager", json!({ "status": "firing" })).await;
    assert!((400..500).contains(&wrong.status), "{}", wrong.status);
}

#[tokio::test]
async fn a_monitors_token_is_enough_and_a_viewers_is_not() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = with_tokens(&blue, &green, "").await;
    post(&proxy, "operator", "/api/v1/services/shop/switch", json!({ "to": "green" })).await.expect(200);
    let firing = || webhook(&[alert("firing", "shop", "rollback")]);
    proxy.post("/hooks/alertmanager", firing()).await.expect(401);
    post(&proxy, "viewer", "/hooks/alertmanager", firing()).await.expect(403);
    let answer = post(&proxy, "monitor", "/hooks/alertmanager", firing()).await.expect(200).json();
    assert_eq!(answer["services"][0]["changed"], true, "{answer}");
    let bearer = [("authorization", "Bearer viewer")];
    let events = proxy.admin("GET", "/api/v1/events?service=shop", &bearer, None).await.json();
    let back = events["events"].as_array().unwrap().iter().find(|e| e["kind"] == "rollback").unwrap().clone();
    assert_eq!(
        (&back["actor"], &back["detail"]["reason"]),
        (&json!("monitor-1"), &json!("alert HighErrorRate: 7 % of checkouts fail"))
    );
}
