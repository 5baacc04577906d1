//! Drains over an upgrade: both processes keep to them, one of them asks the application.

use serde_json::json;
use tokio::sync::watch;

use super::upgraded;
use crate::support::{Answer, Client, Proxy, Upstream, eventually};

const DRAIN: &str = "/api/v1/services/shop/groups/blue/drain";

async fn drains_to_green(proxy: &Proxy) {
    proxy.post("/api/v1/services/shop/switch", json!({ "to": "green", "drain": true })).await.expect(200);
}

/// Connections that have had an answer and may have another one.
async fn idle(proxy: &Proxy, count: usize) -> Vec<Client> {
    let mut idle = Vec::new();
    for _ in 0..count {
        let mut client = proxy.client().await;
        client.get("/").await.expect(200);
        idle.push(client);
    }
    idle
}

/// Asks over one of these connections after the other until `group` answers; nobody may get anything but an answer.
async fn answers_come_from(group: &str, idle: &mut Vec<Client>) {
    let left = std::cell::RefCell::new(idle);
    eventually("the old process follows the new one", || async {
        let mut client = left.borrow_mut().pop().expect("a connection that the old process still has");
        let answer = client.get("/").await.expect(200);
        assert_eq!(answer.header("connection"), Some("close"), "it is the new process that has answered");
        if answer.group() == Some(group) { Ok(()) } else { Err(format!("{:?}", answer.group())) }
    })
    .await;
}

#[tokio::test]
async fn a_drain_is_not_over_in_the_new_process_while_the_old_one_has_a_request_of_the_group() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let mut proxy = Proxy::blue_green(&blue, &green, "").await;
    let (go, waiting) = watch::channel(false);
    blue.script(move |head| match head.path() {
        "/slow" => Answer::When(waiting.clone(), Box::new(Answer::text("slow"))),
        _ => Answer::text("blue"),
    });
    let mut slow = proxy.client().await;
    slow.send(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    eventually("it has arrived", || async { blue.requests() == 1 }).await;
    drains_to_green(&proxy).await;
    upgraded(&proxy).await;
    let is_over = || async {
        let events = proxy.events().await;
        events.into_iter().find(|event| event["kind"].as_str().is_some_and(|kind| kind.starts_with("drain.")))
    };
    // The watch over drains has looked by then, and more than once.
    for _ in 0..20 {
        assert_eq!(proxy.client().await.get("/").await.expect(200).group(), Some("green"));
        let drain = proxy.get(DRAIN).await.expect(200).json();
        assert_eq!(drain["state"], "draining", "{drain}, {:?}", is_over().await);
    }
    go.send_replace(true);
    assert_eq!(slow.response_to("GET").await.unwrap().expect(200).text(), "slow");
    assert_eq!(proxy.ended().await.code(), Some(0));
    eventually("it is drained", || async {
        let drain = proxy.get(DRAIN).await.expect(200).json();
        if drain["state"] == "drained" { Ok(()) } else { Err(drain.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn after_a_rollback_in_the_new_process_the_old_one_lets_users_in_at_the_group_that_was_drained() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let mut proxy = Proxy::blue_green(&blue, &green, "").await;
    let mut idle = idle(&proxy, 40).await;
    drains_to_green(&proxy).await;
    upgraded(&proxy).await;
    proxy.post("/api/v1/services/shop/rollback", json!({})).await.expect(200);
    assert_eq!(proxy.client().await.get("/").await.expect(200).group(), Some("blue"));
    answers_come_from("blue", &mut idle).await;
    drop(idle);
    assert_eq!(proxy.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_drain_in_the_new_process_is_one_in_the_old_one_whose_hook_is_asked_once() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let hook = "drain: { hook: { start: { method: POST, path: /finish } } }";
    let mut proxy = Proxy::blue_green(&blue, &green, hook).await;
    let mut idle = idle(&proxy, 40).await;
    upgraded(&proxy).await;
    drains_to_green(&proxy).await;
    answers_come_from("green", &mut idle).await;
    drop(idle);
    assert_eq!(proxy.ended().await.code(), Some(0));
    eventually("it is drained", || async {
        let drain = proxy.get(DRAIN).await.expect(200).json();
        if drain["state"] == "drained" { Ok(()) } else { Err(drain.to_string()) }
    })
    .await;
    assert_eq!(blue.arrivals().iter().filter(|arrival| arrival.head.path() == "/finish").count(), 1);
}
