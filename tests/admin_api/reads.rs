//! What can be read: services, explanations, health of the process.

use serde_json::json;

use super::{problem, start};
use crate::support::proxy::blue_green;
use crate::support::{Answer, Client, Proxy, Upstream, eventually};

#[tokio::test]
async fn a_service_shows_every_key_of_the_contract_and_what_goes_on() {
    let (blue, _green, proxy) = start().await;
    let mut client = proxy.client().await;
    for _ in 0..10 {
        client.get("/").await.expect(200);
    }
    blue.answer(Answer::Plain(500, "oh".to_owned()));
    client.get("/").await.expect(500);
    let service = eventually("the window shows the requests", || async {
        let service = proxy.service("shop").await;
        let window = &service["groups"]["blue"]["window"];
        if window["requests"] == 11 { Ok(service) } else { Err(window.to_string()) }
    })
    .await;
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    for key in [
        "name",
        "version",
        "split",
        "stable_split",
        "live",
        "candidate",
        "groups",
        "rollout",
        "hold",
        "pending_file_split",
    ] {
        assert!(keys(&service).iter().any(|k| k == key), "{key} is not in {service}");
    }
    assert_eq!((&service["live"], &service["candidate"]), (&json!("blue"), &json!("green")));
    let group = &service["groups"]["blue"];
    assert_eq!(keys(group), ["in_flight", "streams", "tunnels", "circuit", "draining", "upstreams", "window"]);
    let window = &group["window"];
    assert_eq!(
        keys(window),
        ["seconds", "requests", "errors", "rps", "error_rate", "mean_ms", "p50_ms", "p95_ms", "p99_ms"]
    );
    assert_eq!(window["errors"], 1);
    assert!((window["error_rate"].as_f64().unwrap() - 1.0 / 11.0).abs() < 1e-5, "{window}");
    assert!(window["p99_ms"].as_f64().unwrap() >= window["p50_ms"].as_f64().unwrap(), "{window}");
    let upstream = &group["upstreams"][0];
    assert_eq!((&upstream["url"], &upstream["health"]), (&json!(blue.url()), &json!("healthy")));
    assert_eq!(keys(&upstream["last_check"]), ["at", "ok", "status", "ms", "why"]);
    assert_eq!((&upstream["last_check"]["ok"], &upstream["last_check"]["why"]), (&json!(true), &json!("")));
    let list = proxy.get("/api/v1/services").await.expect(200).json();
    assert_eq!((&list["version"], &list["services"][0]["name"]), (&service["version"], &json!("shop")));
}

#[tokio::test]
async fn an_explanation_is_what_a_request_then_meets() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let rules = "split: { blue: 60, green: 40 }
rules:
  - { when: { header: { x-user-id: [\"12345\"] } }, group: green }
  - { when: { query: { v: \"2\" }, client: [127.0.0.0/8] }, group: green }";
    let proxy = Proxy::blue_green(&blue, &green, rules).await;
    let explain = |query: String| {
        let proxy = &proxy;
        async move { proxy.get(&format!("/api/v1/services/shop/explain?{query}")).await.expect(200).json() }
    };
    let mut client = proxy.client().await;
    for id in 0..40 {
        let met = client.get_with("/", &[("cookie", &format!("pointsman=v{id}"))]).await.expect(200);
        for query in [format!("cookie=v{id}"), format!("cookie=a%3Db&cookie=pointsman%3Dv{id}")] {
            let told = explain(query).await;
            assert_eq!((told["group"].as_str(), told["by"].as_str()), (met.group(), Some("cohort")), "{told}");
            let position = told["position"].as_f64().unwrap();
            assert_eq!(position < 60.0, met.group() == Some("blue"), "{told}");
        }
    }
    let ruled = explain("cookie=v1&header=x-user-id:12345".to_owned()).await;
    assert_eq!((&ruled["group"], &ruled["by"]), (&json!("green"), &json!("rule")));
    assert!(ruled["why"].as_str().unwrap().contains("rule 1"), "{ruled}");
    let second = explain("query=v%3D2&client=127.0.0.1".to_owned()).await;
    assert!(second["why"].as_str().unwrap().contains("rule 2"), "{second}");
    assert_eq!(explain("query=v%3D2&client=10.0.0.1".to_owned()).await["by"], "random");
    assert_eq!(explain(String::new()).await["by"], "random");
    green.healthy(false);
    proxy.health_is("shop", "green", "unhealthy").await;
    let told = explain("header=x-user-id:12345".to_owned()).await;
    assert_eq!((&told["group"], &told["preferred"]), (&json!("blue"), &json!("green")));
    assert!(told["why"].as_str().unwrap().contains("no healthy upstream"), "{told}");
}

#[tokio::test]
async fn the_process_is_alive_before_it_is_ready_and_ready_once_everybody_was_looked_at() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let slow = Answer::Later(std::time::Duration::from_millis(800), Box::new(Answer::text("fine")));
    green.health(slow);
    let health = "health: { kind: http, path: /health, interval: 100ms, timeout: 5s }";
    let mut proxy = Proxy::launch(&blue_green(&blue, &green, health), &[]);
    eventually("the admin port answers", || async { Client::try_connect(proxy.address("admin")).await }).await;
    proxy.get("/healthz").await.expect(200);
    let waiting = proxy.get("/readyz").await.expect(503).json();
    assert_eq!(waiting["ready"], false);
    assert!(waiting["notes"].to_string().contains("first health round"), "{waiting}");
    proxy.ready().await;
    let ready = proxy.get("/readyz").await.expect(200).json();
    assert_eq!((&ready["ready"], &ready["notes"]), (&json!(true), &json!([])));
    assert_eq!(proxy.get("/healthz").await.expect(200).json()["version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn readiness_tells_of_a_service_that_nobody_can_serve_and_of_a_reload_that_failed() {
    let (blue, _green, proxy) = start().await;
    blue.healthy(false);
    proxy.health_is("shop", "blue", "unhealthy").await;
    let notes = proxy.get("/readyz").await.expect(200).json()["notes"].to_string();
    assert!(notes.contains("service shop: no group with a share has a healthy upstream"), "{notes}");
    proxy.rewrite("nonsense: true\n");
    problem(proxy.post("/api/v1/config/reload", json!({})).await, 422, "invalid_config");
    let notes = proxy.get("/readyz").await.expect(200).json()["notes"].to_string();
    assert!(notes.contains("the last reload failed"), "{notes}");
}

#[tokio::test]
async fn whoever_opens_the_port_is_told_what_to_type_and_no_answer_is_kept() {
    let (_blue, _green, proxy) = start().await;
    let hint = proxy.get("/").await.expect(200);
    assert!(hint.text().contains("pointsman switch") && hint.text().contains("openapi.json"), "{}", hint.text());
    for path in ["/", "/metrics", "/api/v1/services", "/readyz", "/api/v1/config"] {
        assert_eq!(proxy.get(path).await.expect(200).header("cache-control"), Some("no-store"), "{path}");
    }
}
