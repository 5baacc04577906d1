//! A front end and its back end, in lockstep: one step for both, and whatever fails for one takes both back.

use serde_json::{Value, json};

use super::{brief, is};
use crate::support::{Answer, Client, Proxy, Upstream, eventually};

struct Pair {
    proxy: Proxy,
    upstreams: [Upstream; 4],
}

impl Pair {
    async fn new() -> Self {
        let upstreams = ["blue", "green", "blue", "green"].map(Upstream::start);
        let [shop_blue, shop_green, api_blue, api_green] = upstreams.each_ref().map(Upstream::url);
        let config = format!(
            "listeners: {{ web: {{ bind: \"127.0.0.1:@web@\" }} }}
services:
  shop:
    groups: {{ blue: {{ upstreams: [\"{shop_blue}\"] }}, green: {{ upstreams: [\"{shop_green}\"] }} }}
    health: {{ kind: tcp, interval: 1h }}
  api:
    groups: {{ blue: {{ upstreams: [\"{api_blue}\"] }}, green: {{ upstreams: [\"{api_green}\"] }} }}
    health: {{ kind: tcp, interval: 1h }}
routes: [ {{ match: {{ path: /api/ }}, service: api }}, {{ match: {{ path: / }}, service: shop }} ]
"
        );
        Self { proxy: Proxy::start(&config).await, upstreams }
    }

    async fn begins(&self, plan: Value) {
        let mut body = json!({ "services": ["shop", "api"], "to": "green" });
        body.as_object_mut().unwrap().extend(plan.as_object().unwrap().clone());
        self.proxy.post("/api/v1/rollouts", body).await.expect(201);
    }

    async fn shares(&self) -> [Value; 2] {
        let (shop, api) = (self.proxy.service("shop").await, self.proxy.service("api").await);
        [shop["split"]["green"].clone(), api["split"]["green"].clone()]
    }

    async fn have(&self, share: u32) {
        eventually(&format!("both have {share} %"), || async {
            let shares = self.shares().await;
            if shares == [json!(share), json!(share)] { Ok(()) } else { Err(format!("{shares:?}")) }
        })
        .await;
    }
}

/// So many requests for each service, whatever becomes of them.
async fn ask(proxy: &Proxy, times: usize) {
    for _ in 0..times {
        let mut client = Client::connect(proxy.address("web")).await;
        client.get("/").await;
        client.get("/api/").await;
    }
}

#[tokio::test]
async fn they_take_each_step_together_to_the_end() {
    let pair = Pair::new().await;
    pair.begins(json!({
        "steps": [{ "share": 40, "hold": "1h" }, { "share": 100 }], "bake": "0s", "min_requests": 1, "then": "keep",
    }))
    .await;
    pair.have(40).await;
    let current = pair.proxy.get("/api/v1/services/api/rollouts/current").await.expect(200).json();
    assert_eq!((&current["id"], &current["services"]), (&json!("r1"), &json!(["shop", "api"])));
    let refused = pair.proxy.post("/api/v1/services/api/rollouts", json!({ "to": "green" })).await;
    assert_eq!((refused.status, &refused.json()["code"]), (409, &json!("rollout_in_progress")));
    // One of them steers both.
    pair.proxy.post("/api/v1/services/api/rollouts/current/advance", json!({})).await.expect(200);
    pair.have(100).await;
    // What came before the bake does not count for it.
    is(&pair.proxy, "baking").await;
    ask(&pair.proxy, 5).await;
    is(&pair.proxy, "done").await;
}

#[tokio::test]
async fn a_guard_that_fails_for_one_takes_both_back() {
    let pair = Pair::new().await;
    pair.begins(json!({ "steps": [{ "share": 50, "hold": "1h" }, { "share": 100 }] })).await;
    pair.have(50).await;
    pair.upstreams[3].answer(Answer::Plain(500, "broken".to_owned()));
    ask(&pair.proxy, 60).await;
    let rollout = is(&pair.proxy, "rolled_back").await;
    assert_eq!(pair.shares().await, [json!(0), json!(0)]);
    let cause = super::cause(&rollout);
    assert!(cause.contains("of service api has failed"), "{}", brief(&rollout));
}

#[tokio::test]
async fn a_rollback_of_one_by_hand_takes_both_back() {
    let pair = Pair::new().await;
    pair.begins(json!({ "steps": [{ "share": 50, "hold": "1h" }, { "share": 100 }] })).await;
    pair.have(50).await;
    pair.proxy.post("/api/v1/services/api/rollback", json!({})).await.expect(200);
    assert_eq!(pair.shares().await, [json!(0), json!(0)]);
    is(&pair.proxy, "rolled_back").await;
}

#[tokio::test]
async fn a_service_without_that_group_is_named_and_nothing_begins() {
    let pair = Pair::new().await;
    let body = json!({ "services": ["shop", "api"], "to": "red" });
    let refused = pair.proxy.post("/api/v1/rollouts", body).await;
    assert_eq!((refused.status, &refused.json()["code"]), (404, &json!("no_such_group")), "{}", refused.text());
    let body = json!({ "services": ["shop", "nobody"], "to": "green" });
    let refused = pair.proxy.post("/api/v1/rollouts", body).await;
    assert_eq!((refused.status, &refused.json()["code"]), (404, &json!("no_such_service")), "{}", refused.text());
    assert_eq!(pair.proxy.service("shop").await["rollout"], Value::Null);
}
