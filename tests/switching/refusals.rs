//! A switch waits for health before it touches anything; unknown is not healthy.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::proxy::blue_green;
use crate::support::{Answer, Proxy, Upstream};

#[tokio::test]
async fn a_switch_to_a_group_that_is_down_is_refused_with_the_reason_unless_forced() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    green.health(Answer::Plain(500, "database is locked".to_owned()));
    let proxy = Proxy::blue_green(&blue, &green, "").await;
    let before = proxy.service("shop").await;
    let refused = proxy.post("/api/v1/services/shop/switch", json!({"to": "green"})).await.expect(409);
    let problem = refused.json();
    assert_eq!((&problem["code"], &problem["status"]), (&json!("no_healthy_upstream"), &json!(409)));
    let detail = problem["detail"].as_str().unwrap();
    for part in ["green", "shop", &green.address().to_string(), "500", "database is locked", "force"] {
        assert!(detail.contains(part), "{part} is not in {detail}");
    }
    let after = proxy.service("shop").await;
    assert_eq!((&after["split"], &after["version"]), (&before["split"], &before["version"]));
    let forced = proxy.post("/api/v1/services/shop/switch", json!({"to": "green", "force": true})).await.expect(200);
    assert_eq!(forced.json()["split"], json!({"blue": 0, "green": 100}));
    green.healthy(true);
    proxy.health_is("shop", "green", "healthy").await;
    assert_eq!(proxy.client().await.get("/").await.expect(200).group(), Some("green"));
}

#[tokio::test]
async fn the_reason_of_a_refusal_is_a_refused_connection_where_nobody_listens() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    green.refuse().await;
    let proxy = Proxy::blue_green(&blue, &green, "").await;
    let refused = proxy.post("/api/v1/services/shop/switch", json!({"to": "green"})).await.expect(409).json();
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains(&green.address().to_string()) && detail.contains("refused"), "{detail}");
    let refusals = proxy.get("/api/v1/events?service=shop").await.expect(200).json();
    let refusals = refusals["events"].as_array().unwrap().iter().filter(|e| e["kind"] == "switch.refused");
    assert_eq!(refusals.count(), 1, "an attempt is in the audit log as well");
}

#[tokio::test]
async fn one_healthy_upstream_of_several_is_enough() {
    let [blue, green, lame] = ["blue", "green", "lame"].map(Upstream::start);
    lame.healthy(false);
    let config = blue_green(&blue, &green, "");
    let two = format!("upstreams: [\"{}\", \"{}\"]", lame.url(), green.url());
    let proxy = Proxy::start(&config.replace(&format!("upstreams: [\"{}\"]", green.url()), &two)).await;
    proxy.switch("shop", "green").await;
    let mut client = proxy.client().await;
    for _ in 0..20 {
        assert_eq!(client.get("/").await.expect(200).group(), Some("green"));
    }
    assert_eq!(lame.requests(), 0);
}

/// A proxy whose green group was exchanged a moment ago for `green`, whose checks take a while.
async fn exchanged(blue: &Upstream, green: &Upstream) -> Proxy {
    let was = Upstream::start("was");
    let extra = "health: { kind: http, path: /health, interval: 100ms, timeout: 5s }";
    let proxy = Proxy::start(&blue_green(blue, &was, extra)).await;
    proxy.rewrite(&blue_green(blue, green, extra));
    proxy.post("/api/v1/config/reload", json!({})).await.expect(200);
    let health = proxy.service("shop").await["groups"]["green"]["upstreams"][0]["health"].clone();
    assert_eq!(health, "unknown", "the first check is answered too soon for this test");
    proxy
}

#[tokio::test]
async fn a_switch_to_a_group_that_nobody_has_looked_at_waits_for_its_first_verdict() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    green.health(Answer::Later(Duration::from_millis(700), Box::new(Answer::text("fine"))));
    let proxy = exchanged(&blue, &green).await;
    let mut client = proxy.client().await;
    let switching = async {
        proxy.switch("shop", "green").await;
        Instant::now()
    };
    let meanwhile = async {
        // Nothing is touched while it waits.
        for _ in 0..20 {
            assert_eq!(client.get("/").await.expect(200).group(), Some("blue"));
        }
        Instant::now()
    };
    let (switched, asked) = tokio::join!(switching, meanwhile);
    assert!(asked < switched, "the switch did not wait");
    assert_eq!(proxy.service("shop").await["groups"]["green"]["upstreams"][0]["health"], "healthy");
    assert_eq!(client.get("/").await.expect(200).group(), Some("green"));
}

#[tokio::test]
async fn a_first_verdict_that_is_bad_refuses_the_switch() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let starting = Answer::Plain(503, "starting".to_owned());
    green.health(Answer::Later(Duration::from_millis(700), Box::new(starting)));
    let proxy = exchanged(&blue, &green).await;
    let refused = proxy.post("/api/v1/services/shop/switch", json!({"to": "green"})).await.expect(409).json();
    assert_eq!(refused["code"], "no_healthy_upstream");
    assert!(refused["detail"].as_str().unwrap().contains("starting"), "{refused}");
    assert_eq!(proxy.client().await.get("/").await.expect(200).group(), Some("blue"));
}

#[tokio::test]
async fn a_rollback_to_a_dead_group_is_refused_and_force_goes_there_all_the_same() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = Proxy::blue_green(&blue, &green, "").await;
    proxy.switch("shop", "green").await;
    blue.health(Answer::Plain(502, "gone for good".to_owned()));
    proxy.health_is("shop", "blue", "unhealthy").await;
    let refused = proxy.post("/api/v1/services/shop/rollback", json!({})).await.expect(409).json();
    assert_eq!(refused["code"], "stable_group_unhealthy");
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("blue") && detail.contains("gone for good"), "{detail}");
    let service = proxy.service("shop").await;
    assert_eq!((&service["live"], &service["stable_split"]["blue"]), (&json!("green"), &json!(100)));
    assert_eq!(proxy.client().await.get("/").await.expect(200).group(), Some("green"));
    proxy.post("/api/v1/services/shop/rollback", json!({"force": true})).await.expect(200);
    assert_eq!(proxy.service("shop").await["split"], json!({"blue": 100, "green": 0}));
}
