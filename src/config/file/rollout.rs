//! `rollout` of a service as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Guards, List, Maybe, Percentage, Period};
use crate::config::yaml::Text;

/// How a rollout goes where whoever starts it says nothing else.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Rollout {
    /// Requests to each upstream of the candidate ahead of everything else; default: none.
    pub(in crate::config) warm_up: List<WarmUp>,
    /// The candidate's shares, rising to 100; default 10, 25, 50 for 10m each, then 100.
    pub(in crate::config) steps: List<Step>,
    /// Tests the candidate while only a validation listener reaches it; default: nobody.
    pub(in crate::config) validate: Maybe<Validate>,
    /// Where somebody has to agree; default, and `null`: nowhere.
    pub(in crate::config) approval: Maybe<Approval>,
    /// For so long after the last step guards are on and the old group is kept warm; default 10m.
    pub(in crate::config) bake: Maybe<Period>,
    /// What becomes of the old group at the end; default `drain`.
    pub(in crate::config) then: Maybe<Then>,
    /// What the candidate is judged by; default: `error_rate: { above: 5% }`, `unhealthy_for` and `connect_failures`.
    pub(in crate::config) guards: Maybe<Guards>,
    /// The chance that a healthy candidate is not rolled back, 50% to 99.9999%; default 99.9%.
    pub(in crate::config) confidence: Maybe<Percentage>,
    /// Requests to the candidate without which a step does not pass; default 20.
    pub(in crate::config) min_requests: Maybe<u64>,
    /// When a verdict does not come.
    pub(in crate::config) undecided: Maybe<Undecided>,
    /// When a guard has failed; default `rollback`. Hard guards always go straight back.
    pub(in crate::config) on_failure: Maybe<OnFailure>,
    /// When no rollout starts or takes a step; default: never.
    pub(in crate::config) freeze: List<Freeze>,
}

/// A request that makes a new process load what it needs.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct WarmUp {
    /// Path and query.
    #[schemars(required)]
    pub(in crate::config) path: Maybe<String>,
    /// How often, one after another, up to 1000; default 1.
    pub(in crate::config) times: Maybe<u32>,
}

/// A share of the candidate.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Step {
    /// In per cent; each more than the one before, the last one 100.
    #[schemars(required)]
    pub(in crate::config) share: Maybe<Percentage>,
    /// For so long at least; default 10m, for the last step 0s.
    pub(in crate::config) hold: Maybe<Period>,
}

/// Tests the candidate while only a validation listener reaches it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Validate {
    /// Says whether it is well.
    #[schemars(required)]
    pub(in crate::config) hook: Maybe<ValidateHook>,
}

/// Says whether the candidate is well: exactly one of url, command.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ValidateHook {
    /// Asked by POST: 200 is well, 202 means later, anything else is not well.
    pub(in crate::config) url: Maybe<String>,
    /// A program and its arguments: exit code 0 is well.
    pub(in crate::config) command: List<Text>,
    /// How long it may take; default 20m.
    pub(in crate::config) timeout: Maybe<Period>,
}

/// Where somebody has to agree.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Approval {
    /// first_step (the default), each_step, last_step, drain (the end of the bake), or the share of a step.
    pub(in crate::config) before: List<Text>,
    /// For so long a rollout waits; default 20m.
    pub(in crate::config) within: Maybe<Period>,
    /// Who may; default `anyone`.
    pub(in crate::config) by: Maybe<Approver>,
    /// When nobody has in time; default `rollback`.
    pub(in crate::config) on_timeout: Maybe<OnTimeout>,
}

/// Who may agree.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Approver {
    /// Any operator.
    Anyone,
    /// Any operator but the one who has started the rollout.
    Another,
}

/// When nobody has agreed in time.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum OnTimeout {
    /// Back to the stable split.
    Rollback,
    /// It waits on, paused.
    Pause,
}

/// What becomes of the old group at the end.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Then {
    /// It is drained.
    Drain,
    /// It stays as it is.
    Keep,
}

/// When a step's hold is over and its verdict is neither pass nor fail.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Undecided {
    /// So long after the step's begin, never before its hold is over; default 30m.
    pub(in crate::config) after: Maybe<Period>,
    /// What is done then; default `hold`.
    #[serde(rename = "do")]
    pub(in crate::config) act: Maybe<UndecidedAct>,
}

/// What is done without a verdict.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum UndecidedAct {
    /// The rollout is paused where it is.
    Hold,
    /// It goes on as if it had passed.
    Advance,
    /// Back to the stable split.
    Rollback,
}

/// When a guard has failed: `rollback`, or down step by step for a candidate that is slow rather than broken.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(untagged)]
pub(in crate::config) enum OnFailure {
    /// `rollback`: straight back to the stable split.
    #[serde(rename = "@text")]
    Word(String),
    /// Down step by step.
    #[serde(rename = "@map")]
    StepDown(StepDown),
}

/// Down step by step.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct StepDown {
    /// The candidate's shares in per cent, falling to 0.
    #[schemars(required)]
    pub(in crate::config) step_down: List<Percentage>,
    /// From one to the next; default 1m.
    pub(in crate::config) every: Maybe<Period>,
}

/// A time in which nothing new begins.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Freeze {
    /// When it begins: minute, hour, day of the month, month, day of the week, as in crontab.
    #[schemars(required)]
    pub(in crate::config) cron: Maybe<String>,
    /// How long it lasts.
    #[serde(rename = "for")]
    #[schemars(required)]
    pub(in crate::config) length: Maybe<Period>,
    /// The time zone by its IANA name, like Europe/Berlin; default UTC.
    pub(in crate::config) zone: Maybe<String>,
}
