//! Whoever tests a candidate decides whether users get to it: by his answer, by calling back, or by his exit code.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::{events_of, job, jobs};
use crate::judged::{Shop, brief, cause, config};
use crate::support::{Answer, Proxy, Upstream, eventually, peers};

/// One step, after a test by this hook.
fn plan(hook: Value) -> Value {
    json!({ "steps": [{ "share": 10, "hold": "1h" }, { "share": 100 }], "validate": { "hook": hook } })
}

fn by(tester: &Upstream) -> Value {
    plan(json!({ "url": format!("{}/smoke", tester.url()), "timeout": "1h" }))
}

/// A line of a service: tested by this script. Only the file names programs.
fn by_script(script: &str) -> String {
    format!("rollout: {}", plan(json!({ "command": ["/bin/sh", "-c", script], "timeout": "1h" })))
}

async fn nobody_was_moved(shop: &Shop) {
    assert_eq!(shop.proxy.service("shop").await["split"], json!({ "blue": 100, "green": 0 }));
    assert_eq!(shop.green.requests(), 0);
}

#[tokio::test]
async fn whoever_answers_200_lets_users_come_and_what_he_says_is_in_the_timeline() {
    let shop = Shop::new("").await;
    // What he is sent comes back, and so into the timeline.
    let tester = Upstream::scripted("tester", |_| Answer::Echo);
    let begun = shop.begins(by(&tester)).await;
    shop.is("shifting").await;
    let rollout = shop.rollout().await;
    let said = cause(&rollout);
    assert!(said.starts_with("the validation has passed: {"), "{}", brief(&rollout));
    let sent: Value = serde_json::from_str(said.split_once(": ").unwrap().1).unwrap();
    assert_eq!(
        (&sent["rollout"], &sent["service"], &sent["candidate"]),
        (&begun["id"], &json!("shop"), &json!("green"))
    );
    assert_eq!((&sent["baseline"], &sent["attempt"]), (&json!("blue"), &json!(1)));
    let callback = format!("http://{}/api/v1/rollouts/r1/validation", shop.proxy.address("admin"));
    assert_eq!(sent["callback"], callback);
    let done = job(&shop.proxy, "validate", "done", |_| true).await;
    assert_eq!((&done["id"], &done["detail"]["rollout"]), (&sent["job"], &begun["id"]));
    assert_eq!(tester.requests(), 1);
}

#[tokio::test]
async fn whoever_answers_with_an_error_ends_it_before_anybody_was_moved() {
    for (status, body) in [(500, "3 of 12 checks failed"), (404, ""), (302, "")] {
        let shop = Shop::new("").await;
        let tester = Upstream::start("tester");
        tester.answer(Answer::Plain(status, body.to_owned()));
        shop.begins(by(&tester)).await;
        let failed = shop.is("failed").await;
        let expected = format!("the validation has failed: status {status}");
        assert!(cause(&failed).starts_with(&expected) && cause(&failed).ends_with(body), "{}", brief(&failed));
        job(&shop.proxy, "validate", "done", |_| true).await;
        nobody_was_moved(&shop).await;
    }
}

#[tokio::test]
async fn who_says_that_he_is_at_it_is_asked_again_where_he_says() {
    let shop = Shop::new("").await;
    let looks = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&looks);
    let tester = Upstream::scripted("tester", move |head| {
        let at_it = |fields: &str| {
            let text = format!("HTTP/1.1 202 Accepted\r\nretry-after: 0\r\n{fields}content-length: 0\r\n\r\n");
            Answer::Last(Box::new(Answer::Raw(text.into_bytes())))
        };
        match (head.method(), head.path()) {
            ("POST", "/smoke") => at_it("location: /runs/7\r\n"),
            ("GET", "/runs/7") if count.fetch_add(1, Ordering::SeqCst) < 3 => at_it(""),
            ("GET", "/runs/7") => Answer::text("all 12 checks are fine"),
            other => panic!("{other:?}"),
        }
    });
    shop.begins(by(&tester)).await;
    shop.is("shifting").await;
    let rollout = shop.rollout().await;
    assert_eq!(cause(&rollout), "the validation has passed: all 12 checks are fine");
    assert_eq!((tester.requests(), looks.load(Ordering::SeqCst)), (5, 4));
}

#[tokio::test]
async fn who_is_at_it_may_call_back_once_and_is_not_asked_any_more() {
    for (status, state) in [("passed", "shifting"), ("failed", "failed")] {
        let shop = Shop::new("").await;
        let tester = Upstream::start("tester");
        tester.answer(Answer::Plain(202, String::new()));
        let begun = shop.begins(by(&tester)).await;
        eventually("he was asked", || async { (tester.requests() > 0).then_some(()) }).await;
        let path = format!("/api/v1/rollouts/{}/validation", begun["id"].as_str().unwrap());
        let wrong = shop.proxy.post(&path, json!({ "status": "fine" })).await;
        assert!(wrong.status == 400 && wrong.text().contains("passed or failed"), "{}", wrong.text());
        assert_eq!(shop.proxy.post("/api/v1/rollouts/r77/validation", json!({ "status": "passed" })).await.status, 404);
        let said = shop.proxy.post(&path, json!({ "status": status, "reason": "12 checks" })).await.expect(200).json();
        assert_eq!((&said["state"], &said["changed"]), (&json!(state), &json!(true)));
        let rollout = shop.is(state).await;
        assert_eq!(cause(&rollout), format!("the validation has {status}: 12 checks"));
        job(&shop.proxy, "validate", "done", |_| true).await;
        let again = shop.proxy.post(&path, json!({ "status": status })).await;
        assert!(again.status == 409 || again.status == 404, "{}", again.text());
        if status == "failed" {
            nobody_was_moved(&shop).await;
        }
    }
}

#[tokio::test]
async fn who_cannot_be_reached_is_asked_until_he_can_be_or_the_time_is_over() {
    let shop = Shop::new("").await;
    let tester = Upstream::start("tester");
    tester.refuse().await;
    shop.begins(by(&tester)).await;
    let waiting = job(&shop.proxy, "validate", "waiting", |job| job["last_error"].is_string()).await;
    assert!(waiting["last_error"].as_str().unwrap().contains("cannot connect"), "{waiting:#}");
    nobody_was_moved(&shop).await;
    let refused = shop.proxy.admin("DELETE", &format!("/api/v1/jobs/{}", waiting["id"]), &[], None).await;
    assert_eq!((refused.status, &refused.json()["code"]), (409, &json!("job_not_cancellable")));
    tester.accept();
    shop.is("shifting").await;
    assert_eq!(job(&shop.proxy, "validate", "done", |_| true).await["id"], waiting["id"]);

    let shop = Shop::new("").await;
    tester.refuse().await;
    shop.begins(plan(json!({ "url": tester.url(), "timeout": "1s" }))).await;
    let failed = shop.is("failed").await;
    assert!(cause(&failed).contains("took longer than 1s"), "{}", brief(&failed));
    job(&shop.proxy, "validate", "cancelled", |_| true).await;
    nobody_was_moved(&shop).await;
}

#[tokio::test]
async fn a_program_decides_by_its_exit_code_and_knows_what_it_tests() {
    let say = "echo $POINTSMAN_ROLLOUT $POINTSMAN_SERVICE $POINTSMAN_CANDIDATE through [$POINTSMAN_VALIDATION_URL]";
    let passes = "test -e @dir@/mended && echo 2 of 2 passed && exit 0";
    let shop = Shop::new(&by_script(&format!("{passes}; {say}; echo 1 of 2 failed >&2; exit 3"))).await;
    shop.begins(json!({})).await;
    let failed = shop.is("failed").await;
    let printed = "r1 shop green through [] / 1 of 2 failed";
    assert_eq!(cause(&failed), format!("the validation has failed: exit code 3: {printed}"));
    nobody_was_moved(&shop).await;
    std::fs::write(shop.proxy.dir().join("mended"), "").unwrap();
    shop.begins(json!({})).await;
    shop.is("shifting").await;
    assert_eq!(cause(&shop.rollout().await), "the validation has passed: 2 of 2 passed");
}

#[tokio::test]
async fn through_a_validation_listener_the_candidate_is_tested_while_no_user_gets_there() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let listeners = "validation: { bind: \"127.0.0.1:@validation@\", sends_to: candidate }, web:";
    let curl = format!("{} --silent --fail $POINTSMAN_VALIDATION_URL/smoke", peers::tool("curl").display());
    let tested = by_script(&format!("{curl} && echo && echo $POINTSMAN_VALIDATION_URL"));
    let proxy = Proxy::start(&config(&blue, &green, &tested).replacen("web:", listeners, 1)).await;
    let shop = Shop { proxy, blue, green };
    shop.begins(json!({})).await;
    shop.is("shifting").await;
    let url = format!("http://{}", shop.proxy.address("validation"));
    assert_eq!(cause(&shop.rollout().await), format!("the validation has passed: green / {url}"));
    assert_eq!((shop.green.requests(), shop.blue.requests()), (1, 0));
}

/// A program that never ends, nor does what it has started; both write down who they are.
const ENDLESS: &str = "sleep 3600 & echo $! $$ >> @dir@/pids; wait";

/// Who they are.
fn pids(shop: &Shop) -> impl Fn() -> Vec<String> + use<> {
    let file = shop.proxy.dir().join("pids");
    move || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        text.split_whitespace().map(ToOwned::to_owned).collect()
    }
}

async fn are_gone(pids: &[String]) {
    for pid in pids {
        eventually(&format!("process {pid} is gone"), || async {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let is_gone = stat.is_empty() || stat.rsplit(") ").next().unwrap().starts_with('Z');
            if is_gone { Ok(()) } else { Err(stat) }
        })
        .await;
    }
}

async fn has_begun(pids: &impl Fn() -> Vec<String>, processes: usize) {
    eventually("the program has begun", || async {
        if pids().len() >= processes { Ok(()) } else { Err(pids().join(" ")) }
    })
    .await;
}

#[tokio::test]
async fn a_program_ends_with_its_rollout_and_all_that_it_has_started() {
    let shop = Shop::new(&by_script(ENDLESS)).await;
    let pids = pids(&shop);
    shop.begins(json!({})).await;
    has_begun(&pids, 2).await;
    shop.steer("abort").await.expect(200);
    are_gone(&pids()).await;
    job(&shop.proxy, "validate", "cancelled", |_| true).await;
    nobody_was_moved(&shop).await;
}

#[tokio::test]
async fn after_kill_9_the_program_is_gone_with_us_and_runs_again_with_the_same_job() {
    let script = format!("test -e @dir@/again && echo fine && exit 0; {ENDLESS}");
    let mut shop = Shop::new(&by_script(&script)).await;
    let pids = pids(&shop);
    shop.begins(json!({})).await;
    has_begun(&pids, 2).await;
    let before = jobs(&shop.proxy, "running").await.remove(0);
    std::fs::write(shop.proxy.dir().join("again"), "").unwrap();
    shop.proxy.kill().await;
    are_gone(&pids()).await;
    shop.proxy.restart().await;
    let done = job(&shop.proxy, "validate", "done", |_| true).await;
    assert_eq!(done["id"], before["id"]);
    // It came back paused, and goes on from what was found meanwhile.
    let paused = shop.is("paused").await;
    assert_eq!(cause(&paused), "the validation has passed: fine");
    nobody_was_moved(&shop).await;
    shop.steer("resume").await.expect(200);
    shop.is("shifting").await;
}

#[tokio::test]
async fn a_pause_keeps_the_rollout_where_it_is_and_not_the_test() {
    let shop = Shop::new("").await;
    let tester = Upstream::start("tester");
    let (open, opened) = tokio::sync::watch::channel(false);
    tester.answer(Answer::When(opened, Box::new(Answer::Plain(500, "broken".to_owned()))));
    shop.begins(by(&tester)).await;
    eventually("he was asked", || async { (tester.requests() > 0).then_some(()) }).await;
    shop.steer("pause").await.expect(200);
    open.send(true).unwrap();
    let failed = shop.is("failed").await;
    assert_eq!(cause(&failed), "the validation has failed: status 500: broken");
    let told: Vec<_> = events_of(&shop.proxy, "rollout.paused").await;
    assert_eq!(told.len(), 1);
}
