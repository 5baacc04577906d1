//! The controller's part of rollouts: they begin, are steered, and hear what was found.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::asked::{receipt_from, start_asked, started_from};
use super::wishes::{input, no_rollout, takes_no_step};
use super::{scheduled, validated};
use crate::control::command::{Origin, Rejected, RolloutReceipt, RolloutStart, RolloutStarted, RolloutWish, Validated};
use crate::control::controller::{Command, Controller, PATIENCE};
use crate::control::events;
use crate::control::freeze::frozen;
use crate::control::gather;
use crate::control::handle::Handle;
use crate::control::handover::Keeping;
use crate::control::journal::Otherwise;
use crate::control::running::Running;
use crate::control::start::fresh_salt;
use crate::model::change::Decision;
use crate::model::names::ServiceName;
use crate::model::rollout::plan::Plan;
use crate::model::rollout::{self, Begin, By, Freezes, Frozen, Input, Place, Rollout, RolloutId, State};
use crate::routing::table::Group;
use crate::store::{Batch, KeptReceipt};

/// What the controller is asked to do about rollouts.
#[derive(Debug)]
pub(in crate::control) enum RolloutCommand {
    /// Somebody wants one to begin.
    Start(Box<Starting>),
    /// Somebody steers the one of a service.
    Steer {
        service: ServiceName,
        wish: RolloutWish,
        origin: Origin,
        reply: oneshot::Sender<Result<RolloutReceipt, Rejected>>,
    },
    /// What a test of its candidate has found.
    Validated {
        id: RolloutId,
        found: Validated,
        origin: Origin,
        reply: oneshot::Sender<Result<RolloutReceipt, Rejected>>,
    },
    /// What was found about one by whoever drives it; `at`: where that holds, none wherever it is.
    Say { id: RolloutId, input: Input, by: By, at: Option<Place>, reply: oneshot::Sender<Result<(), Rejected>> },
}

/// A rollout that is to begin.
#[derive(Debug)]
pub(in crate::control) struct Starting {
    pub(super) start: RolloutStart,
    pub(super) plan: Plan,
    pub(super) origin: Origin,
    /// The job that begins it; none: somebody does.
    pub(super) scheduled: Option<u64>,
    pub(super) reply: oneshot::Sender<Result<RolloutStarted, Rejected>>,
}

impl Handle {
    /// Begins a rollout, or has a job do so later. Returns when that is durable and published; nobody is moved yet.
    ///
    /// # Errors
    /// [`Rejected`]; nothing was changed.
    pub async fn start_rollout(&self, start: RolloutStart, origin: Origin) -> Result<RolloutStarted, Rejected> {
        let plan = scheduled::plan(&self.shared, &start)?;
        let (reply, answer) = oneshot::channel();
        let starting = Box::new(Starting { start, plan, origin, scheduled: None, reply });
        self.send(Command::Rollout(RolloutCommand::Start(starting))).await?;
        answer.await.map_err(|_| Rejected::ShuttingDown)?
    }

    /// Steers the rollout under way of a service. Returns when that is durable and published.
    ///
    /// # Errors
    /// [`Rejected`]; nothing was changed.
    pub async fn steer_rollout(
        &self,
        service: ServiceName,
        wish: RolloutWish,
        origin: Origin,
    ) -> Result<RolloutReceipt, Rejected> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Rollout(RolloutCommand::Steer { service, wish, origin, reply })).await?;
        answer.await.map_err(|_| Rejected::ShuttingDown)?
    }
}

impl Controller {
    pub(in crate::control) async fn obey_rollout(&mut self, command: RolloutCommand) {
        match command {
            RolloutCommand::Start(starting) => {
                let Starting { start, plan, origin, scheduled, reply } = *starting;
                let asked = start_asked(&start);
                let result = match self.keeping {
                    Keeping::Ours | Keeping::Packed => self.start_rollout(start, plan, &origin, scheduled).await,
                    Keeping::Away => Err(Rejected::Upgrading),
                };
                if let Err(rejected) = &result {
                    self.rollout_refused("rollout.start", &asked, &origin, rejected).await;
                }
                // A caller that went away does not undo what was done.
                let _ = reply.send(result);
            }
            RolloutCommand::Steer { service, wish, origin, reply } => {
                let result = match self.keeping {
                    Keeping::Ours | Keeping::Packed => self.steer_rollout(&service, wish, &origin).await,
                    Keeping::Away => Err(Rejected::Upgrading),
                };
                if let Err(rejected) = &result {
                    let kind = format!("rollout.{}", wish.label());
                    self.rollout_refused(&kind, &json!({ "services": [service.as_str()] }), &origin, rejected).await;
                }
                let _ = reply.send(result);
            }
            RolloutCommand::Validated { id, found, origin, reply } => {
                let result = match self.keeping {
                    Keeping::Ours | Keeping::Packed => self.validated(id, found, &origin).await,
                    Keeping::Away => Err(Rejected::Upgrading),
                };
                if let Err(rejected) = &result {
                    let asked = validated::asked(&self.running.desired, id, found);
                    self.rollout_refused("rollout.validated", &asked, &origin, rejected).await;
                }
                let _ = reply.send(result);
            }
            RolloutCommand::Say { id, input, by, at, reply } => {
                let said = match self.keeping {
                    Keeping::Ours | Keeping::Packed => self.hear(id, input, &by, at).await,
                    Keeping::Away => self.go_back_alone(id, input, &by),
                };
                match &said {
                    Ok(()) => tracing::info!(%id, cause = by.cause, "a rollout goes on"),
                    Err(rejected) => {
                        tracing::warn!(%id, ?input, cause = by.cause, error = %rejected, "a rollout stays where it is");
                    }
                }
                let _ = reply.send(said);
            }
        }
    }

    /// What whoever drives the rollout has found; nothing, where the rollout is somewhere else by now.
    async fn hear(&mut self, id: RolloutId, input: Input, by: &By, at: Option<Place>) -> Result<(), Rejected> {
        let rollout = self.running.desired.rollouts.get(&id);
        if at.is_some() && rollout.map(Rollout::place) != at {
            let state = rollout.map_or("gone", |rollout| rollout.state.label());
            return Err(Rejected::NotNow { id, state, hint: "it has gone on meanwhile" });
        }
        let before = rollout.map(|rollout| rollout.services.clone()).unwrap_or_default();
        self.say(id, input, by, None).await?;
        let after = self.running.desired.rollouts.get(&id).map(|rollout| rollout.state);
        if after == Some(State::RolledBack) {
            // Of what is due by the time, only a step on the way back began with a guard.
            let cause = if at.is_none() || input == Input::FurtherBack { "guard" } else { "timeout" };
            for moving in &before {
                self.shared.figures.rolled_back(&moving.service, cause);
            }
        }
        Ok(())
    }

    /// Another process has the state and does not serve yet: our users go back all the same. It judges for itself
    /// once it has them.
    fn go_back_alone(&mut self, id: RolloutId, input: Input, by: &By) -> Result<(), Rejected> {
        if !matches!(input, Input::Back | Input::GuardFailed) {
            return Err(Rejected::Upgrading);
        }
        let now = Timestamp::now();
        let desired = Arc::clone(&self.running.desired);
        let term = |service: &ServiceName| self.term(service, None, now);
        let decision = rollout::advance(&desired, id, input, by, now, Frozen::No, term)?;
        let next = Running { desired: Arc::new(decision.desired), ..(*self.running).clone() };
        self.publish(next);
        Ok(())
    }

    /// A rollback ends the rollouts of its services.
    pub(in crate::control) fn end_rollouts(&self, decision: &mut Decision, origin: &Origin) {
        let touched = decision.moves.iter().find_map(|m| self.running.desired.rollout(m.service.as_str()));
        let figures = touched.map(|r| self.shared.verdicts.figures(r.id)).unwrap_or_default();
        let by = By { actor: origin.actor.clone(), cause: cause(origin, "somebody has rolled back"), figures };
        rollout::roll_back(decision, &by, Timestamp::now());
    }

    async fn rollout_refused(&mut self, kind: &str, asked: &Value, origin: &Origin, rejected: &Rejected) {
        tracing::warn!(actor = origin.actor, kind, error = %rejected, "refused");
        if !matches!(rejected, Rejected::Store(_) | Rejected::ShuttingDown | Rejected::Upgrading) {
            self.note_all(events::rollout_refused(kind, asked, origin, rejected)).await;
        }
    }

    async fn start_rollout(
        &mut self,
        start: RolloutStart,
        plan: Plan,
        origin: &Origin,
        scheduled: Option<u64>,
    ) -> Result<RolloutStarted, Rejected> {
        let fingerprint = format!("rollout {}", start_asked(&start));
        if let Some(started) = self.repeated(origin, &fingerprint).await?.as_ref().and_then(started_from) {
            return Ok(started);
        }
        self.check_versions(&start.services.iter().collect::<Vec<_>>(), origin)?;
        if let Some(at) = scheduled::later(start.at, Timestamp::now())? {
            return self.schedule_rollout(start, &plan, at, origin, fingerprint).await;
        }
        let plan = self.with_freezes(plan, &start.services);
        self.may_begin(&start, &plan)?;
        let id = self.journal.next_rollout(&self.running.desired);
        let RolloutStart { services, to, freeze, .. } = start;
        let reason = origin.reason.clone();
        let done =
            scheduled.map_or("it was started".to_owned(), |job| format!("it was started as scheduled by job {job}"));
        let by = By { actor: origin.actor.clone(), cause: cause(origin, &done), figures: Vec::new() };
        let begin = Begin { id, services, to, plan, salt: fresh_salt(), reason, freeze };
        let decision = rollout::begin(&self.running.desired, begin, &by, Timestamp::now())?;
        let version = decision.desired.version;
        let receipt = json!({ "rollout": id.0, "version": version });
        self.make_rollout_so(decision, Some((origin, fingerprint, receipt)), Otherwise::Refuse).await?;
        Ok(RolloutStarted::Begun { id, version })
    }

    /// The file's freezes hold whatever a request says of them: only `override_freeze` passes over them, and is seen.
    fn with_freezes(&self, mut plan: Plan, services: &[ServiceName]) -> Plan {
        for service in self.running.spec.services.iter().filter(|s| services.contains(&s.name)) {
            for freeze in &service.rollout.freeze {
                if !plan.freeze.contains(freeze) {
                    plan.freeze.push(freeze.clone());
                }
            }
        }
        plan
    }

    /// Refuses what would be known to fail at once.
    fn may_begin(&self, start: &RolloutStart, plan: &Plan) -> Result<(), Rejected> {
        for name in &start.services {
            is_frozen(name, plan, start)?;
            self.running.desired.may_be_moved(name)?;
            self.may_be_held(&[name])?;
            let Some(service) = self.running.table.service(name.as_str()) else { continue };
            let Some(index) = service.group_index(start.to.as_str()) else { continue };
            let group = &service.groups[index];
            if !group.can_serve() && !gather::is_undecided(group) {
                let why = self.shared.why_unhealthy(group);
                return Err(Rejected::CandidateUnhealthy { service: name.clone(), group: start.to.clone(), why });
            }
        }
        Ok(())
    }

    async fn steer_rollout(
        &mut self,
        service: &ServiceName,
        wish: RolloutWish,
        origin: &Origin,
    ) -> Result<RolloutReceipt, Rejected> {
        let fingerprint = format!("rollout.{} {service}", wish.label());
        let repeated = match self.repeated(origin, &fingerprint).await {
            // Going back twice is going back once.
            Err(Rejected::Store(_)) if wish == RolloutWish::Abort => None,
            repeated => repeated?,
        };
        if let Some(receipt) = repeated.as_ref().and_then(receipt_from) {
            return Ok(receipt);
        }
        self.check_versions(&[service], origin)?;
        let desired = &self.running.desired;
        let rollout = desired.rollout(service.as_str()).ok_or_else(|| no_rollout(desired, service))?;
        let (id, services) = (rollout.id, rollout.services.clone());
        let Some(input) = input(rollout, wish, &origin.actor)? else {
            return Ok(RolloutReceipt { id, version: desired.version, changed: false });
        };
        takes_no_step(rollout, input)?;
        let done = match wish {
            RolloutWish::Approve => "it was approved",
            RolloutWish::Pause => "it was paused",
            RolloutWish::Resume => "it was resumed",
            RolloutWish::Advance if rollout.wants_test() => "it was told to go on without its test",
            RolloutWish::Advance => "it was told to go on",
            RolloutWish::Abort => "it was aborted",
        };
        let figures = self.shared.verdicts.figures(id);
        let by = By { actor: origin.actor.clone(), cause: cause(origin, done), figures };
        let kept = Some((origin, fingerprint));
        let version = self.say(id, input, &by, kept).await?;
        if wish == RolloutWish::Abort {
            for moving in &services {
                self.shared.figures.rolled_back(&moving.service, "operator");
            }
        }
        Ok(RolloutReceipt { id, version, changed: true })
    }

    /// Tells the rollout `id` something. A way back is published even where the store is away.
    pub(super) async fn say(
        &mut self,
        id: RolloutId,
        input: Input,
        by: &By,
        kept: Option<(&Origin, String)>,
    ) -> Result<u64, Rejected> {
        let now = Timestamp::now();
        let desired = Arc::clone(&self.running.desired);
        let rollout = desired.rollouts.get(&id).filter(|rollout| rollout.freeze == Freezes::Heeded);
        let frozen = rollout.and_then(|rollout| frozen(&rollout.plan.freeze, now));
        let frozen = frozen.map_or(Frozen::No, |_| Frozen::Yes);
        let term = |service: &ServiceName| self.term(service, None, now);
        let decision = rollout::advance(&desired, id, input, by, now, frozen, term)?;
        let version = decision.desired.version;
        let state = decision.desired.rollouts.get(&id).map(|r| r.state);
        let is_back = matches!(state, Some(State::RolledBack | State::RollingBack(_)));
        if is_back && let Some(rollout) = decision.desired.rollouts.get(&id) {
            self.may_go_back(rollout, &decision)?;
        }
        let receipt = json!({ "rollout": id.0, "version": version });
        let kept = kept.map(|(origin, fingerprint)| (origin, fingerprint, receipt));
        let otherwise = if is_back { Otherwise::Keep } else { Otherwise::Refuse };
        self.make_rollout_so(decision, kept, otherwise).await?;
        Ok(version)
    }

    /// Where the stable group is dead and the candidate is not, nobody is sent there: users stay, and somebody has to
    /// look.
    fn may_go_back(&self, rollout: &Rollout, decision: &Decision) -> Result<(), Rejected> {
        for moved in decision.moves.iter().filter(|m| m.before != m.after) {
            let Some(service) = self.running.table.service(moved.service.as_str()) else { continue };
            let live = moved.after.live();
            let Some(index) = service.group_index(live.as_str()) else { continue };
            let candidate = service.group_index(rollout.to.as_str()).map(|i| &service.groups[i]);
            let group = &service.groups[index];
            if !group.can_serve() && candidate.is_some_and(Group::can_serve) {
                let (service, group, why) = (moved.service.clone(), live.clone(), self.shared.why_unhealthy(group));
                return Err(Rejected::StableGroupUnhealthy { service, group, why });
            }
        }
        Ok(())
    }

    async fn make_rollout_so(
        &mut self,
        decision: Decision,
        kept: Option<(&Origin, String, Value)>,
        otherwise: Otherwise,
    ) -> Result<(), Rejected> {
        let old = Arc::clone(&self.running);
        let mut batch = Batch::between(&old.desired, &decision.desired);
        batch.events = events::rollouts(&old.desired, &decision.desired);
        batch.jobs = self.shared.jobs.validations(&decision.desired);
        batch.events.extend(events::drains(&old.desired, &decision.desired, events::OURSELVES));
        if let Some((origin, fingerprint, receipt)) = kept {
            batch.receipts.extend(receipt_of(origin, fingerprint, receipt));
        }
        let next = Running { desired: Arc::new(decision.desired), ..(*old).clone() };
        let events = self.put_in_force(Some(next), batch, otherwise).await?;
        self.shared.announce(events);
        Ok(())
    }

    /// What was answered to the same request with the same key.
    pub(in crate::control) async fn repeated(
        &mut self,
        origin: &Origin,
        fingerprint: &str,
    ) -> Result<Option<Value>, Rejected> {
        let Some(key) = &origin.idempotency_key else { return Ok(None) };
        let stored = crate::control::controller::stored_key(origin, key);
        match self.journal.receipt(&self.running.desired, &stored, PATIENCE).await {
            Ok(None) => Ok(None),
            Ok(Some(kept)) if kept.fingerprint == fingerprint => Ok(Some(kept.receipt)),
            Ok(Some(_)) => Err(Rejected::IdempotencyKeyReused(key.clone())),
            Err(why) => Err(Rejected::Store(why)),
        }
    }
}

/// `receipt` as it is kept for a repeated request; none where the request has no key.
pub(super) fn receipt_of(origin: &Origin, fingerprint: String, receipt: Value) -> Option<KeptReceipt> {
    let key = origin.idempotency_key.as_ref()?;
    let key = crate::control::controller::stored_key(origin, key);
    Some(KeptReceipt { key, fingerprint, receipt, at: Timestamp::now() })
}

fn is_frozen(service: &ServiceName, plan: &Plan, start: &RolloutStart) -> Result<(), Rejected> {
    let frozen = frozen(&plan.freeze, Timestamp::now()).filter(|_| start.freeze == Freezes::Heeded);
    frozen.map_or(Ok(()), |f| Err(Rejected::Frozen { service: service.clone(), until: f.until }))
}

fn cause(origin: &Origin, done: &str) -> String {
    origin.reason.as_ref().map_or_else(|| done.to_owned(), |reason| format!("{done}: {reason}"))
}
