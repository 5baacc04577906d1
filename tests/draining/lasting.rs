//! From the begin of a drain to its end.

use serde_json::{Value, json};

use super::{DRAIN, Slow, drain, drain_is, events, switch_and_drain, with_one_under_way};
use crate::support::proxy::blue_green;
use crate::support::{Proxy, Upstream, eventually};

#[tokio::test]
async fn a_switch_with_drain_lets_the_old_request_end_and_says_so_with_facts() {
    let (proxy, blue, green, mut client) = with_one_under_way("").await;
    let receipt = switch_and_drain(&proxy, "green").await;
    assert_eq!((&receipt["changed"], &receipt["split"]), (&json!(true), &json!({"blue": 0, "green": 100})));
    let under_way = drain(&proxy).await;
    for (key, value) in [
        ("service", json!("shop")),
        ("group", json!("blue")),
        ("upstream", Value::Null),
        ("state", json!("draining")),
        ("in_flight", json!(1)),
        ("streams", json!(0)),
        ("tunnels", json!(0)),
        ("hook", Value::Null),
        ("ended_at", Value::Null),
        ("lastDrainResult", Value::Null),
    ] {
        assert_eq!(under_way[key], value, "{key} in {under_way}");
    }
    assert!(under_way["last_request"].is_string() && under_way["deadline"].is_string(), "{under_way}");
    let service = proxy.service("shop").await;
    assert_eq!(service["groups"]["blue"]["draining"]["state"], "draining", "{service}");
    assert_eq!(service["groups"]["green"]["draining"], Value::Null, "{service}");
    assert_eq!(proxy.client().await.get("/").await.expect(200).group(), Some("green"));
    blue.let_go();
    assert_eq!(client.response_to("GET").await.unwrap().expect(200).text(), "blue");
    let ended = drain_is(&proxy, "drained").await;
    assert_eq!((&ended["in_flight"], &ended["lastDrainResult"]), (&json!(0), &json!("drained")), "{ended}");
    assert!(ended["ended_at"].is_string() && ended["why"] == "", "{ended}");
    let (begun, over) = (events(&proxy, "drain").await, events(&proxy, "drain.ended").await);
    assert_eq!((begun.len(), over.len()), (1, 1));
    assert_eq!((&over[0]["detail"]["state"], &over[0]["detail"]["group"]), (&json!("drained"), &json!("blue")));
    let metrics = proxy.get("/metrics").await.text();
    assert!(metrics.lines().any(|line| line == "pointsman_drain_seconds_count 1"), "{metrics}");
    drop(green);
}

#[tokio::test]
async fn what_is_left_at_the_deadline_is_reported_and_not_cut() {
    let (proxy, blue, _green, mut client) = with_one_under_way("drain: { timeout: 300ms }").await;
    switch_and_drain(&proxy, "green").await;
    let ended = drain_is(&proxy, "timed_out").await;
    assert!(ended["why"].as_str().unwrap().contains("1 request still under way"), "{ended}");
    assert_eq!((&ended["in_flight"], &ended["lastDrainResult"]), (&json!(1), &json!("timed_out")), "{ended}");
    blue.let_go();
    assert_eq!(client.response_to("GET").await.unwrap().expect(200).text(), "blue");
    // Another try finds nothing left.
    let again = proxy.post(DRAIN, json!({})).await.expect(200).json();
    assert_eq!((&again["changed"], &again["lastDrainResult"]), (&json!(true), &json!("timed_out")), "{again}");
    drain_is(&proxy, "drained").await;
    let third = proxy.post(DRAIN, json!({})).await.expect(200).json();
    assert_eq!((&third["changed"], &third["state"]), (&json!(false), &json!("drained")), "{third}");
}

#[tokio::test]
async fn a_drained_group_gets_nothing_but_validation_traffic_until_it_has_a_share_again() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let rule = "rules: [ { when: { header: { x-group: blue } }, group: blue } ]\nemergency: blue";
    let config = blue_green(&blue, &green, rule).replace(
        "listeners: { ",
        "listeners: { validation: { bind: \"127.0.0.1:@validation@\", sends_to: candidate }, ",
    );
    let proxy = Proxy::start(&config).await;
    proxy.health_is("shop", "green", "healthy").await;
    let by_rule = async |proxy: &Proxy| {
        let answer = proxy.client().await.get_with("/", &[("x-group", "blue")]).await.expect(200);
        answer.group().unwrap().to_owned()
    };
    assert_eq!(by_rule(&proxy).await, "blue");
    switch_and_drain(&proxy, "green").await;
    drain_is(&proxy, "drained").await;
    assert_eq!(by_rule(&proxy).await, "green", "a rule does not open it");
    let explained = proxy.get("/api/v1/services/shop/explain?header=x-group:blue").await.expect(200).json();
    assert_eq!(explained["group"], "green", "{explained}");
    assert!(explained["why"].as_str().unwrap().contains("drained"), "{explained}");
    let mut validation = crate::support::Client::connect(proxy.address("validation")).await;
    assert_eq!(validation.get("/").await.expect(200).group(), Some("blue"), "what comes next wants to be tested");
    proxy.post("/api/v1/services/shop/shift", json!({ "group": "blue", "to": 10 })).await.expect(200);
    assert_eq!(by_rule(&proxy).await, "blue");
    assert_eq!(proxy.service("shop").await["groups"]["blue"]["draining"], Value::Null);
    let lifted = drain(&proxy).await;
    assert_eq!((&lifted["state"], &lifted["lastDrainResult"]), (&json!("cancelled"), &json!("drained")), "{lifted}");
}

#[tokio::test]
async fn a_drain_goes_on_over_a_restart_and_what_was_drained_stays_so() {
    let (mut proxy, blue, _green, client) = with_one_under_way("").await;
    switch_and_drain(&proxy, "green").await;
    let before = drain(&proxy).await;
    proxy.kill().await;
    drop(client);
    proxy.restart().await;
    let after = drain_is(&proxy, "drained").await;
    assert_eq!((&after["started_at"], &after["deadline"]), (&before["started_at"], &before["deadline"]));
    proxy.terminate().await;
    proxy.restart().await;
    assert_eq!(drain(&proxy).await["state"], "drained");
    assert_eq!(proxy.service("shop").await["groups"]["blue"]["draining"]["state"], "drained");
    drop(blue);
}

#[tokio::test]
async fn one_upstream_of_a_group_is_drained_while_the_others_serve() {
    let (slow, green) = (Slow::start("blue"), Upstream::start("green"));
    let second = Upstream::start("blue");
    let config = blue_green(&slow.upstream, &green, "balance: round_robin");
    let two = format!("upstreams: [\"{}\", \"{}\"]", slow.upstream.url(), second.url());
    let proxy = Proxy::start(&config.replace(&format!("upstreams: [\"{}\"]", slow.upstream.url()), &two)).await;
    let mut waiting = Vec::new();
    while slow.upstream.requests() == 0 {
        let (mut client, arrived) = (proxy.client().await, slow.upstream.requests() + second.requests());
        client.send(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        eventually("it has arrived", || async { slow.upstream.requests() + second.requests() > arrived }).await;
        waiting.push(client);
    }
    let url = slow.upstream.url();
    let begun = proxy.post(DRAIN, json!({ "upstream": url })).await.expect(200).json();
    assert_eq!((&begun["state"], &begun["upstream"]), (&json!("draining"), &json!(url)), "{begun}");
    let seen = slow.upstream.requests();
    let mut client = proxy.client().await;
    for _ in 0..20 {
        assert_eq!(client.get("/").await.expect(200).group(), Some("blue"));
    }
    assert_eq!(slow.upstream.requests(), seen, "it gets no new requests");
    slow.let_go();
    let path = format!("{DRAIN}?upstream={url}");
    eventually("it is drained", || async { proxy.get(&path).await.json()["state"] == "drained" }).await;
    let service = proxy.service("shop").await;
    let upstreams = service["groups"]["blue"]["upstreams"].as_array().unwrap();
    let drained: Vec<_> = upstreams.iter().map(|u| u["draining"]["state"] == "drained").collect();
    assert_eq!(drained, [true, false], "{service}");
    // The last one that is open is what serves the users.
    let last = proxy.post(DRAIN, json!({ "upstream": second.url() })).await.expect(409).json();
    assert_eq!(last["code"], "live_group", "{last}");
    proxy.admin("DELETE", &path, &[], None).await.expect(200);
    for _ in 0..4 {
        client.get("/").await.expect(200);
    }
    assert!(slow.upstream.requests() > seen, "it serves again");
}
