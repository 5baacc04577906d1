//! A store that is somebody else's, damaged, locked or full.

use std::fs;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::proxy::{Signal, binary, blue_green};
use crate::support::{Proxy, Upstream, eventually};

async fn try_switch(proxy: &Proxy, group: &str) -> (u16, Value) {
    let answer = proxy.post("/api/v1/services/shop/switch", json!({ "to": group })).await;
    (answer.status, answer.json())
}

async fn notes(proxy: &Proxy) -> String {
    proxy.get("/readyz").await.expect(200).json()["notes"].to_string()
}

async fn answers(proxy: &Proxy, group: &str) {
    assert_eq!(proxy.client().await.get("/").await.expect(200).group(), Some(group));
}

#[tokio::test]
async fn a_second_process_on_the_same_state_is_turned_away_and_the_first_goes_on() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let mut proxy = Proxy::blue_green(&blue, &green, "").await;
    let config = fs::read_to_string(proxy.config_path()).unwrap();
    let [web, admin] = ["web", "admin"].map(|name| proxy.address(name).port().to_string());
    let [web2, admin2] = ["web2", "admin2"].map(|name| proxy.address(name).port().to_string());
    let second = proxy.dir().join("second.yaml");
    fs::write(&second, config.replace(&web, &web2).replace(&admin, &admin2)).unwrap();
    let mut command = binary();
    command.args(["run", "--config"]).arg(&second);
    let turned_away = crate::support::peers::run(command).await;
    let said = String::from_utf8_lossy(&turned_away.stderr);
    assert_eq!(turned_away.status.code(), Some(1), "{said}");
    assert!(said.contains("state.db is in use by another pointsman; stop that one, or give this one"), "{said}");
    proxy.switch("shop", "green").await;
    answers(&proxy, "green").await;
    // However it ended, the next one may have it.
    proxy.kill().await;
    proxy.restart().await;
    answers(&proxy, "green").await;
}

#[tokio::test]
async fn a_damaged_state_file_is_left_alone_and_the_files_split_is_served_aloud() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let mut proxy = Proxy::blue_green(&blue, &green, "").await;
    proxy.switch("shop", "green").await;
    assert!(proxy.terminate().await.success());
    let path = proxy.dir().join("state.db");
    let sound = fs::read(&path).unwrap();
    let garbage = b"this is no database ".repeat(1000);
    let mut torn = sound.clone();
    torn[100..].fill(0xA5);
    for damaged in [garbage, torn, sound[..sound.len() / 2 + 7].to_vec()] {
        fs::write(&path, &damaged).unwrap();
        let before = proxy.log().len();
        proxy.restart().await;
        answers(&proxy, "blue").await;
        let log = proxy.log().split_off(before);
        assert!(log.lines().any(|l| l.contains("ERROR") && l.contains("serving by the file's splits")), "{log}");
        assert!(log.contains("is damaged or no pointsman state"), "{log}");
        let (status, refused) = try_switch(&proxy, "green").await;
        assert_eq!((status, &refused["code"]), (503, &json!("store_unavailable")), "{refused}");
        answers(&proxy, "blue").await;
        let notes = notes(&proxy).await;
        assert!(notes.contains("the state cannot be written") && notes.contains("is damaged"), "{notes}");
        proxy.post("/api/v1/services/shop/rollback", json!({})).await.expect(200);
        assert!(proxy.terminate().await.success());
        assert!(fs::read(&path).unwrap() == damaged, "the damaged file was written to");
    }
    fs::write(&path, sound).unwrap();
    proxy.restart().await;
    answers(&proxy, "green").await;
}

#[tokio::test]
async fn while_the_store_is_locked_a_switch_is_refused_and_a_rollback_works_and_is_written_later() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let mut proxy = Proxy::blue_green(&blue, &green, "").await;
    proxy.switch("shop", "green").await;
    let before = proxy.service("shop").await;
    // What is still to be written would be what the switch waits for.
    eventually("both upstreams' first verdicts are written", || async {
        proxy.events().await.iter().filter(|e| e["kind"] == "health").count() == 2
    })
    .await;
    let intruder = Connection::open(proxy.dir().join("state.db")).unwrap();
    intruder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (status, refused) = try_switch(&proxy, "blue").await;
    assert_eq!((status, &refused["code"]), (503, &json!("store_unavailable")), "{refused}");
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("locked by another program"), "{refused}");
    answers(&proxy, "green").await;
    let after = proxy.service("shop").await;
    assert_eq!((&after["version"], &after["split"]), (&before["version"], &before["split"]));
    let notes_now = notes(&proxy).await;
    assert!(notes_now.contains("rollbacks work, other changes are refused"), "{notes_now}");
    let rolled = proxy.post("/api/v1/services/shop/rollback", json!({ "reason": "ill" })).await.expect(200).json();
    answers(&proxy, "blue").await;
    intruder.execute_batch("ROLLBACK").unwrap();
    eventually("the store is well again", || async {
        let notes = notes(&proxy).await;
        if notes == "[]" { Ok(()) } else { Err(notes) }
    })
    .await;
    // Written by then: it outlives a crash.
    proxy.kill().await;
    proxy.restart().await;
    answers(&proxy, "blue").await;
    assert_eq!(proxy.service("shop").await["version"], rolled["version"]);
    let events = proxy.events().await;
    assert_eq!(events.iter().filter(|e| e["kind"] == "rollback").count(), 1, "{events:?}");
    proxy.switch("shop", "green").await;
}

#[tokio::test]
async fn when_the_disk_is_full_a_switch_is_refused_with_nothing_changed_and_a_rollback_works() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    // No file may grow beyond 256 KiB (blocks of 512 bytes), which the store's log reaches soon.
    let limits = "trap '' XFSZ; ulimit -f 512";
    let mut proxy = Proxy::start_behind(limits, &blue_green(&blue, &green, "")).await;
    let mut live = "blue";
    let mut refused = Value::Null;
    for _ in 0..100 {
        let next = if live == "blue" { "green" } else { "blue" };
        let (status, answer) = try_switch(&proxy, next).await;
        if status != 200 {
            refused = answer;
            assert_eq!(status, 503, "{refused}");
            break;
        }
        live = next;
    }
    assert_eq!(refused["code"], "store_unavailable", "a hundred switches went into 256 KiB");
    answers(&proxy, live).await;
    assert_eq!(proxy.service("shop").await["live"], live);
    let notes = notes(&proxy).await;
    assert!(notes.contains("the state cannot be written"), "{notes}");
    let other = if live == "blue" { "green" } else { "blue" };
    proxy.post("/api/v1/services/shop/rollback", json!({})).await.expect(200);
    answers(&proxy, other).await;
    proxy.signal(Signal::Term);
    assert!(proxy.ended().await.success(), "a full disk does not keep it from stopping in good order");
}
