//! What is neither good nor bad: it waits, and never takes nothing for something.

use std::time::Duration;

use serde_json::json;

use super::{Shop, brief, cause};
use crate::support::load::Load;
use crate::support::{Answer, eventually};

#[tokio::test]
async fn without_traffic_there_is_no_verdict_and_what_is_done_then_is_the_plans_choice() {
    for (act, state) in [("hold", "paused"), ("advance", "done"), ("rollback", "rolled_back")] {
        let shop = Shop::new("").await;
        let steps = json!([{ "share": 50, "hold": "100ms" }, { "share": 100 }]);
        shop.begins(json!({ "steps": steps, "bake": "0s", "undecided": { "after": "300ms", "do": act } })).await;
        let rollout = shop.is(state).await;
        let said = rollout["timeline"].to_string();
        assert!(said.contains("the verdict is still undecided"), "{act}: {}", brief(&rollout));
    }
}

#[tokio::test]
async fn where_the_baseline_is_as_bad_nobody_is_blamed_and_the_fix_can_still_be_shipped() {
    let shop = Shop::new("retries: { attempts: 0 }").await;
    // Both fail one in three, the limit is one in twenty.
    let shaky = |name: &'static str| {
        let count = std::sync::atomic::AtomicUsize::new(0);
        move |_: &_| {
            let nth = count.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
            if nth.is_multiple_of(3) { Answer::Plain(500, "oh".to_owned()) } else { Answer::text(name) }
        }
    };
    shop.blue.script(shaky("blue"));
    shop.green.script(shaky("green"));
    let load = Load::start(&shop.proxy, 4);
    shop.begins(json!({ "steps": [{ "share": 50, "hold": "1h" }, { "share": 100 }] })).await;
    shop.has_share(50.0).await;
    load.goes_on_for(1500).await;
    let rollout = shop.rollout().await;
    assert_eq!((&rollout["state"], &rollout["verdict"]["status"]), (&json!("shifting"), &json!("undecided")));
    assert_eq!(shop.steer("advance").await.expect(200).json()["share"], 100);
    load.stopped().await;
}

#[tokio::test]
async fn where_the_stable_group_is_dead_itself_users_stay_and_it_is_said_aloud() {
    let shop = Shop::new("health: { kind: http, path: /health, interval: 50ms, timeout: 1s }").await;
    let load = Load::start(&shop.proxy, 2);
    shop.begins(json!({ "steps": [{ "share": 50, "hold": "0s" }, { "share": 100 }], "bake": "1h" })).await;
    shop.is("baking").await;
    load.goes_on_for(200).await;
    load.stopped().await;
    shop.blue.healthy(false);
    shop.proxy.health_is("shop", "blue", "unhealthy").await;
    shop.green.answer(Answer::Plain(500, "broken".to_owned()));
    let load = Load::start(&shop.proxy, 2);
    eventually("somebody is told", || async {
        let events = shop.proxy.events().await;
        events.into_iter().find(|e| e["kind"] == "rollout.stuck").ok_or("no such event")
    })
    .await;
    assert_eq!(shop.proxy.service("shop").await["split"], json!({ "blue": 0, "green": 100 }));
    // As soon as there is somewhere to go, they go.
    shop.blue.healthy(true);
    shop.is("rolled_back").await;
    load.stopped().await;
}

#[tokio::test]
async fn nobody_who_agrees_in_time_is_an_answer_too() {
    for (on_timeout, state) in [("rollback", "rolled_back"), ("pause", "paused")] {
        let shop = Shop::new("").await;
        let approval = json!({ "before": ["first_step"], "within": "200ms", "on_timeout": on_timeout });
        shop.begins(json!({ "approval": approval })).await;
        let rollout = shop.is(state).await;
        assert_eq!(cause(&rollout), "nobody has agreed in time", "{}", brief(&rollout));
        assert_eq!(shop.green.requests(), 0);
    }
}

#[tokio::test]
async fn a_pause_stops_the_clock_of_a_step_and_advance_does_not_wait_for_it() {
    let shop = Shop::new("").await;
    let load = Load::start(&shop.proxy, 2);
    let steps = json!([{ "share": 20, "hold": "500ms" }, { "share": 50, "hold": "1h" }, { "share": 100 }]);
    shop.begins(json!({ "steps": steps })).await;
    shop.has_share(20.0).await;
    shop.steer("pause").await.expect(200);
    let paused_at = std::time::Instant::now();
    load.goes_on_for(200).await;
    eventually("more than the hold is over", || async { paused_at.elapsed() > Duration::from_millis(700) }).await;
    assert_eq!(shop.rollout().await["share"], json!(20));
    assert_eq!(shop.steer("pause").await.expect(200).json()["changed"], false);
    shop.steer("resume").await.expect(200);
    shop.has_share(50.0).await;
    shop.steer("advance").await.expect(200);
    shop.has_share(100.0).await;
    shop.steer("abort").await.expect(200);
    shop.is_back().await;
    load.nothing_failed().await;
}
