//! `pointsman drain` and `switch --drain` on the command line.

use std::process::Output;

use super::{drain, with_one_under_way};

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test]
async fn switch_drain_wait_ends_when_the_old_group_is_empty() {
    let (proxy, blue, _green, mut client) = with_one_under_way("").await;
    let (waited, ()) = tokio::join!(proxy.cli(&["switch", "shop", "green", "--drain", "--wait"]), async {
        super::drain_is(&proxy, "draining").await;
        blue.let_go();
    });
    assert!(waited.status.success(), "{}", said(&waited));
    assert!(said(&waited).contains("shop blue: drained after"), "{}", said(&waited));
    client.response_to("GET").await.unwrap().expect(200);
}

#[tokio::test]
async fn drain_wait_shows_what_is_under_way_and_fails_when_something_is_left() {
    let (proxy, _blue, _green, _client) = with_one_under_way("").await;
    proxy.switch("shop", "green").await;
    let waited = proxy.cli(&["drain", "shop", "blue", "--timeout", "600ms", "--wait"]).await;
    assert_eq!(waited.status.code(), Some(1), "{}", said(&waited));
    for part in ["shop blue: 1 request, 0 tunnels · at most", "shop blue: timed out after", "still under way"] {
        assert!(said(&waited).contains(part), "{part} is not in {}", said(&waited));
    }
}

#[tokio::test]
async fn drain_says_what_it_does_and_cancel_takes_it_back() {
    let (proxy, _blue, _green, _client) = with_one_under_way("").await;
    let refused = proxy.cli(&["drain", "shop", "blue"]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("(--force)"), "{}", said(&refused));
    proxy.switch("shop", "green").await;
    let begun = proxy.cli(&["drain", "shop", "blue"]).await;
    assert!(begun.status.success() && said(&begun).contains("draining, 1 request, 0 tunnels"), "{}", said(&begun));
    let status = proxy.cli(&["status", "shop"]).await;
    assert!(said(&status).contains("shop blue: 1 request, 0 tunnels · at most"), "{}", said(&status));
    let off = proxy.cli(&["drain", "--cancel", "shop", "blue"]).await;
    assert!(off.status.success() && said(&off).contains("cancelled"), "{}", said(&off));
    assert_eq!(drain(&proxy).await["state"], "cancelled");
    let json = proxy.cli(&["drain", "shop", "blue", "--output", "json"]).await;
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((json["state"].as_str(), json["changed"].as_bool()), (Some("draining"), Some(true)), "{json}");
}

#[tokio::test]
async fn in_json_a_switch_and_its_drains_are_one_document() {
    let (proxy, blue, _green, mut client) = with_one_under_way("").await;
    let waits = ["switch", "shop", "green", "--drain", "--wait", "--output", "json"];
    let (waited, ()) = tokio::join!(proxy.cli(&waits), async {
        super::drain_is(&proxy, "draining").await;
        blue.let_go();
    });
    let json: serde_json::Value = serde_json::from_slice(&waited.stdout).unwrap();
    assert_eq!((&json["changed"], &json["drains"][0]["state"]), (&true.into(), &"drained".into()), "{json}");
    client.response_to("GET").await.unwrap().expect(200);
}
