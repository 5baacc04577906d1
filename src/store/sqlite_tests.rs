//! What a SQLite store promises.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::*;
use crate::model::change::samples::{group, service, split, started};
use crate::model::job::samples::{kinds, notification, second};
use crate::model::job::{self, Job, Priority};
use crate::model::rollout::plan::Plan;
use crate::model::rollout::{Entry, Freezes, Moving, Phase, Rollout, RolloutId, State, Stop};
use crate::model::split::{Share, Split};
use crate::store::{MOST_DEAD, MOST_ENDED, MOST_ROLLOUTS};

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
    assert_eq!(again.load().unwrap(), Stored { desired, last_event: 2, ..Stored::default() });
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

#[test]
fn a_file_of_the_schema_before_jobs_is_taken_over_with_all_that_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let older = Connection::open(&path).unwrap();
    for sql in &MIGRATIONS[..2] {
        older.execute_batch(sql).unwrap();
    }
    older.pragma_update(None, "user_version", 2).unwrap();
    let state = "INSERT INTO service_state VALUES ('shop', '{\"blue\":100}', '{\"blue\":100}', '{\"blue\":100}', \
                 x'000102030405060708090a0b0c0d0e0f', 3, '[]'); UPDATE meta SET version = 3";
    older.execute_batch(state).unwrap();
    drop(older);
    let mut store = Sqlite::open(&path).unwrap();
    let stored = store.load().unwrap();
    assert_eq!((stored.desired.version, &stored.desired.services["shop"].split), (3, &split("blue 100")));
    assert_eq!((stored.jobs.len(), stored.last_job, stored.desired.rollouts.len(), stored.last_rollout), (0, 0, 0, 0));
    store.commit(&Batch { jobs: vec![notification(1)], ..Batch::default() }).unwrap();
    drop(store);
    assert_eq!(Sqlite::open(&path).unwrap().load().unwrap().jobs, [notification(1)]);
}

#[test]
fn jobs_are_there_as_they_were_written_last_and_a_try_under_way_is_made_again() {
    let mut store = Sqlite::in_memory().unwrap();
    let jobs: Vec<_> = (1..).zip(kinds()).map(|(id, kind)| Job::new(id, kind, Priority::High, second(0))).collect();
    let full =
        jobs[2].clone().due_at(second(5)).until(second(50)).taken().unwrap().failed("x", second(7), 0.5).unwrap();
    let written = vec![jobs[0].clone(), jobs[1].taken().unwrap(), full.clone()];
    store.commit(&Batch { jobs: jobs.clone(), ..Batch::default() }).unwrap();
    store.commit(&Batch { jobs: written, ..Batch::default() }).unwrap();
    let stored = store.load().unwrap();
    assert_eq!(stored.jobs, [jobs[0].clone(), jobs[1].taken().unwrap().found(), full]);
    assert_eq!((stored.jobs[1].attempts, stored.last_job), (1, 3));
}

#[test]
fn of_the_jobs_that_have_ended_the_last_ones_are_kept_and_those_that_wait_all() {
    let mut store = Sqlite::in_memory().unwrap();
    let ended = |id| match id % 4 {
        0 => notification(id).cancelled("x").unwrap(),
        1 => notification(id).taken().unwrap().succeeded().unwrap(),
        2 => notification(id).buried("x").unwrap(),
        _ => notification(id),
    };
    let most = u64::try_from(MOST_DEAD.max(MOST_ENDED)).unwrap();
    store.commit(&Batch { jobs: (1..=5 * most).map(ended).collect(), ..Batch::default() }).unwrap();
    let stored = store.load().unwrap();
    let count = |state| stored.jobs.iter().filter(|job| job.state == state).count();
    assert_eq!(
        [job::State::Done, job::State::Cancelled, job::State::Dead].map(count),
        [MOST_ENDED, MOST_ENDED, MOST_DEAD]
    );
    assert_eq!((count(job::State::Waiting), stored.last_job), (5 * MOST_DEAD / 4, 5 * most));
    let oldest = stored.jobs.iter().find(|job| job.state == job::State::Done).map(|job| job.id);
    assert_eq!(oldest, Some(5 * most - 3 - 4 * (MOST_ENDED as u64 - 1)), "the newest stay");
}

#[test]
fn a_job_that_cannot_be_read_is_left_where_it_is_and_its_number_is_not_used_again() {
    let mut store = Sqlite::in_memory().unwrap();
    store.commit(&Batch { jobs: vec![notification(1), notification(2)], ..Batch::default() }).unwrap();
    store.connection.execute("UPDATE jobs SET kind = 'dance' WHERE id = 2", []).unwrap();
    let stored = store.load().unwrap();
    assert_eq!((stored.jobs, stored.last_job), (vec![notification(1)], 2));
}

fn rollout(id: u64, services: &[&str], ended: bool) -> Rollout {
    let at = Timestamp::from_second(1_700_000_000).unwrap();
    let blue = Split::all_to(&group("blue"), [group("blue"), group("green")]);
    let moving = |name: &&str| Moving { service: service(name), from: blue.clone() };
    Rollout {
        id: RolloutId(id),
        services: services.iter().map(moving).collect(),
        to: group("green"),
        plan: Plan::default(),
        state: if ended { State::Done } else { State::Active(Phase::Shifting) },
        step: Some(1),
        share: Share::from_percent(25.0).unwrap(),
        tested: crate::model::rollout::Tested::Well,
        agreed: Some(Stop::Step(1)),
        since: at,
        started_at: at,
        started_by: "ops".to_owned(),
        reason: None,
        ended_at: ended.then_some(at),
        freeze: Freezes::Heeded,
        timeline: vec![Entry {
            at,
            state: "shifting".to_owned(),
            share: Share::NONE,
            actor: "ops".to_owned(),
            cause: "because".to_owned(),
            figures: Vec::new(),
        }],
    }
}

#[test]
fn rollouts_are_found_by_number_service_and_whether_they_are_under_way() {
    let mut store = Sqlite::in_memory().unwrap();
    let row = |id, services: &[&str], ended| RolloutRow::of(&rollout(id, services, ended));
    let rows = vec![row(1, &["shop"], false), row(2, &["api", "shop"], true), row(3, &["api"], false)];
    store.commit(&Batch { rollouts: rows.clone(), ..Batch::default() }).unwrap();
    store.commit(&Batch { rollouts: vec![row(3, &["api"], true)], ..Batch::default() }).unwrap();
    let stored = store.load().unwrap();
    assert_eq!(stored.desired.rollouts.into_values().collect::<Vec<_>>(), [rollout(1, &["shop"], false)]);
    assert_eq!(stored.last_rollout, 3);
    let mut ids = |service: Option<&str>, limit, before| {
        let query = RolloutQuery { service: service.map(Into::into), limit, before };
        store.rollouts(&query).unwrap().iter().map(|row| row.id).collect::<Vec<_>>()
    };
    assert_eq!((ids(None, 9, None), ids(None, 2, None)), (vec![3, 2, 1], vec![3, 2]));
    assert_eq!((ids(Some("shop"), 9, None), ids(Some("api"), 9, Some(3))), (vec![2, 1], vec![2]));
    assert_eq!((store.rollout(2).unwrap(), store.rollout(9).unwrap()), (Some(rows[1].clone()), None));
    assert_eq!(store.rollout(u64::MAX).unwrap(), None);
}

#[test]
fn of_two_batches_the_later_one_counts_for_a_job_and_a_rollout() {
    let job = notification(1).taken().unwrap();
    let row = |body: &str| RolloutRow { id: 1, services: vec![service("shop")], ended: false, body: body.into() };
    let mut batch =
        Batch { jobs: vec![notification(1), notification(2)], rollouts: vec![row("a")], ..Batch::default() };
    batch.append(Batch { jobs: vec![job.clone()], rollouts: vec![row("b")], ..Batch::default() });
    assert_eq!((batch.jobs, batch.rollouts), (vec![notification(2), job], vec![row("b")]));
}

#[test]
fn a_rollout_that_cannot_be_read_is_left_where_it_is_and_everything_else_is_there() {
    let mut store = Sqlite::in_memory().unwrap();
    let rows = [1, 2, 3].map(|id| RolloutRow::of(&rollout(id, &["shop"], false))).to_vec();
    let desired = started("blue 30 green 70");
    store.commit(&Batch { rollouts: rows.clone(), ..Batch::whole(&desired) }).unwrap();
    for damage in ["body = '{}' WHERE id = 2", "services = 'shop' WHERE id = 3"] {
        store.connection.execute(&format!("UPDATE rollouts SET {damage}"), []).unwrap();
    }
    let stored = store.load().unwrap();
    assert_eq!(stored.desired.services, desired.services, "services keep their shares");
    assert_eq!(stored.desired.rollouts.into_values().collect::<Vec<_>>(), [rollout(1, &["shop"], false)]);
    assert_eq!(stored.last_rollout, 3, "its number is not used again");
    assert_eq!(store.rollout(2).unwrap().unwrap().body, "{}");
}

#[test]
fn of_the_rollouts_that_have_ended_the_last_ones_are_kept_and_those_under_way_all() {
    let mut store = Sqlite::in_memory().unwrap();
    let most = MOST_ROLLOUTS as u64;
    let rows = |ids: std::ops::RangeInclusive<u64>, ended| Batch {
        rollouts: ids.map(|id| RolloutRow::of(&rollout(id, &["shop"], ended))).collect(),
        ..Batch::default()
    };
    store.commit(&rows(1..=3, false)).unwrap();
    store.commit(&rows(4..=most + 3, true)).unwrap();
    let found = |store: &mut Sqlite, id| store.rollout(id).unwrap().is_some();
    assert!(found(&mut store, 4), "there is room for as many");
    store.commit(&rows(2..=2, true)).unwrap();
    assert!(!found(&mut store, 2) && found(&mut store, 4), "the oldest of those that have ended goes");
    store.commit(&rows(most + 4..=most + 5, true)).unwrap();
    assert_eq!([1, 3, 4, 5, 6].map(|id| found(&mut store, id)), [true, true, false, false, true]);
    assert_eq!(store.load().unwrap().last_rollout, most + 5);
}
