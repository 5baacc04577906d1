//! States and intents that tests of desired state begin with.

use proptest::prelude::*;

use super::*;
use crate::model::adoption::{FileService, adopt};
use crate::model::rollout::plan::Plan;
use crate::model::rollout::{self, Begin, By, Freezes};

/// Any moment.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap()
}

pub(crate) fn group(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}

pub(crate) fn service(name: &str) -> ServiceName {
    ServiceName::new(name).unwrap()
}

/// `blue 90 green 10` as a split.
pub(crate) fn split(text: &str) -> Split {
    let words: Vec<_> = text.split(' ').collect();
    Split::new(words.chunks(2).map(|w| (group(w[0]), Share::from_percent(w[1].parse().unwrap()).unwrap()))).unwrap()
}

pub(crate) fn file(text: &str) -> FileService {
    let split = split(text);
    let groups: Vec<_> = split.iter().map(|(g, _)| g.clone()).collect();
    let upstreams = groups.iter().map(|g| (g.clone(), format!("http://{g}:80"))).collect();
    FileService { name: service("shop"), groups, upstreams, split }
}

pub(crate) fn started(text: &str) -> Desired {
    adopt(&Desired::default(), &[file(text)], || Salt(7)).desired
}

pub(crate) fn shop(desired: &Desired) -> &ServiceState {
    &desired.services["shop"]
}

pub(crate) fn after(desired: &Desired, intents: &[Intent]) -> Desired {
    intents.iter().fold(desired.clone(), |d, i| decide(&d, i, now()).unwrap().desired)
}

pub(crate) fn set(text: &str) -> Intent {
    Intent::Split { service: service("shop"), split: split(text), stable: Stable::ByRule }
}

pub(crate) fn shift(to: &str, share: f64) -> Intent {
    Intent::Shift { service: service("shop"), group: group(to), share: Share::from_percent(share).unwrap() }
}

pub(crate) fn switch(to: &str) -> Intent {
    Intent::Switch { services: vec![service("shop")], to: group(to) }
}

pub(crate) fn rollback() -> Intent {
    Intent::Rollback { services: vec![service("shop")] }
}

/// `desired` with a rollout of `shop` to green in it that has just begun.
pub(crate) fn begun(desired: &Desired, id: RolloutId) -> Desired {
    let (services, to, plan) = (vec![service("shop")], group("green"), Plan::default());
    let begin = Begin { id, services, to, plan, salt: Salt(8), reason: None, freeze: Freezes::Heeded };
    let by = By { actor: "ops".to_owned(), cause: "it was started".to_owned(), figures: Vec::new() };
    rollout::begin(desired, begin, &by, now()).unwrap().desired
}

pub(crate) fn any_split() -> impl Strategy<Value = Split> {
    (0_u32..=100, 0_u32..=100).prop_map(|(a, b)| {
        let (low, high) = (a.min(b), a.max(b));
        split(&format!("blue {low} canary {} green {}", high - low, 100 - high))
    })
}

pub(crate) fn any_group() -> impl Strategy<Value = GroupName> {
    prop_oneof![Just(group("blue")), Just(group("canary")), Just(group("green"))]
}

pub(crate) fn any_services() -> impl Strategy<Value = Vec<ServiceName>> {
    let one = prop_oneof![Just(service("shop")), Just(service("api"))];
    proptest::collection::vec(one, 1..4)
}

pub(crate) fn any_intent() -> impl Strategy<Value = Intent> {
    let stable = prop_oneof![4 => Just(Stable::ByRule), 1 => Just(Stable::Declared)];
    prop_oneof![
        (any_split(), stable).prop_map(|(split, stable)| Intent::Split { service: service("shop"), split, stable }),
        (any_group(), 0_u32..=1_000_000).prop_map(|(group, ppm)| Intent::Shift {
            service: service("api"),
            group,
            share: Share::from_percent(f64::from(ppm) / 10_000.0).unwrap(),
        }),
        (any_services(), any_group()).prop_map(|(services, to)| Intent::Switch { services, to }),
        any_services().prop_map(|services| Intent::Rollback { services }),
    ]
}

pub(crate) fn total(split: &Split) -> u32 {
    split.iter().map(|(_, share)| share.ppm()).sum()
}
