//! What a reload promises.

use std::sync::Arc;

use crate::config::spec::{self, Spec};
use crate::control::command::{Force, Origin, Rejected, Replaced, TrafficChange};
use crate::control::controller::tests::{Paper, Plane, loaded, prepared, two_services};
use crate::control::samples::{self, certificate, eventually};
use crate::control::source::{Loaded, Source};
use crate::control::{Before, StartOptions, Watch, start};
use crate::model::change::samples::{service, split};
use crate::model::names::GroupName;
use crate::routing::live::Health;
use crate::store::sqlite::Sqlite;

fn origin(actor: &str) -> Origin {
    Origin { actor: actor.to_owned(), ..Origin::default() }
}

fn edited(plane: &Plane, edit: impl FnOnce(&mut Spec)) {
    let mut paper = plane.paper.0.lock().unwrap();
    let mut spec = paper.as_ref().unwrap().spec.clone();
    edit(&mut spec);
    *paper = Ok(loaded(&spec));
}

fn shop(spec: &mut Spec, edit: impl FnOnce(&mut spec::Service)) {
    let mut shop = (*spec.services[0]).clone();
    edit(&mut shop);
    spec.services[0] = Arc::new(shop);
}

#[tokio::test]
async fn a_reload_without_a_change_changes_and_publishes_nothing() {
    let plane = Plane::new().await;
    let generation = plane.reader.current().generation;
    let report = plane.handle.reload(origin("ops")).await.unwrap();
    assert_eq!((report.changed, report.changes, report.version), (false, vec![], plane.handle.version()));
    assert_eq!(plane.reader.current().generation, generation);
    assert_eq!(plane.kinds(None).await, ["start"]);
}

#[tokio::test]
async fn a_reload_that_fails_changes_nothing_and_says_everything() {
    let plane = Plane::new().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free = samples::free_port();
    let generation = plane.reader.current().generation;
    edited(&plane, |spec| {
        spec.listeners.push(samples::listener("free", &format!("127.0.0.1:{free}")));
        spec.listeners.push(samples::listener("taken", &taken.local_addr().unwrap().to_string()));
        shop(spec, |s| s.groups.truncate(1));
    });
    let Err(Rejected::InvalidConfig(errors)) = plane.handle.reload(origin("ops")).await else { panic!("accepted") };
    assert!(errors.len() == 1 && errors[0].contains("listeners.taken"), "{errors:?}");
    std::net::TcpListener::bind(("127.0.0.1", free)).unwrap();
    *plane.paper.0.lock().unwrap() = Err(vec!["a.yaml:1:2: wrong".to_owned(), "a.yaml:3:4: worse".to_owned()]);
    let Err(Rejected::InvalidConfig(errors)) = plane.handle.reload(origin("ops")).await else { panic!("accepted") };
    assert_eq!(errors.len(), 2);
    assert_eq!(plane.reader.current().generation, generation);
    let readiness = plane.handle.readiness();
    assert!(!readiness.last_reload_ok && readiness.notes.iter().any(|n| n.contains("a.yaml:3:4: worse")));
    let mut told = Vec::new();
    while told != ["start", "reload.refused", "reload.refused"] {
        told = plane.kinds(None).await;
        assert!(told.len() <= 3, "{told:?}");
        tokio::task::yield_now().await;
    }
    let events = plane.handle.events(0, 1000, None).await.unwrap();
    assert_eq!(events.last().unwrap().detail["errors"][1], "a.yaml:3:4: worse");
}

#[tokio::test]
async fn a_reload_says_what_it_changed_and_leaves_the_rest_alive() {
    let plane = Plane::new().await;
    let before = plane.reader.current();
    plane.handle.change(to("green"), origin("ops")).await.unwrap();
    edited(&plane, |spec| {
        shop(spec, |s| s.health.healthy_after = 9);
        spec.workers = 7;
        spec.routes.push(spec.routes[0].clone());
    });
    let report = plane.handle.reload(origin("ops")).await.unwrap();
    assert_eq!(report.changes, ["services.shop.health: changed", "routes: 1 routes -> 2 routes"]);
    assert_eq!(report.needs_restart, ["workers: 1 -> 7"]);
    let after = plane.reader.current();
    assert_eq!(plane.shares("shop"), [0.0, 100.0]);
    assert_eq!(after.routes.all().len(), 2);
    let live = |table: &crate::routing::table::Table| Arc::clone(&table.services[0].groups[0].upstreams[0].live);
    assert!(Arc::ptr_eq(&live(&before), &live(&after)));
    assert_eq!(live(&after).health(), Health::Healthy);
    assert!(before.listeners[0].sockets.ptr_eq(&after.listeners[0].sockets));
    assert_eq!(plane.kinds(None).await, ["start", "switch", "reload"]);
}

fn to(group: &str) -> TrafficChange {
    TrafficChange::Switch {
        services: vec![service("shop")],
        to: GroupName::new(group).unwrap(),
        force: Force::No,
        replaced: Replaced::Kept,
    }
}

#[tokio::test]
async fn a_split_edited_in_the_file_wins_and_a_group_that_is_gone_is_told_loudly() {
    let plane = Plane::new().await;
    plane.handle.change(to("green"), origin("ops")).await.unwrap();
    edited(&plane, |spec| shop(spec, |s| s.split = split("blue 50 green 50")));
    let report = plane.handle.reload(origin("ops")).await.unwrap();
    assert_eq!(plane.shares("shop"), [50.0, 50.0]);
    assert!(report.changes[0].starts_with("services.shop.split: blue 0, green 100 -> blue 50, green 50"));
    edited(&plane, |spec| {
        shop(spec, |s| {
            s.groups.truncate(1);
            s.split = split("blue 100");
        });
    });
    plane.handle.reload(origin("ops")).await.unwrap();
    assert_eq!(plane.shares("shop"), [100.0]);
    assert_eq!(plane.kinds(Some("shop")).await, ["switch", "split", "split"]);
    let view = plane.handle.service("shop").await.unwrap();
    assert_eq!((view.stable_split, view.candidate), (split("blue 100"), None));
}

#[tokio::test]
async fn a_stale_version_refuses_a_reload() {
    let plane = Plane::new().await;
    let stale = Origin { expected_version: Some(99), ..origin("ops") };
    assert!(matches!(plane.handle.reload(stale).await, Err(Rejected::StaleVersion { .. })));
}

#[tokio::test]
async fn drift_names_what_differs_and_who_changed_it() {
    let plane = Plane::new().await;
    assert_eq!(plane.handle.drift().await.unwrap(), []);
    plane.handle.change(to("green"), origin("ops")).await.unwrap();
    edited(&plane, |spec| {
        shop(spec, |s| s.health.healthy_after = 9);
        spec.workers = 7;
    });
    let drift = plane.handle.drift().await.unwrap();
    let named: Vec<_> = drift.iter().map(|d| d.what.as_str()).collect();
    assert_eq!(named, ["services.shop.split", "services.shop.health", "workers"]);
    assert_eq!((drift[0].file.as_str(), drift[0].running.as_str()), ("blue 100, green 0", "blue 0, green 100"));
    assert!(drift[0].why.starts_with("changed at run time by ops (switch) at "), "{}", drift[0].why);
    assert!(plane.handle.export().await.unwrap().contains("(\"shop\", blue 0, green 100)"));
}

#[tokio::test]
async fn certificates_are_exchanged_when_their_files_change_though_the_configuration_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let (mut spec, _upstreams) = two_services().await;
    let files = certificate(folder.path(), "a.test");
    spec.listeners[0].tls = Some(spec::Tls { certificates: vec![files], client_ca: None });
    let source = Arc::new(Paper(std::sync::Mutex::new(Ok(loaded(&spec)))));
    let store = Box::new(Sqlite::in_memory().unwrap());
    let options = StartOptions {
        prepared: prepared(loaded(&spec)).await,
        source,
        store,
        watch: Watch::Files,
        before: Before::Nobody,
    };
    let (handle, reader, joiner) = start(options).await.unwrap();
    let tls = || reader.current().listeners[0].tls.clone().unwrap();
    let before = tls();
    // At once, before the watch can have begun; and once more when it has.
    certificate(folder.path(), "a.test");
    eventually("the first is exchanged", || !Arc::ptr_eq(&before, &tls())).await;
    let second = tls();
    certificate(folder.path(), "a.test");
    eventually("the second is exchanged", || !Arc::ptr_eq(&second, &tls())).await;
    let events = handle.events(0, 1000, None).await.unwrap();
    let reload = events.iter().find(|e| e.kind == "reload").unwrap();
    assert_eq!(
        (reload.actor.as_str(), &reload.detail["changes"][0]),
        ("file", &"listeners.web: certificates changed".into())
    );
    joiner.stop().await;
}

/// A file on disk whose text is the split.
struct OnDisk {
    path: std::path::PathBuf,
    spec: Spec,
}

impl Source for OnDisk {
    fn load(&self) -> Result<Loaded, Vec<String>> {
        let text = std::fs::read_to_string(&self.path).map_err(|e| vec![e.to_string()])?;
        let mut spec = self.spec.clone();
        shop(&mut spec, |s| s.split = split(&text));
        Ok(Loaded { spec, text, files: vec![self.path.clone()] })
    }
    fn export(&self, text: &str, _: &[(crate::model::names::ServiceName, crate::model::split::Split)]) -> String {
        text.to_owned()
    }
}

#[tokio::test]
async fn a_file_that_was_edited_before_it_was_watched_or_after_is_put_to_work() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.yaml");
    std::fs::write(&path, "blue 100 green 0").unwrap();
    let (spec, _upstreams) = two_services().await;
    let source = Arc::new(OnDisk { path: path.clone(), spec });
    let loaded = source.load().unwrap();
    std::fs::write(&path, "blue 90 green 10").unwrap();
    let store = Box::new(Sqlite::in_memory().unwrap());
    let (_handle, reader, joiner) = start(StartOptions {
        prepared: prepared(loaded).await,
        source,
        store,
        watch: Watch::Files,
        before: Before::Nobody,
    })
    .await
    .unwrap();
    let share = |ppm: u32| reader.current().services[0].shares[1] == ppm;
    eventually("the edit before the watch", || share(100_000)).await;
    std::fs::write(folder.path().join("new"), "blue 80 green 20").unwrap();
    std::fs::rename(folder.path().join("new"), &path).unwrap();
    eventually("the edit after it", || share(200_000)).await;
    joiner.stop().await;
}
