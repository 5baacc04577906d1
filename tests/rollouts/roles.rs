//! Who may start a rollout, who may end it, and who may only look.

use serde_json::json;

use crate::judged::config;
use crate::support::client::Response;
use crate::support::{Proxy, Upstream};

/// A proxy with a token of each role; the secret is the role's name. `extra` holds further keys of the service.
pub(super) async fn with_tokens(blue: &Upstream, green: &Upstream, extra: &str) -> Proxy {
    let roles = ["viewer", "monitor", "operator", "admin"];
    let tokens: String = roles.map(|r| format!("    - {{ name: {r}-1, role: {r}, env: TOKEN_{r} }}\n")).concat();
    let second = "    - { name: operator-2, role: operator, env: TOKEN_other }\n";
    let admin = format!("admin:\n  listen: 127.0.0.1:@admin@\n  tokens:\n{tokens}{second}");
    let environment: Vec<_> = roles.iter().map(|r| (format!("TOKEN_{r}"), (*r).to_owned())).collect();
    let environment = environment.iter().map(|(n, v)| (n.as_str(), v.as_str()));
    let environment: Vec<_> = environment.chain([("TOKEN_other", "other")]).collect();
    Proxy::start_with(&format!("{admin}{}", config(blue, green, extra)), &environment).await
}

pub(super) async fn post(proxy: &Proxy, token: &str, path: &str, body: serde_json::Value) -> Response {
    proxy.admin("POST", path, &[("authorization", &format!("Bearer {token}"))], Some(body)).await
}

#[tokio::test]
async fn operators_start_and_steer_monitors_roll_back_and_viewers_look() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = with_tokens(&blue, &green, "").await;
    let path = "/api/v1/services/shop/rollouts";
    let body = || json!({ "to": "green", "steps": [{ "share": 50, "hold": "1h" }, { "share": 100 }] });
    for token in ["viewer", "monitor"] {
        for path in [path, "/api/v1/rollouts"] {
            let problem = post(&proxy, token, path, body()).await.expect(403).json();
            assert_eq!(problem["code"], "forbidden", "{token} {path}: {problem}");
        }
    }
    let begun = post(&proxy, "operator", path, body()).await.expect(201).json();
    assert_eq!(begun["started_by"], "operator-1");
    for wish in ["approve", "pause", "resume", "advance", "abort"] {
        let steer = format!("{path}/current/{wish}");
        for token in ["viewer", "monitor"] {
            post(&proxy, token, &steer, json!({})).await.expect(403);
        }
    }
    for path in [path.to_owned(), format!("{path}/r1"), format!("{path}/current")] {
        let bearer = [("authorization", "Bearer viewer")];
        proxy.admin("GET", &path, &bearer, None).await.expect(200);
        proxy.admin("GET", &path, &[], None).await.expect(401);
    }
    post(&proxy, "viewer", "/api/v1/services/shop/rollback", json!({})).await.expect(403);
    let back = json!({ "reason": "alarm" });
    assert_eq!(
        post(&proxy, "monitor", "/api/v1/services/shop/rollback", back).await.expect(200).json()["changed"],
        true
    );
    let bearer = [("authorization", "Bearer viewer")];
    let rollout = proxy.admin("GET", &format!("{path}/r1"), &bearer, None).await.expect(200).json();
    assert_eq!(rollout["state"], "rolled_back");
    let last = rollout["timeline"].as_array().unwrap().last().unwrap();
    assert_eq!(last["actor"], "monitor-1", "{rollout:#}");
}

#[tokio::test]
async fn where_another_has_to_agree_whoever_has_started_it_may_not() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = with_tokens(&blue, &green, "").await;
    let path = "/api/v1/services/shop/rollouts";
    let approval = json!({ "before": ["first_step"], "within": "1h", "by": "another" });
    let body = json!({ "to": "green", "approval": approval, "steps": [{ "share": 100, "hold": "1h" }] });
    post(&proxy, "operator", path, body).await.expect(201);
    let bearer = [("authorization", "Bearer viewer")];
    crate::support::eventually("it waits for somebody", || async {
        let rollout = proxy.admin("GET", &format!("{path}/current"), &bearer, None).await.json();
        if rollout["state"] == "awaiting_approval" { Ok(()) } else { Err(rollout["state"].clone()) }
    })
    .await;
    let approve = format!("{path}/current/approve");
    let problem = post(&proxy, "operator", &approve, json!({})).await.expect(403).json();
    assert_eq!(problem["code"], "another_must_agree", "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("operator-1 has started rollout r1"), "{problem}");
    let advance = post(&proxy, "operator", &format!("{path}/current/advance"), json!({})).await.expect(409).json();
    assert_eq!(advance["code"], "not_now", "{advance}");
    let agreed = post(&proxy, "other", &approve, json!({ "reason": "looks well" })).await.expect(200).json();
    assert_eq!((&agreed["state"], &agreed["share"]), (&json!("shifting"), &json!(100)));
    let last = agreed["timeline"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["actor"], &last["cause"]), (&json!("operator-2"), &json!("it was approved: looks well")));
}
