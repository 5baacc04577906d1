//! What a reload keeps of health, and what it does not.

use std::time::Duration;

use serde_json::json;

use super::upstream;
use crate::support::proxy::blue_green;
use crate::support::{Answer, Proxy, Upstream, eventually};

/// One probe, then none for an hour: a verdict that is there afterwards was kept.
const ONCE: &str = "health: { kind: http, path: /health, interval: 1h, timeout: 10s }";

async fn reload(proxy: &Proxy, config: &str) {
    proxy.rewrite(config);
    proxy.post("/api/v1/config/reload", json!({})).await.expect(200);
}

#[tokio::test]
async fn an_unchanged_check_keeps_its_verdict_and_a_changed_one_looks_again_at_once() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = Proxy::blue_green(&blue, &green, ONCE).await;
    let before = upstream(&proxy, "blue").await;
    assert_eq!((&before["health"], blue.probes()), (&json!("healthy"), 1));
    blue.healthy(false);
    reload(&proxy, &blue_green(&blue, &green, &format!("{ONCE}\nexpose: {{ response_header: x-served-by }}"))).await;
    let after = upstream(&proxy, "blue").await;
    assert_eq!((&after["health"], &after["last_check"]), (&before["health"], &before["last_check"]));
    assert_eq!(proxy.client().await.get("/").await.expect(200).header("x-served-by"), Some("blue"));
    assert_eq!(blue.probes(), 1, "an unchanged check was begun again");
    let changed = ONCE.replace("interval: 1h", "interval: 50ms, unhealthy_after: 1");
    reload(&proxy, &blue_green(&blue, &green, &changed)).await;
    proxy.health_is("shop", "blue", "unhealthy").await;
}

/// As [`blue_green`], with a second upstream in the group blue.
fn with_second(blue: &Upstream, second: &Upstream, green: &Upstream) -> String {
    let one = format!("upstreams: [\"{}\"]", blue.url());
    let two = format!("upstreams: [\"{}\", \"{}\"]", blue.url(), second.url());
    blue_green(blue, green, ONCE).replacen(&one, &two, 1)
}

#[tokio::test]
async fn a_new_upstream_is_unknown_and_gets_nothing_until_its_first_verdict() {
    let (blue, second, green) = (Upstream::start("blue"), Upstream::start("blue"), Upstream::start("green"));
    let proxy = Proxy::blue_green(&blue, &green, ONCE).await;
    let second_view = || async { proxy.service("shop").await["groups"]["blue"]["upstreams"][1].clone() };
    // Twice: what was removed and comes back at the same address is a new one; nobody knows what runs there now.
    for _ in 0..2 {
        let asked = second.requests();
        second.health(Answer::Later(Duration::from_millis(1500), Box::new(Answer::text("ok"))));
        reload(&proxy, &with_second(&blue, &second, &green)).await;
        let mut client = proxy.client().await;
        for _ in 0..20 {
            client.get("/").await.expect(200);
        }
        let seen = second_view().await;
        assert_eq!((&seen["health"], &seen["last_check"]), (&json!("unknown"), &json!(null)), "{seen}");
        assert_eq!(second.requests(), asked, "traffic to an upstream without a verdict");
        eventually("it has its verdict", || async { second_view().await["health"] == "healthy" }).await;
        eventually("it is used", || async {
            proxy.client().await.get("/").await.expect(200);
            second.requests() > asked
        })
        .await;
        reload(&proxy, &blue_green(&blue, &green, ONCE)).await;
        assert_eq!(second_view().await, json!(null));
    }
    assert_eq!(blue.probes(), 1, "an unchanged upstream was asked again");
}
