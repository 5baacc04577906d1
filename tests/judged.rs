//! Rollouts judge themselves: a good candidate gets everything, a bad one nothing, and users are the last to notice.

mod crash;
mod failing;
mod lockstep;
mod outside;
mod patience;

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::support::client::Response;
use crate::support::load::Load;
use crate::support::proxy::blue_green;
use crate::support::{Proxy, Upstream, eventually};

/// Blue and green behind a proxy; everybody is on blue, and each request is a new user's.
pub(crate) struct Shop {
    pub(crate) proxy: Proxy,
    pub(crate) blue: Upstream,
    pub(crate) green: Upstream,
}

impl Shop {
    /// `extra` holds further keys of the service.
    pub(crate) async fn new(extra: &str) -> Self {
        let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
        let proxy = Proxy::start(&config(&blue, &green, extra)).await;
        Self { proxy, blue, green }
    }

    /// Begins a rollout to green by this plan.
    pub(crate) async fn begins(&self, plan: Value) -> Value {
        let mut body = json!({ "to": "green", "min_requests": 20 });
        body.as_object_mut().unwrap().extend(plan.as_object().unwrap().clone());
        self.proxy.post("/api/v1/services/shop/rollouts", body).await.expect(201).json()
    }

    /// The last rollout.
    pub(crate) async fn rollout(&self) -> Value {
        last(&self.proxy).await
    }

    /// Waits until the last rollout is in this state; gives it.
    pub(crate) async fn is(&self, state: &str) -> Value {
        is(&self.proxy, state).await
    }

    /// Waits until the candidate has this share, and that is in force.
    pub(crate) async fn has_share(&self, share: f64) {
        eventually(&format!("green has {share} %"), || async {
            let split = self.proxy.service("shop").await["split"].clone();
            if split["green"].as_f64().is_some_and(|seen| (seen - share).abs() < 1e-9) {
                Ok(())
            } else {
                Err(format!("{split}, {}", brief(&self.rollout().await)))
            }
        })
        .await;
    }

    pub(crate) async fn steer(&self, wish: &str) -> Response {
        self.proxy.post(&format!("/api/v1/services/shop/rollouts/current/{wish}"), json!({})).await
    }

    /// Everybody is on blue, and stays there.
    pub(crate) async fn is_back(&self) -> Value {
        let rollout = self.is("rolled_back").await;
        let service = self.proxy.service("shop").await;
        assert_eq!(service["split"], json!({ "blue": 100, "green": 0 }), "{rollout:#}");
        assert_eq!(rollout["share"], json!(0));
        for _ in 0..20 {
            assert_eq!(self.proxy.client().await.get("/").await.expect(200).group(), Some("blue"));
        }
        rollout
    }
}

/// Probes by TCP and once in an hour, so that nobody but users finds out what is wrong with a candidate.
pub(crate) fn config(blue: &Upstream, green: &Upstream, extra: &str) -> String {
    let health = "health: { kind: tcp, interval: 1h }\n";
    let health = if extra.contains("health:") { "" } else { health };
    blue_green(blue, green, &format!("{health}{extra}"))
}

pub(crate) async fn last(proxy: &Proxy) -> Value {
    let rollouts = proxy.get("/api/v1/services/shop/rollouts?limit=1").await.expect(200).json();
    rollouts["rollouts"][0].clone()
}

pub(crate) async fn is(proxy: &Proxy, state: &str) -> Value {
    eventually(&format!("the rollout is {state}"), || async {
        let rollout = last(proxy).await;
        if rollout["state"] == state { Ok(rollout) } else { Err(brief(&rollout)) }
    })
    .await
}

/// A rollout in a few lines, for messages of tests.
pub(crate) fn brief(rollout: &Value) -> String {
    let mut out = format!("{} at {} %, {}", rollout["state"], rollout["share"], rollout["waits_for"]);
    for guard in rollout["verdict"]["guards"].as_array().into_iter().flatten() {
        let _ = write!(out, "\n  {} {}: {}", guard["guard"], guard["status"], guard["why"]);
    }
    for entry in rollout["timeline"].as_array().into_iter().flatten() {
        let _ = write!(out, "\n  {} {} {}: {}", entry["at"], entry["state"], entry["share"], entry["cause"]);
    }
    out
}

/// What led to the last state.
pub(crate) fn cause(rollout: &Value) -> &str {
    rollout["timeline"].as_array().unwrap().last().unwrap()["cause"].as_str().unwrap()
}

#[tokio::test]
async fn a_good_candidate_gets_everything_step_by_step_and_the_old_group_is_let_go_of() {
    let shop = Shop::new("").await;
    let load = Load::start(&shop.proxy, 4);
    let steps = json!([{ "share": 10, "hold": "200ms" }, { "share": 50, "hold": "200ms" }, { "share": 100 }]);
    let begun = shop.begins(json!({ "steps": steps, "bake": "300ms", "reason": "2.0" })).await;
    assert_eq!((&begun["state"], &begun["share"], &begun["from"]), (&json!("checking"), &json!(0), &json!("blue")));
    let done = shop.is("done").await;
    let passed: Vec<_> =
        done["timeline"].as_array().unwrap().iter().map(|e| (e["state"].clone(), e["share"].clone())).collect();
    let expected = [
        ("checking", 0),
        ("shifting", 10),
        ("shifting", 50),
        ("shifting", 100),
        ("baking", 100),
        ("draining", 100),
        ("done", 100),
    ];
    assert_eq!(passed, expected.map(|(state, share)| (json!(state), json!(share))), "{}", brief(&done));
    // Each step says why it was taken, with the figures of that moment.
    let second = &done["timeline"][2];
    assert_eq!((&second["actor"], &second["cause"]), (&json!("pointsman"), &json!("every guard has passed")));
    assert!(second["figures"][0]["requests"].as_u64().unwrap() >= 20, "{second:#}");
    assert_eq!(done["reason"], "2.0");
    load.nothing_failed().await;
    let service = shop.proxy.service("shop").await;
    assert_eq!(service["split"], json!({ "blue": 0, "green": 100 }));
    assert_eq!(service["groups"]["blue"]["draining"]["state"], "drained");
    assert_eq!((&service["rollout"], &service["live"]), (&Value::Null, &json!("green")));
    // From the next change on, a rollback would lead here.
    let kinds: Vec<_> = shop.proxy.events().await.iter().map(|e| e["kind"].as_str().unwrap().to_owned()).collect();
    for kind in ["rollout.started", "rollout.shifting", "rollout.baking", "rollout.done", "drain.ended"] {
        assert!(kinds.iter().any(|k| k == kind), "{kind} in {kinds:?}");
    }
}

#[tokio::test]
async fn a_rollback_by_hand_ends_it_from_any_share_and_it_does_not_come_back() {
    let shop = Shop::new("").await;
    shop.begins(json!({ "steps": [{ "share": 30, "hold": "1h" }, { "share": 100 }] })).await;
    shop.has_share(30.0).await;
    let refused = shop.proxy.post("/api/v1/services/shop/switch", json!({ "to": "green" })).await;
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert_eq!(refused.json()["code"], "rollout_in_progress");
    let receipt = shop.proxy.post("/api/v1/services/shop/rollback", json!({})).await.expect(200).json();
    assert_eq!(receipt["split"], json!({ "blue": 100, "green": 0 }));
    let rollout = shop.is_back().await;
    assert!(rollout["ended_at"].is_string(), "{rollout:#}");
    assert_eq!(shop.steer("resume").await.status, 404);
    // The next one begins anew, with a number of its own.
    let next = shop.begins(json!({})).await;
    assert_eq!((&rollout["id"], &next["id"]), (&json!("r1"), &json!("r2")));
    assert_eq!(shop.proxy.get("/api/v1/services/shop/rollouts/r1").await.expect(200).json()["state"], "rolled_back");
}

#[tokio::test]
async fn what_the_file_says_is_kept_back_while_a_rollout_owns_the_split_and_a_vanished_candidate_ends_it() {
    let shop = Shop::new("split: { blue: 100, green: 0 }").await;
    shop.begins(json!({ "steps": [{ "share": 30, "hold": "1h" }, { "share": 100 }] })).await;
    shop.has_share(30.0).await;
    shop.proxy.rewrite(&config(&shop.blue, &shop.green, "split: { blue: 40, green: 60 }"));
    eventually("the file's split is shown", || async {
        let service = shop.proxy.service("shop").await;
        let pending = service["pending_file_split"].clone();
        assert_eq!(service["split"], json!({ "blue": 70, "green": 30 }));
        if pending == json!({ "blue": 40, "green": 60 }) { Ok(()) } else { Err(pending) }
    })
    .await;
    let (blue, green) = (shop.blue.url(), shop.green.url());
    let text = config(&shop.blue, &shop.green, "split: { blue: 100 }");
    shop.proxy.rewrite(&text.replace(&format!(", green: {{ upstreams: [\"{green}\"] }}"), ""));
    let rollout = shop.is("failed").await;
    assert!(cause(&rollout).contains("green"), "{}", brief(&rollout));
    let service = shop.proxy.service("shop").await;
    assert_eq!(service["split"], json!({ "blue": 100 }), "{blue}");
    shop.proxy.client().await.get("/").await.expect(200);
}
