//! `approval` of a rollout: where somebody has to agree.

use std::time::Duration;

use super::check::{Check, all};
use super::health::positive;
use super::rollout::within_a_week;
use crate::config::file::{self, Percentage, Period};
use crate::config::near;
use crate::config::problem::Place;
use crate::config::yaml::{At, Text, quote};
use crate::model::rollout::plan::{Approval, Approver, Gate, OnTimeout, Step};

const WITHIN: Duration = Duration::from_secs(20 * 60);
const WORDS: [(&str, Gate); 4] = [
    ("first_step", Gate::FirstStep),
    ("each_step", Gate::EachStep),
    ("last_step", Gate::LastStep),
    ("drain", Gate::Drain),
];

/// Where somebody has to agree; what is not written is as in `base`.
pub(super) fn approval(check: &Check<'_>, at: &At<file::Approval>, base: Option<&Approval>) -> Option<Approval> {
    let written = at.value.as_ref()?;
    let before = match &written.before {
        None => Some(base.map_or_else(|| vec![Gate::FirstStep], |base| base.before.clone())),
        Some(list) => before(check, list),
    };
    let within = Period(base.map_or(WITHIN, |base| base.within));
    let within = positive(check, "within", &written.within, within).and_then(|within| match &written.within {
        Some(at) => within_a_week(check, "within", at),
        None => Some(within),
    });
    let by = match &written.by {
        None => Some(base.map_or(Approver::Anyone, |base| base.by)),
        Some(at) => at.value.map(|by| match by {
            file::Approver::Anyone => Approver::Anyone,
            file::Approver::Another => Approver::Another,
        }),
    };
    let on_timeout = match &written.on_timeout {
        None => Some(base.map_or(OnTimeout::Rollback, |base| base.on_timeout)),
        Some(at) => at.value.map(|act| match act {
            file::OnTimeout::Rollback => OnTimeout::Rollback,
            file::OnTimeout::Pause => OnTimeout::Pause,
        }),
    };
    Some(Approval { before: before?, within: within?, by: by?, on_timeout: on_timeout? })
}

fn before(check: &Check<'_>, list: &At<Vec<At<Text>>>) -> Option<Vec<Gate>> {
    let items = list.value.as_ref()?;
    if items.is_empty() {
        return check.add(list.place, "the list is empty; write first_step, or remove `approval`");
    }
    let gates = all(items.iter().map(|at| Some((at.place, check.parse(at, gate)?))))?;
    all(gates.iter().enumerate().map(|(i, (place, gate))| {
        if gates[..i].iter().any(|(_, other)| other == gate) {
            return check.add(*place, "this is already in the list; write it once");
        }
        Some(*gate)
    }))
}

/// A word, or the share of a step.
fn gate(text: &str) -> Result<Gate, String> {
    if let Some((_, gate)) = WORDS.iter().find(|(word, _)| *word == text) {
        return Ok(*gate);
    }
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return Percentage::parse(text).map(|share| Gate::Share(share.0));
    }
    let words = WORDS.iter().map(|(word, _)| *word).chain(["the share of a step"]);
    Err(format!("{} is not known; {}", quote(text), near::suggest(text, words)))
}

/// Reports a gate ahead of a step that there is not: nobody would ever be asked.
pub(super) fn steps_of_gates(
    check: &Check<'_>,
    place: Place,
    written: &file::Rollout,
    steps: &[Step],
    approval: &Approval,
) -> Option<()> {
    let missing = |gate: &Gate| match gate {
        Gate::Share(share) if !steps.iter().any(|step| step.share == *share) => Some(*share),
        _ => None,
    };
    let Some(share) = approval.before.iter().find_map(missing) else { return Some(()) };
    let before = written.approval.as_ref().and_then(|at| at.value.as_ref()?.before.as_ref()).map(|at| at.place);
    let place = before.or(written.steps.as_ref().map(|at| at.place)).unwrap_or(place);
    let known: Vec<_> = steps.iter().map(|step| step.share.to_string()).collect();
    let right = format!("steps go to {}", known.join(", "));
    check.add(place, format!("no step goes to {share}, ahead of which somebody has to agree; {right}"))
}
