//! The split knows health: who is down loses its share, and nobody is promoted in silence.

use super::{cookie_set, group, members};
use crate::routing::proxy_error;
use crate::support::{Proxy, Upstream};

#[tokio::test]
async fn a_group_without_a_healthy_upstream_loses_its_share_for_as_long_as_that_lasts() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = Proxy::blue_green(&blue, &green, "split: { blue: 50, green: 50 }").await;
    let before = members(&proxy, "cookie", "pointsman=visitor", 60, "green").await;
    assert!(!before.is_empty() && before.len() < 60);
    green.healthy(false);
    proxy.health_is("shop", "green", "unhealthy").await;
    let at_green = green.requests();
    let mut client = proxy.client().await;
    for visitor in 0..60 {
        let answer = client.get_with("/", &[("cookie", &format!("pointsman=visitor{visitor}"))]).await.expect(200);
        assert_eq!((answer.group(), cookie_set(&answer)), (Some("blue"), None), "the cookie is not written anew");
    }
    assert_eq!(green.requests(), at_green);
    assert_eq!(proxy.service("shop").await["split"], serde_json::json!({"blue": 50, "green": 50}));
    green.healthy(true);
    proxy.health_is("shop", "green", "healthy").await;
    assert_eq!(members(&proxy, "cookie", "pointsman=visitor", 60, "green").await, before);
}

#[tokio::test]
async fn a_dead_group_with_everything_is_503_and_nobody_is_promoted() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = Proxy::blue_green(&blue, &green, "").await;
    blue.healthy(false);
    proxy.health_is("shop", "blue", "unhealthy").await;
    let mut client = proxy.client().await;
    for _ in 0..20 {
        let answer = client.get("/").await.expect(503);
        assert_eq!(proxy_error(&answer), Some("destination_unavailable"));
    }
    assert_eq!((blue.requests(), green.requests()), (0, 0));
    blue.healthy(true);
    proxy.health_is("shop", "blue", "healthy").await;
    assert_eq!(group(&mut client, &[]).await, "blue");
}

#[tokio::test]
async fn an_emergency_group_takes_over_only_where_nobody_with_a_share_can() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = Proxy::blue_green(&blue, &green, "emergency: green").await;
    let mut client = proxy.client().await;
    assert_eq!(group(&mut client, &[]).await, "blue");
    blue.healthy(false);
    proxy.health_is("shop", "blue", "unhealthy").await;
    for _ in 0..20 {
        assert_eq!(group(&mut client, &[]).await, "green");
    }
    assert_eq!(proxy.service("shop").await["split"], serde_json::json!({"blue": 100, "green": 0}));
    green.healthy(false);
    proxy.health_is("shop", "green", "unhealthy").await;
    client.get("/").await.expect(503);
    blue.healthy(true);
    proxy.health_is("shop", "blue", "healthy").await;
    assert_eq!(group(&mut client, &[]).await, "blue");
}

/// Both healthy by the first look, and no second one.
const ONE_LOOK: &str = "health: { kind: http, path: /health, interval: 1h, timeout: 1s }";

#[tokio::test]
async fn a_refused_connection_is_tried_at_another_group_with_a_share_and_at_no_other() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = Proxy::blue_green(&blue, &green, ONE_LOOK).await;
    blue.refuse().await;
    let mut client = proxy.client().await;
    let answer = client.get("/").await.expect(502);
    assert_eq!(proxy_error(&answer), Some("connection_refused"));
    assert_eq!(green.requests(), 0, "green has no share");
    let divided = format!("split: {{ blue: 99, green: 1 }}\n{ONE_LOOK}");
    blue.accept();
    let proxy = Proxy::blue_green(&blue, &green, &divided).await;
    blue.refuse().await;
    let answer = proxy.client().await.post("/", b"whatever the method").await.expect(200);
    assert_eq!(answer.group(), Some("green"));
}
