//! Names of upstreams: they lead where they lead today.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::support::dns::Dns;
use crate::support::ports::Port;
use crate::support::{Proxy, Upstream, eventually};

const ONE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const TWO: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Upstreams that are at the same port of different addresses, and call themselves `one` and `two`.
fn neighbours() -> (Upstream, Upstream) {
    let port = Port::reserve();
    let beside = port.beside(TWO);
    (Upstream::start_at(port, "one"), Upstream::start_at(beside, "two"))
}

/// Service `shop`, whose only upstream is `app.test` at the port of `upstream`, by this name server.
fn config(dns: &Dns, upstream: &Upstream, interval: &str) -> String {
    format!(
        "resolver: {{ servers: [\"{}\"] }}
listeners: {{ web: {{ bind: \"127.0.0.1:@web@\" }} }}
services:
  shop:
    groups: {{ blue: {{ upstreams: [\"http://app.test:{}\"] }} }}
    health: {{ kind: http, path: /health, interval: {interval}, timeout: 1s }}
routes: [ {{ service: shop }} ]
",
        dns.address(),
        upstream.address().port()
    )
}

/// Who answers now, each time over the connection that the proxy chooses.
async fn answers(proxy: &Proxy) -> String {
    proxy.client().await.get("/").await.expect(200).text()
}

#[tokio::test]
async fn a_name_is_resolved_again_when_its_ttl_ends_and_idle_connections_to_where_it_led_are_closed() {
    let (one, _two) = neighbours();
    let dns = Dns::start(&[("app.test", &[ONE])]);
    let proxy = Proxy::start(&config(&dns, &one, "50ms")).await;
    assert_eq!(answers(&proxy).await, "one");
    assert!(one.open_connections() > 0, "nothing is pooled");
    dns.set("app.test", &[TWO]);
    eventually("the name leads to the other one", || async { answers(&proxy).await == "two" }).await;
    let before = one.requests();
    for _ in 0..20 {
        assert_eq!(answers(&proxy).await, "two");
    }
    assert_eq!(one.requests(), before);
    eventually("idle connections are closed", || async { one.open_connections() == 0 }).await;
    assert!(proxy.log().contains("somebody else is behind"), "{}", proxy.log());
}

#[tokio::test]
async fn several_addresses_share_the_work_and_one_that_fails_is_passed_over() {
    let (one, two) = neighbours();
    let dns = Dns::start(&[("app.test", &[ONE, TWO])]);
    let proxy = Proxy::start(&config(&dns, &one, "1h")).await;
    for upstream in [&one, &two] {
        // A connection of its own for each request.
        upstream.close_after_requests(1);
    }
    for _ in 0..40 {
        answers(&proxy).await;
    }
    assert!(one.requests() > 5 && two.requests() > 5, "{} and {}", one.requests(), two.requests());
    one.refuse().await;
    for _ in 0..20 {
        assert_eq!(answers(&proxy).await, "two");
    }
}

#[tokio::test]
async fn the_last_good_answer_counts_while_there_is_none() {
    let (one, _two) = neighbours();
    let dns = Dns::start(&[("app.test", &[ONE])]);
    let proxy = Proxy::start(&config(&dns, &one, "50ms")).await;
    one.close_after_requests(1);
    assert_eq!(answers(&proxy).await, "one");
    dns.forget("app.test");
    eventually("it is said in the log", || async { proxy.log().contains("name cannot be resolved") }).await;
    for _ in 0..10 {
        assert_eq!(answers(&proxy).await, "one");
    }
    assert_eq!(proxy.log().matches("name cannot be resolved").count(), 1, "it is said again and again");
    dns.set("app.test", &[ONE]);
    eventually("so is the end of it", || async { proxy.log().contains("can be resolved again") }).await;
}

#[tokio::test]
async fn a_name_that_leads_nowhere_makes_an_unhealthy_upstream_and_says_so() {
    let (one, _two) = neighbours();
    let dns = Dns::start(&[]);
    let proxy = Proxy::start(&config(&dns, &one, "50ms")).await;
    proxy.health_is("shop", "blue", "unhealthy").await;
    let why = proxy.service("shop").await["groups"]["blue"]["upstreams"][0]["last_check"]["why"].clone();
    assert!(why.as_str().unwrap().contains("its name cannot be resolved"), "{why}");
    proxy.client().await.get("/").await.expect(503);
    dns.set("app.test", &[ONE]);
    proxy.health_is("shop", "blue", "healthy").await;
    assert_eq!(answers(&proxy).await, "one");
}

#[tokio::test]
async fn somebody_else_behind_a_name_is_a_new_upstream_whose_health_is_asked_for_at_once() {
    let (one, two) = neighbours();
    two.healthy(false);
    let dns = Dns::start(&[("app.test", &[ONE])]);
    // No probe is due for an hour.
    let proxy = Proxy::start(&config(&dns, &one, "1h")).await;
    proxy.health_is("shop", "blue", "healthy").await;
    dns.set("app.test", &[TWO]);
    proxy.health_is("shop", "blue", "unhealthy").await;
    two.healthy(true);
    dns.set("app.test", &[ONE, TWO]);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    proxy.health_is("shop", "blue", "unhealthy").await;
    dns.set("app.test", &[Ipv4Addr::new(127, 0, 0, 3)]);
    eventually("the name leads elsewhere", || async { proxy.log().matches("somebody else is behind").count() == 2 })
        .await;
    dns.set("app.test", &[TWO]);
    proxy.health_is("shop", "blue", "healthy").await;
}

#[tokio::test]
async fn a_reload_follows_new_names_and_keeps_those_that_stay() {
    let (one, _two) = neighbours();
    let dns = Dns::start(&[("app.test", &[ONE]), ("next.test", &[TWO])]);
    let proxy = Proxy::start(&config(&dns, &one, "50ms")).await;
    let written = config(&dns, &one, "50ms");
    for (name, expected) in [("next.test", "two"), ("app.test", "one"), ("APP.test", "one"), ("next.test", "two")] {
        proxy.rewrite(&written.replace("app.test", name));
        proxy.post("/api/v1/config/reload", serde_json::json!({})).await.expect(200);
        assert_eq!(answers(&proxy).await, expected, "{name}");
    }
}
