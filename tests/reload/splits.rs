//! The file against run time: what changed last wins, over reloads and restarts alike.

use serde_json::{Value, json};

use super::{events, exposed, reload};
use crate::support::proxy::blue_green;
use crate::support::{Proxy, Upstream};

fn with_split(blue: &Upstream, green: &Upstream, split: &str) -> String {
    blue_green(blue, green, &format!("split: {{ {split} }}"))
}

async fn split(proxy: &Proxy) -> Value {
    proxy.service("shop").await["split"].clone()
}

async fn put_split(proxy: &Proxy, weights: Value) {
    proxy.put("/api/v1/services/shop/split", json!({ "weights": weights })).await.expect(200);
}

#[tokio::test]
async fn a_split_of_run_time_outlives_reloads_and_restarts() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let mut proxy = Proxy::start(&with_split(&blue, &green, "blue: 90, green: 10")).await;
    put_split(&proxy, json!({ "blue": 25, "green": 75 })).await;
    let extra = "split: { blue: 90, green: 10 }\nexpose: { response_header: x-served-by }";
    let report = reload(&proxy, &blue_green(&blue, &green, extra)).await;
    assert_eq!(report["changes"], json!(["services.shop.expose: changed"]));
    assert_eq!(split(&proxy).await, json!({ "blue": 25, "green": 75 }));
    for signal in [false, true] {
        if signal {
            proxy.kill().await;
        } else {
            proxy.terminate().await;
        }
        proxy.restart().await;
        assert_eq!(split(&proxy).await, json!({ "blue": 25, "green": 75 }));
    }
    let drift = proxy.get("/api/v1/config/drift").await.expect(200).json();
    let line = &drift["differences"][0];
    assert_eq!(line["what"], "services.shop.split");
    assert!(line["why"].as_str().unwrap().starts_with("changed at run time by"), "{drift}");
}

#[tokio::test]
async fn what_changed_last_wins_whether_in_the_file_or_at_run_time() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = Proxy::start(&with_split(&blue, &green, "blue: 100, green: 0")).await;
    put_split(&proxy, json!({ "blue": 50, "green": 50 })).await;
    let report = reload(&proxy, &with_split(&blue, &green, "blue: 70, green: 30")).await;
    assert_eq!(split(&proxy).await, json!({ "blue": 70, "green": 30 }));
    assert!(report["changes"][0].as_str().unwrap().starts_with("services.shop.split: "), "{report}");
    let moved = events(&proxy, "split").await.pop().unwrap();
    assert_eq!(moved["detail"]["reason"], "the split in the file was changed");
    assert_eq!(moved["detail"]["after"], json!({ "blue": 70, "green": 30 }));
    // Back to what the file said at first is a change of the file, too.
    put_split(&proxy, json!({ "blue": 1, "green": 99 })).await;
    reload(&proxy, &with_split(&blue, &green, "blue: 100, green: 0")).await;
    assert_eq!(split(&proxy).await, json!({ "blue": 100, "green": 0 }));
    proxy.switch("shop", "green").await;
    reload(
        &proxy,
        &exposed(&blue, &green, "x-served-by").replacen(
            "    expose",
            "    split: { blue: 100, green: 0 }\n    expose",
            1,
        ),
    )
    .await;
    assert_eq!(split(&proxy).await, json!({ "blue": 0, "green": 100 }), "an unchanged split in the file was applied");
}

#[tokio::test]
async fn a_file_that_was_edited_while_nothing_ran_counts_from_the_start() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let mut proxy = Proxy::start(&with_split(&blue, &green, "blue: 90, green: 10")).await;
    proxy.switch("shop", "green").await;
    proxy.terminate().await;
    proxy.rewrite(&with_split(&blue, &green, "blue: 60, green: 40"));
    proxy.restart().await;
    assert_eq!(split(&proxy).await, json!({ "blue": 60, "green": 40 }));
    assert!(proxy.log().contains("the split in the file was changed"), "it was not said aloud");
    proxy.switch("shop", "green").await;
    proxy.terminate().await;
    proxy.restart().await;
    assert_eq!(split(&proxy).await, json!({ "blue": 0, "green": 100 }));
}

#[tokio::test]
async fn removing_the_group_that_has_the_traffic_goes_to_the_files_split_and_says_so() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let mut proxy = Proxy::blue_green(&blue, &green, "").await;
    proxy.switch("shop", "green").await;
    let red = blue_green(&blue, &green, "").replacen("green: {", "red: {", 1);
    let report = reload(&proxy, &red).await;
    let why = "a group with a share is not in the file any more; the file's split is used";
    assert!(report["changes"].to_string().contains(why), "{report}");
    assert_eq!(split(&proxy).await, json!({ "blue": 100, "red": 0 }));
    let answer = proxy.client().await.get("/").await.expect(200);
    assert_eq!(answer.group(), Some("blue"));
    assert_eq!(events(&proxy, "split").await.pop().unwrap()["detail"]["reason"], why);
    let log = proxy.log();
    assert!(log.lines().any(|l| l.contains("WARN") && l.contains(why)), "{log}");
    // A rollback must not lead to a group that is gone.
    assert_eq!(proxy.service("shop").await["stable_split"], json!({ "blue": 100, "red": 0 }));
    proxy.terminate().await;
    proxy.restart().await;
    assert_eq!(split(&proxy).await, json!({ "blue": 100, "red": 0 }));
}
