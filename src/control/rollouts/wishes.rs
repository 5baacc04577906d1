//! What somebody who steers a rollout means by it, where it is; and what means nothing there.

use jiff::Timestamp;

use crate::control::command::{Rejected, RolloutWish};
use crate::control::freeze::frozen;
use crate::model::change::Desired;
use crate::model::names::ServiceName;
use crate::model::rollout::plan::Approver;
use crate::model::rollout::{Freezes, Input, Phase, Rollout, State};

/// What `wish` means to `rollout`; none: it is so already.
pub(super) fn input(rollout: &Rollout, wish: RolloutWish, actor: &str) -> Result<Option<Input>, Rejected> {
    let not_now = |hint| Err(Rejected::NotNow { id: rollout.id, state: rollout.state.label(), hint });
    let waits = matches!(rollout.state.phase(), Some(Phase::AwaitingApproval(_)));
    Ok(Some(match (wish, rollout.state) {
        (RolloutWish::Approve, _) if !waits => return not_now("nobody has to agree now"),
        (RolloutWish::Approve, _) if rollout.is_let_through() => return Ok(None),
        (RolloutWish::Approve, _) => {
            let approver = rollout.plan.approval.as_ref().map_or(Approver::Anyone, |a| a.by);
            if approver == Approver::Another && actor == rollout.started_by {
                return Err(Rejected::AnotherMustAgree { id: rollout.id, actor: actor.to_owned() });
            }
            Input::Agreed
        }
        (RolloutWish::Pause, State::Paused(_)) | (RolloutWish::Resume, State::Active(_)) => return Ok(None),
        (RolloutWish::Pause | RolloutWish::Resume | RolloutWish::Advance, State::RollingBack(_)) => {
            return not_now("it is on its way back; abort ends that at once");
        }
        (RolloutWish::Pause, _) => Input::Pause,
        (RolloutWish::Resume, _) => Input::Resume,
        (RolloutWish::Advance, _) if rollout.is_let_through() => return not_now("it goes on when the freeze is over"),
        (RolloutWish::Advance, _) if waits => return not_now("somebody has to agree: approve it"),
        (RolloutWish::Advance, _) if matches!(rollout.state.phase(), Some(Phase::Checking | Phase::Warming)) => {
            return not_now("the candidate must be checked first");
        }
        (RolloutWish::Advance, _) => Input::Onward,
        (RolloutWish::Abort, _) => Input::Abort,
    }))
}

/// Refuses the step that `input` would be, in a freeze.
pub(super) fn takes_no_step(rollout: &Rollout, input: Input) -> Result<(), Rejected> {
    let is_step = input == Input::Onward && rollout.state.phase() == Some(Phase::Shifting);
    let heeded = rollout.freeze == Freezes::Heeded && is_step;
    let frozen = if heeded { frozen(&rollout.plan.freeze, Timestamp::now()) } else { None };
    frozen.map_or(Ok(()), |frozen| Err(Rejected::StepFrozen { id: rollout.id, until: frozen.until }))
}

/// Why there is nothing to steer.
pub(super) fn no_rollout(desired: &Desired, service: &ServiceName) -> Rejected {
    if desired.services.contains_key(service.as_str()) {
        return Rejected::NoRollout(format!("service {service} has no rollout under way"));
    }
    crate::model::change::unknown_service(desired, service).into()
}
