//! What a rollout waits for, in words, and how long that may take.

use std::time::Duration;

use crate::control::view::{RolloutState, RolloutView};
use crate::model::period::written;
use crate::model::rollout::plan::{OnFailure, OnTimeout, Validator};
use crate::model::rollout::{Phase, Stop};
use crate::model::verdict::Status;

/// What `view` waits for; none when it is over.
pub(super) fn waits_for(view: &RolloutView) -> Option<String> {
    let text = match view.rollout.state {
        RolloutState::Active(_) if view.rollout.is_let_through() => "the end of a freeze".to_owned(),
        RolloutState::Active(phase) => busy_with(view, phase),
        RolloutState::Paused(Phase::AwaitingApproval(stop)) if !view.rollout.is_let_through() => approval(view, stop),
        RolloutState::Paused(_) => "somebody to resume it".to_owned(),
        RolloutState::RollingBack(_) => "the next step back".to_owned(),
        RolloutState::Done | RolloutState::RolledBack | RolloutState::Failed => return None,
    };
    Some(text)
}

fn busy_with(view: &RolloutView, phase: Phase) -> String {
    match phase {
        Phase::Checking => "the health check of the candidate".to_owned(),
        Phase::Warming => "the requests that warm the candidate up".to_owned(),
        Phase::Validating => validation(view),
        Phase::AwaitingApproval(stop) => approval(view, stop),
        Phase::Shifting => share(view, "its next step"),
        Phase::Baking => share(view, "the end of its bake"),
        Phase::Draining => "the drains of what it replaces".to_owned(),
    }
}

fn validation(view: &RolloutView) -> String {
    let by = view.rollout.plan.validate.as_ref().map(|validation| match &validation.by {
        Validator::Url(url) => url.clone(),
        Validator::Command(words) => words.first().cloned().unwrap_or_default(),
    });
    format!("the validation by {}", by.unwrap_or_else(|| "whoever tests the candidate".to_owned()))
}

fn approval(view: &RolloutView, stop: Stop) -> String {
    let ahead = ahead_of(view, stop);
    let otherwise = view.rollout.plan.approval.as_ref().filter(|_| is_active(view)).map(|approval| {
        let then = match approval.on_timeout {
            OnTimeout::Rollback => "rolled back",
            OnTimeout::Pause => "paused",
        };
        format!(" within {}, or else it is {then}", written(approval.within))
    });
    format!("somebody to agree ahead of {ahead}{}", otherwise.unwrap_or_default())
}

fn is_active(view: &RolloutView) -> bool {
    matches!(view.rollout.state, RolloutState::Active(_))
}

/// `step 1 (10 %)`, or `the drain of the old group`.
pub(in crate::admin) fn ahead_of(view: &RolloutView, stop: Stop) -> String {
    match stop {
        Stop::Drain => "the drain of the old group".to_owned(),
        Stop::Step(index) => {
            let share = view.rollout.plan.steps.get(index).map(|step| format!(" ({} %)", step.share.percent()));
            format!("step {}{}", index + 1, share.unwrap_or_default())
        }
    }
}

/// While a share is kept and judged.
fn share(view: &RolloutView, next: &str) -> String {
    let hold = view.rollout.hold().unwrap_or_default();
    let needs = view.verdict.as_ref().filter(|verdict| verdict.status == Status::Undecided).map(|verdict| {
        let open = verdict.rows.iter().filter(|(_, row)| row.status == Status::Undecided);
        let several = view.rollout.services.len() > 1;
        let needs = open.map(|(service, row)| {
            let of = if several { format!(" of {service}") } else { String::new() };
            match row.needs {
                0 => format!("{}{of}", row.guard),
                needs => format!("{}{of} (about {needs} more requests)", row.guard),
            }
        });
        needs.collect::<Vec<_>>().join(", ")
    });
    let is_kept = left(view).is_some_and(|left| left > 0.0);
    match (is_kept, needs.filter(|needs| !needs.is_empty())) {
        (true, Some(needs)) => format!("the end of {} at this share, and the verdict of {needs}", written(hold)),
        (true, None) => format!("the end of {} at this share", written(hold)),
        (false, Some(needs)) => format!("the verdict of {needs}"),
        (false, None) => next.to_owned(),
    }
}

/// Seconds that are left of the time that is meant for what it is busy with; none where there is no such time.
pub(super) fn left(view: &RolloutView) -> Option<f64> {
    let plan = &view.rollout.plan;
    let meant = match view.rollout.state {
        RolloutState::Active(Phase::AwaitingApproval(_)) => plan.approval.as_ref().map(|approval| approval.within),
        RolloutState::Active(Phase::Validating) => plan.validate.as_ref().map(|validation| validation.timeout),
        RolloutState::Active(Phase::Shifting | Phase::Baking) => view.rollout.hold(),
        RolloutState::RollingBack(_) => match &plan.on_failure {
            OnFailure::StepDown { every, .. } => Some(*every),
            OnFailure::Rollback => Some(Duration::ZERO),
        },
        _ => None,
    };
    meant.zip(view.spent).map(|(meant, spent)| (meant.as_secs_f64() - spent).max(0.0))
}
