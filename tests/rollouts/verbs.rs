//! The verbs: what they do, what they say, and the code that they end with.

use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::judged::Shop;
use crate::support::load::Load;
use crate::support::proxy::binary;
use crate::support::{Answer, eventually};

/// Two steps that take a moment, and no more traffic than there is.
const QUICK: &[&str] = &["--steps", "10,100", "--every", "200ms", "--plan", r#"{"bake":"200ms","min_requests":20}"#];

fn start<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["rollout", "start", "shop", "green"], more].concat()
}

#[tokio::test]
async fn waiting_shows_each_transition_as_a_line_and_ends_with_0_when_it_is_done() {
    let shop = Shop::new("").await;
    let load = Load::start(&shop.proxy, 4);
    let text = shop.cli(&start(&[QUICK, &["--reason", "2.5.0", "--wait"]].concat()), 0).await;
    let seen: Vec<_> = text.lines().map(|l| l.split_whitespace().skip(2).collect::<Vec<_>>().join(" ")).collect();
    for line in [
        "r1 checking 0 % local: it was started: 2.5.0",
        "r1 shifting 10 % pointsman: the candidate is healthy",
        "r1 shifting 100 % pointsman: every guard has passed",
        "r1 baking 100 % pointsman: the candidate has everything",
        "r1 draining 100 % pointsman: every guard has passed",
        "r1 done 100 % pointsman: group blue of service shop was let go of: drained after ",
    ] {
        assert_eq!(seen.iter().filter(|s| s.starts_with(line)).count(), 1, "{line}\nis not once in\n{text}");
    }
    assert!(text.contains("r1 shop blue → green: done, step 2 of 2 (100 %) after "), "{text}");
    assert!(text.contains("pointsman report r1") && text.contains("pointsman rollback shop"), "{text}");
    assert!(!text.contains('\u{1b}'), "colours without a terminal: {text:?}");
    load.nothing_failed().await;
}

#[tokio::test]
async fn a_rollback_a_failure_an_open_approval_and_a_missing_verdict_have_codes_of_their_own() {
    let shop = Shop::new("").await;
    let plan = |plan: Value| plan.to_string();
    // Nobody comes by, so there is no verdict.
    let quiet = plan(json!({ "undecided": { "after": "0s", "do": "hold" } }));
    let text = shop.cli(&start(&["--steps", "50,100", "--every", "100ms", "--plan", &quiet, "--wait"]), 4).await;
    assert!(text.contains("the verdict is still undecided") && text.contains("rollout resume --wait shop"), "{text}");
    shop.cli(&["rollout", "abort", "shop"], 0).await;

    let asks = plan(json!({ "approval": { "before": ["first_step"], "within": "1h" } }));
    let text = shop.cli(&start(&["--plan", &asks, "--wait"]), 3).await;
    assert!(text.contains("pointsman rollout approve --wait shop"), "{text}");
    let text = shop.cli(&["rollout", "status", "shop", "--wait"], 3).await;
    assert!(text.contains("awaiting approval"), "{text}");
    let text = shop.cli(&["rollout", "status", "shop"], 0).await;
    let link = format!("http://{}/rollouts/r2/approve?token=step-1.", shop.proxy.address("admin"));
    assert!(text.contains(&link), "{link} is not in {text}");
    // What was there before is not told again.
    let text = shop.cli(&["rollout", "abort", "shop", "--wait"], 2).await;
    assert!(text.contains("it was aborted") && !text.contains("it was started"), "{text}");

    shop.green.answer(Answer::Plain(500, "no table `carts`".to_owned()));
    let cold = plan(json!({ "warm_up": [{ "path": "/", "times": 1 }] }));
    let text = shop.cli(&start(&["--plan", &cold, "--wait"]), 1).await;
    assert!(text.contains("the warm-up failed: GET ") && text.contains("status 500"), "{text}");

    let load = Load::start(&shop.proxy, 4);
    let text = shop.cli(&start(&["--steps", "50,100", "--every", "1h", "--wait"]), 2).await;
    assert!(text.contains("guard error_rate has failed") && text.contains("rolled back"), "{text}");
    load.stopped().await;
    let text = shop.cli(&["rollout", "status", "shop", "--wait"], 2).await;
    assert!(text.contains("rolled back"), "{text}");
}

#[tokio::test]
async fn status_says_where_it_is_what_its_guards_say_what_has_happened_and_what_can_be_done() {
    let shop = Shop::new("").await;
    assert_eq!(shop.cli(&["rollout", "status", "shop"], 0).await, "service shop has had no rollout yet\n");
    assert_eq!(shop.json(&["rollout", "status", "shop"]).await, Value::Null);
    let text = shop.cli(&start(&["--steps", "25,50,100", "--every", "1h", "--reason", "2.5.0"]), 0).await;
    assert!(text.starts_with("r1 shop blue → green: checking (0 %) · waits for the health check"), "{text}");
    assert!(text.ends_with("look with: pointsman rollout status shop\n"), "{text}");
    shop.has_share(25.0).await;
    let text = eventually("somebody has judged it", || async {
        let text = shop.cli(&["rollout", "status", "shop"], 0).await;
        if text.contains("VERDICT: undecided") { Ok(text) } else { Err(text) }
    })
    .await;
    for part in [
        "r1 shop blue → green: shifting, step 1 of 3 (25 %)\n",
        " by local: 2.5.0\n",
        "steps   [25 % for 1h] · 50 % for 1h · 100 % · bake for 10m\n",
        "waits   for the end of 1h at this share, and the verdict of error_rate (about 20 more requests)",
        "GUARD ",
        "error_rate ",
        "unhealthy_for ",
        "it was started: 2.5.0",
        "pointsman rollout pause shop",
        "pointsman rollout abort shop",
    ] {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
    let rollout = shop.json(&["rollout", "status", "shop"]).await;
    assert_eq!((&rollout["id"], &rollout["share"], &rollout["step"]), (&json!("r1"), &json!(25), &json!(1)));
    let status = shop.cli(&["status"], 0).await;
    assert!(status.contains("shop: rollout r1 shop blue → green: shifting, step 1 of 3 (25 %)"), "{status}");
    assert_eq!(shop.json(&["status", "shop"]).await["rollout"]["id"], "r1");
}

#[tokio::test]
async fn it_is_paused_resumed_moved_on_and_ended_by_hand_and_what_is_so_already_changes_nothing() {
    let shop = Shop::new("").await;
    shop.cli(&start(&["--steps", "25,50,100", "--every", "1h"]), 0).await;
    shop.has_share(25.0).await;
    let steer = async |wish: &str| shop.cli(&["rollout", wish, "shop"], 0).await;
    assert!(steer("pause").await.contains("paused in shifting, step 1 of 3 (25 %) · waits for somebody to resume it"));
    assert!(steer("pause").await.contains("nothing changed"));
    assert!(steer("resume").await.contains("shifting, step 1 of 3 (25 %)"));
    assert!(steer("resume").await.contains("nothing changed"));
    assert!(steer("advance").await.contains("shifting, step 2 of 3 (50 %)"));
    assert_eq!(shop.proxy.service("shop").await["split"], json!({ "blue": 50, "green": 50 }));
    let text = shop.cli(&["rollout", "approve", "shop"], 1).await;
    assert!(text.contains("rollout r1 is shifting; nobody has to agree now"), "{text}");
    assert!(steer("abort").await.contains("rolled back, step 2 of 3 (0 %)"));
    shop.is_back().await;
    let text = shop.cli(&["rollout", "abort", "shop"], 1).await;
    assert!(text.contains("service shop has no rollout under way"), "{text}");
}

#[tokio::test]
async fn what_cannot_begin_is_refused_with_all_that_is_wrong_and_changes_nothing() {
    let shop = Shop::new("").await;
    let before = shop.proxy.service("shop").await;
    let refused = async |arguments: &[&str], parts: &[&str]| {
        let text = shop.cli(&[&["rollout", "start"], arguments].concat(), 1).await;
        for part in parts {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    };
    refused(&["shop", "blue"], &["blue", "everything already"]).await;
    refused(&["shop", "red"], &["has no group \"red\"", "blue, green"]).await;
    refused(&["sohp", "green"], &["no service \"sohp\"", "shop"]).await;
    let wrong = r#"{"bake":"soon","confidence":"2","steps":[{"share":120}],"stepps":1}"#;
    refused(&["shop", "green", "--plan", wrong], &["bake", "stepps", "steps", "confidence"]).await;
    refused(&["shop", "green", "--steps", "10,many"], &["--steps", "\"many\"", "10,25,50,100"]).await;
    refused(&["shop", "green", "--plan", "bake"], &["--plan is no JSON object"]).await;
    refused(&["shop", "green", "--at", "soon"], &["--at", "\"soon\""]).await;
    let after = shop.proxy.service("shop").await;
    assert_eq!((&before["version"], &before["split"]), (&after["version"], &after["split"]));
    assert_eq!(shop.proxy.get("/api/v1/services/shop/rollouts").await.expect(200).json(), json!({ "rollouts": [] }));

    shop.cli(&["rollout", "start", "shop", "green"], 0).await;
    refused(&["shop", "green"], &["is in rollout r1", "abort it, or roll back"]).await;
}

#[tokio::test]
async fn in_a_freeze_nothing_begins_unless_somebody_says_so_and_the_audit_log_says_who() {
    let shop = Shop::new("rollout: { freeze: [{ cron: \"* * * * *\", for: 1h }] }").await;
    let text = shop.cli(&start(&[]), 1).await;
    assert!(text.contains("service shop is frozen until ") && text.contains("(--override-freeze)"), "{text}");
    let refused = shop.proxy.post("/api/v1/services/shop/rollouts", json!({ "to": "green" })).await.expect(409).json();
    assert_eq!(refused["code"], "frozen");
    shop.cli(&start(&["--override-freeze"]), 0).await;
    let started = shop.proxy.events().await.into_iter().find(|e| e["kind"] == "rollout.started").unwrap();
    assert_eq!(started["detail"]["override_freeze"], true, "{started}");
}

#[tokio::test]
async fn a_candidate_that_is_down_is_no_candidate() {
    let shop = Shop::new("health: { kind: http, path: /health, interval: 50ms, timeout: 1s }").await;
    shop.green.health(Answer::Plain(500, "disk full".to_owned()));
    shop.proxy.health_is("shop", "green", "unhealthy").await;
    let text = shop.cli(&start(&[]), 1).await;
    assert!(text.contains("no healthy upstream") && text.contains("disk full"), "{text}");
    let refused = shop.proxy.post("/api/v1/services/shop/rollouts", json!({ "to": "green" })).await;
    assert_eq!((refused.status, refused.json()["code"].clone()), (409, json!("no_healthy_upstream")));
}

#[tokio::test]
async fn a_start_is_conditional_and_repeatable_and_says_where_the_rollout_is() {
    let shop = Shop::new("").await;
    let version = shop.proxy.service("shop").await["version"].as_u64().unwrap();
    let path = "/api/v1/services/shop/rollouts";
    let body = || Some(json!({ "to": "green", "steps": [{ "share": 100, "hold": "1h" }] }));
    let stale = format!("\"{}\"", version + 7);
    let refused = shop.proxy.admin("POST", path, &[("if-match", &stale)], body()).await.expect(412);
    assert_eq!(refused.json()["version"], version);
    let seen = format!("\"{version}\"");
    let fields = [("if-match", seen.as_str()), ("idempotency-key", "deploy-77")];
    let begun = shop.proxy.admin("POST", path, &fields, body()).await.expect(201);
    let rollout = begun.json();
    assert_eq!(begun.header("location"), Some("/api/v1/services/shop/rollouts/r1"));
    assert_eq!(begun.header("etag").unwrap(), format!("\"{}\"", rollout["version"]));
    assert_eq!((&rollout["id"], &rollout["changed"]), (&json!("r1"), &json!(true)));
    let again = shop.proxy.admin("POST", path, &fields[1..], body()).await.expect(201).json();
    assert_eq!(again["id"], "r1");
    let other = shop.proxy.admin("POST", path, &fields[1..], Some(json!({ "to": "blue" }))).await.expect(422);
    assert_eq!(other.json()["code"], "idempotency_key_reused");
    let taken = shop.proxy.admin("POST", path, &[], body()).await.expect(409);
    assert_eq!(taken.json()["code"], "rollout_in_progress");

    for id in ["r1", "1", "current"] {
        assert_eq!(shop.proxy.get(&format!("{path}/{id}")).await.expect(200).json()["id"], "r1");
    }
    for id in ["r2", "x", "-1"] {
        let problem = shop.proxy.get(&format!("{path}/{id}")).await.expect(404).json();
        assert_eq!(problem["code"], "no_rollout", "{problem}");
    }
    let none = shop.proxy.post(&format!("{path}/current/jump"), json!({})).await.expect(404).json();
    assert_eq!(none["code"], "no_such_path");
    let unknown = shop.proxy.get("/api/v1/services/sohp/rollouts").await.expect(404).json();
    assert_eq!(unknown["code"], "no_such_service");
}

#[tokio::test]
async fn whoever_stops_waiting_leaves_the_rollout_going() {
    let shop = Shop::new("").await;
    let waiting = beside(&shop, &start(&["--steps", "50,100", "--every", "1h", "--wait"]));
    shop.has_share(50.0).await;
    let interrupted = Command::new("sh").args(["-c", &format!("kill -INT {}", waiting.id())]).status().unwrap();
    assert!(interrupted.success());
    let said = ended(waiting, 130).await;
    assert!(said.contains("rollout r1 goes on") && said.contains("pointsman rollout abort shop"), "{said}");
    assert_eq!(shop.rollout().await["state"], "shifting");
}

/// Runs the command line on its own, while the test does something else.
fn beside(shop: &Shop, arguments: &[&str]) -> Child {
    let mut command = binary();
    command.args(arguments).env("POINTSMAN_ADMIN", format!("http://{}", shop.proxy.address("admin")));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What it has said, once it has ended with this code.
async fn ended(child: Child, code: i32) -> String {
    let output = tokio::task::spawn_blocking(|| child.wait_with_output().unwrap()).await.unwrap();
    let both = format!("{}{}", super::stdout(&output), super::stderr(&output));
    assert_eq!(output.status.code(), Some(code), "{both}");
    both
}

#[tokio::test]
async fn whoever_waits_for_one_that_is_paused_learns_that_it_does_not_go_on_by_itself() {
    let mut shop = Shop::new("").await;
    let waiting = beside(&shop, &start(&["--steps", "50,100", "--every", "1h", "--wait"]));
    shop.has_share(50.0).await;
    shop.proxy.kill().await;
    shop.proxy.restart().await;
    let text = ended(waiting, 4).await;
    assert!(text.contains("paused by pointsman: pointsman was restarted"), "{text}");
    assert!(text.contains("until somebody resumes it:") && text.contains("rollout resume --wait shop"), "{text}");
    let waiting = beside(&shop, &["rollout", "resume", "shop", "--wait"]);
    shop.is("shifting").await;
    shop.cli(&["rollout", "pause", "shop", "--reason", "lunch"], 0).await;
    assert!(ended(waiting, 4).await.contains("paused by local: it was paused: lunch"));
}

#[tokio::test]
async fn whoever_waits_for_a_scheduled_one_sees_a_restart_through_and_takes_no_other_for_it() {
    let mut shop = Shop::new("").await;
    let soon = (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(4)).to_string();
    let waiting = beside(&shop, &start(&["--steps", "50,100", "--every", "1h", "--at", &soon, "--wait"]));
    eventually("it is scheduled", || async {
        let jobs = shop.proxy.get("/api/v1/jobs?kind=start_rollout").await.expect(200).json();
        jobs["jobs"].as_array().is_some_and(|jobs| jobs.len() == 1)
    })
    .await;
    shop.cli(&start(&["--steps", "50,100", "--every", "1h"]), 0).await;
    shop.cli(&["rollout", "abort", "shop"], 0).await;
    shop.proxy.kill().await;
    shop.proxy.restart().await;
    eventually("the other one is under way", || async { shop.rollout().await["id"] == "r2" }).await;
    shop.is("shifting").await;
    shop.cli(&["rollout", "abort", "shop"], 0).await;
    let text = ended(waiting, 2).await;
    assert!(text.contains("r2 shop blue → green: rolled back") && !text.contains("r1 "), "{text}");
}

#[tokio::test]
async fn a_scheduled_one_is_waited_for_from_its_begin_to_its_end_and_one_that_cannot_begin_is_a_failure() {
    let shop = Shop::new("").await;
    let at = |seconds: i64| (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds)).to_string();
    let soon = at(2);
    let load = Load::start(&shop.proxy, 4);
    let text = shop.cli(&start(&[QUICK, &["--at", &soon, "--wait"]].concat()), 0).await;
    assert!(text.starts_with("it begins at ") && text.contains("r1 shop blue → green: done"), "{text}");
    load.nothing_failed().await;
    let later = at(3600);
    let text = shop.cli(&["rollout", "start", "shop", "blue", "--at", &later], 0).await;
    assert!(text.contains("look with: pointsman jobs"), "{text}");
    let waiting = shop.proxy.get("/api/v1/jobs?kind=start_rollout&state=waiting").await.expect(200).json();
    let call_off = format!("call it off: pointsman jobs cancel {}", waiting["jobs"][0]["id"]);
    for look in [&["status"][..], &["status", "shop"], &["rollout", "status", "shop"]] {
        let text = shop.cli(look, 0).await;
        assert!(text.contains("a rollout to blue begins ") && text.contains(&call_off), "{look:?}: {text}");
    }
    let soon = at(2);
    let arguments = ["rollout", "start", "shop", "blue", "--at", &soon, "--wait"];
    let (text, ()) = tokio::join!(shop.cli(&arguments, 1), async {
        eventually("both are scheduled", || async {
            let jobs = shop.proxy.get("/api/v1/jobs?state=waiting").await.expect(200).json();
            jobs["jobs"].as_array().is_some_and(|jobs| jobs.len() == 2)
        })
        .await;
        let jobs = shop.proxy.get("/api/v1/jobs?state=waiting").await.expect(200).json();
        let newest = jobs["jobs"][0]["id"].to_string();
        shop.cli(&["jobs", "cancel", &newest, "--reason", "not tonight"], 0).await;
    });
    assert!(text.contains("the rollout was not begun; job ") && text.contains(" is cancelled"), "{text}");
}

#[tokio::test]
async fn several_services_are_started_steered_and_shown_together() {
    let shop = Shop::new("").await;
    let config = crate::judged::config(&shop.blue, &shop.green, "");
    let second = config.lines().skip_while(|line| *line != "  shop:").take_while(|line| !line.starts_with("routes"));
    let second: String = second.map(|line| format!("{}\n", line.replace("  shop:", "  api:"))).collect();
    shop.proxy.rewrite(&config.replace("routes:", &format!("{second}routes:")));
    shop.cli(&["reload"], 0).await;
    let text = shop.cli(&["rollout", "start", "shop,api", "green", "--steps", "50,100", "--every", "1h"], 0).await;
    assert!(text.starts_with("r1 shop,api blue → green"), "{text}");
    shop.has_share(50.0).await;
    assert_eq!(shop.proxy.service("api").await["split"]["green"], 50);
    let text = shop.cli(&["rollout", "status", "api"], 0).await;
    assert!(text.contains("r1 shop,api blue → green: shifting, step 1 of 2 (50 %)"), "{text}");
    shop.cli(&["rollout", "abort", "api", "--reason", "slow"], 0).await;
    assert_eq!(shop.proxy.service("shop").await["split"]["green"], 0);
    assert!(crate::judged::cause(&shop.rollout().await).ends_with("slow"));
    shop.cli(&["rollout", "start", "--all", "green", "--steps", "100"], 0).await;
    assert_eq!(shop.rollout().await["services"], json!(["shop", "api"]));
}
