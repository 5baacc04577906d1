//! A front end and its back end move together or not at all.

use serde_json::{Value, json};

use super::other;
use crate::support::{Client, Proxy, Upstream};

/// Services `shop` and `api`, at the paths of their names, each with upstreams of its own.
struct Two {
    proxy: Proxy,
    upstreams: [Upstream; 4],
}

impl Two {
    async fn start() -> Self {
        let upstreams = ["blue", "green", "blue", "green"].map(Upstream::start);
        let service = |name: &str, blue: &Upstream, green: &Upstream| {
            let (blue, green) = (blue.url(), green.url());
            format!(
                "  {name}:\n    groups: {{ blue: {{ upstreams: [\"{blue}\"] }}, green: {{ upstreams: [\"{green}\"] }} }}\n    \
                 health: {{ kind: http, path: /health, interval: 100ms, timeout: 1s }}\n"
            )
        };
        let [a, b, c, d] = &upstreams;
        let services = service("shop", a, b) + &service("api", c, d);
        let config = format!(
            "listeners: {{ web: {{ bind: \"127.0.0.1:@web@\" }} }}\nservices:\n{services}routes:\n  \
             - {{ match: {{ path: /shop }}, service: shop }}\n  - {{ match: {{ path: /api }}, service: api }}\n"
        );
        Self { proxy: Proxy::start(&config).await, upstreams }
    }

    async fn splits(&self) -> [Value; 2] {
        [self.proxy.service("shop").await["split"].clone(), self.proxy.service("api").await["split"].clone()]
    }

    async fn both(&self, verb: &str, body: Value) -> Value {
        self.proxy.post(&format!("/api/v1/{verb}"), body).await.expect(200).json()
    }
}

const BOTH: [&str; 2] = ["shop", "api"];

#[tokio::test]
async fn several_services_move_in_one_publication_with_one_version() {
    let two = Two::start().await;
    let receipt = two.both("switch", json!({"services": BOTH, "to": "green", "reason": "release"})).await;
    let moved: Vec<_> = receipt["services"].as_array().unwrap().iter().map(|s| s["service"].clone()).collect();
    assert_eq!((receipt["changed"].clone(), moved), (json!(true), vec![json!("shop"), json!("api")]));
    for name in BOTH {
        assert_eq!(two.proxy.service(name).await["version"], receipt["version"]);
    }
    assert_eq!(two.splits().await, [json!({"blue": 0, "green": 100}), json!({"blue": 0, "green": 100})]);
    let back = two.both("rollback", json!({"services": BOTH})).await;
    assert_eq!(back["version"].as_u64().unwrap(), receipt["version"].as_u64().unwrap() + 1);
    assert_eq!(two.splits().await, [json!({"blue": 100, "green": 0}), json!({"blue": 100, "green": 0})]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_seen_the_new_front_end_never_sees_the_old_back_end() {
    let two = Two::start().await;
    let address = two.proxy.address("web");
    let mut to = "green";
    for _ in 0..25 {
        let visitors: Vec<_> = (0..4)
            .map(|i| {
                // Half of them meet the services in the other order.
                let (first, second) = if i % 2 == 0 { ("/shop", "/api") } else { ("/api", "/shop") };
                tokio::spawn(async move {
                    let mut client = Client::connect(address).await;
                    loop {
                        let seen = client.get(first).await.expect(200);
                        let then = client.get(second).await.expect(200);
                        if seen.group() == Some(to) {
                            assert_eq!(then.group(), Some(to), "{first} is new and {second} is not");
                            return;
                        }
                    }
                })
            })
            .collect();
        two.both("switch", json!({"services": BOTH, "to": to})).await;
        for visitor in visitors {
            visitor.await.unwrap();
        }
        to = other(to);
    }
}

#[tokio::test]
async fn where_one_service_cannot_move_none_does() {
    let two = Two::start().await;
    two.upstreams[3].healthy(false);
    two.proxy.health_is("api", "green", "unhealthy").await;
    let versions =
        [two.proxy.service("shop").await["version"].clone(), two.proxy.service("api").await["version"].clone()];
    for (services, to, status, code) in [
        (json!(["shop", "api"]), "green", 409, "no_healthy_upstream"),
        (json!(["api", "shop"]), "green", 409, "no_healthy_upstream"),
        (json!(["shop", "nobody"]), "green", 404, "no_such_service"),
        (json!(["shop", "api"]), "red", 404, "no_such_group"),
        (json!([]), "green", 400, "bad_request"),
    ] {
        let refused = two.proxy.post("/api/v1/switch", json!({"services": services, "to": to})).await.expect(status);
        assert_eq!(refused.json()["code"], code, "{services}");
        assert_eq!(two.splits().await, [json!({"blue": 100, "green": 0}), json!({"blue": 100, "green": 0})]);
    }
    let now = [two.proxy.service("shop").await["version"].clone(), two.proxy.service("api").await["version"].clone()];
    assert_eq!(now, versions);
    assert_eq!(two.proxy.client().await.get("/shop").await.group(), Some("blue"));
    two.both("switch", json!({"services": BOTH, "to": "green", "force": true})).await;
    assert_eq!(two.splits().await, [json!({"blue": 0, "green": 100}), json!({"blue": 0, "green": 100})]);
}

#[tokio::test]
async fn a_rollback_of_several_goes_back_with_all_or_with_none() {
    let two = Two::start().await;
    two.both("switch", json!({"services": BOTH, "to": "green"})).await;
    two.upstreams[0].healthy(false);
    two.proxy.health_is("shop", "blue", "unhealthy").await;
    let refused = two.proxy.post("/api/v1/rollback", json!({"services": BOTH})).await.expect(409).json();
    assert_eq!(refused["code"], "stable_group_unhealthy");
    assert_eq!(two.splits().await, [json!({"blue": 0, "green": 100}), json!({"blue": 0, "green": 100})]);
    two.upstreams[0].healthy(true);
    two.proxy.health_is("shop", "blue", "healthy").await;
    let back = two.both("rollback", json!({"services": BOTH})).await;
    assert_eq!(back["changed"], true);
    let again = two.both("rollback", json!({"services": BOTH})).await;
    assert_eq!((&again["changed"], &again["version"]), (&json!(false), &back["version"]));
}

#[tokio::test]
async fn a_service_that_is_there_already_is_no_reason_to_refuse_the_others() {
    let two = Two::start().await;
    two.proxy.switch("api", "green").await;
    let receipt = two.both("switch", json!({"services": ["shop", "api", "shop"], "to": "green"})).await;
    assert_eq!((&receipt["changed"], receipt["services"].as_array().unwrap().len()), (&json!(true), 2));
    assert_eq!(receipt["services"][1]["before"], receipt["services"][1]["after"]);
    // A rollback takes each of them to its own stable split.
    two.both("rollback", json!({"services": BOTH})).await;
    assert_eq!(two.splits().await, [json!({"blue": 100, "green": 0}), json!({"blue": 100, "green": 0})]);
}
