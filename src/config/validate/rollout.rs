//! `rollout`: how a service goes from one group to another.

use std::time::Duration;

use super::check::{Check, all, or};
use super::drain::within_a_day;
use super::freeze::freeze;
use super::gates::{approval, steps_of_gates};
use super::guards::guards;
use super::health::positive;
use super::text;
use crate::config::file::{self, List, Maybe, Period};
use crate::config::problem::Place;
use crate::config::yaml::{At, Text, quote};
use crate::model::rollout::plan::{
    OnFailure, Plan, Step, Then, Undecided, UndecidedAct, Validation, Validator, WarmUp,
};
use crate::model::split::Share;

/// Most items of a list in a plan.
const MOST: usize = 100;

/// The hold of a step that says nothing, unless it is the last one.
pub(in crate::config) const HOLD: Duration = Duration::from_secs(600);
/// The longest time for a step, a bake or an approval: what nobody has looked at within a week is forgotten.
pub(in crate::config) const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
const VALIDATION: Period = Period(Duration::from_secs(20 * 60));
const STEP_DOWN: Period = Period(Duration::from_secs(60));
/// Most requests to warm a path up.
const MOST_TIMES: u32 = 1000;

/// The service's plan for rollouts.
pub(super) fn rollout(check: &Check<'_>, field: &Maybe<file::Rollout>) -> Option<Plan> {
    let base = Plan::default();
    match field {
        None => Some(base),
        Some(at) => plan(check, at.place, at.value.as_ref()?, &base, HOLD),
    }
}

/// `base`, with what is written in its place. `hold` is that of a step that says nothing.
pub(in crate::config) fn plan(
    check: &Check<'_>,
    place: Place,
    written: &file::Rollout,
    base: &Plan,
    hold: Duration,
) -> Option<Plan> {
    let warm_up = or_base(&written.warm_up, &base.warm_up, |list| each(check, list, |at| warm_up(check, at)));
    let steps = or_base(&written.steps, &base.steps, |list| steps(check, list, hold));
    let validate = or_base(&written.validate, &base.validate, |at| validation(check, at).map(Some));
    let approval =
        or_base(&written.approval, &base.approval, |at| approval(check, at, base.approval.as_ref()).map(Some));
    if let (Some(steps), Some(Some(approval))) = (&steps, &approval) {
        steps_of_gates(check, place, written, steps, approval)?;
    }
    let bake = or_base(&written.bake, &base.bake, |at| within_a_week(check, "bake", at));
    let then = or_base(&written.then, &base.then, |at| at.value.map(then));
    let guards = or_base(&written.guards, &base.guards, |at| guards(check, at.value.as_ref()?));
    let confidence = or_base(&written.confidence, &base.confidence, |at| confidence(check, at));
    let min_requests = or(&written.min_requests, base.min_requests);
    let undecided = or_base(&written.undecided, &base.undecided, |at| undecided(check, at, base.undecided));
    let on_failure = or_base(&written.on_failure, &base.on_failure, |at| on_failure(check, at));
    let freeze = or_base(&written.freeze, &base.freeze, |list| each(check, list, |at| freeze(check, at)));
    Some(Plan {
        warm_up: warm_up?,
        steps: steps?,
        validate: validate?,
        approval: approval?,
        bake: bake?,
        then: then?,
        guards: guards?,
        confidence: confidence?,
        min_requests: min_requests?,
        undecided: undecided?,
        on_failure: on_failure?,
        freeze: freeze?,
    })
}

/// What is written, or what would be without it.
fn or_base<S, T: Clone>(field: &Maybe<S>, base: &T, read: impl FnOnce(&At<S>) -> Option<T>) -> Option<T> {
    field.as_ref().map_or_else(|| Some(base.clone()), read)
}

/// Each item of a list that may well be empty: that is how something is called off.
fn each<S, T>(check: &Check<'_>, list: &At<Vec<At<S>>>, read: impl FnMut(&At<S>) -> Option<T>) -> Option<Vec<T>> {
    few(check, list)?;
    all(list.value.as_ref()?.iter().map(read))
}

/// All of a plan is kept with its rollout, and written at each of its steps.
pub(super) fn few<S>(check: &Check<'_>, list: &At<Vec<At<S>>>) -> Option<()> {
    match list.value.as_ref()?.len() {
        n if n > MOST => check.add(list.place, format!("the list has {n} items; at most {MOST} are allowed")),
        _ => Some(()),
    }
}

/// A time that is not longer than a week.
pub(super) fn within_a_week(check: &Check<'_>, key: &str, at: &At<Period>) -> Option<Duration> {
    match at.value?.0 {
        time if time > LONGEST => check.add(at.place, format!("`{key}` is longer than a week; write less")),
        time => Some(time),
    }
}

fn warm_up(check: &Check<'_>, at: &At<file::WarmUp>) -> Option<WarmUp> {
    let warm_up = at.value.as_ref()?;
    let path = check
        .need(at.place, "path", "path and query: /health", &warm_up.path)
        .and_then(|path| check.parse(path, text::path_and_query));
    let times = match (&warm_up.times, or(&warm_up.times, 1)) {
        (Some(at), Some(times)) if times == 0 || times > MOST_TIMES => {
            check.add(at.place, format!("{times} is no number of requests to warm up with; write 1 to {MOST_TIMES}"))
        }
        (_, times) => times,
    };
    Some(WarmUp { path: path?, times: times? })
}

/// Steps that rise to 100.
fn steps(check: &Check<'_>, list: &At<Vec<At<file::Step>>>, hold: Duration) -> Option<Vec<Step>> {
    let items = list.value.as_ref()?;
    if items.is_empty() {
        return check.add(list.place, "the list is empty; add at least { share: 100 }");
    }
    few(check, list)?;
    let last = items.len() - 1;
    let holds = |i| if i == last { Duration::ZERO } else { hold };
    let steps = all(items.iter().enumerate().map(|(i, at)| step(check, at, holds(i))))?;
    let mut before = Share::NONE;
    for (place, step) in &steps {
        if step.share <= before {
            let wrong = match (step.share, before) {
                (Share::NONE, Share::NONE) => "a step to 0 sends nobody to the candidate".to_owned(),
                (share, before) if share == before => format!("the step before goes to {share} as well"),
                (share, before) => format!("the step to {share} comes after one to {before}"),
            };
            return check.add(*place, format!("{wrong}; each step must go to more than the one before"));
        }
        before = step.share;
    }
    if before != Share::ALL {
        let place = items.last().map_or(list.place, |at| at.place);
        return check.add(place, format!("the last step goes to {before}; the last one must go to 100"));
    }
    Some(steps.into_iter().map(|(_, step)| step).collect())
}

/// A step, and where its share stands.
fn step(check: &Check<'_>, at: &At<file::Step>, hold: Duration) -> Option<(Place, Step)> {
    let step = at.value.as_ref()?;
    let share = check.need(at.place, "share", "the candidate's share in per cent, like 10", &step.share);
    let hold = match &step.hold {
        None => Some(hold),
        Some(at) => within_a_week(check, "hold", at),
    };
    let share = share?;
    Some((share.place, Step { share: share.value?.0, hold: hold? }))
}

fn validation(check: &Check<'_>, at: &At<file::Validate>) -> Option<Validation> {
    const RIGHT: &str = "url: \"http://127.0.0.1:9100/smoke\" or command: [./smoke.sh]";
    let right = format!("who tests the candidate: hook: {{ {RIGHT} }}");
    let hook = check.need(at.place, "hook", &right, &at.value.as_ref()?.hook)?;
    let (place, hook) = (hook.place, hook.value.as_ref()?);
    let timeout = within_a_day(check, "timeout", &hook.timeout, VALIDATION);
    let by = match (&hook.url, &hook.command) {
        (Some(url), None) => check.parse(url, text::shown_url).map(Validator::Url),
        (None, Some(_)) => command(check, &hook.command).map(Validator::Command),
        (None, None) => check.add(place, format!("the hook asks nobody; add {RIGHT}")),
        _ => check.add(place, "the hook has both `url` and `command`; keep one of them"),
    };
    Some(Validation { by: by?, timeout: timeout? })
}

/// A program and its arguments. A program with a slash in its name is a path, any other is looked for in `PATH`.
fn command(check: &Check<'_>, field: &List<Text>) -> Option<Vec<String>> {
    let words = check.list(field, "name a program", |at| Some((at.place, at.value.as_deref()?.to_owned())))?;
    all(words.into_iter().enumerate().map(|(i, (place, word))| match word.as_str() {
        "" if i == 0 => check.add(place, "the program has no name; write it like ./smoke.sh"),
        program if i == 0 && program.contains('/') => match check.path(program).into_os_string().into_string() {
            Ok(path) => Some(path),
            Err(_) => check.add(place, format!("the path of {} is not UTF-8; move it", quote(program))),
        },
        _ => Some(word),
    }))
}

fn then(written: file::Then) -> Then {
    match written {
        file::Then::Drain => Then::Drain,
        file::Then::Keep => Then::Keep,
    }
}

/// In parts of 1. At 100 % nothing would ever fail.
fn confidence(check: &Check<'_>, at: &At<file::Percentage>) -> Option<f64> {
    let share = at.value?.0;
    match share.ppm() {
        ppm @ 500_000..=999_999 => Some(f64::from(ppm) / 1_000_000.0),
        _ => check.add(at.place, format!("a confidence of {share}% is out of range; write 50% to 99.9999%")),
    }
}

fn undecided(check: &Check<'_>, at: &At<file::Undecided>, base: Undecided) -> Option<Undecided> {
    let written = at.value.as_ref()?;
    let after = or_base(&written.after, &base.after, |at| within_a_week(check, "after", at));
    let act = or_base(&written.act, &base.act, |at| {
        at.value.map(|act| match act {
            file::UndecidedAct::Hold => UndecidedAct::Hold,
            file::UndecidedAct::Advance => UndecidedAct::Advance,
            file::UndecidedAct::Rollback => UndecidedAct::Rollback,
        })
    });
    Some(Undecided { after: after?, act: act? })
}

fn on_failure(check: &Check<'_>, at: &At<file::OnFailure>) -> Option<OnFailure> {
    const RIGHT: &str = "write rollback, or { step_down: [50, 10, 0], every: 1m }";
    match at.value.as_ref()? {
        file::OnFailure::Word(word) if word == "rollback" => Some(OnFailure::Rollback),
        file::OnFailure::Word(word) => check.add(at.place, format!("{} is not known here; {RIGHT}", quote(word))),
        file::OnFailure::StepDown(down) => {
            let list = check.need(at.place, "step_down", "shares that fall to 0: [50, 10, 0]", &down.step_down);
            let shares = list.and_then(|list| falling(check, list));
            let every = positive(check, "every", &down.every, STEP_DOWN).and_then(|every| match &down.every {
                Some(at) => within_a_week(check, "every", at),
                None => Some(every),
            });
            Some(OnFailure::StepDown { shares: shares?, every: every? })
        }
    }
}

/// Shares that fall to 0.
fn falling(check: &Check<'_>, list: &At<Vec<At<file::Percentage>>>) -> Option<Vec<Share>> {
    let shares = each(check, list, |at| Some((at.place, at.value?.0)))?;
    for pair in shares.windows(2) {
        let [(_, before), (place, share)] = [pair[0], pair[1]];
        if share >= before {
            let message = format!("{share} comes after {before}; each share must be less than the one before");
            return check.add(place, message);
        }
    }
    match shares.last() {
        Some((_, Share::NONE)) => Some(shares.into_iter().map(|(_, share)| share).collect()),
        Some((place, last)) => check.add(*place, format!("the last share is {last}; the last one must be 0")),
        None => check.add(list.place, "the list is empty; write shares that fall to 0, or on_failure: rollback"),
    }
}
