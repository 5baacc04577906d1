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
    // What was never drained is not found.
    client.post("/api/v1/services/shop/groups/green/drain", b"").await.expect(200);
    for (method, path) in &listed {
        let path = path.replace("{service}", "shop").replace("{group}", "green");
        // An upgrade needs no body, and would take the connection with it.
        let body: &[u8] = if path.ends_with("/upgrade") { br#"{"to":1}"# } else { b"" };
        let answer = client.request(&method.to_uppercase(), &path, &[], Some(body)).await;
        assert!(!matches!(answer.status, 404 | 405), "{method} {path} is listed and not there: {}", answer.status);
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
    let problem = proxy.post("/api/v1/services/shop/switch", serde_json::json!({"to": "red"})).await.expect(404).json();
    samples.push(("post", "/api/v1/services/{service}/switch", 404, problem));
    let given = serde_json::json!({"document": document(&proxy).await, "samples": samples});
    let path = proxy.dir().join("samples.json");
    std::fs::write(&path, given.to_string()).unwrap();
    let verdict = python_client("openapi_check.py", &["--samples", path.to_str().unwrap()]).await;
    assert_eq!((&verdict["errors"], &verdict["checked"]), (&serde_json::json!([]), &samples.len().into()), "{verdict}");
}
