//! Health checks: what they take for healthy, what they say when it is not, and that they never stop.

mod kept;
mod streaks;

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Answer, Proxy, Upstream, eventually};

/// The detailed form of `/health`, with this word about the database.
fn detailed(database: &str) -> Answer {
    let body =
        json!({ "status": "healthy", "version": "2.5.0", "checks": { "database": database, "redis": "healthy" } });
    Answer::Plain(200, body.to_string())
}

/// What is known of the first upstream of a group.
async fn upstream(proxy: &Proxy, group: &str) -> Value {
    proxy.service("shop").await["groups"][group]["upstreams"][0].clone()
}

/// Why the last check of a group's first upstream failed; waits until it did with such a reason.
async fn fails_because(proxy: &Proxy, group: &str, part: &str) -> Value {
    eventually(&format!("the check of {group} says {part:?}"), || async {
        let seen = upstream(proxy, group).await;
        let check = seen["last_check"].clone();
        if check["why"].as_str().is_some_and(|why| why.contains(part)) { Ok(check) } else { Err(seen.to_string()) }
    })
    .await
}

/// The turns of a group's upstreams so far, by the audit log.
async fn turns(proxy: &Proxy, group: &str) -> Vec<Value> {
    let is_turn = |e: &&Value| e["kind"] == "health" && e["service"] == "shop" && e["detail"]["group"] == group;
    proxy.events().await.iter().filter(is_turn).cloned().collect()
}

#[tokio::test]
async fn a_tcp_check_asks_for_nothing_but_a_connection() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    blue.health(Answer::Close);
    let proxy = Proxy::blue_green(&blue, &green, "health: { kind: tcp, interval: 50ms, timeout: 1s }").await;
    proxy.health_is("shop", "blue", "healthy").await;
    green.refuse().await;
    proxy.health_is("shop", "green", "unhealthy").await;
    let check = fails_because(&proxy, "green", &format!("cannot connect to {}", green.address())).await;
    assert_eq!((&check["ok"], &check["status"]), (&json!(false), &Value::Null), "{check}");
    green.accept();
    proxy.health_is("shop", "green", "healthy").await;
    assert_eq!(blue.probes() + green.probes(), 0, "a tcp check sends no request");
}

#[tokio::test]
async fn the_detailed_form_of_health_is_judged_by_its_values() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    green.health(detailed("healthy"));
    blue.health(detailed("healthy"));
    let health = "health: { kind: http, path: /health, interval: 50ms, timeout: 1s, \
                  expect: { json: { status: healthy, checks.database: healthy } } }";
    let proxy = Proxy::blue_green(&blue, &green, health).await;
    proxy.health_is("shop", "green", "healthy").await;
    green.health(detailed("unhealthy"));
    proxy.health_is("shop", "green", "unhealthy").await;
    let check = fails_because(&proxy, "green", r#"checks.database is "unhealthy", expected "healthy""#).await;
    assert_eq!((&check["ok"], &check["status"]), (&json!(false), &json!(200)), "{check}");
    assert!(check["ms"].as_f64().unwrap() > 0.0 && check["at"].is_string(), "{check}");
    assert!(check["why"].as_str().unwrap().contains(r#"the body begins: {"status":"healthy","#), "{check}");
    green.health(Answer::text("fine"));
    fails_because(&proxy, "green", "no JSON").await;
    green.health(Answer::text("{}"));
    fails_because(&proxy, "green", "status is missing").await;
    green.health(detailed("healthy"));
    proxy.health_is("shop", "green", "healthy").await;
    assert_eq!(upstream(&proxy, "green").await["last_check"]["why"], "");
}

#[tokio::test]
async fn status_and_text_of_the_body_are_judged_as_configured() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    for upstream in [&blue, &green] {
        upstream.health(Answer::Plain(404, "all ok".to_owned()));
    }
    let health = "health: { kind: http, path: /health, interval: 50ms, timeout: 1s, \
                  expect: { status: \"200,404\", body_contains: ok } }";
    let proxy = Proxy::blue_green(&blue, &green, health).await;
    proxy.health_is("shop", "green", "healthy").await;
    green.health(Answer::Plain(404, "nothing".to_owned()));
    fails_because(&proxy, "green", r#"the body does not contain "ok"; the body begins: nothing"#).await;
    green.health(Answer::Plain(201, "ok".to_owned()));
    fails_because(&proxy, "green", "answered 201 Created, expected 200, 404").await;
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_says_where_it_leads() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let login = "HTTP/1.1 302 Found\r\nlocation: https://login.test/\r\ncontent-length: 10\r\n\r\ngo\x1b[2Jaway";
    green.health(Answer::Raw(login.as_bytes().to_vec()));
    let proxy = Proxy::blue_green(&blue, &green, "").await;
    proxy.health_is("shop", "green", "unhealthy").await;
    let why = "answered 302 Found, expected 200-299; Location: https://login.test/; the body begins: go [2Jaway";
    let check = fails_because(&proxy, "green", why).await;
    assert_eq!(check["status"], 302);
    assert_eq!(upstream(&proxy, "green").await["url"], green.url());
    let refused = proxy.post("/api/v1/services/shop/switch", json!({ "to": "green" })).await.expect(409).json();
    assert_eq!(refused["code"], "no_healthy_upstream");
    assert!(refused["detail"].as_str().unwrap().contains(why), "{refused}");
    let status = proxy.cli(&["status", "shop"]).await;
    assert!(String::from_utf8_lossy(&status.stdout).contains("302 Found"), "{status:?}");
}

#[tokio::test]
async fn a_probe_that_is_not_answered_in_time_has_failed_and_the_next_one_is_sent_all_the_same() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let health = "health: { kind: http, path: /health, interval: 50ms, timeout: 150ms }";
    let proxy = Proxy::blue_green(&blue, &green, health).await;
    green.health(Answer::Hang);
    proxy.health_is("shop", "green", "unhealthy").await;
    let check = fails_because(&proxy, "green", "did not answer in time").await;
    assert!(check["ms"].as_f64().unwrap() >= 150.0, "{check}");
    let before = green.probes();
    eventually("further probes are sent", || async { green.probes() > before + 2 }).await;
    eventually("probes that are given up are closed", || async { green.open_connections() <= 1 }).await;
    green.health(Answer::Trickle(vec![b'x'; 1000], Duration::from_millis(50)));
    // The status alone decides here, so the rest of the body is not waited for.
    proxy.health_is("shop", "green", "healthy").await;
}

#[tokio::test]
async fn checking_goes_on_for_ever_also_where_only_one_upstream_is_left_and_that_is_dead() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    green.refuse().await;
    let proxy = Proxy::blue_green(&blue, &green, "health: { kind: http, path: /health, interval: 50ms }").await;
    let mut client = proxy.client().await;
    client.get("/").await.expect(200);
    blue.refuse().await;
    proxy.health_is("shop", "blue", "unhealthy").await;
    let answer = client.get("/").await.expect(503);
    assert!(answer.header("proxy-status").unwrap().contains("destination_unavailable"), "{answer:?}");
    let ready = proxy.get("/readyz").await.expect(200).json();
    let note = "service shop: no group with a share has a healthy upstream";
    assert!(ready["notes"].as_array().unwrap().contains(&json!(note)), "{ready}");
    blue.accept();
    proxy.health_is("shop", "blue", "healthy").await;
    assert_eq!(client.get("/").await.expect(200).group(), Some("blue"));
    assert_eq!(proxy.get("/readyz").await.expect(200).json()["notes"], json!([]));
}

#[tokio::test]
async fn every_turn_is_in_the_audit_log_with_its_reason() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = Proxy::blue_green(&blue, &green, "").await;
    green.healthy(false);
    proxy.health_is("shop", "green", "unhealthy").await;
    green.healthy(true);
    proxy.health_is("shop", "green", "healthy").await;
    let turns = eventually("three turns are written", || async {
        let turns = turns(&proxy, "green").await;
        if turns.len() == 3 { Ok(turns) } else { Err(format!("{turns:?}")) }
    })
    .await;
    let words: Vec<_> = turns.iter().map(|t| (t["detail"]["before"].clone(), t["detail"]["after"].clone())).collect();
    let expected = [("unknown", "healthy"), ("healthy", "unhealthy"), ("unhealthy", "healthy")];
    assert_eq!(words, expected.map(|(a, b)| (json!(a), json!(b))));
    assert_eq!((&turns[1]["actor"], &turns[1]["detail"]["upstream"]), (&json!("pointsman"), &json!(green.url())));
    assert_eq!(turns[1]["detail"]["status"], 503);
    assert!(turns[1]["detail"]["why"].as_str().unwrap().contains("answered 503"), "{}", turns[1]);
}
