//! The configuration as it runs, as it drifts, and as it can be taken away.

use serde_json::{Value, json};

use super::{problem, start};
use crate::support::proxy::{binary, blue_green};
use crate::support::{Proxy, Upstream, eventually};

async fn drift(proxy: &Proxy) -> Value {
    proxy.get("/api/v1/config/drift").await.expect(200).json()
}

#[tokio::test]
async fn drift_says_what_differs_from_the_file_and_who_is_behind_it() {
    let (blue, green, proxy) = start().await;
    assert_eq!(drift(&proxy).await, json!({"drift": false, "differences": []}));
    proxy.switch("shop", "green").await;
    let found = drift(&proxy).await;
    let only = &found["differences"][0];
    assert_eq!((&found["drift"], &only["what"]), (&json!(true), &json!("services.shop.split")));
    assert!(only["file"].as_str().unwrap().contains("blue 100"), "{only}");
    assert!(only["running"].as_str().unwrap().contains("green 100"), "{only}");
    let why = only["why"].as_str().unwrap();
    assert!(why.contains("changed at run time by local (switch)"), "{why}");
    // The file catches up: no drift, and no change of traffic either.
    proxy.rewrite(&blue_green(&blue, &green, "split: { blue: 0, green: 100 }"));
    proxy.post("/api/v1/config/reload", json!({})).await.expect(200);
    assert_eq!(drift(&proxy).await["drift"], false);
    assert_eq!(proxy.service("shop").await["stable_split"], json!({"blue": 100, "green": 0}));
}

#[tokio::test]
async fn a_file_that_is_wrong_cannot_be_compared_and_says_everything_that_is_wrong() {
    let (_blue, _green, proxy) = start().await;
    proxy.rewrite("listeners: { web: { bind: nowhere } }\nservices: { shop: {} }\nroutes: [ { service: nobody } ]\n");
    for (method, path) in [("GET", "/api/v1/config/drift"), ("POST", "/api/v1/config/reload")] {
        let problem = problem(proxy.admin(method, path, &[], None).await, 422, "invalid_config");
        let errors: Vec<_> = problem["errors"].as_array().unwrap().iter().map(|e| e.as_str().unwrap()).collect();
        assert_eq!(errors.len(), 3, "{errors:?}");
        for (word, error) in ["nowhere", "groups", "nobody"].iter().zip(&errors) {
            assert!(error.contains(word) && error.contains("pointsman.yaml:"), "{word}: {error}");
        }
    }
    assert_eq!(proxy.client().await.get("/").await.expect(200).group(), Some("blue"));
}

#[tokio::test]
async fn what_is_exported_is_a_file_with_the_splits_of_now_and_no_secrets() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let config = blue_green(&blue, &green, "# A comment that somebody wrote.\nsplit: { blue: 100, green: 0 }")
        .replace("path: /health,", "path: \"${PROBE_PATH}\",");
    let proxy = Proxy::start_with(&config, &[("PROBE_PATH", "/health?secret=7")]).await;
    let body = json!({"weights": {"blue": 87.5, "green": 12.5}});
    proxy.put("/api/v1/services/shop/split", body).await.expect(200);
    let text = proxy.get("/api/v1/config?format=yaml").await.expect(200).text();
    assert!(text.contains("87.5") && text.contains("12.5"), "{text}");
    assert!(text.contains("A comment that somebody wrote.") && text.contains("${PROBE_PATH}"), "{text}");
    assert!(!text.contains("secret=7"), "{text}");
    let path = proxy.dir().join("exported.yaml");
    std::fs::write(&path, &text).unwrap();
    let check = binary().args(["check", "--config"]).arg(&path).env("PROBE_PATH", "/x").output().unwrap();
    assert!(check.status.success(), "{check:?}");
    // Put in place of the file it is no change at all.
    proxy.rewrite(&text);
    let report = proxy.post("/api/v1/config/reload", json!({})).await.expect(200).json();
    assert_eq!(report["needs_restart"], json!([]));
    assert_eq!(drift(&proxy).await["drift"], false);
    let accepted = proxy.admin("GET", "/api/v1/config", &[("accept", "application/yaml")], None).await.expect(200);
    assert_eq!(accepted.header("content-type"), Some("application/yaml; charset=utf-8"));
}

#[tokio::test]
async fn the_configuration_in_short_names_listeners_and_upstreams() {
    let (blue, green, proxy) = start().await;
    let config = proxy.get("/api/v1/config").await.expect(200).json();
    assert_eq!(config["listeners"][0]["name"], "web");
    assert_eq!(config["listeners"][0]["address"], proxy.address("web").to_string());
    let groups = &config["services"][0]["groups"];
    assert_eq!(groups, &json!({"blue": [blue.url()], "green": [green.url()]}));
    let connections = || async { proxy.get("/api/v1/config").await.json()["listeners"][0]["connections"].clone() };
    assert_eq!(connections().await, 0);
    let clients = (proxy.client().await, proxy.client().await);
    eventually("both connections are counted", || async { connections().await == 2 }).await;
    drop(clients);
    eventually("they are gone", || async { connections().await == 0 }).await;
}
