//! Rules come ahead of the split and of every id; the first one that holds wins.

use serde_json::json;

use super::{cookie_set, group};
use crate::support::proxy::blue_green;
use crate::support::{Client, Proxy, Upstream};

async fn ruled(rules: &str) -> (Upstream, Upstream, Proxy) {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let config = blue_green(&blue, &green, rules);
    let behind = "@web@\" }, behind: { bind: \"127.0.0.1:@behind@\", trusted_proxies: [127.0.0.0/8] }";
    let proxy = Proxy::start(&config.replace("@web@\" }", behind)).await;
    (blue, green, proxy)
}

#[tokio::test]
async fn a_header_is_one_of_a_list_or_found_by_an_expression() {
    let (_blue, _green, proxy) = ruled(
        "rules:
  - { when: { header: { x-user-id: [\"12345\", \"67890\"] } }, group: green }
  - { when: { header: { user-agent: { regex: \"Mobile\" } } }, group: green }
  - { when: { header: { x-exact: { regex: \"^v[0-9]$\" } } }, group: green }",
    )
    .await;
    let mut client = proxy.client().await;
    for (name, value, expected) in [
        ("x-user-id", "12345", "green"),
        ("X-USER-ID", "67890", "green"),
        ("x-user-id", "1234", "blue"),
        ("x-user-id", "123456", "blue"),
        ("x-user-id", "12345, 67890", "blue"),
        ("user-agent", "Mozilla/5.0 (Mobile; rv:1)", "green"),
        ("user-agent", "Mozilla/5.0 (mobile)", "blue"),
        ("x-exact", "v2", "green"),
        ("x-exact", "v20", "blue"),
    ] {
        assert_eq!(group(&mut client, &[(name, value)]).await, expected, "{name}: {value}");
    }
}

#[tokio::test]
async fn a_cookie_a_parameter_and_an_address_are_conditions_too() {
    let (_blue, _green, proxy) = ruled(
        "rules:
  - { when: { cookie: { beta: \"1\" } }, group: green }
  - { when: { query: { v: \"2\" } }, group: green }
  - { when: { client: [10.1.0.0/16, \"2001:db8::/32\"] }, group: green }",
    )
    .await;
    let mut client = Client::connect(proxy.address("behind")).await;
    for (target, name, value, expected) in [
        ("/", "cookie", "beta=1", "green"),
        ("/", "cookie", "a=b; beta=1; c=d", "green"),
        ("/", "cookie", "beta=10", "blue"),
        ("/", "cookie", "xbeta=1", "blue"),
        ("/?v=2", "x-none", "", "green"),
        ("/?a=b&v=2&c", "x-none", "", "green"),
        ("/?v=%32", "x-none", "", "green"),
        ("/?v=20", "x-none", "", "blue"),
        ("/?w=2", "x-none", "", "blue"),
        ("/v=2", "x-none", "", "blue"),
        ("/", "x-forwarded-for", "10.1.200.3", "green"),
        ("/", "x-forwarded-for", "2001:db8::1", "green"),
        ("/", "x-forwarded-for", "10.2.0.1", "blue"),
    ] {
        let answer = client.get_with(target, &[(name, value)]).await.expect(200);
        assert_eq!(answer.group(), Some(expected), "{target} {name}: {value}");
    }
    // From a stranger the field means nothing.
    assert_eq!(group(&mut proxy.client().await, &[("x-forwarded-for", "10.1.200.3")]).await, "blue");
}

#[tokio::test]
async fn all_conditions_of_a_rule_must_hold_and_the_first_rule_wins() {
    let (_blue, _green, proxy) = ruled(
        "rules:
  - { when: { header: { x-robot: { regex: \".\" } } }, group: blue }
  - { when: { header: { x-a: \"1\", x-b: \"2\" }, cookie: { beta: \"1\" }, query: { v: \"2\" } }, group: green }",
    )
    .await;
    let mut client = proxy.client().await;
    let all = [("x-a", "1"), ("x-b", "2"), ("cookie", "beta=1")];
    assert_eq!(client.get_with("/?v=2", &all).await.group(), Some("green"));
    assert_eq!(client.get_with("/", &all).await.group(), Some("blue"));
    for missing in 0..3 {
        let mut some = all.to_vec();
        some.remove(missing);
        assert_eq!(client.get_with("/?v=2", &some).await.group(), Some("blue"), "{some:?}");
    }
    let robot = [all.to_vec(), vec![("x-robot", "yes")]].concat();
    assert_eq!(client.get_with("/?v=2", &robot).await.group(), Some("blue"));
}

#[tokio::test]
async fn a_rule_counts_whatever_the_split_and_the_cookie_say() {
    let (_blue, green, proxy) = ruled("rules: [ { when: { header: { x-to: green } }, group: green } ]").await;
    let mut client = proxy.client().await;
    for share in [0, 1, 50, 100] {
        let split = json!({"weights": {"blue": 100 - share, "green": share}});
        proxy.put("/api/v1/services/shop/split", split).await.expect(200);
        for visitor in 0..10 {
            let cookie = format!("pointsman={visitor}");
            assert_eq!(group(&mut client, &[("x-to", "green"), ("cookie", &cookie)]).await, "green", "at {share} %");
        }
    }
    assert!(green.requests() >= 40);
    // A tester is a visitor as well: without the mark the cookie decides again.
    proxy.put("/api/v1/services/shop/split", json!({"weights": {"blue": 50, "green": 50}})).await.expect(200);
    assert!(cookie_set(&client.get_with("/", &[("x-to", "blue")]).await).is_some());
}

#[tokio::test]
async fn where_a_rules_group_is_down_the_split_takes_over() {
    let (_blue, green, proxy) = ruled("rules: [ { when: { header: { x-to: green } }, group: green } ]").await;
    let mut client = proxy.client().await;
    assert_eq!(group(&mut client, &[("x-to", "green")]).await, "green");
    green.healthy(false);
    proxy.health_is("shop", "green", "unhealthy").await;
    let at_green = green.requests();
    assert_eq!(group(&mut client, &[("x-to", "green")]).await, "blue");
    assert_eq!(green.requests(), at_green);
    green.healthy(true);
    proxy.health_is("shop", "green", "healthy").await;
    assert_eq!(group(&mut client, &[("x-to", "green")]).await, "green");
}
