//! What a SQLite store promises.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::*;
use crate::model::change::samples::{service, split, started};

fn event(kind: &str, service: Option<&str>) -> NewEvent {
    let at = Timestamp::now();
    NewEvent { at, actor: "ops".into(), kind: kind.into(), service: service.map(Into::into), detail: json!({"n": 1}) }
}

fn receipt(key: &str, at: Timestamp) -> KeptReceipt {
    KeptReceipt { key: key.into(), fingerprint: "f".into(), receipt: json!({"version": 3}), at }
}

fn all() -> EventQuery {
    EventQuery { since: 0, limit: 100, service: None }
}

#[test]
fn what_was_committed_is_there_after_opening_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/er/state.db");
    let mut desired = started("blue 33.3333 canary 0.0001 green 66.6666");
    let state = desired.services.get_mut("shop").unwrap();
    state.stable = split("blue 100");
    state.salt = crate::model::cohort::Salt(u128::MAX - 5);
    let mut batch = Batch::whole(&desired);
    batch.events = vec![event("start", None), event("switch", Some("shop"))];
    let written = Sqlite::open(&path).unwrap().commit(&batch).unwrap();
    assert_eq!(written.iter().map(|e| e.id).collect::<Vec<_>>(), [1, 2]);
    let mut again = Sqlite::open(&path).unwrap();
    assert_eq!(again.load().unwrap(), Stored { desired, last_event: 2 });
    assert_eq!(again.events(&all()).unwrap(), written);
    assert_eq!(again.verify().unwrap(), Verified::Intact(2));
}

#[test]
fn the_file_and_its_side_files_are_for_this_user_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let mut store = Sqlite::open(&path).unwrap();
    store.commit(&Batch { events: vec![event("start", None)], ..Batch::default() }).unwrap();
    let modes: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|f| f.unwrap().metadata().unwrap().permissions().mode() & 0o777)
        .collect();
    assert!(modes.len() >= 3, "{modes:?}");
    assert!(modes.iter().all(|m| *m == 0o600), "{modes:?}");
}

#[test]
fn a_second_pointsman_is_kept_out_until_the_first_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let first = Sqlite::open(&path).unwrap();
    let refused = Sqlite::open(&path).unwrap_err();
    assert!(matches!(refused, StoreError::InUse { .. }), "{refused}");
    drop(first);
    Sqlite::open(&path).unwrap();
}

#[test]
fn a_damaged_file_and_one_of_a_later_version_are_told_apart_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    std::fs::write(&path, "this is no database, and long enough to be sure of it".repeat(40)).unwrap();
    let refused = Sqlite::open(&path).unwrap_err();
    assert!(matches!(refused, StoreError::Damaged { .. }), "{refused}");
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("this is no database"));
    std::fs::remove_file(&path).unwrap();
    Sqlite::open(&path).unwrap().connection.pragma_update(None, "user_version", 99).unwrap();
    let refused = Sqlite::open(&path).unwrap_err().to_string();
    assert!(refused.contains("later version"), "{refused}");
}

#[test]
fn a_state_that_makes_no_sense_is_damaged_not_guessed() {
    let mut store = Sqlite::in_memory().unwrap();
    store.commit(&Batch::whole(&started("blue 100"))).unwrap();
    store.connection.execute("UPDATE service_state SET split = '{\"blue\":99}'", []).unwrap();
    let refused = store.load().unwrap_err();
    assert!(matches!(refused, StoreError::Damaged { .. }), "{refused}");
}

#[test]
fn a_folder_in_place_of_the_file_is_an_error_that_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let refused = Sqlite::open(folder.path()).unwrap_err().to_string();
    assert!(refused.contains("state.path must be the path of a file"), "{refused}");
}

#[test]
fn events_can_neither_be_changed_nor_removed() {
    let mut store = Sqlite::in_memory().unwrap();
    store.commit(&Batch { events: vec![event("start", None)], ..Batch::default() }).unwrap();
    for sql in [
        "UPDATE events SET actor = 'nobody'",
        "DELETE FROM events",
        "INSERT OR REPLACE INTO events VALUES (1, '', '', '', NULL, '', x'', x'')",
    ] {
        let refused = store.connection.execute(sql, []).unwrap_err().to_string();
        assert!(refused.contains("only ever added"), "{sql}: {refused}");
    }
    assert_eq!(store.events(&all()).unwrap().len(), 1);
}

#[test]
fn a_line_that_was_changed_behind_our_back_is_found() {
    for tamper in [
        "UPDATE events SET actor = 'nobody' WHERE id = 2",
        "DELETE FROM events WHERE id = 2",
        "UPDATE events SET hash = x'00' WHERE id = 2",
    ] {
        let mut store = Sqlite::in_memory().unwrap();
        let events = vec![event("start", None), event("switch", Some("shop")), event("stop", None)];
        store.commit(&Batch { events, ..Batch::default() }).unwrap();
        store
            .connection
            .execute_batch("DROP TRIGGER events_are_not_changed; DROP TRIGGER events_are_not_removed")
            .unwrap();
        store.connection.execute(tamper, []).unwrap();
        assert_eq!(store.verify().unwrap(), Verified::Broken(2), "{tamper}");
    }
}

#[test]
fn a_batch_is_kept_whole_or_not_at_all() {
    let mut store = Sqlite::in_memory().unwrap();
    let fail = "CREATE TEMP TRIGGER fail BEFORE INSERT ON events WHEN NEW.kind = 'bad' \
                BEGIN SELECT RAISE(ABORT, 'no'); END";
    store.connection.execute_batch(fail).unwrap();
    let mut batch = Batch::whole(&started("blue 100"));
    batch.events = vec![event("good", None), event("bad", None)];
    store.commit(&batch).unwrap_err();
    assert_eq!(store.load().unwrap(), Stored::default());
    batch.events.pop();
    assert_eq!(store.commit(&batch).unwrap()[0].id, 1);
}

#[test]
fn events_are_found_by_number_service_and_kind() {
    let mut store = Sqlite::in_memory().unwrap();
    let events = ["switch", "split", "health"].map(|k| event(k, Some("shop"))).to_vec();
    store.commit(&Batch { events, ..Batch::default() }).unwrap();
    store.commit(&Batch { events: vec![event("split", Some("api"))], ..Batch::default() }).unwrap();
    let ids = |store: &mut Sqlite, query| store.events(&query).unwrap().iter().map(|e| e.id).collect::<Vec<_>>();
    assert_eq!(ids(&mut store, EventQuery { since: 1, limit: 2, service: None }), [2, 3]);
    assert_eq!(ids(&mut store, EventQuery { since: 0, limit: 9, service: Some("api".into()) }), [4]);
    assert!(ids(&mut store, EventQuery { since: u64::MAX, limit: 9, service: None }).is_empty());
    assert_eq!(store.last_event("shop", &["switch", "split"]).unwrap().unwrap().id, 2);
    assert_eq!(store.last_event("shop", &["rollback"]).unwrap(), None);
}

#[test]
fn a_receipt_is_kept_for_a_day() {
    let mut store = Sqlite::in_memory().unwrap();
    let (now, long_ago) = (Timestamp::now(), Timestamp::now() - SignedDuration::from_hours(25));
    store.commit(&Batch { receipts: vec![receipt("old", long_ago)], ..Batch::default() }).unwrap();
    assert_eq!(store.receipt("old").unwrap(), None);
    store.commit(&Batch { receipts: vec![receipt("new", now)], ..Batch::default() }).unwrap();
    assert_eq!(store.receipt("new").unwrap().unwrap().receipt, json!({"version": 3}));
    let left: i64 = store.connection.query_row("SELECT count(*) FROM idempotency", [], |r| r.get(0)).unwrap();
    assert_eq!(left, 1);
}

#[test]
fn the_difference_of_two_states_is_all_that_has_to_be_written() {
    let old = started("blue 100 green 0");
    assert!(Batch::between(&old, &old).is_empty());
    let mut new = old.clone();
    new.version += 1;
    new.services.get_mut("shop").unwrap().split = split("blue 0 green 100");
    let mut store = Sqlite::in_memory().unwrap();
    store.commit(&Batch::whole(&old)).unwrap();
    store.commit(&Batch::between(&old, &new)).unwrap();
    assert_eq!(store.load().unwrap().desired, new);
    assert_eq!(service("shop").as_str(), "shop");
}
