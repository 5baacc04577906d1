//! The prober: asks every upstream, again and again, whether it is well.
//!
//! One task for each upstream; it goes on for ever, also with one upstream only. A reload starts what is new, stops
//! what is gone, restarts what is asked in another way, and leaves the rest alone, so that verdicts and streaks are
//! kept. A probe that is stopped in mid-way is no result. The prober is the only one that writes health; it tells
//! turns to the controller through a bounded queue and never waits for it.

mod board;
mod connect;
mod exchange;
pub(super) mod expect;
mod grpc;
mod http;
mod websocket;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ::http::HeaderValue;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

pub(super) use board::Board;

/// One request and its answer, for others of this floor that have something to ask an upstream or somebody else.
pub(super) mod call {
    pub(in crate::control) use super::connect::{Stream, Version, open, secured};
    pub(in crate::control) use super::exchange::{Answer, Wanted, exchange, request};
    use super::{Failed, Target};
    use tokio::time::Instant;

    /// Opens a WebSocket at `path`, and closes it again.
    pub(in crate::control) async fn shake_hands(target: &Target, path: &str, deadline: Instant) -> Result<(), Failed> {
        let finding = super::websocket::probe(target, path, None, deadline).await?;
        finding.problem.map_or(Ok(()), |problem| Err(Failed::Because(problem)))
    }
}

use super::view::CheckView;
use crate::config::spec::{self, Check, Spec};
use crate::model::health::{Health, ProbeResult, Streak, Thresholds};
use crate::model::names::{GroupName, ServiceName};
use crate::routing::addresses::{Addresses, Moves};
use crate::routing::live::UpstreamLive;
use crate::routing::table::{Table, UpstreamTls};

/// Jitter of the interval: so many parts of it, in either direction.
const JITTER: f64 = 0.1;

/// How long a probe that panicked is left alone before it is started again.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// An upstream and how it is to be asked.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) service: ServiceName,
    pub(super) group: GroupName,
    pub(super) live: Arc<UpstreamLive>,
    pub(super) health: spec::Health,
    pub(super) authority: HeaderValue,
    pub(super) tls: Option<UpstreamTls>,
}

impl Target {
    /// Whether it is asked in the same way; who it is was compared before.
    fn same_check(&self, other: &Self) -> bool {
        let tls = match (&self.tls, &other.tls) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(&a.config, &b.config) && a.name == b.name,
            _ => false,
        };
        tls && self.health == other.health && self.authority == other.authority
    }
}

/// Every upstream of `table`, which was compiled from `spec`.
pub(super) fn targets(spec: &Spec, table: &Table) -> Arc<Vec<Target>> {
    let mut targets = Vec::new();
    for (service, compiled) in spec.services.iter().zip(&table.services) {
        for group in &compiled.groups {
            targets.extend(group.upstreams.iter().map(|upstream| Target {
                service: service.name.clone(),
                group: group.name.clone(),
                live: Arc::clone(&upstream.live),
                health: service.health.clone(),
                authority: upstream.authority.clone(),
                tls: upstream.tls.clone(),
            }));
        }
    }
    Arc::new(targets)
}

/// An upstream's verdict has turned.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    pub(super) service: ServiceName,
    pub(super) group: GroupName,
    pub(super) url: String,
    pub(super) from: Health,
    pub(super) to: Health,
    /// The probe that turned it.
    pub(super) check: CheckView,
}

/// How one probe ended.
#[derive(Clone, Debug, Default, PartialEq)]
struct Finding {
    status: Option<u16>,
    /// What was wrong; none: as expected.
    problem: Option<String>,
}

/// Why a probe got no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(in crate::control) enum Failed {
    /// The upstream's fault, as far as we can tell.
    #[error("{0}")]
    Because(String),
    /// Our own: the upstream was not even asked, so this is no result.
    #[error("this machine has no descriptors or ports left to ask it")]
    Unasked,
}

impl From<String> for Failed {
    fn from(problem: String) -> Self {
        Self::Because(problem)
    }
}

/// Where results go.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) board: Arc<Board>,
    pub(super) turns: mpsc::Sender<Turn>,
}

/// Probes the targets until there will be no more of them (their sender is gone).
pub(super) async fn run(mut targets: watch::Receiver<Arc<Vec<Target>>>, report: Report) {
    let mut probes = Probes { tasks: JoinSet::new(), running: HashMap::new(), report };
    probes.reconcile(&targets.borrow_and_update().clone());
    loop {
        tokio::select! {
            changed = targets.changed() => {
                if changed.is_err() {
                    return;
                }
                probes.reconcile(&targets.borrow_and_update().clone());
            }
            Some(Err(ended)) = probes.tasks.join_next() => probes.revive(&ended),
        }
    }
}

/// The running probes by the number of their upstream.
struct Probes {
    /// Owns the tasks: they are stopped with it.
    tasks: JoinSet<()>,
    running: HashMap<u64, (Target, tokio::task::AbortHandle)>,
    report: Report,
}

impl Probes {
    fn reconcile(&mut self, targets: &[Target]) {
        let wanted: HashMap<u64, &Target> = targets.iter().map(|t| (t.live.id, t)).collect();
        self.running.retain(|id, (running, task)| {
            let stays = wanted.get(id).is_some_and(|t| t.same_check(running));
            if !stays {
                task.abort();
            }
            stays
        });
        self.report.board.retain(|id| wanted.contains_key(&id));
        for (id, target) in wanted {
            if !self.running.contains_key(&id) {
                self.start(target.clone(), Duration::ZERO);
            }
        }
    }

    fn start(&mut self, target: Target, delay: Duration) {
        let task = self.tasks.spawn(watch_over(target.clone(), self.report.clone(), delay));
        self.running.insert(target.live.id, (target, task));
    }

    /// Checking goes on for ever: a probe that panicked is a fault of ours, not of the upstream.
    fn revive(&mut self, ended: &JoinError) {
        if !ended.is_panic() {
            return;
        }
        let of = |id: Id| self.running.iter().find(|(_, (_, task))| task.id() == id).map(|(_, (target, _))| target);
        if let Some(target) = of(ended.id()).cloned() {
            tracing::error!(upstream = %target.live.endpoint.url, "a health check panicked and is started again");
            self.start(target, AFTER_PANIC);
        }
    }
}

/// Probes one upstream for ever, the first time at once; and at once, as if it were new, when somebody else is behind
/// its name.
async fn watch_over(target: Target, report: Report, delay: Duration) {
    let mut watched = Watched { streak: Streak::new(target.live.health()), target, report };
    let mut moves = watched.target.live.addresses.as_ref().map(Addresses::moves);
    let mut next = Instant::now() + delay;
    loop {
        let round = async {
            sleep_until(next).await;
            let begun = Instant::now();
            (begun, probe(&watched.target, begun + watched.target.health.timeout).await)
        };
        tokio::select! {
            biased;
            () = moved(&mut moves) => {
                watched.forget();
                next = Instant::now();
            }
            (begun, finding) = round => {
                next = begun + jittered(watched.target.health.interval);
                // None: we had no descriptor to ask with, which says nothing about the upstream.
                if let Some(finding) = finding {
                    watched.record(finding, begun);
                }
            }
        }
    }
}

async fn moved(moves: &mut Option<Moves>) {
    match moves {
        Some(moves) => moves.next().await,
        None => std::future::pending().await,
    }
}

/// An upstream that is probed, and its verdict so far.
struct Watched {
    target: Target,
    report: Report,
    streak: Streak,
}

impl Watched {
    /// What was found out was about somebody else.
    fn forget(&mut self) {
        self.streak = Streak::new(Health::Unknown);
        self.target.live.set_health(Health::Unknown);
        self.target.live.joins_late();
    }

    fn record(&mut self, finding: Finding, begun: Instant) {
        let Self { target, report, streak } = self;
        let thresholds =
            Thresholds { healthy_after: target.health.healthy_after, unhealthy_after: target.health.unhealthy_after };
        let check = CheckView {
            at: Timestamp::now(),
            ok: finding.problem.is_none(),
            status: finding.status,
            ms: begun.elapsed().as_secs_f64() * 1000.0,
            why: finding.problem.unwrap_or_default(),
        };
        let result = if check.ok { ProbeResult::Passed } else { ProbeResult::Failed };
        let from = streak.health();
        let turned = streak.record(result, thresholds);
        if let Some(to) = turned {
            if to == Health::Healthy {
                target.live.comes_back(from, Instant::now().into_std());
            }
            target.live.set_health(to);
            report.tell(target, from, to, &check);
        }
        report.board.record(target.live.id, check, turned.is_some());
    }
}

impl Report {
    fn tell(&self, target: &Target, from: Health, to: Health, check: &CheckView) {
        let url = target.live.endpoint.url.clone();
        let (service, group) = (target.service.clone(), target.group.clone());
        if to == Health::Unhealthy {
            tracing::warn!(%service, %group, upstream = url, why = check.why, "upstream is unhealthy");
        } else {
            tracing::info!(%service, %group, upstream = url, "upstream is healthy");
        }
        let turn = Turn { service, group, url, from, to, check: check.clone() };
        if self.turns.try_send(turn).is_err() {
            tracing::warn!("the queue of health events is full; this turn is in the log only");
        }
    }
}

fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(1.0 + JITTER * (2.0 * fastrand::f64() - 1.0))
}

/// One probe; it ends at `deadline` at the latest. None: the upstream could not be asked.
async fn probe(target: &Target, deadline: Instant) -> Option<Finding> {
    let result = match &target.health.check {
        Check::Tcp => connect::connect(&target.live, deadline).await.map(|_| Finding::default()),
        Check::Http { path, host, expect } => http::probe(target, path, host.as_deref(), expect, deadline).await,
        Check::Grpc { service } => grpc::probe(target, service, deadline).await,
        Check::WebSocket { path, host } => websocket::probe(target, path, host.as_deref(), deadline).await,
    };
    match result {
        Ok(finding) => Some(finding),
        Err(Failed::Because(problem)) => Some(Finding { status: None, problem: Some(problem) }),
        Err(Failed::Unasked) => None,
    }
}

#[cfg(test)]
mod tests;
