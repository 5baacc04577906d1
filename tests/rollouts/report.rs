//! The report: one file that says who, when and why, what the guards said, who agreed, and how it ended.

use serde_json::{Value, json};

use crate::judged::Shop;
use crate::support::Answer;
use crate::support::load::Load;

#[tokio::test]
async fn the_report_of_a_good_rollout_has_its_steps_with_figures_its_approval_and_its_drain() {
    let shop = Shop::new("").await;
    let load = Load::start(&shop.proxy, 4);
    let steps = json!([{ "share": 20, "hold": "200ms" }, { "share": 100 }]);
    let approval = json!({ "before": [100], "within": "1h" });
    shop.begins(json!({ "steps": steps, "approval": approval, "bake": "200ms", "reason": "release | 2.5.0" })).await;
    shop.is("awaiting_approval").await;
    shop.cli(&["rollout", "approve", "shop", "--reason", "figures are fine"], 0).await;
    shop.is("done").await;
    load.nothing_failed().await;

    let text = shop.cli(&["report", "shop"], 0).await;
    assert_eq!(shop.cli(&["report", "r1"], 0).await.lines().count(), text.lines().count());
    assert!(text.starts_with("# Rollout r1: shop, blue → green\n\n**Done** after "), "{text}");
    for part in [
        " by local |",
        "| release \\| 2.5.0",
        "## Steps",
        "| step 1 |",
        "| step 2 |",
        "| bake   |",
        "## What the guards said",
        "| error_rate ",
        "## Approvals",
        "it was approved: figures are fine",
        "## Timeline",
        "every guard has passed",
        "## Drains",
        "| drained |",
        "## Plan",
        "guards.error_rate",
    ] {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
    // A row never has another number of cells than its heading.
    let cells = |line: &str| line.replace("\\|", "").matches('|').count();
    let mut rows = 0;
    for pair in text.lines().collect::<Vec<_>>().windows(2).filter(|p| p.iter().all(|l| l.starts_with('|'))) {
        assert_eq!(cells(pair[0]), cells(pair[1]), "{pair:#?}");
        rows += 1;
    }
    assert!(rows > 15, "{text}");

    let report: Value = serde_json::from_str(&shop.cli(&["report", "shop", "--format", "json"], 0).await).unwrap();
    assert_eq!(report["rollout"]["id"], "r1");
    let names: Vec<_> = report["stays"].as_array().unwrap().iter().map(|s| s["name"].clone()).collect();
    assert_eq!(names, [json!("step 1"), json!("step 2"), json!("bake")]);
    let first = &report["stays"][0];
    assert!(first["figures"][0]["requests"].as_u64().unwrap() >= 20, "{first:#}");
    assert_eq!((&report["approvals"][0]["by"], &report["approvals"][0]["agreed"]), (&json!("local"), &json!(true)));
    assert_eq!(report["rollout"]["drains"][0]["state"], "drained");

    let file = shop.proxy.dir().join("report.md");
    assert_eq!(shop.cli(&["report", "r1", "--file", file.to_str().unwrap()], 0).await, "");
    assert!(std::fs::read_to_string(&file).unwrap().contains("**Done** after "));
}

#[tokio::test]
async fn the_report_of_a_bad_one_says_what_failed_also_after_the_next_one_and_a_restart() {
    let mut shop = Shop::new("").await;
    shop.green.answer(Answer::Plain(500, "no table `carts`".to_owned()));
    let load = Load::start(&shop.proxy, 4);
    shop.begins(json!({ "steps": [{ "share": 50, "hold": "1h" }, { "share": 100 }] })).await;
    shop.is_back().await;
    load.stopped().await;
    let before = shop.cli(&["report", "r1"], 0).await;
    assert!(before.contains("**Rolled back** after ") && before.contains("guard error_rate has failed"), "{before}");
    let figures: Value = serde_json::from_str(&shop.cli(&["report", "r1", "--format", "json"], 0).await).unwrap();
    let failed = &figures["stays"][0]["figures"][0];
    assert_eq!((&failed["guard"], &failed["status"]), (&json!("error_rate"), &json!("fail")), "{figures:#}");

    shop.begins(json!({ "steps": [{ "share": 50, "hold": "1h" }, { "share": 100 }] })).await;
    shop.steer("abort").await.expect(200);
    shop.proxy.terminate().await;
    shop.proxy.restart().await;
    let after = shop.cli(&["report", "r1"], 0).await;
    let without_end = |text: &str| text.rsplit_once("\nMade ").unwrap().0.to_owned();
    assert_eq!(without_end(&before), without_end(&after));
    assert!(shop.cli(&["report", "shop"], 0).await.starts_with("# Rollout r2: "));
    let none = shop.cli(&["report", "r7"], 1).await;
    assert!(none.contains("there is no rollout r7"), "{none}");
    let never = shop.cli(&["report", "sohp"], 1).await;
    assert!(never.contains("no service \"sohp\""), "{never}");
}
