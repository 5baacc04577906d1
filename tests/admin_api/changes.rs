//! Changes: versions, `If-Match`, `Idempotency-Key`.

use serde_json::{Value, json};

use super::{SPLIT, SWITCH, all_events, problem, start};
use crate::support::Proxy;
use crate::support::client::Response;

const RELOAD: &str = "/api/v1/config/reload";

async fn with(proxy: &Proxy, fields: &[(&str, &str)], path: &str, body: Value) -> Response {
    let method = if path.ends_with("/split") { "PUT" } else { "POST" };
    proxy.admin(method, path, fields, Some(body)).await
}

/// A receipt without the time that it took, which is measured to its end only for the first answer.
fn untimed(receipt: &Response) -> Value {
    let mut receipt = receipt.json();
    assert!(receipt.as_object_mut().unwrap().remove("ms").is_some_and(|ms| ms.is_number()));
    receipt
}

fn to(group: &str) -> Value {
    json!({ "to": group })
}

#[tokio::test]
async fn every_change_raises_the_version_by_one_and_doing_what_is_so_changes_nothing() {
    let (_blue, _green, proxy) = start().await;
    let mut version = proxy.service("shop").await["version"].as_u64().unwrap();
    for (method, path, body) in [
        ("POST", SWITCH, to("green")),
        ("POST", "/api/v1/services/shop/rollback", json!({})),
        ("PUT", SPLIT, json!({"weights": {"blue": 99.9, "green": 0.1}})),
        ("POST", "/api/v1/services/shop/shift", json!({"group": "green", "to": 50})),
        ("POST", "/api/v1/switch", json!({"services": ["shop"], "to": "green"})),
    ] {
        let first = proxy.admin(method, path, &[], Some(body.clone())).await.expect(200);
        version += 1;
        assert_eq!(first.header("etag"), Some(format!("\"{version}\"").as_str()));
        let first = first.json();
        assert_eq!((&first["version"], &first["changed"]), (&json!(version), &json!(true)), "{path}");
        assert!(first["event"].is_u64() && first["ms"].is_number(), "{first}");
        assert_eq!(proxy.service("shop").await["version"], version);
        let again = proxy.admin(method, path, &[], Some(body)).await.expect(200).json();
        assert_eq!((&again["version"], &again["changed"]), (&json!(version), &json!(false)), "{path}");
        assert!(again["event"].is_null() && again["split"] == first["split"], "{again}");
    }
}

#[tokio::test]
async fn a_change_by_a_stale_version_is_refused_and_says_the_current_one() {
    let (_blue, _green, proxy) = start().await;
    let seen = proxy.get("/api/v1/services/shop").await.expect(200);
    let etag = seen.header("etag").unwrap().to_owned();
    assert_eq!(etag, format!("\"{}\"", seen.json()["version"]));
    with(&proxy, &[("if-match", &etag)], SWITCH, to("green")).await.expect(200);
    // A second operator who saw the same.
    for (path, body) in [(SWITCH, to("blue")), (SPLIT, json!({"weights": {"blue": 50, "green": 50}}))] {
        let refused = problem(with(&proxy, &[("if-match", &etag)], path, body).await, 412, "stale_version");
        assert_eq!(refused["version"], proxy.service("shop").await["version"]);
    }
    let early = format!("\"{}\"", proxy.service("shop").await["version"].as_u64().unwrap() + 1);
    problem(with(&proxy, &[("if-match", &early)], SWITCH, to("blue")).await, 412, "stale_version");
    assert_eq!(proxy.service("shop").await["live"], "green");
    let current = format!("{etag}, \"{}\"", proxy.service("shop").await["version"]);
    with(&proxy, &[("if-match", &current)], SWITCH, to("blue")).await.expect(200);
    with(&proxy, &[("if-match", "*")], SWITCH, to("green")).await.expect(200);
    for nonsense in ["\"abc\"", "\"1", "-1", ""] {
        problem(with(&proxy, &[("if-match", nonsense)], SWITCH, to("blue")).await, 400, "bad_request");
    }
}

#[tokio::test]
async fn of_two_operators_at_once_with_the_same_version_one_is_refused() {
    let (_blue, _green, proxy) = start().await;
    for round in 0..10 {
        let etag = proxy.get("/api/v1/services/shop").await.header("etag").unwrap().to_owned();
        let fields = [("if-match", etag.as_str())];
        let shares = |green: u32| json!({"weights": {"blue": 100 - green, "green": green}});
        let (one, other) = tokio::join!(
            with(&proxy, &fields, SPLIT, shares(10 + round)),
            with(&proxy, &fields, SPLIT, shares(50 + round))
        );
        let mut statuses = [one.status, other.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 412]);
        let green = if one.status == 200 { 10 + round } else { 50 + round };
        assert_eq!(proxy.service("shop").await["split"], shares(green)["weights"]);
    }
}

#[tokio::test]
async fn a_repeated_key_answers_with_the_first_receipt_and_acts_no_more_also_after_a_restart() {
    let (_blue, _green, mut proxy) = start().await;
    let key = [("idempotency-key", "deploy-2.5.0")];
    let first = untimed(&with(&proxy, &key, SWITCH, to("green")).await.expect(200));
    proxy.switch("shop", "blue").await;
    // Whatever version the repetition asks for: it was answered before.
    let stale = [key[0], ("if-match", "\"1\"")];
    for fields in [&key[..], &stale] {
        assert_eq!(untimed(&with(&proxy, fields, SWITCH, to("green")).await.expect(200)), first);
    }
    assert_eq!(proxy.service("shop").await["live"], "blue");
    proxy.kill().await;
    proxy.restart().await;
    assert_eq!(untimed(&with(&proxy, &key, SWITCH, to("green")).await.expect(200)), first);
    assert_eq!(proxy.service("shop").await["live"], "blue");
    let switches = all_events(&proxy).await.into_iter().filter(|e| e["kind"] == "switch");
    assert_eq!(switches.count(), 2);
}

#[tokio::test]
async fn a_key_that_was_used_for_another_request_is_refused() {
    let (_blue, _green, mut proxy) = start().await;
    let key = [("idempotency-key", "k")];
    with(&proxy, &key, SWITCH, to("green")).await.expect(200);
    for round in 0..2 {
        for (path, body) in [
            (SWITCH, to("blue")),
            (SWITCH, json!({"to": "green", "force": true})),
            (SPLIT, json!({"weights": {"green": 100}})),
            ("/api/v1/services/shop/rollback", json!({})),
            (RELOAD, json!({})),
        ] {
            problem(with(&proxy, &key, path, body).await, 422, "idempotency_key_reused");
        }
        assert_eq!(proxy.service("shop").await["live"], "green");
        if round == 0 {
            proxy.kill().await;
            proxy.restart().await;
        }
    }
    for bad in ["", &"x".repeat(300)] {
        problem(with(&proxy, &[("idempotency-key", bad)], SWITCH, to("green")).await, 400, "bad_request");
    }
}

#[tokio::test]
async fn a_refused_change_leaves_its_key_unused() {
    let (_blue, green, proxy) = start().await;
    green.healthy(false);
    proxy.health_is("shop", "green", "unhealthy").await;
    let key = [("idempotency-key", "again")];
    problem(with(&proxy, &key, SWITCH, to("green")).await, 409, "no_healthy_upstream");
    green.healthy(true);
    proxy.health_is("shop", "green", "healthy").await;
    assert_eq!(with(&proxy, &key, SWITCH, to("green")).await.expect(200).json()["changed"], true);
}

#[tokio::test]
async fn a_reload_takes_a_version_and_a_key_as_well() {
    let (blue, green, proxy) = start().await;
    problem(with(&proxy, &[("if-match", "\"99\"")], RELOAD, json!({})).await, 412, "stale_version");
    let key = [("idempotency-key", "reload-1")];
    let first = with(&proxy, &key, RELOAD, json!({})).await.expect(200).json();
    assert_eq!(first["changed"], false);
    proxy.rewrite(&crate::support::proxy::blue_green(&blue, &green, "emergency: green"));
    assert_eq!(with(&proxy, &key, RELOAD, json!({})).await.expect(200).json(), first);
    problem(with(&proxy, &key, SWITCH, to("green")).await, 422, "idempotency_key_reused");
    // A caller's own mistake says nothing about the file, and the repetition did not hide the change of the file.
    assert_eq!(proxy.get("/readyz").await.json()["notes"], json!([]));
    crate::support::eventually("the file is noticed", || async {
        !proxy.get("/api/v1/config/drift").await.json()["drift"].as_bool().unwrap()
    })
    .await;
}
