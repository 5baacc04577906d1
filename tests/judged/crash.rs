//! kill -9 in every state: it is back paused, at a share that was durable, with its guards on and the same users.

use std::collections::BTreeMap;

use pointsman::store::Verified;
use serde_json::{Value, json};

use super::{Shop, brief, cause};
use crate::restart::audit::{database, verified};
use crate::support::load::Load;
use crate::support::{Answer, Proxy, eventually};

/// The cohort cookies of new visitors, and who answered them.
async fn visitors(proxy: &Proxy) -> BTreeMap<String, String> {
    let mut visitors = BTreeMap::new();
    for _ in 0..30 {
        let answer = proxy.client().await.get("/").await.expect(200);
        // Where one group has everything nobody needs one.
        let cookie = answer.header("set-cookie").map_or("none=1", |c| c.split(';').next().unwrap()).to_owned();
        visitors.insert(cookie, answer.group().unwrap().to_owned());
    }
    visitors
}

async fn are_where_they_were(proxy: &Proxy, visitors: &BTreeMap<String, String>, when: &str) {
    for (cookie, group) in visitors {
        let answer = proxy.client().await.get_with("/", &[("cookie", cookie)]).await.expect(200);
        assert_eq!(answer.group(), Some(group.as_str()), "{cookie}, {when}");
    }
}

async fn last_event(proxy: &Proxy) -> u64 {
    proxy.events().await.last().unwrap()["id"].as_u64().unwrap()
}

/// Plans that stop in each of the states, and where that is.
fn plans() -> Vec<(&'static str, Value)> {
    let steps = json!([{ "share": 30, "hold": "1h" }, { "share": 100 }]);
    let soon = json!([{ "share": 30, "hold": "0s" }, { "share": 100 }]);
    // Nobody listens there: it is tried again and again.
    let hook = json!({ "hook": { "url": "http://127.0.0.1:1/", "timeout": "1h" } });
    vec![
        ("validating", json!({ "steps": steps, "validate": hook })),
        ("awaiting_approval", json!({ "steps": soon, "approval": { "before": [100], "within": "1h" } })),
        ("shifting", json!({ "steps": steps })),
        ("baking", json!({ "steps": soon, "bake": "1h" })),
    ]
}

#[tokio::test]
async fn after_kill_9_in_any_state_it_is_paused_with_its_share_its_users_and_its_guards() {
    for (state, plan) in plans() {
        let mut shop = Shop::new("").await;
        let load = Load::start(&shop.proxy, 2);
        shop.begins(plan).await;
        let before = shop.is(state).await;
        load.nothing_failed().await;
        let (users, events) = (visitors(&shop.proxy).await, last_event(&shop.proxy).await);
        shop.proxy.kill().await;
        assert!(matches!(verified(&database(&shop.proxy)), Verified::Intact(_)), "{state}");
        shop.proxy.restart().await;
        let after = shop.is("paused").await;
        assert_eq!((&after["share"], &after["paused_in"]), (&before["share"], &json!(state)), "{}", brief(&after));
        assert_eq!((&after["id"], &after["started_at"]), (&before["id"], &before["started_at"]));
        let told = after["timeline"].as_array().unwrap();
        assert_eq!(told[..told.len() - 1], before["timeline"].as_array().unwrap()[..], "{state}");
        assert!(cause(&after).contains("restart"), "{}", brief(&after));
        are_where_they_were(&shop.proxy, &users, state).await;
        assert!(last_event(&shop.proxy).await > events, "{state}");
        if state != "validating" {
            shop.green.answer(Answer::Plain(500, "broken".to_owned()));
            let load = Load::start(&shop.proxy, 2);
            shop.is_back().await;
            load.stopped().await;
        }
    }
}

#[tokio::test]
async fn it_goes_on_from_where_it_was_when_somebody_resumes_it() {
    let mut shop = Shop::new("").await;
    let steps = json!([{ "share": 30, "hold": "100ms" }, { "share": 60, "hold": "1h" }, { "share": 100 }]);
    let load = Load::start(&shop.proxy, 2);
    shop.begins(json!({ "steps": steps })).await;
    shop.has_share(60.0).await;
    load.nothing_failed().await;
    shop.proxy.kill().await;
    shop.proxy.restart().await;
    shop.is("paused").await;
    shop.steer("resume").await.expect(200);
    shop.steer("advance").await.expect(200);
    shop.has_share(100.0).await;
}

#[tokio::test]
async fn kill_9_at_any_moment_leaves_a_share_that_was_durable_and_no_hole_in_the_log() {
    let mut shop = Shop::new("").await;
    let steps: Vec<_> = (1..=20).map(|i| json!({ "share": i * 5, "hold": "0s" })).collect();
    for round in 0..10 {
        let load = Load::start(&shop.proxy, 2);
        shop.begins(json!({ "steps": steps, "min_requests": 1 })).await;
        eventually("it is somewhere on its way", || async {
            let share = shop.rollout().await["share"].as_f64().unwrap();
            if share >= f64::from(round * 7 + 5) { Ok(()) } else { Err(share) }
        })
        .await;
        load.stopped().await;
        shop.proxy.kill().await;
        shop.proxy.restart().await;
        let (rollout, service) = (shop.rollout().await, shop.proxy.service("shop").await);
        if rollout["state"] == "paused" {
            assert_eq!(rollout["share"], service["split"]["green"], "round {round}: {}", brief(&rollout));
            shop.proxy.post("/api/v1/services/shop/rollback", json!({})).await.expect(200);
        }
        let shares = rollout["timeline"].as_array().unwrap().iter().map(|e| e["share"].as_f64().unwrap());
        assert!(shares.is_sorted(), "round {round}: {}", brief(&rollout));
        assert_eq!(shop.proxy.service("shop").await["split"]["green"], json!(0), "round {round}");
        let events = shop.proxy.events().await;
        assert!(events.windows(2).all(|w| w[1]["id"] == json!(w[0]["id"].as_u64().unwrap() + 1)), "{events:?}");
        let last = shop.proxy.get("/api/v1/services/shop/rollouts?limit=50").await.expect(200).json();
        assert_eq!(last["rollouts"].as_array().unwrap().len(), round as usize + 1);
    }
    shop.proxy.kill().await;
    assert!(matches!(verified(&database(&shop.proxy)), Verified::Intact(_)));
}

#[tokio::test]
async fn an_upgrade_in_the_middle_goes_on_without_a_pause_and_with_the_same_users() {
    let shop = Shop::new("").await;
    let load = Load::start(&shop.proxy, 2);
    shop.begins(json!({ "steps": [{ "share": 30, "hold": "1h" }, { "share": 100 }] })).await;
    shop.has_share(30.0).await;
    let users = visitors(&shop.proxy).await;
    load.nothing_failed().await;
    shop.proxy.upgrade(json!({})).await.expect(200);
    are_where_they_were(&shop.proxy, &users, "after the upgrade").await;
    assert_eq!(shop.rollout().await["state"], "shifting");
    shop.green.answer(Answer::Plain(500, "broken".to_owned()));
    let load = Load::start(&shop.proxy, 2);
    shop.is_back().await;
    load.stopped().await;
}
