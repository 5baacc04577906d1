//! Guards outside: a Prometheus server, and anybody who answers by status.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{Shop, brief, cause};
use crate::support::load::Load;
use crate::support::{Answer, Upstream, eventually};

/// What one guard of the last rollout says now.
async fn says(shop: &Shop, guard: &str) -> Option<Value> {
    let rollout = shop.rollout().await;
    rollout["verdict"]["guards"].as_array()?.iter().find(|g| g["guard"] == guard).cloned()
}

async fn is_said(shop: &Shop, guard: &str, status: &str, why: &str) {
    eventually(&format!("{guard} is {status} because of {why}"), || async {
        let row = says(shop, guard).await.unwrap_or_default();
        let fits = row["status"] == status && row["why"].as_str().is_some_and(|w| w.contains(why));
        if fits { Ok(()) } else { Err(row) }
    })
    .await;
}

/// By a clock that is not ours: such a stamp tells nothing.
fn vector(value: &str) -> Answer {
    sampled(1_790_000_000.0, value)
}

fn sampled(at: f64, value: &str) -> Answer {
    let sample = json!({ "metric": {}, "value": [at, value] });
    Answer::text(&json!({ "status": "success", "data": { "resultType": "vector", "result": [sample] } }).to_string())
}

#[tokio::test]
async fn prometheus_decides_by_its_number_and_one_that_is_away_decides_nothing() {
    let shop = Shop::new("").await;
    let prometheus = Upstream::start("prometheus");
    prometheus.refuse().await;
    let query = "sum(rate(errors{service=\"{service}\",group=\"{candidate}\"}[1m])) + 1 > 0";
    let guard = json!({ "name": "checkout", "url": prometheus.url(), "query": query, "above": 0.01, "every": "100ms" });
    let load = Load::start(&shop.proxy, 2);
    let steps = json!([{ "share": 50, "hold": "1h" }, { "share": 100 }]);
    shop.begins(json!({ "steps": steps, "guards": { "prometheus": [guard] } })).await;
    is_said(&shop, "checkout", "undecided", "refused").await;
    prometheus.answer(Answer::text(r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#));
    prometheus.accept();
    is_said(&shop, "checkout", "undecided", "no series").await;
    prometheus.answer(vector("0.001"));
    is_said(&shop, "checkout", "pass", "0.001").await;
    assert_eq!(shop.rollout().await["state"], "shifting");
    let asked = prometheus.arrivals().pop().unwrap().head;
    assert!(asked.target().starts_with("/api/v1/query?query="), "{asked:?}");
    assert!(asked.target().contains("service%3D%22shop%22%2Cgroup%3D%22green%22"), "{asked:?}");
    prometheus.answer(vector("0.5"));
    let rollout = shop.is_back().await;
    assert!(cause(&rollout).contains("checkout"), "{}", brief(&rollout));
    load.nothing_failed().await;
}

#[tokio::test]
async fn one_sample_that_is_bad_is_no_reason_to_go_back_however_often_it_is_told() {
    let shop = Shop::new("").await;
    let prometheus = Upstream::start("prometheus");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    prometheus.answer(sampled(now, "0.5"));
    let guard = json!({ "name": "checkout", "url": prometheus.url(), "query": "q", "above": 0.01, "every": "100ms" });
    let steps = json!([{ "share": 50, "hold": "1h" }, { "share": 100 }]);
    shop.begins(json!({ "steps": steps, "guards": { "prometheus": [guard] } })).await;
    is_said(&shop, "checkout", "undecided", "once is not enough").await;
    eventually("it is told twenty times more", || async {
        let told = prometheus.arrivals().len();
        if told > 30 { Ok(()) } else { Err(told) }
    })
    .await;
    is_said(&shop, "checkout", "undecided", "once is not enough").await;
    prometheus.answer(sampled(now + 1.0, "0.6"));
    shop.is_back().await;
}

#[tokio::test]
async fn an_http_guard_passes_waits_or_fails_by_its_status_and_its_words_are_kept() {
    let shop = Shop::new("").await;
    let asked = Upstream::start("guard");
    asked.answer(Answer::Plain(202, "still counting".to_owned()));
    let guard =
        json!({ "name": "smoke", "url": format!("{}/{{service}}/{{candidate}}", asked.url()), "every": "100ms" });
    let load = Load::start(&shop.proxy, 2);
    let steps = json!([{ "share": 50, "hold": "1h" }, { "share": 100 }]);
    shop.begins(json!({ "steps": steps, "guards": { "http": [guard] } })).await;
    is_said(&shop, "smoke", "undecided", "still counting").await;
    asked.answer(Answer::text("all is well"));
    is_said(&shop, "smoke", "pass", "all is well").await;
    assert_eq!(asked.arrivals()[0].head.target(), "/shop/green");
    asked.answer(Answer::Plain(417, "three carts are empty".to_owned()));
    let rollout = shop.is_back().await;
    assert!(cause(&rollout).contains("three carts are empty"), "{}", brief(&rollout));
    load.nothing_failed().await;
}
