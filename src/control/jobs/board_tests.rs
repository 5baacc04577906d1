//! What the board promises.

use serde_json::json;

use super::*;
use crate::config::spec::{EventPattern, WebhookFormat};
use crate::model::job::samples::{notification, notify, second};
use crate::store::NewEvent;

fn webhook(name: &str, events: &[&str]) -> Webhook {
    let pattern = |text: &&str| match (*text, text.strip_suffix(".*")) {
        ("*", _) => EventPattern::All,
        (_, Some(family)) => EventPattern::Family(family.to_owned()),
        (kind, None) => EventPattern::Kind(kind.to_owned()),
    };
    let (name, url) = (name.to_owned(), "http://127.0.0.1:1/".to_owned());
    Webhook { name, url, events: events.iter().map(pattern).collect(), secret: None, format: WebhookFormat::Json }
}

fn event(id: u64, kind: &str, detail: serde_json::Value) -> Event {
    let (actor, kind) = ("ops".to_owned(), kind.to_owned());
    Event { id, line: NewEvent { at: second(0), actor, kind, service: Some("shop".to_owned()), detail } }
}

fn told(jobs: &Jobs, event: &Event) -> Vec<(String, Priority)> {
    let mut batch = Batch { events: vec![event.line.clone()], ..Batch::default() };
    jobs.complete(&mut batch, std::slice::from_ref(event));
    let named = |job: &Job| match &job.kind {
        Kind::Notify(notify) => {
            assert_eq!((notify.event.id, &notify.event.kind), (event.id, &event.line.kind));
            assert!(job.deadline.is_some_and(|deadline| deadline > job.created));
            (notify.webhook.clone(), job.priority)
        }
        other => panic!("{other:?}"),
    };
    batch.jobs.iter().map(named).collect()
}

/// `n` jobs for `webhook`, from number `from` on, due at once.
fn some(from: u64, n: u64, webhook: &str, priority: Priority) -> Vec<Job> {
    (from..from + n).map(|id| Job { kind: notify(webhook), priority, ..notification(id) }).collect()
}

fn taken(jobs: &Jobs) -> Option<u64> {
    jobs.take(second(0)).map(|job| job.id)
}

fn end(jobs: &Jobs, id: u64) {
    jobs.put(&[jobs.get(id).unwrap().succeeded().unwrap()]);
}

#[test]
fn those_are_told_who_want_to_know_and_the_more_urgently_the_more_it_concerns_users() {
    let jobs = Jobs::default();
    jobs.tell(&[webhook("all", &["*"]), webhook("ops", &["rollout.*", "rollback"])]);
    let told = |kind| told(&jobs, &event(4, kind, json!({})));
    let (all, ops) = ("all".to_owned(), "ops".to_owned());
    assert_eq!(told("rollback"), [(all.clone(), Priority::Critical), (ops.clone(), Priority::Critical)]);
    assert_eq!(told("rollout.awaiting_approval"), [(all.clone(), Priority::High), (ops, Priority::High)]);
    assert_eq!(told("health"), [(all.clone(), Priority::Low)]);
    assert_eq!(told("reload"), [(all, Priority::Normal)]);
    jobs.tell(&[]);
    assert_eq!(told("rollback"), []);
}

#[test]
fn that_somebody_cannot_be_told_is_not_told_to_him_and_goes_on_for_ever_nowhere() {
    let jobs = Jobs::default();
    jobs.tell(&[webhook("a", &["*"]), webhook("b", &["*"])]);
    let names = |detail| told(&jobs, &event(9, "job.dead", detail)).into_iter().map(|(n, _)| n).collect::<Vec<_>>();
    assert_eq!(names(json!({ "webhook": "a", "about": "switch" })), ["b"]);
    assert_eq!(names(json!({ "webhook": "a", "about": "job.dead" })), [""; 0]);
    assert_eq!(names(json!({ "count": 100 })), [""; 0]);
    assert_eq!(names(json!({ "rollout": 3 })), ["a", "b"]);
}

#[test]
fn one_webhook_that_is_slow_keeps_no_other_waiting() {
    let jobs = Jobs::default();
    jobs.put(&some(1, 5, "slow", Priority::Normal));
    jobs.put(&some(11, 2, "fast", Priority::Normal));
    assert_eq!((taken(&jobs), taken(&jobs), taken(&jobs)), (Some(1), Some(11), None));
    end(&jobs, 11);
    assert_eq!((taken(&jobs), taken(&jobs)), (Some(12), None));
    // What is urgent does not wait for what is not.
    jobs.put(&some(21, 2, "slow", Priority::Critical));
    assert_eq!((taken(&jobs), taken(&jobs)), (Some(21), None));
    end(&jobs, 1);
    assert_eq!(taken(&jobs), Some(22), "the urgent one ahead of those that wait for longer");
}

#[test]
fn however_many_receivers_are_slow_there_is_a_place_for_what_is_urgent_and_an_end_to_how_many_are_at_work() {
    let jobs = Jobs::default();
    let many = |from: u64, priority| {
        (from..from + 40).map(|id| some(id, 1, &format!("w{id}"), priority).remove(0)).collect::<Vec<_>>()
    };
    jobs.put(&many(100, Priority::Normal));
    let at_work = std::iter::from_fn(|| taken(&jobs)).count();
    assert_eq!(at_work, MOST_RUNNING - KEPT);
    jobs.put(&many(200, Priority::High));
    let urgent: Vec<_> = std::iter::from_fn(|| taken(&jobs)).collect();
    assert_eq!(urgent.len(), KEPT);
    assert!(urgent.iter().all(|id| *id >= 200), "{urgent:?}");
}

#[test]
fn the_most_urgent_go_first_and_the_least_urgent_go_too() {
    let jobs = Jobs::default();
    jobs.put(&[Job { priority: Priority::Low, ..notification(1) }.due_at(second(-100))]);
    jobs.put(&some(10, 30, "ops", Priority::Critical));
    let mut order = Vec::new();
    while let Some(id) = taken(&jobs) {
        order.push(id);
        end(&jobs, id);
    }
    assert_eq!(order.len(), 31);
    let low = order.iter().position(|id| *id == 1).unwrap();
    assert!((1..PATIENCE as usize).contains(&low), "{order:?}");
    order.remove(low);
    assert!(order.is_sorted(), "{order:?}");
}

#[test]
fn a_job_begins_when_it_is_due_and_only_where_the_state_is_ours() {
    let jobs = Jobs::default();
    jobs.put(&[notification(1).due_at(second(10)), notification(2).due_at(second(20))]);
    assert_eq!((taken(&jobs), jobs.next_due(second(0))), (None, Some(second(10))));
    for keeping in [Keeping::Packed, Keeping::Away] {
        jobs.keep(keeping);
        assert_eq!(jobs.take(second(30)), None);
    }
    jobs.keep(Keeping::Ours);
    let job = jobs.take(second(10)).unwrap();
    assert!((job.id, job.attempts) == (1, 1) && jobs.is_under_way(Attempt { id: 1, number: 1 }));
    assert!(!jobs.is_under_way(Attempt { id: 1, number: 2 }));
    jobs.none_runs();
    assert!(!jobs.is_under_way(Attempt { id: 1, number: 1 }), "it is made again");
    assert_eq!(jobs.take(second(10)).map(|job| (job.id, job.attempts)), Some((1, 2)));
}

#[test]
fn where_there_are_too_many_the_oldest_of_the_least_urgent_are_given_up_together_and_that_is_said() {
    let jobs = Jobs::default();
    jobs.tell(&[webhook("ops", &["*"])]);
    jobs.load(some(1, MOST_WAITING as u64, "ops", Priority::Normal), MOST_WAITING as u64);
    jobs.put(&[Job { priority: Priority::Low, ..notification(5000) }]);
    let event = event(1, "rollback", json!({}));
    let mut batch = Batch { events: vec![event.line.clone()], ..Batch::default() };
    jobs.complete(&mut batch, std::slice::from_ref(&event));
    let dead: Vec<_> = batch.jobs.iter().filter(|job| job.state == State::Dead).map(|job| job.id).collect();
    assert_eq!((dead.len(), dead[0], dead[1]), (GIVEN_UP_TOGETHER, 5000, 1));
    assert_eq!(batch.events.last().unwrap().kind, "job.dead");
    jobs.put(&batch.jobs);
    let counts = jobs.counts();
    assert_eq!(counts[3], (State::Dead, GIVEN_UP_TOGETHER as u64));
    assert_eq!(counts[0], (State::Waiting, (MOST_WAITING - GIVEN_UP_TOGETHER + 1) as u64));
}

#[test]
fn of_those_that_have_ended_the_last_ones_are_kept() {
    let jobs = Jobs::default();
    for job in some(1, MOST_ENDED as u64 + 10, "ops", Priority::Normal) {
        jobs.put(&[job.taken().unwrap().succeeded().unwrap()]);
    }
    assert_eq!(jobs.counts()[2], (State::Done, MOST_ENDED as u64));
    assert_eq!((jobs.get(10), jobs.list(None, Some(State::Done), 1)[0].id), (None, MOST_ENDED as u64 + 10));
    assert_eq!(jobs.list(None, Some(State::Dead), 10), []);
}
