//! Metrics as Prometheus reads them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::start;
use crate::support::{Answer, Client, Proxy, eventually};

/// Samples by name and labels, in thousandths: figures that are exact are compared exactly.
async fn scrape(proxy: &Proxy) -> BTreeMap<String, i64> {
    let answer = proxy.get("/metrics").await.expect(200);
    assert!(answer.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    let text = answer.text();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), (value.parse::<f64>().unwrap() * 1000.0).round() as i64)
    };
    samples.map(sample).collect()
}

/// Names of the contract whose things exist in this version, each with its labels.
const NAMES: &[(&str, &[&str])] = &[
    ("pointsman_requests_total", &["service", "group", "code"]),
    ("pointsman_request_duration_seconds_bucket", &["service", "group", "le"]),
    ("pointsman_upstream_attempts_total", &["service", "group", "upstream", "outcome"]),
    ("pointsman_retries_total", &["service", "group"]),
    ("pointsman_attempts_counted_total", &["service", "group", "outcome"]),
    ("pointsman_handshakes_counted_total", &["service", "group", "outcome"]),
    ("pointsman_in_flight", &["service", "group"]),
    ("pointsman_tunnels", &["service", "group"]),
    ("pointsman_tunnels_ended_total", &["service", "group", "end"]),
    ("pointsman_connections", &["listener"]),
    ("pointsman_split_share", &["service", "group"]),
    ("pointsman_upstream_healthy", &["service", "group", "upstream"]),
    ("pointsman_held", &["service"]),
    ("pointsman_hold_refused_total", &["service"]),
    ("pointsman_hold_expired_total", &["service"]),
    ("pointsman_rollbacks_total", &["service", "cause"]),
    ("pointsman_switch_seconds_bucket", &["le"]),
    ("pointsman_config_last_reload_successful", &[]),
    ("pointsman_build_info", &["version"]),
];

#[tokio::test]
async fn every_name_of_the_contract_is_there_with_its_labels() {
    let (_blue, _green, proxy) = start().await;
    proxy.client().await.get("/").await.expect(200);
    proxy.switch("shop", "green").await;
    proxy.post("/api/v1/services/shop/rollback", json!({})).await.expect(200);
    let samples = scrape(&proxy).await;
    for (name, labels) in NAMES {
        let of_name = |key: &&String| key.split('{').next().unwrap() == *name;
        let sample = samples.keys().find(of_name).unwrap_or_else(|| panic!("{name} is not in {samples:#?}"));
        let found = sample.split(['{', ',', '}']).skip(1).filter_map(|label| Some(label.split_once('=')?.0));
        assert_eq!(found.collect::<BTreeSet<_>>(), labels.iter().copied().collect(), "{sample}");
    }
}

#[tokio::test]
async fn requests_attempts_and_shares_are_counted_as_they_are() {
    let (blue, green, proxy) = start().await;
    let mut client = proxy.client().await;
    for _ in 0..7 {
        client.get("/").await.expect(200);
    }
    blue.answer(Answer::Plain(503, "no".to_owned()));
    client.get("/").await.expect(503);
    green.healthy(false);
    proxy.health_is("shop", "green", "unhealthy").await;
    let split = json!({"weights": {"blue": 99.5, "green": 0.5}});
    proxy.put("/api/v1/services/shop/split", split).await.expect(200);
    let samples = scrape(&proxy).await;
    let url = blue.url();
    for (name, expected) in [
        ("pointsman_requests_total{service=\"shop\",group=\"blue\",code=\"200\"}".to_owned(), 7000),
        ("pointsman_requests_total{service=\"shop\",group=\"blue\",code=\"503\"}".to_owned(), 1000),
        ("pointsman_request_duration_seconds_count{service=\"shop\",group=\"blue\"}".to_owned(), 8000),
        ("pointsman_split_share{service=\"shop\",group=\"blue\"}".to_owned(), 99_500),
        ("pointsman_split_share{service=\"shop\",group=\"green\"}".to_owned(), 500),
        (format!("pointsman_upstream_healthy{{service=\"shop\",group=\"green\",upstream=\"{}\"}}", green.url()), 0),
        (format!("pointsman_upstream_healthy{{service=\"shop\",group=\"blue\",upstream=\"{url}\"}}"), 1000),
        ("pointsman_connections{listener=\"web\"}".to_owned(), 1000),
        ("pointsman_config_last_reload_successful".to_owned(), 1000),
    ] {
        assert_eq!(samples.get(&name), Some(&expected), "{name} in {samples:#?}");
    }
    let attempts = |outcome: &str| {
        let label = format!("upstream=\"{url}\",outcome=\"{outcome}\"");
        samples.iter().find(|(key, _)| key.contains(&label)).map(|(_, value)| *value)
    };
    assert_eq!((attempts("ok"), attempts("server_error")), (Some(7000), Some(1000)));
    proxy.rewrite("nonsense");
    proxy.post("/api/v1/config/reload", json!({})).await.expect(422);
    assert_eq!(scrape(&proxy).await["pointsman_config_last_reload_successful"], 0);
}

#[tokio::test]
async fn no_label_takes_a_value_from_a_client() {
    let (_blue, _green, proxy) = start().await;
    let mut client = proxy.client().await;
    for i in 0..30 {
        let (host, id) = (format!("host-{i}.example.com"), format!("pointsman=mark-{i}"));
        let fields = [("host", host.as_str()), ("user-agent", "mark-agent"), ("cookie", &id)];
        client.request("MARK", &format!("/mark-{i}?mark"), &fields, None).await.expect(200);
    }
    let before = scrape(&proxy).await;
    assert!(!before.keys().any(|key| key.to_lowercase().contains("mark") || key.contains("host-")), "{before:#?}");
    for i in 30..60 {
        client.request("GET", &format!("/mark-{i}"), &[], None).await.expect(200);
    }
    assert_eq!(scrape(&proxy).await.len(), before.len());
}

#[tokio::test]
async fn requests_in_flight_are_shown_while_they_last() {
    let (blue, _green, proxy) = start().await;
    blue.answer(Answer::Hang);
    let name = "pointsman_in_flight{service=\"shop\",group=\"blue\"}";
    assert_eq!(scrape(&proxy).await[name], 0);
    let mut hanging: Vec<Client> = Vec::new();
    for _ in 0..3 {
        let mut client = proxy.client().await;
        client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        hanging.push(client);
    }
    eventually("three are under way", || async { scrape(&proxy).await[name] == 3000 }).await;
    drop(hanging);
    eventually("none is", || async { scrape(&proxy).await[name] == 0 }).await;
}
