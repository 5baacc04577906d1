//! One run of a drill: requests to both groups, a fault in the candidate's answers, and the plan's judge.

use std::collections::BTreeMap;
use std::time::Duration;

use http::HeaderValue;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::shot::{Seen, ask, knock_at_nobodys_door, shake_hands};
use super::{DrillRun, DrilledGuard, Fault, far_beyond};
use crate::control::prober::Target;
use crate::model::outcome::Outcome;
use crate::model::rollout::plan::Plan;
use crate::model::split::Share;
use crate::model::verdict::judge::Judge;
use crate::model::verdict::plan::Bound;
use crate::model::verdict::{Look, Row, Status};
use crate::routing::live::{GroupLive, Tally};

/// By the judge's clock, from one request to the next.
const APART: SignedDuration = SignedDuration::from_millis(100);
/// By the judge's clock, from one look at ill health to the next.
const LOOKS_APART: SignedDuration = SignedDuration::from_secs(5);
/// Looks at ill health, at the most.
const MOST_LOOKS: u64 = 100_000;
/// What is slow is slower than this in any case.
const LEAST_DELAY: Duration = Duration::from_millis(100);

/// Whom to ask, for what, and by which plan to judge.
pub(super) struct Scene<'a> {
    pub(super) plan: &'a Plan,
    pub(super) path: String,
    pub(super) websocket_path: Option<String>,
    pub(super) mark: HeaderValue,
    /// At least one of each.
    pub(super) candidate: Vec<Target>,
    pub(super) baseline: Vec<Target>,
    pub(super) share: Share,
    pub(super) requests: u64,
    pub(super) deadline: Instant,
}

/// What was seen of a group, in the counters that workers have.
struct Seat {
    live: GroupLive,
    looked: Tally,
}

impl Seat {
    fn new() -> Self {
        let live = GroupLive::new(1);
        Self { looked: live.tally(), live }
    }

    /// Counts it as a worker counts an attempt of a user; `fuse` is the plan's limit of failed connections.
    fn count(&self, seen: Seen, fuse: u32) {
        let slot = &self.live.slot(0).tally;
        slot.ended(seen.outcome);
        if let Some(micros) = seen.micros {
            slot.answered(micros);
            self.live.fuse().reached();
        }
        if seen.outcome.is_failure() {
            self.live.note_failure(seen.outcome, Some(fuse));
        }
    }

    /// A WebSocket that was asked for.
    fn count_handshake(&self, seen: Seen) {
        let slot = &self.live.slot(0).tally;
        match seen.outcome {
            Outcome::Ok => slot.accepted_handshake(),
            outcome if outcome.is_failure() => slot.failed_handshake(),
            _ => {}
        }
    }
}

/// The judge of a run, and the clock that it goes by.
struct Court {
    judge: Judge,
    at: Timestamp,
    candidate: Seat,
    baseline: Seat,
    /// After how many requests each guard has failed.
    fired: BTreeMap<String, u64>,
}

impl Court {
    fn new(plan: &Plan) -> Self {
        let mut judge = Judge::new(&plan.guards, plan.confidence, plan.min_requests);
        let at = Timestamp::now();
        let first = plan.steps.first().map_or(Share::ALL, |step| step.share);
        judge.begin_step(at, first);
        Self { judge, at, candidate: Seat::new(), baseline: Seat::new(), fired: BTreeMap::new() }
    }

    /// The judge looks, so much later, at what was counted since the last look.
    fn look(&mut self, later: SignedDuration, is_healthy: bool, nth: u64) {
        self.at = self.at.checked_add(later).unwrap_or(self.at);
        let since = |seat: &mut Seat| {
            let tally = seat.live.tally();
            let figures = tally.since(&seat.looked);
            seat.looked = tally;
            figures
        };
        self.judge.look(&Look {
            at: self.at,
            candidate: since(&mut self.candidate),
            baseline: since(&mut self.baseline),
            candidate_is_healthy: is_healthy,
            connect_failures: self.candidate.live.connect_failures(),
            readings: Vec::new(),
        });
        if self.judge.has_failed() {
            let failed = self.rows().into_iter().filter(|row| row.status == Status::Fail);
            failed.for_each(|row| _ = self.fired.entry(row.guard).or_insert(nth));
        }
    }

    fn rows(&self) -> Vec<Row> {
        self.judge.verdict().rows
    }
}

impl Scene<'_> {
    /// The plan's guards that are there for `fault`.
    pub(super) fn guards(&self, fault: Fault) -> impl Iterator<Item = String> {
        let (plan, own) = (self.plan, Court::new(self.plan).rows());
        let outside: Vec<_> = plan.guards.prometheus.iter().map(|g| g.name.clone()).collect();
        let outside: Vec<_> = outside.into_iter().chain(plan.guards.http.iter().map(|g| g.name.clone())).collect();
        let names = own.into_iter().map(|row| row.guard).filter(move |name| !outside.contains(name));
        names.filter(move |name| fault.is_noticed_by(name))
    }

    /// Whether it is known how to put in `fault`.
    pub(super) fn can(&self, fault: Fault) -> bool {
        fault != Fault::Handshakes || self.websocket_path.is_some()
    }

    /// A delay that every limit of the plan is far below, where the baseline's slowest answer took `slowest`.
    pub(super) fn far_too_slow(&self, slowest: Duration) -> Duration {
        let guards = &self.plan.guards;
        let bounds = guards.latency_quantiles.iter().map(|limit| limit.bound).chain(guards.latency_mean);
        let allowed = bounds.map(|bound| match bound {
            Bound::Above(most) => most,
            Bound::AboveBaseline(more) => slowest.mul_f64((1.0 + more).clamp(1.0, 1e6)),
        });
        far_beyond(allowed.max().unwrap_or_default()).max(LEAST_DELAY)
    }

    /// Has the candidate asked until the guards that are there for `fault` have failed, or enough was tried; and the
    /// baseline's slowest answer.
    pub(super) async fn run(&self, fault: Fault, delay: Duration) -> (DrillRun, Duration) {
        let meant: Vec<_> = self.guards(fault).collect();
        let mut court = Court::new(self.plan);
        let (mut sent, mut hit, mut slowest) = (0, 0, Duration::ZERO);
        let all_fired = |court: &Court| !meant.is_empty() && meant.iter().all(|m| court.fired.contains_key(m));
        if fault == Fault::Unhealthy {
            while sent < MOST_LOOKS && !all_fired(&court) {
                sent += 1;
                court.look(LOOKS_APART, false, sent * LOOKS_APART.as_secs().unsigned_abs());
            }
            return (self.told(fault, &meant, &court, Counts { sent: 0, hit: 0 }), slowest);
        }
        while sent < self.requests && !all_fired(&court) && Instant::now() < self.deadline {
            sent += 1;
            let is_hit = fault != Fault::None && self.hits(fault, sent);
            hit += u64::from(is_hit);
            // On the heap: it holds a connection of every kind.
            let baseline = Box::pin(self.pair(&court, fault, delay, sent, is_hit)).await;
            slowest = slowest.max(Duration::from_micros(baseline.micros.unwrap_or_default()));
            court.look(APART, true, sent);
        }
        (self.told(fault, &meant, &court, Counts { sent, hit }), slowest)
    }

    /// One request to either group, at the same time, counted; what came of the baseline's.
    async fn pair(&self, court: &Court, fault: Fault, delay: Duration, nth: u64, is_hit: bool) -> Seen {
        let target = |of: &'_ [Target]| of[nth as usize % of.len()].clone();
        let (candidate, baseline) = (target(&self.candidate), target(&self.baseline));
        if let (Fault::Handshakes, Some(path)) = (fault, &self.websocket_path) {
            let (new, old) = tokio::join!(shake_hands(&candidate, path), shake_hands(&baseline, path));
            court.candidate.count_handshake(if is_hit { faulty(fault, new, delay) } else { new });
            court.baseline.count_handshake(old);
            return old;
        }
        let asked = async {
            match fault {
                Fault::Unreachable => knock_at_nobodys_door().await,
                _ if is_hit => faulty(fault, ask(&candidate, &self.path, &self.mark).await, delay),
                _ => ask(&candidate, &self.path, &self.mark).await,
            }
        };
        let (new, old) = tokio::join!(asked, ask(&baseline, &self.path, &self.mark));
        let fuse = self.plan.guards.connect_failures;
        court.candidate.count(new, fuse);
        court.baseline.count(old, fuse);
        old
    }

    /// Whether the `nth` request is among those that `fault` hits: as evenly as can be.
    fn hits(&self, fault: Fault, nth: u64) -> bool {
        let so_far = |n: u64| (n as f64 * self.share.percent() / 100.0 + 1e-9).floor();
        fault == Fault::Unreachable || so_far(nth) > so_far(nth - 1)
    }

    fn told(&self, fault: Fault, meant: &[String], court: &Court, counts: Counts) -> DrillRun {
        let guard = |row: Row| DrilledGuard {
            is_meant: meant.contains(&row.guard),
            fired_after: court.fired.get(&row.guard).copied(),
            status: row.status,
            why: row.why,
            guard: row.guard,
        };
        let guards: Vec<_> = court.rows().into_iter().map(guard).collect();
        let as_expected = match fault {
            Fault::None => court.fired.is_empty(),
            _ => guards.iter().all(|g| !g.is_meant || g.fired_after.is_some()),
        };
        let complete = fault == Fault::Unhealthy || Instant::now() < self.deadline;
        DrillRun { fault, sent: counts.sent, hit: counts.hit, complete, as_expected, guards }
    }
}

/// Requests to the candidate, and how many of them a fault has hit.
struct Counts {
    sent: u64,
    hit: u64,
}

/// What `fault` makes of what was seen.
fn faulty(fault: Fault, seen: Seen, delay: Duration) -> Seen {
    match fault {
        Fault::Errors => Seen { outcome: Outcome::ServerError, ..seen },
        Fault::Handshakes => Seen { outcome: Outcome::ServerError, micros: None },
        Fault::Slow => {
            let more = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
            Seen { micros: seen.micros.map(|micros| micros.saturating_add(more)), ..seen }
        }
        Fault::None | Fault::Unreachable | Fault::Unhealthy => seen,
    }
}
