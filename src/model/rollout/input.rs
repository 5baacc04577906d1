//! What can be said to a rollout.

use super::Figure;

/// Who says something to a rollout, and why.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct By {
    /// The name of a token, or `pointsman` itself.
    pub actor: String,
    /// For people.
    pub cause: String,
    /// What the guards say now.
    pub figures: Vec<Figure>,
}

/// What is said to a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// What it was busy with ahead of the first step has gone well: the check, the warm-up, the validation.
    Ready,
    /// It has not; nobody is on the candidate by it.
    NotReady,
    /// Whoever tests the candidate has said nothing for too long.
    Untested,
    /// Somebody agrees that it goes on.
    Agreed,
    /// The share was kept long enough and the verdict lets it go on, or somebody has said that it goes on in any case.
    Onward,
    /// A guard has failed.
    GuardFailed,
    /// A hard guard has failed, or nobody has agreed or judged in time: straight back, whatever the policy.
    Back,
    /// The next share on the way back.
    FurtherBack,
    /// Somebody wants it to stay where it is; or nobody knows better.
    Pause,
    /// It goes on from where it was paused.
    Resume,
    /// Somebody ends it.
    Abort,
    /// The drains at its end are over.
    Drained,
}
