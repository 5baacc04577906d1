//! The listener for test traffic: to the candidate at any share, and never to anybody else.

use serde_json::json;

use super::{get_at, proxy_error};
use crate::support::client::Response;
use crate::support::proxy::blue_green;
use crate::support::{Proxy, Upstream};

fn config(blue: &Upstream, green: &Upstream, extra: &str) -> String {
    let validation =
        "web: { bind: \"127.0.0.1:@web@\" }, validation: { bind: \"127.0.0.1:@validation@\", sends_to: candidate }";
    blue_green(blue, green, extra).replace("web: { bind: \"127.0.0.1:@web@\" }", validation)
}

async fn validate(proxy: &Proxy) -> Response {
    get_at(proxy, "validation", "x", "/").await
}

#[tokio::test]
async fn test_traffic_goes_to_the_candidate_at_any_share() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = Proxy::start(&config(&blue, &green, "")).await;
    for (share, candidate) in [(0, "green"), (10, "green"), (49, "green"), (51, "blue"), (100, "blue"), (0, "green")] {
        let split = json!({"weights": {"blue": 100 - share, "green": share}});
        proxy.put("/api/v1/services/shop/split", split).await.expect(200);
        assert_eq!(proxy.service("shop").await["candidate"], candidate);
        for _ in 0..20 {
            assert_eq!(validate(&proxy).await.expect(200).group(), Some(candidate), "with green at {share}");
        }
    }
    assert_eq!(proxy.client().await.get("/").await.group(), Some("blue"), "the other listener follows the split");
}

#[tokio::test]
async fn rules_and_cookies_do_not_lead_test_traffic_away() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let rules = "rules: [ { when: { header: { x-to: blue } }, group: blue } ]\nemergency: blue";
    let proxy = Proxy::start(&config(&blue, &green, rules)).await;
    let mut client = crate::support::Client::connect(proxy.address("validation")).await;
    for cookie in 0..20 {
        let cookie = format!("pointsman={cookie:016x}");
        let answer = client.get_with("/", &[("x-to", "blue"), ("cookie", &cookie)]).await.expect(200);
        assert_eq!(answer.group(), Some("green"));
    }
    assert_eq!(blue.requests(), 0);
}

#[tokio::test]
async fn a_candidate_that_is_down_is_said_to_be_down_and_nobody_stands_in_for_it() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = Proxy::start(&config(&blue, &green, "split: { blue: 60, green: 40 }\nemergency: blue")).await;
    green.healthy(false);
    proxy.health_is("shop", "green", "unhealthy").await;
    let refused = validate(&proxy).await.expect(503);
    assert_eq!(proxy_error(&refused), Some("destination_unavailable"));
    // Health says it is well, but it does not take connections.
    let long = "split: { blue: 60, green: 40 }\nhealth: { kind: http, path: /health, interval: 1h, timeout: 1s }";
    green.healthy(true);
    let proxy = Proxy::start(&config(&blue, &green, long)).await;
    green.refuse().await;
    let refused = validate(&proxy).await.expect(502);
    assert_eq!(proxy_error(&refused), Some("connection_refused"));
    assert_eq!((blue.requests(), green.requests()), (0, 0));
}

#[tokio::test]
async fn of_three_groups_none_is_the_candidate_and_test_traffic_is_refused() {
    let [blue, green, red] = ["blue", "green", "red"].map(Upstream::start);
    let third = format!("green: {{ upstreams: [\"{}\"] }}, red: {{ upstreams: [\"{}\"] }}", green.url(), red.url());
    let two = format!("green: {{ upstreams: [\"{}\"] }}", green.url());
    let proxy = Proxy::start(&config(&blue, &green, "").replace(&two, &third)).await;
    assert!(proxy.service("shop").await["candidate"].is_null());
    let refused = validate(&proxy).await.expect(503);
    assert!(refused.text().contains("no candidate"), "{}", refused.text());
    assert_eq!(blue.requests() + green.requests() + red.requests(), 0);
}
