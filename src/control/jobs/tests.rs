//! What jobs promise beside the store: they count when what they are about does, and not otherwise.

use std::sync::atomic::Ordering;

use crate::config::spec::{EventPattern, Webhook, WebhookFormat};
use crate::control::command::{Force, Origin, Rejected, Replaced, TrafficChange};
use crate::control::controller::tests::{Plane, two_services};
use crate::control::journal::tests::Moody;
use crate::control::samples::{eventually, free_port};
use crate::model::change::samples::{group, service};
use crate::model::job::{Kind, State};

fn webhook(name: &str, port: u16) -> Webhook {
    let (name, url) = (name.to_owned(), format!("http://127.0.0.1:{port}/"));
    let events = ["switch", "rollback"].map(|kind| EventPattern::Kind(kind.to_owned())).to_vec();
    Webhook { name, url, events, secret: None, format: WebhookFormat::Json }
}

fn switch() -> TrafficChange {
    let (services, to) = (vec![service("shop")], group("green"));
    TrafficChange::Switch { services, to, force: Force::No, replaced: Replaced::Kept }
}

/// What webhooks are told of, the oldest first.
fn told(plane: &Plane) -> Vec<(String, u64)> {
    let jobs = plane.handle.jobs(None, 100).into_iter().rev();
    let told = jobs.filter_map(|job| match job.kind {
        Kind::Notify(notify) => Some((notify.event.kind, notify.event.id)),
        Kind::Validate(_) | Kind::StartRollout(_) => None,
    });
    told.collect()
}

#[tokio::test]
async fn of_what_was_refused_nobody_is_told_and_of_a_rollback_without_a_store_everybody() {
    let (mut spec, upstreams) = two_services().await;
    spec.webhooks = vec![webhook("ops", free_port())];
    let (store, mood) = Moody::pair();
    let plane = Plane::with(spec, upstreams, store).await;
    mood.fails.store(true, Ordering::SeqCst);
    let refused = plane.handle.change(switch(), Origin::default()).await.unwrap_err();
    assert!(matches!(refused, Rejected::Store(_)), "{refused}");
    assert_eq!(told(&plane), []);

    mood.fails.store(false, Ordering::SeqCst);
    let event = plane.handle.change(switch(), Origin::default()).await.unwrap().event.unwrap();
    assert_eq!(told(&plane), [("switch".to_owned(), event)]);

    mood.fails.store(true, Ordering::SeqCst);
    let back = TrafficChange::Rollback { services: vec![service("shop")], force: Force::No };
    plane.handle.change(back, Origin::default()).await.unwrap();
    assert_eq!(told(&plane).last().map(|(kind, _)| kind.as_str()), Some("rollback"));
    mood.fails.store(false, Ordering::SeqCst);
    // Nobody listens there: it is tried all the same, and waits for the next time.
    eventually("both were tried", || plane.handle.jobs(Some(State::Waiting), 9).iter().all(|job| job.attempts > 0))
        .await;
    assert!(plane.handle.jobs(None, 9).iter().all(|job| job.last_error.as_ref().is_none_or(|e| e.contains("connect"))));
}

#[tokio::test]
async fn while_another_process_has_the_state_none_is_begun_and_afterwards_all_are() {
    let (mut spec, upstreams) = two_services().await;
    spec.webhooks = vec![webhook("ops", free_port())];
    let plane = Plane::with(spec, upstreams, Moody::pair().0).await;
    plane.handle.pack().await.unwrap();
    plane.handle.change(switch(), Origin::default()).await.unwrap();
    let job = plane.handle.jobs(None, 1).remove(0);
    assert_eq!((job.state, job.attempts), (State::Waiting, 0));
    plane.handle.hand_over().await.unwrap();
    let refused = plane.handle.retry_job(job.id, Origin::default()).await.unwrap_err();
    assert_eq!(refused, Rejected::Upgrading);
    assert_eq!(plane.handle.jobs(None, 1)[0].attempts, 0);
    plane.handle.take_back(Some(Moody::pair().0)).await.unwrap();
    eventually("it was tried", || plane.handle.jobs(None, 1)[0].attempts > 0).await;
}
