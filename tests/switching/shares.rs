//! Shares: one group is given a share, the others keep their proportions, and all of it sums to 100.

use serde_json::{Value, json};

use crate::support::proxy::blue_green;
use crate::support::{Proxy, Upstream};

async fn of_three(extra: &str) -> (Vec<Upstream>, Proxy) {
    let [blue, canary, green] = ["blue", "canary", "green"].map(Upstream::start);
    let config = blue_green(&blue, &green, extra);
    let third = format!("groups: {{ canary: {{ upstreams: [\"{}\"] }}, blue:", canary.url());
    let proxy = Proxy::start(&config.replace("groups: { blue:", &third)).await;
    (vec![blue, canary, green], proxy)
}

async fn shifted(proxy: &Proxy, group: &str, to: f64) -> Value {
    let receipt = proxy.post("/api/v1/services/shop/shift", json!({"group": group, "to": to})).await;
    receipt.expect(200).json()["split"].clone()
}

#[tokio::test]
async fn the_others_keep_their_proportions() {
    let (_upstreams, proxy) = of_three("split: { blue: 60, canary: 0, green: 40 }").await;
    assert_eq!(shifted(&proxy, "canary", 10.0).await, json!({"blue": 54, "canary": 10, "green": 36}));
    assert_eq!(shifted(&proxy, "canary", 55.0).await, json!({"blue": 27, "canary": 55, "green": 18}));
    assert_eq!(shifted(&proxy, "canary", 0.0).await, json!({"blue": 60, "canary": 0, "green": 40}));
    assert_eq!(shifted(&proxy, "blue", 100.0).await, json!({"blue": 100, "canary": 0, "green": 0}));
}

#[tokio::test]
async fn shares_are_exact_to_four_decimals_and_always_sum_to_100() {
    let (_upstreams, proxy) = of_three("split: { blue: 50, canary: 25, green: 25 }").await;
    for share in [33.3333, 0.0001, 99.9999, 66.6667, 12.3456] {
        let split = shifted(&proxy, "canary", share).await;
        assert_eq!(split["canary"], json!(share));
        // In ten-thousandths, so that nothing is lost in sums of fractions.
        let sum: i64 = split.as_object().unwrap().values().map(|s| (s.as_f64().unwrap() * 1e4).round() as i64).sum();
        assert_eq!(sum, 1_000_000, "{split}");
    }
}

#[tokio::test]
async fn what_a_group_with_everything_gives_up_goes_to_the_one_it_came_from() {
    let (_upstreams, proxy) = of_three("split: { blue: 0, canary: 0, green: 100 }").await;
    proxy.switch("shop", "canary").await;
    assert_eq!(shifted(&proxy, "canary", 75.0).await, json!({"blue": 0, "canary": 75, "green": 25}));
}

#[tokio::test]
async fn a_split_of_groups_that_are_not_named_gives_them_nothing() {
    let (upstreams, proxy) = of_three("split: { blue: 50, canary: 25, green: 25 }").await;
    let receipt =
        proxy.put("/api/v1/services/shop/split", json!({"weights": {"canary": 100}})).await.expect(200).json();
    assert_eq!(receipt["split"], json!({"blue": 0, "canary": 100, "green": 0}));
    let mut client = proxy.client().await;
    for _ in 0..10 {
        assert_eq!(client.get("/").await.expect(200).group(), Some("canary"));
    }
    assert_eq!(upstreams[0].requests() + upstreams[2].requests(), 0);
}

#[tokio::test]
async fn of_three_groups_a_switch_names_the_one_that_gets_everything() {
    let (_upstreams, proxy) = of_three("split: { blue: 50, canary: 25, green: 25 }").await;
    let mut client = proxy.client().await;
    for group in ["green", "canary", "blue"] {
        proxy.switch("shop", group).await;
        let service = proxy.service("shop").await;
        assert_eq!((&service["live"], &service["split"][group]), (&json!(group), &json!(100)));
        assert_eq!(client.get("/").await.expect(200).group(), Some(group));
    }
}
