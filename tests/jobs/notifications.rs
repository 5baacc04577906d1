//! Webhooks: who wants to be told of an event is told, also if he or we are away at that moment.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::{events_of, job, jobs, switched};
use crate::judged::{Shop, config};
use crate::support::peers::Peer;
use crate::support::proxy::blue_green;
use crate::support::{Answer, Proxy, Upstream, eventually};

/// A shop whose webhooks are these.
async fn telling(blue: &Upstream, green: &Upstream, webhooks: &str) -> Proxy {
    Proxy::start(&format!("{}webhooks: [{webhooks}]\n", blue_green(blue, green, ""))).await
}

fn is_about(kind: &'static str) -> impl Fn(&Value) -> bool {
    move |job| job["detail"]["event_kind"] == kind
}

#[tokio::test]
async fn whoever_fails_is_told_again_and_can_check_by_another_makers_hmac_who_has_told_him() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let (receiver, ready) = Peer::python("webhook_receiver.py", &["--secret", "s3cret", "--fail", "2"]);
    let hook =
        format!("{{ name: ops, url: \"http://127.0.0.1:{}/hook\", events: [switch], secret: s3cret }}", ready["port"]);
    let proxy = telling(&blue, &green, &hook).await;
    let body = json!({ "to": "green", "reason": "2.0 is out" });
    proxy.post("/api/v1/services/shop/switch", body).await.expect(200);
    let told = [receiver.line(), receiver.line(), receiver.line()];
    assert_eq!(told.each_ref().map(|t| &t["status"]), [503, 503, 204]);
    for message in &told {
        assert_eq!(message["verified"], true, "{message:#}");
        let (fields, body) = (&message["fields"], &message["body"]);
        assert_eq!(
            (&fields["x-pointsman-event"], &fields["content-type"]),
            (&json!("switch"), &json!("application/json"))
        );
        assert_eq!(fields["x-pointsman-delivery"], told[0]["fields"]["x-pointsman-delivery"], "the same message");
        assert_eq!(fields["x-pointsman-delivery"], body["delivery"].to_string(), "what is signed says it, too");
        assert!(body["sent_at"].is_string() && fields["x-pointsman-timestamp"].is_string(), "{message:#}");
        assert_eq!((&body["kind"], &body["service"]), (&json!("switch"), &json!("shop")));
        assert_eq!((&body["detail"]["reason"], &body["detail"]["after"]["green"]), (&json!("2.0 is out"), &json!(100)));
        assert!(body["text"].as_str().unwrap().contains("blue 100 → green 100"), "{message:#}");
    }
    let done = job(&proxy, "notify", "done", is_about("switch")).await;
    assert_eq!((&done["attempts"], &done["id"]), (&json!(3), &told[0]["body"]["delivery"]));
    let event = events_of(&proxy, "switch").await.remove(0);
    assert_eq!((&event["id"], &event["at"]), (&told[0]["body"]["id"], &told[0]["body"]["at"]));
    let metrics = proxy.get("/metrics").await.expect(200).text();
    for line in [
        "pointsman_jobs{state=\"done\"} 1.0",
        "pointsman_jobs{state=\"waiting\"} 0.0",
        "pointsman_job_attempts_total{kind=\"notify\",outcome=\"failed\"} 2",
        "pointsman_job_attempts_total{kind=\"notify\",outcome=\"done\"} 1",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line} is not in\n{metrics}");
    }
    assert!(!proxy.log().contains("s3cret"), "{}", proxy.log());
}

#[tokio::test]
async fn what_was_to_be_told_is_told_after_kill_9_and_an_upgrade_under_the_same_number() {
    let (blue, green, receiver) = (Upstream::start("blue"), Upstream::start("green"), Upstream::start("receiver"));
    receiver.refuse().await;
    let hook = format!("{{ name: ops, url: \"{}/hook\", events: [switch, rollback] }}", receiver.url());
    let mut proxy = telling(&blue, &green, &hook).await;
    switched(&proxy, "green").await;
    let waiting = job(&proxy, "notify", "waiting", |job| job["last_error"].is_string()).await;
    assert!(waiting["last_error"].as_str().unwrap().contains("cannot connect"), "{waiting:#}");
    proxy.kill().await;
    proxy.restart().await;
    let again = job(&proxy, "notify", "waiting", is_about("switch")).await;
    assert_eq!((&again["id"], &again["created_at"]), (&waiting["id"], &waiting["created_at"]));
    proxy.upgrade(json!({})).await.expect(200);
    receiver.accept();
    let done = job(&proxy, "notify", "done", is_about("switch")).await;
    assert_eq!(done["id"], waiting["id"]);
    let heard = receiver.arrivals().pop().unwrap().head;
    assert_eq!(heard.fields.get("x-pointsman-delivery"), Some(&*waiting["id"].to_string()));
    // What was done is not done again by the next process.
    let requests = receiver.requests();
    proxy.upgrade(json!({})).await.expect(200);
    proxy.post("/api/v1/services/shop/rollback", json!({})).await.expect(200);
    job(&proxy, "notify", "done", is_about("rollback")).await;
    assert_eq!(receiver.requests(), requests + 1);
}

#[tokio::test]
async fn a_receiver_that_never_answers_keeps_no_other_waiting_and_no_change() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let (slow, fast) = (Upstream::start("slow"), Upstream::start("fast"));
    slow.answer(Answer::Hang);
    let hook = |name: &str, at: &Upstream| format!("{{ name: {name}, url: \"{}/\", events: [\"*\"] }}", at.url());
    let proxy = telling(&blue, &green, &format!("{}, {}", hook("slow", &slow), hook("fast", &fast))).await;
    for to in ["green", "blue", "green", "blue", "green"] {
        switched(&proxy, to).await;
    }
    eventually("the other one has heard of every switch", || async {
        let heard = fast.arrivals().iter().filter(|a| a.head.fields.get("x-pointsman-event") == Some("switch")).count();
        if heard == 5 { Ok(()) } else { Err(heard) }
    })
    .await;
    let running = jobs(&proxy, "running").await;
    let slow = running.iter().filter(|job| job["detail"]["webhook"] == "slow").count();
    assert!(slow <= 2, "it is not told of everything at once: {running:?}");
}

#[tokio::test]
async fn what_will_never_succeed_is_on_the_list_of_the_dead_until_somebody_has_it_tried_again() {
    let (blue, green, receiver) = (Upstream::start("blue"), Upstream::start("green"), Upstream::start("receiver"));
    receiver.answer(Answer::Plain(410, "moved out".to_owned()));
    let hook = format!("{{ name: ops, url: \"{}/T0/secret\", events: [switch] }}", receiver.url());
    let proxy = telling(&blue, &green, &hook).await;
    switched(&proxy, "green").await;
    let dead = job(&proxy, "notify", "dead", is_about("switch")).await;
    assert!(dead["last_error"].as_str().unwrap().contains("410"), "{dead:#}");
    let event = eventually("that is in the audit log", || async { events_of(&proxy, "job.dead").await.pop() }).await;
    assert_eq!((&event["detail"]["job"], &event["detail"]["webhook"]), (&dead["id"], &json!("ops")));
    let id = dead["id"].to_string();

    let shown = proxy.cli(&["jobs", "--dead"]).await;
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(text.contains("tells ops of switch of shop") && text.contains("of all: 1 dead"), "{text}");
    assert!(!text.contains("secret") && !proxy.log().contains("T0/secret"), "a URL may be a secret");
    let none = proxy.cli(&["jobs", "retry", "4711"]).await;
    assert!(none.status.code() == Some(1) && String::from_utf8_lossy(&none.stderr).contains("no job 4711"), "{none:?}");

    receiver.answer(Answer::text("thanks"));
    let retried = proxy.cli(&["jobs", "retry", &id, "--reason", "it is back"]).await;
    assert!(retried.status.success(), "{retried:?}");
    job(&proxy, "notify", "done", is_about("switch")).await;
    assert_eq!(proxy.post(&format!("/api/v1/jobs/{id}/retry"), json!({})).await.status, 409);
    assert_eq!(events_of(&proxy, "job.retried").await[0]["detail"]["reason"], "it is back");
}

#[tokio::test]
async fn a_channel_gets_a_text_and_only_what_it_has_asked_for() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let channel = Upstream::scripted("channel", |_| Answer::Echo);
    let hook = format!("{{ name: chat, url: \"{}/\", events: [\"rollout.*\"], format: slack }}", channel.url());
    let proxy = telling(&blue, &green, &hook).await;
    switched(&proxy, "green").await;
    let plan = json!({ "to": "blue", "approval": { "before": ["first_step"], "within": "1h" } });
    proxy.post("/api/v1/services/shop/rollouts", plan).await.expect(201);
    let done = job(&proxy, "notify", "done", is_about("rollout.awaiting_approval")).await;
    assert_eq!(done["priority"], "high");
    let kinds: Vec<_> =
        channel.arrivals().iter().map(|a| a.head.fields.get("x-pointsman-event").unwrap().to_owned()).collect();
    assert!(kinds.contains(&"rollout.started".to_owned()) && !kinds.contains(&"switch".to_owned()), "{kinds:?}");
}

#[tokio::test]
async fn who_is_asked_to_agree_is_told_where_and_need_not_have_a_token() {
    let shop = Shop::new("").await;
    let (receiver, ready) = Peer::python("webhook_receiver.py", &["--secret", "s3cret"]);
    let url = format!("http://127.0.0.1:{}/", ready["port"]);
    let hook =
        format!("webhooks: [{{ name: ops, url: \"{url}\", events: [rollout.awaiting_approval], secret: s3cret }}]");
    shop.proxy.rewrite(&format!("{}{hook}\n", config(&shop.blue, &shop.green, "")));
    eventually("the webhook is known", || async { events_of(&shop.proxy, "reload").await.pop() }).await;
    shop.begins(json!({ "approval": { "before": ["first_step"], "within": "1h" } })).await;
    let message = receiver.line();
    assert_eq!(message["verified"], true, "{message:#}");
    let link = message["body"]["approval_url"].as_str().unwrap();
    let path = link.strip_prefix(&format!("http://{}", shop.proxy.address("admin"))).expect(link);
    shop.proxy.admin("POST", path, &[], None).await.expect(200);
    shop.is("shifting").await;
    let told: Vec<_> = events_of(&shop.proxy, "rollout.awaiting_approval").await;
    assert!(!told[0].to_string().contains("token="), "the link is no part of the audit log");
}

#[tokio::test]
async fn a_webhook_that_is_not_there_any_more_is_given_up_and_one_that_is_new_hears_of_what_comes() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let asked = std::sync::Arc::new(AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&asked);
    let receiver = Upstream::scripted("receiver", move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        Answer::Plain(500, "no".to_owned())
    });
    let hook = |name: &str| format!("{{ name: {name}, url: \"{}/\", events: [switch] }}", receiver.url());
    let proxy = telling(&blue, &green, &hook("old")).await;
    switched(&proxy, "green").await;
    eventually("it has failed", || async { (asked.load(Ordering::SeqCst) > 0).then_some(()) }).await;
    proxy.rewrite(&format!("{}webhooks: [{}]\n", blue_green(&blue, &green, ""), hook("new")));
    let dead = job(&proxy, "notify", "dead", |job| job["detail"]["webhook"] == "old").await;
    assert!(dead["last_error"].as_str().unwrap().contains("no webhook \"old\""), "{dead:#}");
    receiver.answer(Answer::text("yes"));
    switched(&proxy, "blue").await;
    job(&proxy, "notify", "done", |job| job["detail"]["webhook"] == "new").await;
}
