//! What the control plane promises about holds.

use std::sync::Arc;
use std::time::Duration;

use crate::control::command::{Force, Origin, Receipt, Rejected, Replaced, TrafficChange};
use crate::control::controller::tests::Plane;
use crate::control::samples::eventually;
use crate::model::change::samples::service;
use crate::model::names::GroupName;
use crate::routing::hold::Hold;

const LONG: Duration = Duration::from_secs(60);

fn ops() -> Origin {
    Origin { actor: "ops".to_owned(), ..Origin::default() }
}

fn keyed(key: &str) -> Origin {
    Origin { idempotency_key: Some(key.to_owned()), ..ops() }
}

fn switch(services: &[&str], to: &str) -> TrafficChange {
    let services = services.iter().map(|s| service(s)).collect();
    TrafficChange::Switch { services, to: GroupName::new(to).unwrap(), force: Force::No, replaced: Replaced::Kept }
}

fn held(plane: &Plane, name: &str) -> Option<Arc<Hold>> {
    plane.reader.current().service(name).unwrap().hold.clone()
}

/// A request under way at blue, until it is told to leave.
fn at_blue(plane: &Plane, name: &str) -> impl FnOnce() + use<> {
    let table = plane.reader.current();
    let live = Arc::clone(&table.service(name).unwrap().groups[0].live);
    live.slot(0).in_flight.enter();
    move || live.slot(0).in_flight.leave()
}

fn switching(plane: &Plane, services: &[&str], hold: Duration, origin: Origin) -> tokio::task::JoinHandle<Answer> {
    let (handle, change) = (plane.handle.clone(), switch(services, "green"));
    tokio::spawn(async move { handle.change_held(change, hold, origin).await })
}

type Answer = Result<Receipt, Rejected>;

#[tokio::test]
async fn a_hold_is_in_the_table_until_it_is_released_and_both_are_in_the_audit_log() {
    let plane = Plane::new().await;
    let receipt = plane.handle.hold(service("shop"), Some(LONG), ops()).await.unwrap();
    assert!(receipt.changed && receipt.until.is_some() && receipt.version == plane.handle.version());
    let hold = held(&plane, "shop").unwrap();
    assert!(hold.is_on() && held(&plane, "api").is_none());
    let waits = tokio::spawn({
        let hold = Arc::clone(&hold);
        async move { hold.wait(100).await }
    });
    eventually("it waits", || hold.waiting() == 1).await;
    let view = plane.handle.service("shop").await.unwrap().hold.unwrap();
    assert_eq!((view.waiting, view.bytes, view.actor.as_str(), &view.to), (1, 100, "ops", &None));
    let again = plane.handle.hold(service("shop"), None, ops()).await.unwrap_err();
    assert!(matches!(again, Rejected::HoldInProgress { .. }), "{again:?}");
    let released = plane.handle.release(service("shop"), ops()).await.unwrap();
    assert_eq!((released.changed, released.held.map(|h| h.waited)), (true, Some(1)));
    assert_eq!(waits.await.unwrap(), Ok(()));
    assert!(held(&plane, "shop").is_none());
    assert!(!plane.handle.release(service("shop"), ops()).await.unwrap().changed);
    assert_eq!(plane.kinds(Some("shop")).await, ["hold", "hold.refused", "release"]);
}

#[tokio::test]
async fn a_hold_ends_by_itself_and_the_audit_log_says_so() {
    let plane = Plane::new().await;
    plane.handle.hold(service("shop"), Some(Duration::from_millis(20)), ops()).await.unwrap();
    eventually("it is over", || held(&plane, "shop").is_none()).await;
    let events = plane.handle.events(0, 1000, Some("shop")).await.unwrap();
    let last = events.last().unwrap();
    assert_eq!((last.kind.as_str(), last.actor.as_str()), ("hold.expired", "pointsman"));
}

#[tokio::test]
async fn a_duration_that_is_none_or_too_long_is_refused() {
    let plane = Plane::new().await;
    for time in [Duration::ZERO, Duration::from_millis(600_001)] {
        let hold = plane.handle.hold(service("shop"), Some(time), ops()).await.unwrap_err();
        let switch = plane.handle.change_held(switch(&["shop"], "green"), time, ops()).await.unwrap_err();
        for rejected in [hold, switch] {
            assert!(matches!(rejected, Rejected::InvalidDuration(_)), "{rejected:?}");
        }
    }
    assert!(held(&plane, "shop").is_none());
    assert_eq!(plane.shares("shop"), [100.0, 0.0]);
}

#[tokio::test]
async fn a_switch_behind_a_hold_waits_for_what_is_under_way_and_ends_the_hold_with_its_publication() {
    let plane = Plane::new().await;
    let leave = [at_blue(&plane, "shop"), at_blue(&plane, "api")];
    let switched = switching(&plane, &["shop", "api"], LONG, keyed("k"));
    eventually("both are held", || held(&plane, "shop").is_some() && held(&plane, "api").is_some()).await;
    let hold = held(&plane, "shop").unwrap();
    let waits = tokio::spawn({
        let (hold, reader) = (Arc::clone(&hold), plane.reader.clone());
        async move {
            hold.wait(1).await.unwrap();
            reader.current().service("shop").unwrap().shares.clone()
        }
    });
    let [leave_shop, leave_api] = leave;
    leave_shop();
    eventually("it waits", || hold.waiting() == 1).await;
    assert!(!switched.is_finished() && held(&plane, "api").is_some(), "something is under way at api");
    leave_api();
    let receipt = switched.await.unwrap().unwrap();
    assert_eq!(receipt.hold.map(|h| h.waited), Some(1));
    assert_eq!(waits.await.unwrap(), [0, 1_000_000], "it was let go before the switch was published");
    assert!(held(&plane, "shop").is_none() && held(&plane, "api").is_none());
    let again = switching(&plane, &["shop", "api"], LONG, keyed("k")).await.unwrap().unwrap();
    let told = |receipt: &Receipt| (receipt.version, receipt.event, receipt.hold.map(|h| h.waited));
    assert_eq!((told(&again), &again.services), (told(&receipt), &receipt.services));
    eventually_kinds(&plane, &["hold", "switch", "release"]).await;
}

async fn eventually_kinds(plane: &Plane, kinds: &[&str]) {
    for _ in 0..1000 {
        if plane.kinds(Some("shop")).await == kinds {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{:?}", plane.kinds(Some("shop")).await);
}

#[tokio::test]
async fn a_switch_behind_a_hold_is_made_when_the_time_is_over_whatever_is_under_way() {
    let plane = Plane::new().await;
    let _leave = at_blue(&plane, "shop");
    let receipt = switching(&plane, &["shop"], Duration::from_millis(30), ops()).await.unwrap().unwrap();
    assert!(receipt.changed && receipt.hold.is_some_and(|h| h.ms >= 30.0), "{receipt:?}");
    assert_eq!(plane.shares("shop"), [0.0, 100.0]);
}

#[tokio::test]
async fn a_switch_is_given_up_when_somebody_lets_go_or_changes_the_service_meanwhile() {
    let plane = Plane::new().await;
    let _leave = [at_blue(&plane, "shop"), at_blue(&plane, "api")];
    let released = switching(&plane, &["shop", "api"], LONG, ops());
    eventually("held", || held(&plane, "api").is_some()).await;
    plane.handle.release(service("api"), ops()).await.unwrap();
    assert!(matches!(released.await.unwrap(), Err(Rejected::HoldReleased { .. })));
    assert!(held(&plane, "shop").is_none() && held(&plane, "api").is_none());
    let overtaken = switching(&plane, &["shop"], Duration::from_millis(300), ops());
    eventually("held", || held(&plane, "shop").is_some()).await;
    let share = crate::model::split::Share::from_percent(10.0).unwrap();
    plane.handle.shift(service("shop"), GroupName::new("green").unwrap(), share, ops()).await.unwrap();
    assert!(held(&plane, "shop").is_some(), "a hold outlives publications");
    assert!(matches!(overtaken.await.unwrap(), Err(Rejected::StaleVersion { .. })));
    assert!(held(&plane, "shop").is_none());
    assert_eq!((plane.shares("shop"), plane.shares("api")), (vec![90.0, 10.0], vec![100.0, 0.0]));
}

#[tokio::test]
async fn what_is_so_already_or_refused_holds_nobody() {
    let plane = Plane::new().await;
    let nothing = plane.handle.change_held(switch(&["shop"], "blue"), LONG, ops()).await.unwrap();
    assert_eq!((nothing.changed, nothing.hold), (false, None));
    let stale = Origin { expected_version: Some(99), ..ops() };
    let refused = plane.handle.change_held(switch(&["shop"], "green"), LONG, stale).await.unwrap_err();
    assert!(matches!(refused, Rejected::StaleVersion { .. }), "{refused:?}");
    assert!(held(&plane, "shop").is_none());
    assert_eq!(plane.kinds(Some("shop")).await, ["switch.refused"]);
}

#[tokio::test]
async fn a_repeated_key_holds_once() {
    let plane = Plane::new().await;
    let first = plane.handle.hold(service("shop"), Some(LONG), keyed("a")).await.unwrap();
    assert_eq!(plane.handle.hold(service("shop"), Some(LONG), keyed("a")).await.unwrap(), first);
    let other = plane.handle.release(service("shop"), keyed("a")).await.unwrap_err();
    assert!(matches!(other, Rejected::IdempotencyKeyReused(_)), "{other:?}");
}
