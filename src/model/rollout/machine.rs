//! What becomes of a rollout, and of desired state by it.
//!
//! checking → warming → validating → (approval) → shifting, step by step, each perhaps behind an approval → baking →
//! (approval) → draining → done. From each of these a pause, and a way back: at once, or over falling shares. Whatever
//! happens while users are on the candidate, the way back ends at the stable split.

use jiff::Timestamp;

use super::due::NOT_AGREED;
use super::plan::{OnFailure, Then};
use super::{By, Freezes, Frozen, Input, Moving, Phase, Rollout, RolloutId, State, Stop, Tested};
use crate::model::change::{ChangeError, Decision, Desired, Move, Numbered};
use crate::model::drain::{Drain, Part, Term, Wanted};
use crate::model::names::{GroupName, ServiceName};
use crate::model::split::{Share, Split};

/// Where the candidate's share is to be after an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    /// Where it is.
    Here,
    /// At this share.
    Share(Share),
    /// At the stable split.
    Stable,
}

/// What `input` makes of the rollout `id` and of its services. `frozen`: whether a step may be taken now; where it may
/// not, what was found or agreed is kept until it may. `term` says how long a drain takes that begins now.
///
/// # Errors
/// [`ChangeError::NoRollout`] when there is none with this number, and [`ChangeError::NotNow`] when the input means
/// nothing in its state.
pub fn advance(
    desired: &Desired,
    id: RolloutId,
    input: Input,
    by: &By,
    at: Timestamp,
    frozen: Frozen,
    term: impl Fn(&ServiceName) -> Term,
) -> Result<Decision, ChangeError> {
    let mut next = desired.clone();
    let rollout = next.rollouts.get_mut(&id).ok_or(ChangeError::NoRollout)?;
    let frozen = if rollout.freeze == Freezes::Overridden { Frozen::No } else { frozen };
    let (state, to) = rollout.next(input, frozen)?;
    rollout.enter(state, to, at);
    rollout.note(at, by);
    let rollout = rollout.clone();
    Ok(carried_out(next, &rollout, to, at, term))
}

/// The way back of every rollout of `decision`'s services, which a rollback has just been decided for: it is over, and
/// so are the shares of the services that move in lockstep with them.
pub fn roll_back(decision: &mut Decision, by: &By, at: Timestamp) {
    let touched = |rollout: &Rollout| decision.moves.iter().any(|m| rollout.moves(m.service.as_str()));
    let of_them = decision.desired.rollouts.values().filter(|r| !r.state.is_over() && touched(r));
    let ids: Vec<_> = of_them.map(|r| r.id).collect();
    let numbered = if decision.changed() { Numbered::Already } else { Numbered::NotYet };
    for id in ids {
        let Some(rollout) = decision.desired.rollouts.get_mut(&id) else { continue };
        rollout.enter(State::RolledBack, To::Stable, at);
        rollout.note(at, by);
        let services: Vec<_> = rollout.services.iter().map(|m| m.service.clone()).collect();
        for service in services {
            let Some(state) = decision.desired.services.get_mut(service.as_str()) else { continue };
            let before = std::mem::replace(&mut state.split, state.stable.clone());
            if let Some(moved) = decision.moves.iter_mut().find(|m| m.service == service) {
                moved.changed = true;
            } else {
                let (after, stable) = (state.split.clone(), state.stable.clone());
                decision.moves.push(Move { service, before, after, stable, changed: true });
            }
        }
    }
    decision.reopen_wanted(at, Wanted::EveryShare);
    decision.number(numbered);
}

/// Ends the rollouts of services that are not there any more, or have lost a group that it was about.
pub fn fail_without(desired: &mut Desired, at: Timestamp) {
    let missing = |rollout: &Rollout| rollout.services.iter().find_map(|m| missing(desired, rollout, m));
    let under_way = desired.rollouts.values().filter(|r| !r.state.is_over());
    let ended: Vec<_> = under_way.filter_map(|r| Some((r.id, missing(r)?))).collect();
    for (id, (gone, cause)) in ended {
        let Some(rollout) = desired.rollouts.get_mut(&id) else { continue };
        // The candidate has everything, and what it replaces was taken away: there is nothing left to go back to.
        let is_done = gone == Gone::Replaced && rollout.share == Share::ALL;
        let (state, to) = if is_done { (State::Done, To::Here) } else { (State::Failed, To::Stable) };
        rollout.enter(state, to, at);
        rollout.note(at, &By { actor: "file".to_owned(), cause, figures: Vec::new() });
        if !is_done {
            let rollout = rollout.clone();
            *desired = sent_back(std::mem::take(desired), &rollout, at);
        }
    }
}

/// The services of `rollout` that are still there do not stay where nobody watches over them.
fn sent_back(desired: Desired, rollout: &Rollout, at: Timestamp) -> Desired {
    let mut decision = Decision { desired, moves: Vec::new() };
    for moving in &rollout.services {
        if let Some(state) = decision.desired.retired.get_mut(moving.service.as_str()) {
            // Nor is one that comes back later where this has left it.
            state.split = state.stable.clone();
        }
        let Some(state) = decision.desired.services.get_mut(moving.service.as_str()) else { continue };
        if state.split.share(&rollout.to) > state.stable.share(&rollout.to) {
            let before = std::mem::replace(&mut state.split, state.stable.clone());
            let (after, stable) = (state.split.clone(), state.stable.clone());
            decision.moves.push(Move { service: moving.service.clone(), before, after, stable, changed: true });
        }
    }
    decision.reopen_wanted(at, Wanted::EveryShare);
    decision.number(Numbered::NotYet);
    decision.desired
}

/// What the file has taken away from a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gone {
    /// A group that it comes from.
    Replaced,
    /// The candidate, or a whole service.
    Needed,
}

/// What `moving` cannot do without and the file does not have any more.
fn missing(desired: &Desired, rollout: &Rollout, moving: &Moving) -> Option<(Gone, String)> {
    let service = &moving.service;
    let Some(state) = desired.services.get(service.as_str()) else {
        return Some((Gone::Needed, format!("service {service} is not in the file any more")));
    };
    let is_gone = |group: &GroupName| !state.split.iter().any(|(g, _)| g == group);
    let mut replaced = moving.from.iter().filter(|(_, share)| *share > Share::NONE).map(|(group, _)| group);
    let (what, group) = if is_gone(&rollout.to) {
        (Gone::Needed, &rollout.to)
    } else {
        (Gone::Replaced, replaced.find(|group| is_gone(group))?)
    };
    Some((what, format!("group {group} of service {service} is not in the file any more")))
}

/// After a crash, or any other end of the process: nobody knows what has happened meanwhile, so every rollout stays
/// where it is until somebody resumes it. What lets go of the old group, or is on its way back, goes on.
pub fn pause_all(desired: &mut Desired, at: Timestamp) {
    for rollout in desired.rollouts.values_mut() {
        let State::Active(phase) = rollout.state else { continue };
        if phase != Phase::Draining {
            rollout.enter(State::Paused(phase), To::Here, at);
            let cause = "pointsman was restarted; look at the candidate, then resume".to_owned();
            rollout.note(at, &By { actor: "pointsman".to_owned(), cause, figures: Vec::new() });
        }
    }
}

/// The state in which `rollout` is now, made so in its services.
fn carried_out(
    desired: Desired,
    rollout: &Rollout,
    to: To,
    at: Timestamp,
    term: impl Fn(&ServiceName) -> Term,
) -> Decision {
    let mut decision = Decision { desired, moves: Vec::new() };
    for moving in &rollout.services {
        let Some(state) = decision.desired.services.get_mut(moving.service.as_str()) else { continue };
        let split = match to {
            To::Here => state.split.clone(),
            To::Stable => state.stable.clone(),
            To::Share(share) => shared(&moving.from, rollout, share, &state.split),
        };
        let before = std::mem::replace(&mut state.split, split);
        let (after, stable) = (state.split.clone(), state.stable.clone());
        // The rollout's new state is a part of the service's as others see it: it has a new version in any case.
        decision.moves.push(Move { service: moving.service.clone(), before, after, stable, changed: true });
    }
    let wanted = if to == To::Stable { Wanted::EveryShare } else { Wanted::MoreShare };
    decision.reopen_wanted(at, wanted);
    if rollout.state == State::Active(Phase::Draining) {
        decision.drain_from(rollout, term);
    }
    decision.number(Numbered::NotYet);
    decision
}

/// The candidate at `share`, the others in the proportions that they had at the begin.
fn shared(from: &Split, rollout: &Rollout, share: Share, now: &Split) -> Split {
    let base = if from.iter().map(|(g, _)| g).eq(now.iter().map(|(g, _)| g)) { from } else { now };
    let heir = match base.live() {
        live if *live == rollout.to => base.iter().map(|(g, _)| g).find(|g| **g != rollout.to).unwrap_or(live),
        live => live,
    };
    base.with_share(&rollout.to, share, heir)
}

impl Decision {
    /// Begins drains of the groups that had a share when the rollout began and have none now.
    fn drain_from(&mut self, rollout: &Rollout, term: impl Fn(&ServiceName) -> Term) {
        for moving in &rollout.services {
            let Some(state) = self.desired.services.get_mut(moving.service.as_str()) else { continue };
            let had = moving.from.iter().filter(|(_, share)| *share > Share::NONE).map(|(g, _)| g.clone());
            for group in had.collect::<Vec<_>>() {
                if state.split.share(&group) == Share::NONE && !state.is_kept_out(&group) {
                    state.begin_drain(Part { group, upstream: None }, term(&moving.service));
                }
            }
        }
    }
}

impl Desired {
    /// Whether all drains are over that have begun at the end of the rollout.
    #[must_use]
    pub fn has_drained(&self, rollout: &Rollout) -> bool {
        let under_way = |service: &ServiceName| {
            let state = self.services.get(service.as_str());
            state.is_some_and(|s| s.drains.iter().any(|(p, d)| p.upstream.is_none() && Drain::is_under_way(d)))
        };
        !rollout.services.iter().any(|m| under_way(&m.service))
    }
}

impl Rollout {
    fn enter(&mut self, state: State, to: To, at: Timestamp) {
        self.share = match to {
            To::Here => self.share,
            To::Share(share) => share,
            To::Stable => self.services.iter().map(|m| m.from.share(&self.to)).min().unwrap_or(Share::NONE),
        };
        (self.state, self.since) = (state, at);
        if state.is_over() {
            self.ended_at = Some(at);
        }
    }

    fn next(&mut self, input: Input, frozen: Frozen) -> Result<(State, To), ChangeError> {
        let not_now = Err(ChangeError::NotNow { id: self.id, state: self.state.label() });
        Ok(match (self.state, input) {
            (State::RollingBack(_), Input::Back | Input::Abort) => (State::RolledBack, To::Stable),
            (State::RollingBack(at), Input::FurtherBack) => self.back_to(at + 1),
            (State::RollingBack(_) | State::Done | State::RolledBack | State::Failed, _) => return not_now,
            (_, Input::Back | Input::Abort) => (State::RolledBack, To::Stable),
            (_, Input::GuardFailed) => self.guard_failed(),
            (State::Active(phase), Input::Pause) => (State::Paused(phase), To::Here),
            (State::Paused(phase), Input::Resume) => self.resumed(phase, frozen),
            // A pause keeps the rollout where it is, and not those who test or agree.
            (State::Paused(Phase::AwaitingApproval(stop)), Input::Agreed) if self.agreed != Some(stop) => {
                self.agreed = Some(stop);
                // What it was paused for has come; any other pause is somebody's wish, or a restart's.
                if self.timeline.last().is_some_and(|entry| entry.cause == NOT_AGREED) {
                    self.let_through(stop, frozen)
                } else {
                    (self.state, To::Here)
                }
            }
            (State::Paused(Phase::Validating), Input::Ready) if self.tested == Tested::NotYet => {
                self.tested = Tested::Well;
                (self.state, To::Here)
            }
            (State::Active(Phase::Validating) | State::Paused(Phase::Validating), Input::NotReady) => {
                self.tested = Tested::Ill;
                self.not_ready()
            }
            (State::Active(Phase::Checking | Phase::Warming), Input::NotReady)
            | (State::Active(Phase::Validating), Input::Untested) => self.not_ready(),
            (State::Active(phase), input) => return self.goes_on(phase, input, frozen).map_or(not_now, Ok),
            (State::Paused(phase), Input::Onward) => return self.goes_on(phase, input, frozen).map_or(not_now, Ok),
            _ => return not_now,
        })
    }

    /// What was waited for has come; none: it was something else.
    fn goes_on(&mut self, phase: Phase, input: Input, frozen: Frozen) -> Option<(State, To)> {
        Some(match (phase, input) {
            (Phase::Checking, Input::Ready) if !self.plan.warm_up.is_empty() => enters(Phase::Warming),
            (Phase::Checking | Phase::Warming, Input::Ready) if self.plan.validate.is_some() => {
                enters(Phase::Validating)
            }
            (Phase::Checking | Phase::Warming, Input::Ready) | (Phase::Validating, Input::Ready | Input::Onward) => {
                self.tested = Tested::Well;
                self.step_on(Phase::Validating, frozen)
            }
            (Phase::Shifting, Input::Onward) => self.step_on(phase, frozen),
            (Phase::AwaitingApproval(stop), Input::Agreed) => {
                self.agreed = Some(stop);
                self.let_through(stop, frozen)
            }
            (Phase::Baking, Input::Onward) => self.finish(),
            (Phase::Draining, Input::Drained | Input::Onward) => (State::Done, To::Here),
            _ => return None,
        })
    }

    /// What was found or agreed during the pause still holds.
    fn resumed(&mut self, phase: Phase, frozen: Frozen) -> (State, To) {
        match phase {
            Phase::Validating if self.tested == Tested::Well => self.step_on(phase, frozen),
            Phase::AwaitingApproval(stop) if self.agreed == Some(stop) => self.let_through(stop, frozen),
            _ => enters(phase),
        }
    }

    fn let_through(&mut self, stop: Stop, frozen: Frozen) -> (State, To) {
        match stop {
            Stop::Step(_) => self.step_on(Phase::AwaitingApproval(stop), frozen),
            Stop::Drain => self.finish(),
        }
    }

    /// Nobody is moved to a candidate that is not ready; who was on it already goes back.
    fn not_ready(&self) -> (State, To) {
        let has_moved = self.services.iter().any(|m| self.share > m.from.share(&self.to));
        if has_moved { (State::RolledBack, To::Stable) } else { (State::Failed, To::Here) }
    }

    /// To the next step that gives the candidate more, where nobody has to agree first; after the last one, the bake.
    /// While no step may be taken it waits in `phase`.
    fn step_on(&mut self, phase: Phase, frozen: Frozen) -> (State, To) {
        let from = self.step.map_or(0, |step| step + 1);
        let ahead = (from..self.plan.steps.len()).find(|i| self.plan.steps[*i].share > self.share);
        let Some(ahead) = ahead else { return enters(Phase::Baking) };
        if let Some(stop) = self.gate(Stop::Step(ahead)) {
            return enters(Phase::AwaitingApproval(stop));
        }
        if frozen == Frozen::Yes {
            return enters(phase);
        }
        self.step = Some(ahead);
        (State::Active(Phase::Shifting), To::Share(self.plan.steps[ahead].share))
    }

    /// After the bake.
    fn finish(&mut self) -> (State, To) {
        if self.plan.then == Then::Keep {
            return (State::Done, To::Here);
        }
        self.gate(Stop::Drain).map_or(enters(Phase::Draining), |stop| enters(Phase::AwaitingApproval(stop)))
    }

    fn guard_failed(&self) -> (State, To) {
        match &self.plan.on_failure {
            OnFailure::Rollback => (State::RolledBack, To::Stable),
            OnFailure::StepDown { shares, .. } => {
                let lower = shares.iter().position(|share| *share < self.share).unwrap_or(shares.len());
                self.back_to(lower)
            }
        }
    }

    /// At the share with this index on the way back; where there is none, or it is no share, all the way.
    fn back_to(&self, index: usize) -> (State, To) {
        match &self.plan.on_failure {
            OnFailure::StepDown { shares, .. } => match shares.get(index) {
                Some(share) if *share > Share::NONE => (State::RollingBack(index), To::Share(*share)),
                _ => (State::RolledBack, To::Stable),
            },
            OnFailure::Rollback => (State::RolledBack, To::Stable),
        }
    }
}

fn enters(phase: Phase) -> (State, To) {
    (State::Active(phase), To::Here)
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
