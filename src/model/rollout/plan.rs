//! The plan of a rollout: what the file or whoever starts it has asked for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::split::Share;
use crate::model::verdict::plan::Guards;

/// How a rollout is to go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Plan {
    /// Requests to each upstream of the candidate ahead of everything else.
    pub warm_up: Vec<WarmUp>,
    /// Shares in rising order, the last one 100 %. At least one.
    pub steps: Vec<Step>,
    /// Asked while only validation traffic reaches the candidate.
    pub validate: Option<Validation>,
    /// Where somebody has to agree.
    pub approval: Option<Approval>,
    /// At 100 %, guards on, the old group kept warm.
    pub bake: Duration,
    /// What becomes of the old group at the end.
    pub then: Then,
    /// What the candidate is judged by.
    pub guards: Guards,
    /// The chance, in parts of 1, that no healthy candidate is rolled back over the whole rollout, all guards together:
    /// 0.999.
    pub confidence: f64,
    /// Requests of a step without which it does not pass.
    pub min_requests: u64,
    /// When a verdict does not come.
    pub undecided: Undecided,
    /// When a guard has failed.
    pub on_failure: OnFailure,
    /// When no rollout starts or takes a step.
    pub freeze: Vec<Freeze>,
}

impl Default for Plan {
    fn default() -> Self {
        let step = |percent, minutes: u64| Step {
            share: Share::from_percent(percent).unwrap_or(Share::ALL),
            hold: Duration::from_secs(minutes * 60),
        };
        Self {
            warm_up: Vec::new(),
            steps: vec![step(10.0, 10), step(25.0, 10), step(50.0, 10), step(100.0, 0)],
            validate: None,
            approval: None,
            bake: Duration::from_secs(600),
            then: Then::Drain,
            guards: Guards::default(),
            confidence: 0.999,
            min_requests: 20,
            undecided: Undecided::default(),
            on_failure: OnFailure::Rollback,
            freeze: Vec::new(),
        }
    }
}

/// Requests that make a new process load what it needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmUp {
    /// Path and query.
    pub path: String,
    /// How often, one after another.
    pub times: u32,
}

/// A share and how long it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The candidate's share.
    pub share: Share,
    /// For so long at least.
    pub hold: Duration,
}

/// Somebody who tests the candidate through a validation listener and says whether it is well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validation {
    /// Who.
    pub by: Validator,
    /// How long it may take.
    pub timeout: Duration,
}

/// Who tests a candidate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Validator {
    /// A program with its arguments: exit code 0 is well.
    Command(Vec<String>),
    /// A URL, by POST: 200 is well, 202 means that it calls back or is to be asked again, anything else is not well.
    Url(String),
}

/// Where somebody has to agree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Ahead of these.
    pub before: Vec<Gate>,
    /// For so long a rollout waits.
    pub within: Duration,
    /// Who may.
    pub by: Approver,
    /// When nobody has in time.
    pub on_timeout: OnTimeout,
}

/// Ahead of what somebody has to agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// The first step.
    FirstStep,
    /// Each step.
    EachStep,
    /// The step that gives the candidate everything.
    LastStep,
    /// The step to this share.
    Share(Share),
    /// The end of the bake: what follows makes the way back longer.
    Drain,
}

/// Who may agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approver {
    /// Any operator.
    Anyone,
    /// Any operator but the one who has started it.
    Another,
}

/// When nobody has agreed in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnTimeout {
    /// Back to the stable split.
    Rollback,
    /// It waits on, paused.
    Pause,
}

/// What becomes of the old group at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// It is drained.
    Drain,
    /// It stays as it is.
    Keep,
}

/// When a step's hold is over and its verdict is neither pass nor fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undecided {
    /// So long after the step's begin; never before its hold is over.
    pub after: Duration,
    /// What is done then.
    pub act: UndecidedAct,
}

impl Default for Undecided {
    fn default() -> Self {
        Self { after: Duration::from_secs(30 * 60), act: UndecidedAct::Hold }
    }
}

/// What is done without a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UndecidedAct {
    /// It is paused where it is.
    Hold,
    /// It goes on as if it had passed.
    Advance,
    /// Back to the stable split.
    Rollback,
}

/// What is done when a guard has failed. Hard guards always go straight back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Straight back to the stable split.
    Rollback,
    /// Back over these shares, falling, the last one 0.
    StepDown {
        /// The candidate's shares.
        shares: Vec<Share>,
        /// From one to the next.
        every: Duration,
    },
}

/// A time in which nothing new begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freeze {
    /// When it begins: minute, hour, day of the month, month, day of the week.
    pub cron: String,
    /// How long it lasts.
    pub length: Duration,
    /// The time zone by its IANA name.
    pub zone: String,
}
