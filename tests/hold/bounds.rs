//! A hold is bounded by time, by number and by bytes.

use serde_json::json;

use super::{GET, HOLD, asking, hold, kinds, release, start, waiting_are};
use crate::routing::proxy_error;
use crate::support::client::H2Client;
use crate::support::eventually;
use crate::support::metrics::Scrape;

#[tokio::test]
async fn when_its_time_is_over_who_waits_gets_503_and_whoever_comes_then_is_served() {
    let (blue, _green, proxy) = start("hold: { for: 3s }").await;
    let h2 = H2Client::connect(proxy.address("web")).await;
    let mut posts = proxy.client().await;
    let body = vec![b'x'; 100_000];
    // The file says for how long.
    proxy.post(HOLD, json!({})).await.expect(200);
    let mut waits = asking(&proxy, GET).await;
    let all = async { tokio::join!(waits.response_to("GET"), posts.post("/", &body), h2.get("/")) };
    let ((one, two, three), ()) = tokio::join!(all, waiting_are(&proxy, "shop", 3));
    for answer in [one.unwrap(), two, three] {
        let answer = answer.expect(503);
        let details = "destination_unavailable; details=\"held for too long\"";
        assert_eq!((answer.header("retry-after"), proxy_error(&answer)), (Some("1"), Some(details)));
    }
    assert_eq!(blue.requests(), 0);
    proxy.client().await.get("/").await.expect(200);
    eventually("it is in the audit log", || async { kinds(&proxy).await == ["hold", "hold.expired"] }).await;
    assert_eq!(Scrape::of(&proxy).await.value("pointsman_hold_expired_total{service=\"shop\"}"), Some(3.0));
}

#[tokio::test]
async fn beyond_so_many_requests_and_bytes_whoever_comes_is_refused_at_once() {
    for (bounds, large) in [("requests: 2", ""), ("bytes: 4KiB", &*"x".repeat(1500))] {
        let (_blue, _green, proxy) = start(&format!("hold: {{ {bounds} }}")).await;
        hold(&proxy).await;
        let request = format!("GET / HTTP/1.1\r\nhost: x\r\nx-large: {large}\r\n\r\n");
        let mut waits = [asking(&proxy, &request).await, asking(&proxy, &request).await];
        waiting_are(&proxy, "shop", 2).await;
        let mut third = asking(&proxy, &request).await;
        let refused = third.response_to("GET").await.unwrap().expect(503);
        assert!(proxy_error(&refused).unwrap().starts_with("connection_limit_reached; details="), "{refused:?}");
        let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&seconds), "{seconds}");
        let seen = proxy.service("shop").await["hold"].clone();
        assert_eq!((&seen["refused"], &seen["most_waiting"]), (&json!(1), &json!(2)), "{bounds}: {seen}");
        release(&proxy).await;
        for client in &mut waits {
            client.response_to("GET").await.unwrap().expect(200);
        }
        third.get("/").await.expect(200);
        assert_eq!(Scrape::of(&proxy).await.value("pointsman_hold_refused_total{service=\"shop\"}"), Some(1.0));
    }
}

#[tokio::test]
async fn who_was_held_finds_a_place_also_where_few_are_let_in_at_a_time() {
    let (blue, _green, proxy) = start("limits: { in_flight: 1 }").await;
    hold(&proxy).await;
    let mut waits = Vec::new();
    for _ in 0..10 {
        waits.push(asking(&proxy, GET).await);
    }
    waiting_are(&proxy, "shop", 10).await;
    release(&proxy).await;
    for client in &mut waits {
        client.response_to("GET").await.unwrap().expect(200);
    }
    assert_eq!(blue.requests(), 10);
}
