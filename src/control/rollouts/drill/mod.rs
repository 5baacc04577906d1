//! A drill: whether the guards of a plan would notice a bad candidate, tried out ahead of the release.
//!
//! Requests of our own, marked by a header, go straight to the candidate and to the group that has the users, as those
//! of health checks do. On their way back faults are put in (see [`Fault`]). What then comes is counted as attempts
//! of users are, into counters that nobody else has, and judged by the plan's own judge.
//!
//! What it proves: that this plan, with its limits, its confidence and its least number of requests, tells such a
//! candidate from the baseline as it answers today, after how many requests, and what the rollout would do then; and
//! that it does not cry wolf over the candidate as it is. What it does not prove: that the workers count what users do
//! (other tests do), that so many users come by, or that the path that is asked is the one that will break.
//!
//! No user is moved and no share is changed; nothing is left of it but a line in the audit log.

mod consequence;
mod fault;
mod scene;
mod seen;
mod shot;

use std::time::Duration;

use http::HeaderValue;
use tokio::time::Instant;

use crate::config::spec::Check;
use crate::control::command::{Freezes, Origin, Rejected, RolloutStart};
use crate::control::controller::Command;
use crate::control::events;
use crate::control::handle::{Handle, unknown};
use crate::control::prober::{Target, targets};
use crate::control::rollouts::outside::{self, Names};
use crate::control::rollouts::scheduled;
use crate::control::running::Running;
use crate::model::names::{GroupName, ServiceName};
use crate::model::rollout::plan::Plan;
use crate::model::split::Share;
use crate::routing::live::Health;
use crate::routing::table::{Group, Service};
pub use fault::Fault;
use scene::Scene;
pub use seen::{Consequence, DrillRun, DrillView, DrilledGuard, Undrilled};

/// The header that marks requests of a drill.
const MARK: &str = "x-pointsman-drill";

/// A drill takes no longer; what is not done by then is left out, and said to be.
const WITHIN: Duration = Duration::from_secs(60);

/// Delays are so many times what is allowed.
const FAR_TOO_SLOW: u32 = 4;

/// What a drill is to be like.
#[derive(Clone, Debug, PartialEq)]
pub struct Drill {
    /// The service.
    pub service: ServiceName,
    /// The candidate.
    pub to: GroupName,
    /// An object with any key of `rollout:`, as for a start.
    pub overrides: serde_json::Value,
    /// Path and query that are asked for; none: what the warm-up or the health check asks for.
    pub path: Option<String>,
    /// Path and query of a WebSocket; none: what the health check asks for, where it is one.
    pub websocket_path: Option<String>,
    /// Requests to either group for each fault, at the most.
    pub requests: u64,
    /// The part of the candidate's requests that a fault hits.
    pub share: Share,
}

impl Handle {
    /// Tries out whether the guards of a plan would notice a bad candidate. Changes nothing.
    ///
    /// # Errors
    /// [`Rejected`]: there is nothing to be tried out, or not now.
    pub async fn drill(&self, drill: Drill, origin: Origin) -> Result<DrillView, Rejected> {
        let Ok(_alone) = self.shared.drilling.try_acquire() else { return Err(Rejected::DrillInProgress) };
        let start = RolloutStart {
            services: vec![drill.service.clone()],
            to: drill.to.clone(),
            overrides: drill.overrides.clone(),
            freeze: Freezes::Overridden,
            at: None,
        };
        let plan = scheduled::plan(&self.shared, &start)?;
        let running = self.shared.running.load_full();
        let mut scene = self.scene(&drill, &plan, &running)?;
        let baseline = running.desired.services[drill.service.as_str()].split.live().clone();
        let begun = Instant::now();
        let names =
            Names { service: drill.service.as_str(), candidate: drill.to.as_str(), baseline: baseline.as_str() };
        scene.readings = outside::once(&plan.guards, &names, &self.shared.client).await;
        let runs = runs(&scene).await;
        let view = DrillView {
            service: drill.service.clone(),
            to: drill.to.clone(),
            baseline,
            path: scene.path.clone(),
            share: drill.share,
            seconds: begun.elapsed().as_secs_f64(),
            on_failure: consequence::of(&running.desired, &start, &plan),
            not_drilled: not_drilled(&plan, &scene, &runs),
            runs,
        };
        // A controller that is gone keeps no log.
        let _ = self.send(Command::Note(events::drilled(&view, &origin))).await;
        Ok(view)
    }

    /// Whom to ask, and for what.
    fn scene<'a>(&self, drill: &Drill, plan: &'a Plan, running: &Running) -> Result<Scene<'a>, Rejected> {
        let name = drill.service.as_str();
        let table = running.table.service(name).ok_or_else(|| unknown(&running.table, name))?;
        let state = running.desired.services.get(name).ok_or_else(|| unknown(&running.table, name))?;
        state.known(&drill.service, &drill.to)?;
        running.desired.may_be_moved(&drill.service)?;
        let live = state.split.live();
        if *live == drill.to {
            return Err(Rejected::AlreadyLive { service: drill.service.clone(), group: drill.to.clone() });
        }
        let all = targets(&running.spec, &running.table);
        let of = |group: &GroupName| {
            let healthy = |t: &&Target| t.live.health() == Health::Healthy;
            let ours = all.iter().filter(|t| t.service == drill.service && t.group == *group);
            ours.filter(healthy).cloned().collect::<Vec<_>>()
        };
        let (candidate, baseline) = (of(&drill.to), of(live));
        for (targets, group) in [(&candidate, &drill.to), (&baseline, live)] {
            if targets.is_empty() {
                return Err(self.nobody_healthy(table, &drill.service, group));
            }
        }
        let check = &candidate[0].health.check;
        Ok(Scene {
            plan,
            path: drill.path.clone().unwrap_or_else(|| usual_path(plan, check)),
            websocket_path: drill.websocket_path.clone().or_else(|| usual_websocket(check)),
            readings: Vec::new(),
            mark: HeaderValue::from_static("1"),
            candidate,
            baseline,
            share: drill.share,
            requests: drill.requests,
            deadline: Instant::now() + WITHIN,
        })
    }

    fn nobody_healthy(&self, table: &Service, service: &ServiceName, group: &GroupName) -> Rejected {
        let found: Option<&Group> = table.group_index(group.as_str()).map(|i| &table.groups[i]);
        let why = found.map(|group| self.shared.why_unhealthy(group)).unwrap_or_default();
        Rejected::CandidateUnhealthy { service: service.clone(), group: group.clone(), why }
    }
}

/// Without a fault first, then each fault that a guard of the plan is meant for.
async fn runs(scene: &Scene<'_>) -> Vec<DrillRun> {
    let (well, slowest) = scene.run(Fault::None, Duration::ZERO).await;
    let delay = scene.far_too_slow(slowest);
    let mut runs = vec![well];
    for fault in Fault::INJECTED {
        if scene.guards(fault).next().is_some() && scene.can(fault) {
            runs.push(scene.run(fault, delay).await.0);
        }
    }
    runs
}

fn usual_path(plan: &Plan, check: &Check) -> String {
    let warm_up = plan.warm_up.first().map(|warm_up| warm_up.path.clone());
    warm_up.unwrap_or_else(|| match check {
        Check::Http { path, .. } => path.clone(),
        Check::Tcp | Check::Grpc { .. } | Check::WebSocket { .. } => "/".to_owned(),
    })
}

fn usual_websocket(check: &Check) -> Option<String> {
    match check {
        Check::WebSocket { path, .. } => Some(path.clone()),
        Check::Tcp | Check::Http { .. } | Check::Grpc { .. } => None,
    }
}

/// Guards that no fault was put in for, and why.
fn not_drilled(plan: &Plan, scene: &Scene<'_>, runs: &[DrillRun]) -> Vec<Undrilled> {
    let says = |name: &str| {
        let row = runs.first()?.guards.iter().find(|g| g.guard == name)?;
        Some(format!("; asked now, it says {}: {}", row.status.label(), row.why))
    };
    let outside = scene.outside().map(|name| Undrilled {
        why: format!("no fault can be put in where it asks{}", says(&name).unwrap_or_default()),
        guard: name,
    });
    let websocket = (plan.guards.websocket_success.is_some() && !scene.can(Fault::Handshakes)).then(|| Undrilled {
        guard: "websocket_success".to_owned(),
        why: "nobody has said where there is a WebSocket; name a path".to_owned(),
    });
    websocket.into_iter().chain(outside).collect()
}

/// What is far slower than `allowed`.
fn far_beyond(allowed: Duration) -> Duration {
    allowed.saturating_mul(FAR_TOO_SLOW)
}
