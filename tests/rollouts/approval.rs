//! Approvals by a link: looking never agrees, the button does, once, and nobody else's link does.

use serde_json::{Value, json};

use super::roles::{post, with_tokens};
use crate::judged::{Shop, cause};
use crate::support::client::Response;
use crate::support::{Proxy, Upstream, eventually};

fn plan(approval: &Value) -> Value {
    json!({ "approval": approval, "steps": [{ "share": 50, "hold": "1h" }, { "share": 100 }] })
}

/// Waits until somebody has to agree; the link by which they can.
async fn link(shop: &Shop) -> String {
    shop.is("awaiting_approval").await;
    let rollout = shop.proxy.get("/api/v1/services/shop/rollouts/current").await.expect(200).json();
    rollout["approval_url"].as_str().unwrap_or_else(|| panic!("no link in {rollout:#}")).to_owned()
}

async fn open(proxy: &Proxy, link: &str) -> Response {
    proxy.admin("GET", link, &[], None).await
}

/// As a browser does it when somebody presses the button.
async fn press(proxy: &Proxy, link: &str) -> Response {
    let origin = format!("http://{}", proxy.address("admin"));
    let fields = [("content-type", "application/x-www-form-urlencoded"), ("origin", origin.as_str())];
    proxy.admin("POST", link, &fields, None).await
}

#[tokio::test]
async fn a_link_shows_what_it_is_about_however_often_and_agrees_when_the_button_is_pressed() {
    let shop = Shop::new("").await;
    let mut wanted = plan(&json!({ "before": ["first_step"], "within": "1h" }));
    wanted["reason"] = json!("2.5.0 <b>new carts</b>");
    shop.begins(wanted).await;
    let link = link(&shop).await;
    assert!(link.starts_with("/rollouts/r1/approve?token=step-1."), "{link}");
    for _ in 0..3 {
        let page = open(&shop.proxy, &link).await.expect(200);
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
        assert_eq!(page.header("cache-control"), Some("no-store"));
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        let text = page.text();
        for part in ["<form method=\"post\">", "<button>Approve</button>", "r1: shop, blue → green", "step 1 (50 %)"]
        {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert!(text.contains("2.5.0 &lt;b&gt;new carts&lt;/b&gt;") && !text.contains("<b>"), "{text}");
    }
    shop.proxy.admin("HEAD", &link, &[], None).await.expect(200);
    assert_eq!(shop.rollout().await["state"], "awaiting_approval");
    let page = press(&shop.proxy, &link).await.expect(200);
    assert!(page.text().contains("<h1>Approved</h1>") && page.text().contains("50 %"), "{}", page.text());
    let rollout = shop.is("shifting").await;
    let last = rollout["timeline"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["actor"], &last["cause"]), (&json!("link"), &json!("it was approved")));

    for page in [open(&shop.proxy, &link).await, press(&shop.proxy, &link).await] {
        let text = page.expect(410).text();
        assert!(text.contains("was decided already") && !text.contains("<button>"), "{text}");
    }
}

#[tokio::test]
async fn a_link_is_good_for_one_rollout_one_stop_and_its_time() {
    let shop = Shop::new("").await;
    shop.begins(plan(&json!({ "before": ["each_step"], "within": "1h" }))).await;
    let first = link(&shop).await;
    let (path, token) = first.split_once("?token=").unwrap();
    let parts: Vec<_> = token.split('.').collect();
    let later = format!("{}.{}.{}", parts[0], parts[1].parse::<u64>().unwrap() + 3600, parts[2]);
    let forged = [
        format!("{path}?token={}", token.replacen("step-1", "step-2", 1)),
        format!("{path}?token={later}"),
        format!("{path}?token={}", &token[..token.len() - 2]),
        format!("{path}?token="),
        path.to_owned(),
        first.replacen("r1", "r2", 1),
        first.replacen("r1", "x", 1),
    ];
    for link in &forged {
        for page in [open(&shop.proxy, link).await, press(&shop.proxy, link).await] {
            let text = page.expect(403).text();
            assert!(text.contains("cannot be used") && !text.contains("<button>"), "{link}: {text}");
        }
    }
    assert_eq!(shop.rollout().await["state"], "awaiting_approval");
    press(&shop.proxy, &first).await.expect(200);
    shop.has_share(50.0).await;
    shop.steer("advance").await.expect(200);
    // The next step asks again, by a link of its own.
    let second = link(&shop).await;
    assert_ne!(first, second);
    press(&shop.proxy, &first).await.expect(410);
    assert_eq!(shop.rollout().await["state"], "awaiting_approval");
    press(&shop.proxy, &second).await.expect(200);
    shop.has_share(100.0).await;
}

#[tokio::test]
async fn a_link_that_is_too_old_says_so_and_the_rollout_does_what_its_plan_says() {
    let shop = Shop::new("").await;
    shop.begins(plan(&json!({ "before": ["first_step"], "within": "1s", "on_timeout": "pause" }))).await;
    let link = link(&shop).await;
    let rollout = shop.is("paused").await;
    assert_eq!(cause(&rollout), "nobody has agreed in time");
    let text = eventually("the link is too old", || async {
        let page = open(&shop.proxy, &link).await.expect(410).text();
        if page.contains("the link is too old") { Ok(page) } else { Err(page) }
    })
    .await;
    assert!(text.contains("Nothing was changed"), "{text}");
    press(&shop.proxy, &link).await.expect(410);
    assert_eq!(shop.rollout().await["state"], "paused");
    // By name it can still be agreed to.
    shop.cli(&["rollout", "approve", "shop", "--reason", "late"], 0).await;
    shop.has_share(50.0).await;
}

#[tokio::test]
async fn there_is_no_link_for_those_who_may_only_look_and_none_where_another_has_to_agree() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = with_tokens(&blue, &green, "").await;
    let path = "/api/v1/services/shop/rollouts";
    let current = async |token: &str| {
        eventually("it waits for somebody", || async {
            let bearer = format!("Bearer {token}");
            let fields = [("authorization", bearer.as_str())];
            let rollout = proxy.admin("GET", &format!("{path}/current"), &fields, None).await.json();
            if rollout["state"] == "awaiting_approval" { Ok(rollout) } else { Err(rollout["state"].clone()) }
        })
        .await
    };
    let start = async |by: &str| {
        let approval = json!({ "before": ["first_step"], "within": "1h", "by": by });
        post(&proxy, "operator", path, json!({ "to": "green", "approval": approval })).await.expect(201);
    };
    start("anyone").await;
    assert_eq!(current("viewer").await["approval_url"], Value::Null);
    assert_eq!(current("monitor").await["approval_url"], Value::Null);
    let link = current("operator").await["approval_url"].as_str().unwrap().to_owned();
    // The link needs no token, and is none for anything else.
    open(&proxy, &link).await.expect(200);
    let elsewhere = link.replace("/approve", "/report").replace("/rollouts", "/api/v1/rollouts");
    open(&proxy, &elsewhere).await.expect(401);
    let foreign = [("origin", "https://evil.example")];
    proxy.admin("POST", &link, &foreign, None).await.expect(403);
    press(&proxy, &link).await.expect(200);
    post(&proxy, "operator", &format!("{path}/current/abort"), json!({})).await.expect(200);
    start("another").await;
    assert_eq!(current("operator").await["approval_url"], Value::Null);
}
