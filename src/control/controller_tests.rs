//! What the control plane as a whole promises: changes, refusals, repetitions, failing stores, restarts.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;

use crate::config::spec::{Check, Spec};
use crate::control::command::{Force, Origin, Receipt, Rejected, Replaced, Stable, TrafficChange};
use crate::control::handle::Handle;
use crate::control::journal::tests::{Mood, Moody};
use crate::control::samples::{self, eventually, health};
use crate::control::source::{Loaded, Source};
use crate::control::view::Audit;
use crate::control::{Before, Joiner, Prepared, StartError, StartOptions, Watch, prepare, start};
use crate::model::change::samples::{service, split};
use crate::model::names::{GroupName, ServiceName};
use crate::model::split::{Share, Split};
use crate::routing::inherited::Inherited;
use crate::routing::live::Health;
use crate::routing::publish::Reader;
use crate::store::Store;
use crate::store::sqlite::Sqlite;

/// A file whose contents the test decides.
pub(in crate::control) struct Paper(pub(in crate::control) Mutex<Result<Loaded, Vec<String>>>);

impl Source for Paper {
    fn load(&self) -> Result<Loaded, Vec<String>> {
        self.0.lock().unwrap().clone()
    }
    fn export(&self, text: &str, splits: &[(ServiceName, Split)]) -> String {
        format!("{text} {splits:?}")
    }
}

/// A running control plane with the services `shop` and `api`, whose upstreams `blue` and `green` listen.
pub(in crate::control) struct Plane {
    pub(in crate::control) handle: Handle,
    pub(in crate::control) reader: Reader,
    pub(in crate::control) paper: Arc<Paper>,
    joiner: Joiner,
    upstreams: Vec<TcpListener>,
}

pub(in crate::control) fn loaded(spec: &Spec) -> Loaded {
    Loaded { spec: spec.clone(), text: format!("{:?}", spec.routes), files: Vec::new() }
}

pub(in crate::control) async fn prepared(loaded: Loaded) -> Prepared {
    prepare(loaded, Inherited::default()).await.unwrap().0
}

pub(in crate::control) async fn two_services() -> (Spec, Vec<TcpListener>) {
    let (mut urls, mut upstreams) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        urls.push(format!("http://{}", listener.local_addr().unwrap()));
        upstreams.push(listener);
    }
    let mut spec = samples::spec(&[&urls[0], &urls[1]]);
    spec.services.push(Arc::new(samples::service("api", &[&urls[2], &urls[3]])));
    (spec, upstreams)
}

impl Plane {
    pub(in crate::control) async fn with(spec: Spec, upstreams: Vec<TcpListener>, store: Box<dyn Store>) -> Self {
        let paper = Arc::new(Paper(Mutex::new(Ok(loaded(&spec)))));
        let source = Arc::clone(&paper) as Arc<dyn Source>;
        let options = StartOptions {
            prepared: prepared(loaded(&spec)).await,
            source,
            store,
            watch: Watch::Nothing,
            before: Before::Nobody,
        };
        let (handle, reader, joiner) = start(options).await.unwrap();
        handle.first_health_round().await;
        Self { handle, reader, paper, joiner, upstreams }
    }

    pub(in crate::control) async fn new() -> Self {
        let (spec, upstreams) = two_services().await;
        Self::with(spec, upstreams, Box::new(Sqlite::in_memory().unwrap())).await
    }

    async fn moody() -> (Self, Arc<Mood>) {
        let (spec, upstreams) = two_services().await;
        let (store, mood) = Moody::pair();
        (Self::with(spec, upstreams, store).await, mood)
    }

    /// Shares of a service in the published table, in per cent.
    pub(in crate::control) fn shares(&self, service: &str) -> Vec<f64> {
        let table = self.reader.current();
        table.service(service).unwrap().shares.iter().map(|ppm| f64::from(*ppm) / 10_000.0).collect()
    }

    /// Kinds of events so far, `health` left out.
    pub(in crate::control) async fn kinds(&self, of: Option<&str>) -> Vec<String> {
        let events = self.handle.events(0, 1000, of).await.unwrap();
        events.into_iter().map(|e| e.kind).filter(|k| k != "health").collect()
    }

    /// Puts words into the prober's mouth; it speaks again when its own verdict turns, which it does not here.
    fn declare(&self, service: &str, group: usize, health: Health) {
        let table = self.reader.current();
        table.service(service).unwrap().groups[group].upstreams[0].live.set_health(health);
    }
}

fn switch(services: &[&str], to: &str) -> TrafficChange {
    let services = services.iter().map(|s| service(s)).collect();
    TrafficChange::Switch { services, to: GroupName::new(to).unwrap(), force: Force::No, replaced: Replaced::Kept }
}

fn rollback(name: &str) -> TrafficChange {
    TrafficChange::Rollback { services: vec![service(name)], force: Force::No }
}

fn ops() -> Origin {
    Origin { actor: "ops".to_owned(), reason: Some("a\nreason".to_owned()), ..Origin::default() }
}

fn keyed(key: &str) -> Origin {
    Origin { idempotency_key: Some(key.to_owned()), ..ops() }
}

fn seen(version: u64) -> Origin {
    Origin { expected_version: Some(version), ..ops() }
}

async fn switched(plane: &Plane, to: &str) -> Receipt {
    plane.handle.change(switch(&["shop"], to), ops()).await.unwrap()
}

#[tokio::test]
async fn a_switch_is_published_with_its_answer_and_told_in_the_audit_log() {
    let plane = Plane::new().await;
    let mut events = plane.handle.subscribe();
    let version = plane.handle.version();
    let receipt = switched(&plane, "green").await;
    assert_eq!(plane.shares("shop"), [0.0, 100.0]);
    assert_eq!(plane.shares("api"), [100.0, 0.0]);
    assert_eq!((receipt.version, receipt.changed, plane.handle.version()), (version + 1, true, version + 1));
    assert_eq!(receipt.services[0].before, split("blue 100 green 0"));
    assert_eq!(receipt.services[0].stable, split("blue 100 green 0"));
    let told = loop {
        let event = events.recv().await.unwrap();
        if event.kind != "health" {
            break event;
        }
    };
    assert_eq!((Some(told.id), told.kind.as_str(), told.actor.as_str()), (receipt.event, "switch", "ops"));
    assert_eq!(told.detail["reason"], "a reason");
    assert_eq!(told.detail["after"], serde_json::json!({"blue": 0, "green": 100}));
    assert_eq!(plane.kinds(Some("shop")).await, ["switch"]);
    assert!(matches!(plane.handle.verify_audit().await.unwrap(), Audit::Intact { lines } if lines >= told.id));
    let view = plane.handle.service("shop").await.unwrap();
    assert_eq!((view.version, view.live.as_str(), view.candidate.unwrap().as_str()), (version + 1, "green", "blue"));
    assert_eq!(plane.handle.switch_seconds().2, 1);
}

#[tokio::test]
async fn doing_what_is_already_so_changes_nothing_and_a_rollback_goes_back_once() {
    let plane = Plane::new().await;
    let first = switched(&plane, "green").await;
    let again = switched(&plane, "green").await;
    assert_eq!((again.changed, again.version, again.event), (false, first.version, None));
    let back = plane.handle.change(rollback("shop"), ops()).await.unwrap();
    assert!(back.changed && plane.shares("shop") == [100.0, 0.0]);
    let again = plane.handle.change(rollback("shop"), ops()).await.unwrap();
    assert!(!again.changed && plane.shares("shop") == [100.0, 0.0]);
    assert_eq!(plane.handle.rollbacks(), [("shop".to_owned(), "operator", 1)]);
    assert_eq!(plane.kinds(Some("shop")).await, ["switch", "rollback"]);
}

#[tokio::test]
async fn several_services_move_together_or_not_at_all() {
    let plane = Plane::new().await;
    let mut reader = plane.reader.clone();
    let generation = reader.current().generation;
    plane.declare("api", 1, Health::Unhealthy);
    let refused = plane.handle.change(switch(&["shop", "api"], "green"), ops()).await.unwrap_err();
    assert!(matches!(refused, Rejected::NoHealthyUpstream { ref service, .. } if service.as_str() == "api"));
    let unknown = plane.handle.change(switch(&["shop", "none"], "green"), ops()).await.unwrap_err();
    assert!(matches!(unknown, Rejected::UnknownService { .. }));
    assert_eq!((plane.shares("shop"), reader.current().generation), (vec![100.0, 0.0], generation));
    plane.declare("api", 1, Health::Healthy);
    let receipt = plane.handle.change(switch(&["shop", "api", "shop"], "green"), ops()).await.unwrap();
    assert_eq!(receipt.services.len(), 2);
    assert_eq!((plane.shares("shop"), plane.shares("api")), (vec![0.0, 100.0], vec![0.0, 100.0]));
    assert!(reader.changed().await);
    assert_eq!(reader.current().generation, generation + 1);
    assert_eq!(plane.kinds(Some("api")).await, ["switch.refused", "switch"]);
}

#[tokio::test]
async fn a_switch_to_a_dead_group_is_refused_with_the_reason_and_can_be_forced() {
    let (mut spec, upstreams) = two_services().await;
    let dead = format!("http://127.0.0.1:{}", samples::free_port());
    spec.services[0] =
        Arc::new(samples::service("shop", &[&spec.services[0].groups[0].upstreams[0].endpoint.url, &dead]));
    let plane = Plane::with(spec, upstreams, Box::new(Sqlite::in_memory().unwrap())).await;
    let refused = plane.handle.change(switch(&["shop"], "green"), ops()).await.unwrap_err();
    let Rejected::NoHealthyUpstream { why, .. } = &refused else { panic!("{refused}") };
    assert!(why.contains("cannot connect to 127.0.0.1") && why.contains("refused"), "{why}");
    assert_eq!(plane.kinds(Some("shop")).await, ["switch.refused"]);
    let to = GroupName::new("green").unwrap();
    let forced =
        TrafficChange::Switch { services: vec![service("shop")], to, force: Force::Yes, replaced: Replaced::Kept };
    assert!(plane.handle.change(forced, ops()).await.unwrap().changed);
    let share = Share::from_percent(10.0).unwrap();
    let shifted = plane.handle.shift(service("shop"), GroupName::new("blue").unwrap(), share, ops()).await.unwrap();
    assert_eq!(shifted.services[0].after, split("blue 10 green 90"));
    plane.declare("shop", 0, Health::Unhealthy);
    let refused = plane.handle.change(rollback("shop"), ops()).await;
    assert!(matches!(refused, Err(Rejected::StableGroupUnhealthy { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_switch_to_a_group_without_a_verdict_waits_for_its_first_one() {
    let (mut spec, mut upstreams) = two_services().await;
    let mut shop = (*spec.services[0]).clone();
    let path = "/health".to_owned();
    shop.health = health(Check::Http { path, host: None, expect: samples::expect() });
    shop.health.timeout = Duration::from_secs(30);
    shop.groups.truncate(1);
    shop.split = split("blue 100");
    shop.health.check = Check::Tcp;
    let mut with_green = (*spec.services[0]).clone();
    with_green.health = health(Check::Http { path: "/".to_owned(), host: None, expect: samples::expect() });
    with_green.health.timeout = Duration::from_secs(30);
    spec.services[0] = Arc::new(shop);
    let green = upstreams.remove(1);
    let plane = Plane::with(spec.clone(), upstreams, Box::new(Sqlite::in_memory().unwrap())).await;
    spec.services[0] = Arc::new(with_green);
    *plane.paper.0.lock().unwrap() = Ok(loaded(&spec));
    plane.handle.reload(ops()).await.unwrap();
    let handle = plane.handle.clone();
    let switching = tokio::spawn(async move { handle.change(switch(&["shop"], "green"), ops()).await });
    let (mut probe, _) = green.accept().await.unwrap();
    assert_eq!(plane.shares("shop"), [100.0, 0.0]);
    assert!(!switching.is_finished());
    tokio::io::AsyncWriteExt::write_all(&mut probe, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    assert!(switching.await.unwrap().unwrap().changed);
    assert_eq!(plane.shares("shop"), [0.0, 100.0]);
}

#[tokio::test]
async fn a_version_that_has_moved_on_is_refused_and_another_services_change_does_not_matter() {
    let plane = Plane::new().await;
    let start = plane.handle.version();
    plane.handle.change(switch(&["shop"], "green"), seen(start)).await.unwrap();
    plane.handle.change(switch(&["api"], "green"), seen(start)).await.unwrap();
    let stale = plane.handle.change(switch(&["shop"], "blue"), seen(start)).await.unwrap_err();
    assert_eq!(stale, Rejected::StaleVersion { what: "service shop".to_owned(), expected: start, current: start + 1 });
    let ahead = plane.handle.change(switch(&["shop"], "blue"), seen(start + 9)).await.unwrap_err();
    assert!(matches!(ahead, Rejected::StaleVersion { current, .. } if current == start + 2));
    plane.handle.change(switch(&["shop"], "blue"), seen(start + 1)).await.unwrap();
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_answer_even_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let (spec, upstreams) = two_services().await;
    let plane = Plane::with(spec.clone(), upstreams, Box::new(Sqlite::open(&path).unwrap())).await;
    let version = plane.handle.version();
    let origin = Origin { expected_version: Some(version), ..keyed("k1") };
    let first = plane.handle.change(switch(&["shop"], "green"), origin.clone()).await.unwrap();
    let unchanged = plane.handle.change(switch(&["shop"], "green"), keyed("k2")).await.unwrap();
    assert!(!unchanged.changed);
    switched(&plane, "blue").await;
    for (key, expected) in [("k1", &first), ("k2", &unchanged)] {
        let again = plane.handle.change(switch(&["shop"], "green"), keyed(key)).await.unwrap();
        assert_eq!((again.version, again.changed, again.event), (expected.version, expected.changed, expected.event));
    }
    let reused = plane.handle.change(switch(&["api"], "green"), keyed("k1")).await.unwrap_err();
    assert_eq!(reused, Rejected::IdempotencyKeyReused("k1".to_owned()));
    assert_eq!(plane.shares("shop"), [100.0, 0.0]);
    let upstreams = plane.upstreams;
    plane.joiner.stop().await;
    drop(plane.handle);
    let plane = Plane::with(spec, upstreams, Box::new(Sqlite::open(&path).unwrap())).await;
    let again = plane.handle.change(switch(&["shop"], "green"), origin).await.unwrap();
    assert_eq!((again.version, again.changed, plane.shares("shop")), (first.version, true, vec![100.0, 0.0]));
    let other = Origin { actor: "someone".to_owned(), ..keyed("k1") };
    assert!(plane.handle.change(switch(&["shop"], "green"), other).await.unwrap().version > first.version);
}

#[tokio::test]
async fn a_rollback_works_without_the_store_and_is_written_when_it_is_back() {
    let (plane, mood) = Plane::moody().await;
    switched(&plane, "green").await;
    mood.fails.store(true, Ordering::SeqCst);
    let refused = plane.handle.change(switch(&["api"], "green"), ops()).await.unwrap_err();
    assert_eq!(refused, Rejected::Store("disk full".to_owned()));
    assert_eq!(plane.shares("api"), [100.0, 0.0]);
    let back = plane.handle.change(rollback("shop"), ops()).await.unwrap();
    assert!(back.changed && plane.shares("shop") == [100.0, 0.0]);
    let degraded = plane.handle.readiness().notes;
    assert!(degraded.iter().any(|n| n.contains("disk full")), "{degraded:?}");
    mood.fails.store(false, Ordering::SeqCst);
    eventually("the store is well again", || !plane.handle.readiness().notes.iter().any(|n| n.contains("disk"))).await;
    assert_eq!(plane.kinds(Some("shop")).await, ["switch", "rollback"]);
    let events = plane.handle.events(0, 1000, None).await.unwrap();
    assert_eq!(events.iter().find(|e| e.kind == "rollback").map(|e| e.id), back.event);
}

#[tokio::test]
async fn a_rollback_does_not_wait_for_a_store_that_hangs() {
    let (plane, mood) = Plane::moody().await;
    switched(&plane, "green").await;
    mood.hang(true);
    let back = tokio::time::timeout(Duration::from_secs(4), plane.handle.change(rollback("shop"), keyed("k"))).await;
    assert!(back.unwrap().unwrap().changed && plane.shares("shop") == [100.0, 0.0]);
    mood.hang(false);
    eventually("the store is well again", || !plane.handle.readiness().notes.iter().any(|n| n.contains("state"))).await;
    assert_eq!(plane.kinds(Some("shop")).await, ["switch", "rollback"]);
}

#[tokio::test]
async fn a_split_of_run_time_survives_a_restart_and_an_edited_file_wins_over_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let (mut spec, mut upstreams) = two_services().await;
    let mut salts = Vec::new();
    for (edit, expected) in [(None, [100.0, 0.0]), (None, [75.0, 25.0]), (Some("blue 40 green 60"), [40.0, 60.0])] {
        if let Some(text) = edit {
            let mut shop = (*spec.services[0]).clone();
            shop.split = split(text);
            spec.services[0] = Arc::new(shop);
        }
        let plane = Plane::with(spec.clone(), upstreams, Box::new(Sqlite::open(&path).unwrap())).await;
        assert_eq!(plane.shares("shop"), expected);
        salts.push(plane.reader.current().services[0].salt);
        let to = split("blue 75 green 25");
        let change = TrafficChange::Split { service: service("shop"), split: to, stable: Stable::ByRule };
        plane.handle.change(change, ops()).await.unwrap();
        upstreams = plane.upstreams;
        plane.joiner.stop().await;
    }
    assert!(salts.windows(2).all(|w| w[0] == w[1]), "the same users come first after a restart");
}

#[tokio::test]
async fn a_store_that_cannot_be_read_is_an_error_and_a_stand_in_serves_by_the_file() {
    let (spec, upstreams) = two_services().await;
    let error = crate::store::StoreError::Failed { what: "damaged".to_owned() };
    let plane = Plane::with(spec, upstreams, Box::new(crate::store::Unavailable::new(&error))).await;
    assert_eq!(plane.shares("shop"), [100.0, 0.0]);
    assert!(plane.handle.readiness().notes.iter().any(|n| n.contains("damaged")));
    assert!(matches!(plane.handle.change(switch(&["shop"], "green"), ops()).await, Err(Rejected::Store(_))));
}

#[tokio::test]
async fn a_start_that_fails_says_all_that_is_wrong_and_leaves_nothing_bound() {
    let (mut spec, _upstreams) = two_services().await;
    let (free, taken) = (samples::free_port(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let second = taken.local_addr().unwrap().to_string();
    spec.listeners = vec![samples::listener("a", &format!("127.0.0.1:{free}")), samples::listener("b", &second)];
    let Err(StartError::Config(errors)) = prepare(loaded(&spec), Inherited::default()).await else {
        panic!("it would start")
    };
    assert!(errors.len() == 1 && errors[0].contains("listeners.b"), "{errors:?}");
    std::net::TcpListener::bind(("127.0.0.1", free)).unwrap();
}

#[tokio::test]
async fn readiness_comes_with_workers_and_the_first_round_and_ends_with_the_stop() {
    let mut plane = Plane::new().await;
    assert!(!plane.handle.readiness().ready);
    plane.handle.accepting();
    let ready = plane.handle.readiness();
    assert!(ready.ready && ready.last_reload_ok && ready.notes.is_empty(), "{ready:?}");
    let handle = plane.handle.clone();
    assert!(tokio::time::timeout(Duration::from_millis(20), plane.joiner.failed()).await.is_err());
    plane.joiner.stop().await;
    assert!(!handle.readiness().ready);
    assert_eq!(handle.change(switch(&["shop"], "green"), ops()).await, Err(Rejected::ShuttingDown));
    assert_eq!(handle.reload(ops()).await, Err(Rejected::ShuttingDown));
    let last = handle.events(0, 1000, None).await.unwrap().pop().unwrap();
    assert_eq!(last.kind, "stop");
}
