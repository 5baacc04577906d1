//! Rollouts that begin later: a job is made of the wish, and does what the wish says when its time has come.
//!
//! What can be known beforehand is refused at once; the rest is looked at when it begins. It begins once, however often
//! the job is tried, and not hours later because the proxy was away: by then somebody should look.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::change::{RolloutCommand, Starting, receipt_of};
use crate::config;
use crate::control::command::{Origin, Rejected, RolloutStart, RolloutStarted};
use crate::control::controller::{Command, Controller, PATIENCE};
use crate::control::events;
use crate::control::freeze::frozen;
use crate::control::journal::Otherwise;
use crate::control::running::Shared;
use crate::model::change::unknown_service;
use crate::model::job::{Job, Kind, Priority, StartRollout, State};
use crate::model::rollout::Freezes;
use crate::model::rollout::plan::Plan;
use crate::store::Batch;

/// What is past for no longer begins now: clocks differ.
const JUST_NOW: Duration = Duration::from_secs(60);

/// Nobody means a time that is further away.
const FURTHEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// What could not begin within this time after the one that was named does not begin by itself.
const LATEST: Duration = Duration::from_secs(15 * 60);

/// The plan that `start` asks for, over that of the first service.
pub(super) fn plan(shared: &Shared, start: &RolloutStart) -> Result<Plan, Rejected> {
    let running = shared.running.load();
    let first = start.services.first();
    let spec = first.and_then(|name| running.spec.services.iter().find(|s| s.name == *name));
    let base = spec.map(|s| s.rollout.clone()).unwrap_or_default();
    config::plan(&base, &start.overrides).map_err(Rejected::InvalidPlan)
}

/// Does what was wished for earlier. Returns when the rollout is under way, by this try or an earlier one.
pub(in crate::control) async fn begin_scheduled(
    shared: &Arc<Shared>,
    commands: &mpsc::Sender<Command>,
    job: &Job,
    wish: &StartRollout,
) -> Result<(), Rejected> {
    let StartRollout { services, to, plan: overrides, actor, reason, freeze } = wish.clone();
    let start = RolloutStart { services, to, overrides, freeze, at: None };
    let plan = plan(shared, &start)?;
    // Of the same key only the first one counts, and it is as durable as the rollout.
    let idempotency_key = Some(format!("job {}", job.id));
    let origin = Origin { actor, idempotency_key, reason, ..Origin::default() };
    let (reply, answer) = oneshot::channel();
    let starting = Box::new(Starting { start, plan, origin, scheduled: Some(job.id), reply });
    let asked = commands.send(Command::Rollout(RolloutCommand::Start(starting))).await;
    asked.map_err(|_| Rejected::ShuttingDown)?;
    answer.await.map_err(|_| Rejected::ShuttingDown)?.map(|_| ())
}

/// When it is to begin; none: now.
pub(super) fn later(at: Option<Timestamp>, now: Timestamp) -> Result<Option<Timestamp>, Rejected> {
    let Some(at) = at else { return Ok(None) };
    if at + JUST_NOW < now {
        return Err(Rejected::InvalidTime(format!("{at} is past; leave `at` out to begin now")));
    }
    if at > now + FURTHEST {
        return Err(Rejected::InvalidTime(format!("{at} is more than a year away; write a nearer time")));
    }
    Ok(Some(at).filter(|at| *at > now))
}

impl Controller {
    /// What a job wishes that is not at it any more, because it took too long and was cancelled since, is nobody's wish:
    /// gives back all else.
    pub(in crate::control) fn still_wished(&self, command: RolloutCommand) -> Option<RolloutCommand> {
        let RolloutCommand::Start(starting) = &command else { return Some(command) };
        let Some(id) = starting.scheduled else { return Some(command) };
        let is_at_it = self.shared.jobs.get(id).is_some_and(|job| job.state == State::Running);
        if !is_at_it {
            tracing::info!(job = id, "a rollout does not begin: its job is not at it any more");
        }
        is_at_it.then_some(command)
    }

    /// Has a job begin the rollout at `at`.
    pub(super) async fn schedule_rollout(
        &mut self,
        start: RolloutStart,
        plan: &Plan,
        at: Timestamp,
        origin: &Origin,
        fingerprint: String,
    ) -> Result<RolloutStarted, Rejected> {
        self.may_be_scheduled(&start, plan, at)?;
        let RolloutStart { services, to, overrides, freeze, .. } = start;
        let (actor, reason) = (origin.actor.clone(), origin.reason.clone());
        let wish = StartRollout { services, to, plan: overrides, actor, reason, freeze };
        let latest = at.checked_add(LATEST).unwrap_or(Timestamp::MAX);
        let job = self.shared.jobs.draft(Kind::StartRollout(wish.clone()), Priority::High).due_at(at).until(latest);
        let (id, version) = (job.id, self.running.desired.version);
        let receipt = json!({ "job": id, "version": version });
        let batch = Batch {
            jobs: vec![job],
            events: events::rollout_scheduled(&wish, id, at),
            receipts: receipt_of(origin, fingerprint, receipt).into_iter().collect(),
            ..Batch::default()
        };
        let written = self.journal.write(&self.running.desired, batch, PATIENCE, Otherwise::Refuse).await;
        self.shared.announce(written.map_err(Rejected::Store)?);
        Ok(RolloutStarted::Scheduled { job: id, version })
    }

    /// Refuses what is known to fail whatever happens until then.
    fn may_be_scheduled(&self, start: &RolloutStart, plan: &Plan, at: Timestamp) -> Result<(), Rejected> {
        let desired = &self.running.desired;
        for name in &start.services {
            let state = desired.services.get(name.as_str()).ok_or_else(|| unknown_service(desired, name))?;
            state.known(name, &start.to)?;
            let frozen = frozen(&plan.freeze, at).filter(|_| start.freeze == Freezes::Heeded);
            if let Some(frozen) = frozen {
                return Err(Rejected::Frozen { service: name.clone(), until: frozen.until });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::controller::tests::Plane;
    use crate::model::change::samples::{group, service};

    /// A rollout of `shop` that is to begin in an hour.
    async fn scheduled(plane: &Plane) -> Job {
        let at = Some(Timestamp::now() + Duration::from_secs(3600));
        let (services, to) = (vec![service("shop")], group("green"));
        let start = RolloutStart { services, to, overrides: json!({}), freeze: Freezes::Heeded, at };
        plane.handle.start_rollout(start, Origin::default()).await.unwrap();
        plane.handle.jobs(None, 1).remove(0)
    }

    #[tokio::test]
    async fn what_a_job_wished_that_was_cancelled_since_does_not_begin() {
        let plane = Plane::new().await;
        let job = scheduled(&plane).await;
        let Kind::StartRollout(wish) = job.kind.clone() else { panic!("{job:?}") };
        let begin = || begin_scheduled(&plane.handle.shared, &plane.handle.commands, &job, &wish);
        plane.handle.cancel_job(job.id, Origin::default()).await.unwrap();
        assert_eq!(begin().await, Err(Rejected::ShuttingDown), "nobody answers");
        assert!(plane.handle.current_rollout("shop").is_err());
        // The same while it is at it.
        plane.handle.shared.jobs.put(&[Job { state: State::Running, attempts: 1, ..job.clone() }]);
        begin().await.unwrap();
        assert_eq!(plane.handle.current_rollout("shop").unwrap().rollout.to, group("green"));
    }

    #[test]
    fn a_time_that_is_past_or_far_away_is_refused_and_one_of_just_now_is_now() {
        let now: Timestamp = "2026-11-05T10:00:00Z".parse().unwrap();
        let at = |text: &str| later(Some(text.parse().unwrap()), now);
        assert_eq!(later(None, now), Ok(None));
        assert_eq!(at("2026-11-05T09:59:30Z"), Ok(None));
        assert_eq!(at("2026-11-05T10:00:01Z"), Ok(Some("2026-11-05T10:00:01Z".parse().unwrap())));
        for wrong in ["2026-11-05T09:58:59Z", "2025-11-05T10:00:00Z", "2027-12-05T10:00:00Z"] {
            assert!(matches!(at(wrong), Err(Rejected::InvalidTime(_))), "{wrong}");
        }
    }
}
