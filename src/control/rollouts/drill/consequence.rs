//! What a failed guard would lead to: the same machine that moves real rollouts, on a copy that nobody sees.

use jiff::Timestamp;

use super::Consequence;
use crate::control::command::RolloutStart;
use crate::model::change::{ChangeError, Desired};
use crate::model::cohort::Salt;
use crate::model::drain::Term;
use crate::model::rollout::plan::Plan;
use crate::model::rollout::{self, Begin, By, Frozen, Input, Phase, RolloutId, State};

/// Inputs from the begin to the first step, at the most.
const MOST: usize = 10;

/// What becomes of a rollout in its first step when a guard fails; none where it cannot even begin.
pub(super) fn of(desired: &Desired, start: &RolloutStart, plan: &Plan) -> Option<Consequence> {
    let now = Timestamp::now();
    let id = RolloutId(desired.rollouts.keys().next_back().map_or(0, |id| id.0) + 1);
    let begin = Begin {
        id,
        services: start.services.clone(),
        to: start.to.clone(),
        plan: plan.clone(),
        salt: Salt(0),
        reason: None,
        freeze: start.freeze,
    };
    let begun = rollout::begin(desired, begin, &By::default(), now).ok()?.desired;
    let stepped = first_step(begun, id, now).ok()?;
    let failed = told(&stepped, id, Input::GuardFailed, now).ok()?;
    let service = start.services.first()?;
    Some(Consequence {
        state: failed.rollouts.get(&id)?.state,
        split: failed.services.get(service.as_str())?.split.clone(),
    })
}

fn first_step(mut desired: Desired, id: RolloutId, now: Timestamp) -> Result<Desired, ChangeError> {
    for _ in 0..MOST {
        let input = match desired.rollouts.get(&id).map(|rollout| rollout.state) {
            Some(State::Active(Phase::Checking | Phase::Warming | Phase::Validating)) => Input::Ready,
            Some(State::Active(Phase::AwaitingApproval(_))) => Input::Agreed,
            _ => break,
        };
        desired = told(&desired, id, input, now)?;
    }
    Ok(desired)
}

fn told(desired: &Desired, id: RolloutId, input: Input, now: Timestamp) -> Result<Desired, ChangeError> {
    let term = |_: &_| Term { began: now, deadline: now };
    Ok(rollout::advance(desired, id, input, &By::default(), now, Frozen::No, term)?.desired)
}
