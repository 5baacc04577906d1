//! What a rollout is to be told because of the time that has passed and the verdict of the moment.

use std::time::Duration;

use super::plan::{OnFailure, OnTimeout, UndecidedAct};
use super::{Freezes, Input, Phase, Rollout, State, Tested};
use crate::model::split::Share;
use crate::model::verdict::Status;

/// Why it was paused, or has gone back, for want of an approval.
pub(super) const NOT_AGREED: &str = "nobody has agreed in time";

/// What counts beside the rollout itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// How long it has been busy with what it is busy with, pauses left out, by a clock that does not jump.
    pub spent: Duration,
    /// The same since it was resumed last, where it was paused: who resumes it gives it all its patience again.
    pub waited: Duration,
    /// The verdict on the candidate.
    pub verdict: Status,
    /// Whether nothing new may begin now.
    pub frozen: Frozen,
}

/// Whether nothing new may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frozen {
    /// It may.
    No,
    /// It may not.
    Yes,
}

impl Rollout {
    /// What it is to be told now, and why; none: nothing is due. A failed guard is another matter: it is told at once.
    #[must_use]
    pub fn due(&self, moment: Moment) -> Option<(Input, String)> {
        let Moment { spent, waited, .. } = moment;
        let is_frozen = moment.frozen == Frozen::Yes && self.freeze == Freezes::Heeded;
        let thawed = |input| (!is_frozen).then(|| (input, "the freeze is over".to_owned()));
        match self.state {
            State::Active(Phase::Shifting | Phase::Baking) => self.share_is_due(moment),
            State::Active(Phase::AwaitingApproval(stop)) if self.agreed == Some(stop) => thawed(Input::Agreed),
            State::Active(Phase::Validating) if self.tested == Tested::Well => thawed(Input::Onward),
            State::Active(Phase::AwaitingApproval(_)) => {
                let approval = self.plan.approval.as_ref().filter(|a| waited >= a.within)?;
                let input = match approval.on_timeout {
                    OnTimeout::Rollback => Input::Back,
                    OnTimeout::Pause => Input::Pause,
                };
                Some((input, NOT_AGREED.to_owned()))
            }
            State::Active(Phase::Validating) => {
                let validation = self.plan.validate.as_ref().filter(|v| spent >= v.timeout)?;
                Some((Input::Untested, format!("the validation took longer than {:?}", validation.timeout)))
            }
            State::RollingBack(_) => match &self.plan.on_failure {
                OnFailure::StepDown { every, .. } if spent < *every => None,
                OnFailure::StepDown { .. } | OnFailure::Rollback => {
                    Some((Input::FurtherBack, "the next step back".to_owned()))
                }
            },
            State::Active(_) | State::Paused(_) | State::Done | State::RolledBack | State::Failed => None,
        }
    }

    fn share_is_due(&self, moment: Moment) -> Option<(Input, String)> {
        let hold = self.hold().filter(|hold| moment.spent >= *hold)?;
        let shifting = self.state == State::Active(Phase::Shifting);
        if shifting && self.share == Share::ALL {
            return Some((Input::Onward, "the candidate has everything".to_owned()));
        }
        if shifting && moment.frozen == Frozen::Yes && self.freeze == Freezes::Heeded {
            return None;
        }
        match moment.verdict {
            Status::Pass => Some((Input::Onward, "every guard has passed".to_owned())),
            // Whoever judges says so at once, and waits for what becomes of it.
            Status::Fail => None,
            Status::Undecided if moment.waited < self.plan.undecided.after.max(hold) => None,
            Status::Undecided => {
                let why = "the verdict is still undecided".to_owned();
                Some(match self.plan.undecided.act {
                    UndecidedAct::Hold => (Input::Pause, why),
                    UndecidedAct::Advance => (Input::Onward, why),
                    UndecidedAct::Rollback => (Input::Back, why),
                })
            }
        }
    }
}
