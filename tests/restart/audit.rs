//! The audit log: complete, only ever added to, and intact after a crash at any moment.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pointsman::store::sqlite::Sqlite;
use pointsman::store::{Store, Verified};
use rusqlite::Connection;
use serde_json::json;

use crate::support::{Client, Proxy, Upstream};

pub(crate) fn database(proxy: &Proxy) -> PathBuf {
    proxy.dir().join("state.db")
}

/// What a check of the whole log finds; the proxy must not be running. A copy is looked at: the real one is locked by
/// whoever opens it, and by any process that is started from here meanwhile.
pub(crate) fn verified(path: &Path) -> Verified {
    let copy = tempfile::tempdir().unwrap();
    for ending in ["", "-wal"] {
        let name = format!("state.db{ending}");
        if path.with_file_name(&name).exists() {
            std::fs::copy(path.with_file_name(&name), copy.path().join(&name)).unwrap();
        }
    }
    Sqlite::open(&copy.path().join("state.db")).unwrap().verify().unwrap()
}

fn count(path: &Path, which: &str) -> u64 {
    let sql = format!("SELECT count(*) FROM events WHERE {which}");
    Connection::open(path).unwrap().query_row(&sql, [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn events_have_no_gaps_over_crashes_in_the_midst_of_changes_and_their_chain_holds() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let mut proxy = Proxy::blue_green(&blue, &green, "").await;
    let mut answered = 0;
    for round in 0..6 {
        let admin = proxy.address("admin");
        let switching = tokio::spawn(async move {
            let mut answered = 0;
            let mut client = Client::connect(admin).await;
            for i in 0_u64.. {
                let group = if i % 2 == 0 { "green" } else { "blue" };
                let body = json!({ "to": group }).to_string();
                let fields = [("content-type", "application/json")];
                let path = "/api/v1/services/shop/switch";
                match client.try_request("POST", path, &fields, Some(body.as_bytes())).await {
                    Ok(answer) if answer.json()["changed"] == true => answered += 1,
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
            answered
        });
        // Somewhere in the midst of it: the moment itself does not matter, only that it is another one each time.
        tokio::time::sleep(Duration::from_millis(15 + 13 * round)).await;
        proxy.kill().await;
        answered += switching.await.unwrap();
        assert!(matches!(verified(&database(&proxy)), Verified::Intact(_)), "round {round}");
        proxy.restart().await;
    }
    let ids: Vec<_> = proxy.events().await.iter().map(|e| e["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>());
    proxy.kill().await;
    assert_eq!(verified(&database(&proxy)), Verified::Intact(count(&database(&proxy), "true")));
    let switches = count(&database(&proxy), "kind = 'switch'");
    assert!(answered > 0 && switches >= answered, "{switches} lines for {answered} answers");
    // The one that was under way when the process died may have been written and not answered.
    assert!(switches <= answered + 6, "{switches} lines for {answered} answers");
}

#[tokio::test]
async fn the_database_itself_refuses_to_change_or_remove_a_line_and_a_forged_one_is_found() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let mut proxy = Proxy::blue_green(&blue, &green, "").await;
    proxy.switch("shop", "green").await;
    // Operators may look into it, also while the proxy runs.
    let operator = Connection::open(database(&proxy)).unwrap();
    operator.pragma_update(None, "recursive_triggers", true).unwrap();
    for sql in [
        "UPDATE events SET actor = 'nobody' WHERE kind = 'switch'",
        "DELETE FROM events",
        "DELETE FROM events WHERE id = (SELECT max(id) FROM events)",
        "REPLACE INTO events SELECT id, at, 'nobody', kind, service, detail, prev_hash, hash FROM events WHERE id = 1",
    ] {
        let error = operator.execute(sql, []).expect_err(sql).to_string();
        assert!(error.contains("events are only ever added"), "{sql}: {error}");
    }
    proxy.kill().await;
    assert_eq!(verified(&database(&proxy)), Verified::Intact(count(&database(&proxy), "true")));
    // Whoever can write the file can drop the triggers; the chain shows it.
    operator.execute_batch("DROP TRIGGER events_are_not_changed").unwrap();
    let id: u64 = operator.query_row("SELECT id FROM events WHERE kind = 'switch'", [], |r| r.get(0)).unwrap();
    operator.execute("UPDATE events SET actor = 'nobody' WHERE id = ?1", [id]).unwrap();
    assert_eq!(verified(&database(&proxy)), Verified::Broken(id));
}
