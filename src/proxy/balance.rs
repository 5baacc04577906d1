//! Chooses an upstream within a group.
//!
//! By health first: the healthy ones; where fewer than a fifth are healthy, all of them (a panic threshold as in
//! Envoy: the few would drown); where none is and some are unknown, those. Then by the service's way of balancing, in
//! which one that has come back a moment ago counts for less (but for hashing, which keeps clients where they are).

use std::time::Instant;

use smallvec::SmallVec;

use super::affinity::Place;
use crate::config::spec::Balance;
use crate::model::slow_start;
use crate::routing::live::{Entrance, GroupSlot, Health};
use crate::routing::table::{Group, Upstream};

/// Below this part of healthy upstreams (one in …) all are used.
const PANIC: usize = 5;

/// Indices of upstreams; a group has a few.
type Indices = SmallVec<[usize; 8]>;

/// The upstream for a request, none of `tried`; none when all have been tried.
pub(super) fn upstream(
    group: &Group,
    balance: Balance,
    place: Place,
    slot: &GroupSlot,
    worker: usize,
    tried: &[usize],
    comer: Comer,
) -> Option<usize> {
    // One upstream, the usual case: no choice to make. That it is unhealthy or closed was found out when choosing the
    // group.
    if let ([only], []) = (&group.upstreams[..], tried) {
        return comer.may_enter(only.live.entrance()).then_some(0);
    }
    let mut eligible = eligible(group, comer);
    eligible.retain(|i| !tried.contains(i));
    match (&eligible[..], balance) {
        ([], _) => None,
        ([only], _) => Some(*only),
        (some, Balance::LeastRequests) => Some(least_requests(group, some, worker)),
        (some, Balance::RoundRobin) => Some(in_turn(group, some, slot)),
        (some, Balance::Hash) => Some(by_hash(group, some, place)),
    }
}

/// Who wants to come to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comer {
    User,
    /// Somebody who tries it out before users come.
    Validation,
}

impl Comer {
    /// Whether `entrance` is open to it.
    pub(super) fn may_enter(self, entrance: Entrance) -> bool {
        match entrance {
            Entrance::Open => true,
            Entrance::ToValidation => self == Self::Validation,
            Entrance::Closed => false,
        }
    }
}

/// Those that are open, and among these by health.
fn eligible(group: &Group, comer: Comer) -> Indices {
    let open = || group.upstreams.iter().enumerate().filter(|(_, u)| comer.may_enter(u.live.entrance()));
    let with =
        |wanted: Health| -> Indices { open().filter(|(_, u)| u.live.health() == wanted).map(|(i, _)| i).collect() };
    let (all, healthy): (Indices, _) = (open().map(|(i, _)| i).collect(), with(Health::Healthy));
    if healthy.len() * PANIC >= all.len() && !healthy.is_empty() {
        return healthy;
    }
    let unknown = with(Health::Unknown);
    if healthy.is_empty() && !unknown.is_empty() { unknown } else { all }
}

/// Two different ones drawn by weight, of which the one with fewer attempts of this worker in flight, by weight ("power of two
/// choices", Mitzenmacher 2001); the first where that is the same. Only this worker's own counts: no other worker's
/// memory is touched.
fn least_requests(group: &Group, among: &[usize], worker: usize) -> usize {
    let parts = Parts::now(group, among);
    let load = |i: usize| {
        let upstream = &group.upstreams[i];
        upstream.live.slot(worker).in_flight.count() as f64 / (f64::from(upstream.weight) * parts.of(i))
    };
    let a = drawn(group, among, &parts);
    let others: Indices = among.iter().copied().filter(|i| *i != a).collect();
    let b = drawn(group, &others, &parts);
    if load(b) < load(a) { b } else { a }
}

fn drawn(group: &Group, among: &[usize], parts: &Parts) -> usize {
    let total: u64 = among.iter().map(|&i| weight(&group.upstreams[i])).sum();
    parts.accepted(|| at(group, among, fastrand::u64(..total)))
}

fn in_turn(group: &Group, among: &[usize], slot: &GroupSlot) -> usize {
    let total: u64 = among.iter().map(|&i| weight(&group.upstreams[i])).sum();
    Parts::now(group, among).accepted(|| {
        slot.turns.add(1);
        at(group, among, slot.turns.get() % total)
    })
}

/// Which part of its weight counts for each upstream of a group, while some have come back a moment ago: so likely it
/// is that one keeps what it was chosen for.
struct Parts(SmallVec<[f64; 8]>);

/// An upstream that is chosen so often gets the request after all.
const PASSES: usize = 16;

impl Parts {
    /// As of now; none where all count in full. The largest is 1: where all have come back together, none is spared.
    fn now(group: &Group, among: &[usize]) -> Self {
        let Some(over) = group.slow_start else { return Self(SmallVec::new()) };
        let now = Instant::now();
        let part = |upstream: &Upstream| upstream.live.back_for(now).map_or(1.0, |ago| slow_start::part(ago, over));
        let mut parts: SmallVec<[f64; 8]> = group.upstreams.iter().map(part).collect();
        let largest = among.iter().map(|&i| parts[i]).fold(f64::MIN_POSITIVE, f64::max);
        parts.iter_mut().for_each(|p| *p /= largest);
        Self(parts)
    }

    fn of(&self, upstream: usize) -> f64 {
        self.0.get(upstream).copied().unwrap_or(1.0)
    }

    /// What `choose` chooses, as often as each upstream's part allows.
    fn accepted(&self, mut choose: impl FnMut() -> usize) -> usize {
        let mut chosen = choose();
        for _ in 0..PASSES {
            let part = self.of(chosen);
            if part >= 1.0 || fastrand::f64() < part {
                break;
            }
            chosen = choose();
        }
        chosen
    }
}

/// The upstream that owns `ticket` when each of `among` has as many tickets as its weight.
fn at(group: &Group, among: &[usize], ticket: u64) -> usize {
    let mut end = 0;
    let owner = among.iter().find(|&&i| {
        end += weight(&group.upstreams[i]);
        ticket < end
    });
    *owner.unwrap_or(&among[0])
}

fn weight(upstream: &Upstream) -> u64 {
    u64::from(upstream.weight)
}

/// Rendezvous hashing with weights (Schindelhauer and Schomaker 2005): the largest of `-weight / ln(hash)`; a lost
/// upstream moves only its own clients.
fn by_hash(group: &Group, among: &[usize], place: Place) -> usize {
    let score = |i: usize| {
        let upstream = &group.upstreams[i];
        let key = crate::model::cohort::Salt(u128::from(place.position.ppm()) + 1);
        let drawn = crate::model::cohort::Position::of(key, upstream.live.endpoint.url.as_bytes()).ppm();
        let uniform = (f64::from(drawn) + 0.5) / 1e6;
        -f64::from(upstream.weight) / uniform.ln()
    };
    among.iter().copied().max_by(|&a, &b| score(a).total_cmp(&score(b))).unwrap_or(among[0])
}
