//! Judges the candidate of one rollout: brings what the data plane has counted since the last look to a judge for each
//! service.
//!
//! The baseline is whoever else has a share of the same service in the same moments. Owns no statistics; those are
//! [`crate::model::verdict`]'s.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use jiff::Timestamp;

use super::outside::Outside;
use crate::control::running::Shared;
use crate::control::view::VerdictView;
use crate::model::names::{GroupName, ServiceName};
use crate::model::rollout::{Input, Phase, Rollout, State, Stop};
use crate::model::verdict::judge::Judge;
use crate::model::verdict::{Figures, Look, Row, Status, Verdict};
use crate::routing::live::{GroupLive, Health, Tally};
use crate::routing::publish::Reader;
use crate::routing::table::{Group, Service};

/// A judge for each service of a rollout. What judges have seen is kept by nobody: the process that goes on with a rollout
/// after a restart or an upgrade begins with a new bench, and with the whole chance of a false alarm, `1 - confidence`.
pub(super) struct Bench {
    seats: Vec<Seat>,
    candidate: GroupName,
    /// What was begun last: a step, or the bake and what comes behind it; none while the candidate has no users.
    at: Option<(bool, Option<usize>)>,
}

/// One service and its judge.
struct Seat {
    service: ServiceName,
    judge: Judge,
    /// What each group had come to at the last look.
    sums: HashMap<GroupName, Sum>,
    /// The candidate, whose failures ring.
    candidate: Option<Arc<GroupLive>>,
    outside: Outside,
}

/// What a group had come to, and which one: one that is back under its old name counts anew.
struct Sum {
    of: Arc<GroupLive>,
    tally: Tally,
}

impl Bench {
    pub(super) fn new(rollout: &Rollout) -> Self {
        let plan = &rollout.plan;
        // Any of the services may fail all of them.
        let confidence = 1.0 - (1.0 - plan.confidence) / rollout.services.len().max(1) as f64;
        let seat = |service: &ServiceName| Seat {
            service: service.clone(),
            judge: Judge::new(&plan.guards, confidence, plan.min_requests),
            sums: HashMap::new(),
            candidate: None,
            outside: Outside::default(),
        };
        let seats = rollout.services.iter().map(|m| seat(&m.service)).collect();
        Self { seats, candidate: rollout.to.clone(), at: None }
    }

    /// Takes note of where the rollout is. What was counted before it had users does not count.
    pub(super) fn follow(&mut self, rollout: &Rollout, shared: &Shared, reader: &Reader) {
        let running = shared.running.load();
        if !rollout.has_users() {
            self.at = None;
            for seat in &mut self.seats {
                seat.outside = Outside::default();
                if let Some(service) = running.table.service(seat.service.as_str()) {
                    seat.begin(service, &self.candidate);
                }
            }
            return;
        }
        let baked = |phase| matches!(phase, Phase::Baking | Phase::AwaitingApproval(Stop::Drain) | Phase::Draining);
        let at = Some((rollout.state.phase().is_some_and(baked), rollout.step));
        if self.at != at {
            let (now, before) = (Timestamp::now(), std::mem::replace(&mut self.at, at));
            // What has come since the last look came before the first step, but for a few milliseconds.
            match before {
                None => self.learn(reader, now),
                Some(_) => _ = self.look(reader, now),
            }
            for seat in &mut self.seats {
                seat.judge.begin_step(now, rollout.share);
                seat.outside.begin_step();
            }
        }
        for seat in &mut self.seats {
            seat.outside.ask(rollout, &seat.service, shared);
        }
    }

    /// Resolves when an attempt at a candidate has failed since the last look.
    pub(super) async fn rung(&self) {
        let ring = |live: &Arc<GroupLive>| {
            let live = Arc::clone(live);
            Box::pin(async move { live.bell().rung().await })
        };
        let mut rings: Vec<_> = self.seats.iter().filter_map(|s| s.candidate.as_ref().map(ring)).collect();
        poll_fn(|cx| {
            let any = rings.iter_mut().any(|ring| pin!(ring).poll(cx).is_ready());
            if any { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Looks at what has happened since the last look; none where the services are gone.
    pub(super) fn look(&mut self, reader: &Reader, at: Timestamp) -> Option<VerdictView> {
        let table = reader.current();
        let mut rows: Vec<(ServiceName, Row)> = Vec::new();
        let mut statuses = Vec::new();
        for seat in &mut self.seats {
            let verdict = seat.look(table.service(seat.service.as_str())?, &self.candidate, at)?;
            statuses.push(verdict.status);
            rows.extend(verdict.rows.into_iter().map(|row| (seat.service.clone(), row)));
        }
        let status = match &statuses {
            all if all.contains(&Status::Fail) => Status::Fail,
            all if all.iter().all(|s| *s == Status::Pass) => Status::Pass,
            _ => Status::Undecided,
        };
        Some(VerdictView { status, rows })
    }

    /// What the others are like, while the candidate has no users: a step that gives it everything leaves nobody to
    /// compare it with.
    pub(super) fn learn(&mut self, reader: &Reader, at: Timestamp) {
        let table = reader.current();
        for seat in &mut self.seats {
            if let Some(service) = table.service(seat.service.as_str()) {
                seat.learn(service, &self.candidate, at);
            }
        }
    }

    /// What a rollout is to be told because of `verdict`; none where no guard has failed.
    pub(super) fn failed(&self, verdict: &VerdictView, rollout: &Rollout) -> Option<(Input, String)> {
        let failed = |hard: bool| {
            let mut rows = verdict.rows.iter();
            rows.find(|(_, row)| row.status == Status::Fail && row.hard == hard)
        };
        let told = |input, (service, row): &(ServiceName, Row)| {
            let of = if self.seats.len() > 1 { format!(" of service {service}") } else { String::new() };
            (input, format!("guard {}{of} has failed: {}", row.guard, row.why))
        };
        if let Some(row) = failed(true) {
            return Some(told(Input::Back, row));
        }
        // On its way back it goes on by the time.
        if matches!(rollout.state, State::RollingBack(_)) {
            return None;
        }
        failed(false).map(|row| told(Input::GuardFailed, row))
    }
}

impl Seat {
    /// Counts from here on.
    fn begin(&mut self, service: &Arc<Service>, candidate: &GroupName) {
        for group in &service.groups {
            self.since(group);
        }
        let candidate = service.group_index(candidate.as_str()).map(|i| &service.groups[i]);
        self.candidate = candidate.map(|g| Arc::clone(&g.live));
    }

    /// What `group` has come to since it was asked about last.
    fn since(&mut self, group: &Group) -> Figures {
        let tally = group.live.tally();
        let before = self.sums.remove(&group.name).filter(|sum| Arc::ptr_eq(&sum.of, &group.live));
        let figures = before.map(|sum| tally.since(&sum.tally)).unwrap_or_default();
        self.sums.insert(group.name.clone(), Sum { of: Arc::clone(&group.live), tally });
        figures
    }

    /// What the groups with users have come to since they were asked about last, the one at `candidate` left out.
    fn baseline(&mut self, service: &Service, candidate: usize) -> Figures {
        let mut baseline = Figures::default();
        for (i, group) in service.groups.iter().enumerate().filter(|(i, _)| *i != candidate) {
            let figures = self.since(group);
            if service.shares[i] > 0 {
                baseline.add(&figures);
            }
        }
        baseline
    }

    fn learn(&mut self, service: &Service, candidate: &GroupName, at: Timestamp) {
        let Some(index) = service.group_index(candidate.as_str()) else { return };
        // What comes to it now is nobody's fault and nobody's merit.
        self.since(&service.groups[index]);
        let baseline = self.baseline(service, index);
        self.judge.learn(at, &baseline);
    }

    fn look(&mut self, service: &Service, candidate: &GroupName, at: Timestamp) -> Option<Verdict> {
        let index = service.group_index(candidate.as_str())?;
        let baseline = self.baseline(service, index);
        let group = &service.groups[index];
        self.candidate = Some(Arc::clone(&group.live));
        let look = Look {
            at,
            candidate: self.since(group),
            baseline,
            candidate_is_healthy: group.upstreams.iter().any(|u| u.live.health() == Health::Healthy),
            connect_failures: group.live.connect_failures(),
            readings: self.outside.readings(),
        };
        self.judge.look(&look);
        Some(self.judge.verdict())
    }
}
