//! Jobs: what is to be done is done once at least, whatever becomes of the process and of whoever is to hear of it.

mod notifications;
mod scheduled;
mod validation;

use serde_json::{Value, json};

use crate::support::{Proxy, eventually};

/// The newest jobs, in this state.
async fn jobs(proxy: &Proxy, state: &str) -> Vec<Value> {
    let found = proxy.get(&format!("/api/v1/jobs?state={state}")).await.expect(200).json();
    found["jobs"].as_array().unwrap().clone()
}

/// Waits until there is a job of this kind in this state, for which `fits` holds; gives it.
async fn job(proxy: &Proxy, kind: &str, state: &str, fits: impl Fn(&Value) -> bool) -> Value {
    eventually(&format!("a job {kind} is {state}"), || async {
        let all = proxy.get("/api/v1/jobs").await.expect(200).json();
        let found =
            all["jobs"].as_array().unwrap().iter().find(|j| j["kind"] == kind && j["state"] == state && fits(j));
        found.cloned().ok_or(all)
    })
    .await
}

async fn events_of(proxy: &Proxy, kind: &str) -> Vec<Value> {
    proxy.events().await.into_iter().filter(|event| event["kind"] == kind).collect()
}

async fn switched(proxy: &Proxy, to: &str) {
    proxy.post("/api/v1/services/shop/switch", json!({ "to": to })).await.expect(200);
}
