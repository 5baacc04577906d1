//! The document that describes all of it, checked by somebody else's validator and against the port itself.

use std::collections::BTreeSet;

use serde_json::Value;

use super::start;
use crate::support::peers::python_client;
use crate::support::{Client, Proxy};

/// Everything that the contract names and this version has.
const ROUTES: &[(&str, &str)] = &[
    ("get", "/api/v1/services"),
    ("get", "/api/v1/services/{service}"),
    ("put", "/api/v1/services/{service}/split"),
    ("post", "/api/v1/services/{service}/shift"),
    ("post", "/api/v1/services/{service}/switch"),
    ("post", "/api/v1/services/{service}/rollback"),
    ("post", "/api/v1/services/{service}/hold"),
    ("delete", "/api/v1/services/{service}/hold"),
    ("post", "/api/v1/switch"),
    ("post", "/api/v1/rollback"),
    ("get", "/api/v1/services/{service}/explain"),
    ("get", "/api/v1/events"),
    ("get", "/api/v1/config"),
    ("post", "/api/v1/config/reload"),
    ("get", "/api/v1/config/drift"),
    ("post", "/api/v1/upgrade"),
    ("get", "/api/v1/openapi.json"),
    ("get", "/metrics"),
    ("post", "/api/v1/services/{service}/groups/{group}/drain"),
    ("get", "/api/v1/services/{service}/groups/{group}/drain"),
    ("delete", "/api/v1/services/{service}/groups/{group}/drain"),
    ("post", "/api/v1/services/{service}/rollouts"),
    ("get", "/api/v1/services/{service}/rollouts"),
    ("get", "/api/v1/services/{service}/rollouts/{id}"),
    ("post", "/api/v1/services/{service}/rollouts/current/{wish}"),
    ("post", "/api/v1/services/{service}/rollouts/drill"),
    ("post", "/api/v1/rollouts"),
    ("get", "/api/v1/rollouts/{id}/report"),
    ("post", "/api/v1/rollouts/{id}/validation"),
    ("get", "/api/v1/jobs"),
    ("delete", "/api/v1/jobs/{id}"),
    ("post", "/api/v1/jobs/{id}/retry"),
    ("get", "/rollouts/{id}/approve"),
    ("post", "/rollouts/{id}/approve"),
    ("post", "/hooks/alertmanager"),
    ("get", "/healthz"),
    ("get", "/readyz"),
];

async fn document(proxy: &Proxy) -> Value {
    proxy.get("/api/v1/openapi.json").await.expect(200).json()
}

#[tokio::test]
async fn the_document_is_valid_openapi() {
    let (_blue, _green, proxy) = start().await;
    let path = proxy.dir().join("openapi.json");
    std::fs::write(&path, document(&proxy).await.to_string()).unwrap();
    let verdict = python_client("openapi_check.py", &[path.to_str().unwrap()]).await;
    let paths: BTreeSet<_> = ROUTES.iter().map(|(_, path)| path).collect();
    assert_eq!((&verdict["errors"], &verdict["paths"]), (&serde_json::json!([]), &paths.len().into()), "{verdict}");
}

#[tokio::test]
async fn the_document_lists_every_route_and_no_other() {
    let (_blue, _green, proxy) = start().await;
    let document = document(&proxy).await;
    let mut listed: Vec<(String, String)> = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        listed.extend(methods.as_object().unwrap().keys().map(|method| (method.clone(), path.clone())));
    }
    listed.sort();
    let mut expected: Vec<_> = ROUTES.iter().map(|(m, p)| ((*m).to_owned(), (*p).to_owned())).collect();
    expected.sort();
    assert_eq!(listed, expected);
    let mut client = Client::connect(proxy.address("admin")).await;
    // What was never begun, and never drained, is not found.
    proxy.post("/api/v1/services/shop/rollouts", serde_json::json!({"to": "green"})).await.expect(201);
    proxy.post("/api/v1/services/shop/rollback", serde_json::json!({})).await.expect(200);
    client.post("/api/v1/services/shop/groups/green/drain", b"").await.expect(200);
    for (method, path) in &listed {
        let path = path.replace("{service}", "shop").replace("{group}", "green").replace("{id}", "r1");
        let path = path.replace("{wish}", "abort");
        // An upgrade needs no body, and would take the connection with it.
        let body: &[u8] = if path.ends_with("/upgrade") { br#"{"to":1}"# } else { b"" };
        let answer = client.request(&method.to_uppercase(), &path, &[], Some(body)).await;
        // There is none to be steered any more.
        let is_there =
            answer.status != 404 || ["no_rollout", "no_such_job"].iter().any(|c| answer.json()["code"] == *c);
        assert!(is_there && answer.status != 405, "{method} {path} is listed and not there: {}", answer.status);
    }
}

#[tokio::test]
async fn every_answer_is_of_the_shape_that_the_document_says() {
    let (_blue, _green, proxy) = start().await;
    let mut samples = Vec::new();
    let receipt = proxy.switch("shop", "green").await;
    samples.push(("post", "/api/v1/services/{service}/switch", 200, receipt));
    let hold = "/api/v1/services/shop/hold";
    let held = proxy.post(hold, serde_json::json!({"for": "1m"})).await.expect(200).json();
    samples.push(("post", "/api/v1/services/{service}/hold", 200, held));
    for (path, query) in [
        ("/api/v1/services", ""),
        ("/api/v1/services/{service}", ""),
        ("/api/v1/services/{service}/explain", "?cookie=x"),
        ("/api/v1/events", ""),
        ("/api/v1/config", ""),
        ("/api/v1/config/drift", ""),
        ("/readyz", ""),
    ] {
        let answer = proxy.get(&format!("{}{query}", path.replace("{service}", "shop"))).await.expect(200).json();
        samples.push(("get", path, 200, answer));
    }
    let released = proxy.admin("DELETE", hold, &[], None).await.expect(200).json();
    samples.push(("delete", "/api/v1/services/{service}/hold", 200, released));
    let behind = serde_json::json!({"to": "blue", "hold": "1m"});
    let receipt = proxy.post("/api/v1/services/shop/switch", behind).await.expect(200).json();
    samples.push(("post", "/api/v1/services/{service}/switch", 200, receipt));
    samples.extend(rollouts(&proxy).await);
    samples.extend(jobs(&proxy).await);
    let problem = proxy.post("/api/v1/services/shop/switch", serde_json::json!({"to": "red"})).await.expect(404).json();
    samples.push(("post", "/api/v1/services/{service}/switch", 404, problem));
    let given = serde_json::json!({"document": document(&proxy).await, "samples": samples});
    let path = proxy.dir().join("samples.json");
    std::fs::write(&path, given.to_string()).unwrap();
    let verdict = python_client("openapi_check.py", &["--samples", path.to_str().unwrap()]).await;
    assert_eq!((&verdict["errors"], &verdict["checked"]), (&serde_json::json!([]), &samples.len().into()), "{verdict}");
}

type Sample = (&'static str, &'static str, u16, Value);

/// A drill, and a rollout from its begin to its end.
async fn rollouts(proxy: &Proxy) -> Vec<Sample> {
    let path = "/api/v1/services/shop/rollouts";
    let drill = serde_json::json!({"to": "green", "requests": 3});
    let drilled = proxy.post(&format!("{path}/drill"), drill).await.expect(200).json();
    let plan = serde_json::json!({"to": "green", "approval": {"before": [100]}, "validate": null});
    let begun = proxy.post(path, plan).await.expect(201).json();
    let list = proxy.get(path).await.expect(200).json();
    let ended = proxy.post(&format!("{path}/current/abort"), serde_json::json!({})).await.expect(200).json();
    let one = proxy.get(&format!("{path}/r1")).await.expect(200).json();
    let report = proxy.get("/api/v1/rollouts/r1/report").await.expect(200).json();
    let labels = serde_json::json!({"service": "shop", "pointsman": "rollback"});
    let alerts = serde_json::json!({"alerts": [{"status": "firing", "labels": labels}]});
    let alarmed = proxy.post("/hooks/alertmanager", alerts).await.expect(200).json();
    vec![
        ("post", "/api/v1/services/{service}/rollouts/drill", 200, drilled),
        ("post", "/api/v1/services/{service}/rollouts", 201, begun),
        ("get", "/api/v1/services/{service}/rollouts", 200, list),
        ("post", "/api/v1/services/{service}/rollouts/current/{wish}", 200, ended),
        ("get", "/api/v1/services/{service}/rollouts/{id}", 200, one),
        ("get", "/api/v1/rollouts/{id}/report", 200, report),
        ("post", "/hooks/alertmanager", 200, alarmed),
    ]
}

/// A rollout that was to begin later, and will not.
async fn jobs(proxy: &Proxy) -> Vec<Sample> {
    let at = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let wish = serde_json::json!({"to": "green", "at": at.to_string()});
    let scheduled = proxy.post("/api/v1/services/shop/rollouts", wish).await.expect(202).json();
    let list = proxy.get("/api/v1/jobs").await.expect(200).json();
    let path = format!("/api/v1/jobs/{}", scheduled["job"]);
    let cancelled = proxy.admin("DELETE", &path, &[], None).await.expect(200).json();
    let refused = proxy.post(&format!("{path}/retry"), serde_json::json!({})).await.expect(409).json();
    vec![
        ("post", "/api/v1/services/{service}/rollouts", 202, scheduled),
        ("get", "/api/v1/jobs", 200, list),
        ("delete", "/api/v1/jobs/{id}", 200, cancelled),
        ("post", "/api/v1/jobs/{id}/retry", 409, refused),
    ]
}
