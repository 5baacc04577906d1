//! What a request for a rollout asks for in place of the service's plan: any key of `rollout`, as in the file.

use std::cell::RefCell;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::file::{self, Period};
use super::problem::{Faults, Place};
use super::validate::{self, Check, HOLD};
use super::yaml;
use crate::model::rollout::plan::{Plan, Validator};

/// Bytes of a request's plan at the most: it is kept in the audit log.
const LONGEST: usize = 16 * 1024;

/// `base`, with what `overrides` says in its place: an object with keys of `rollout`. Beside those of the file there
/// are short forms: `steps` may be a list of shares, and `every` is the hold of each step but the last that has none
/// of its own. `guards` replace those of `base` as a whole; `null` calls off `warm_up`, `validate`, `approval` and
/// `freeze`, and says nothing elsewhere.
///
/// # Errors
/// Everything that is wrong: `steps[1].share: what is wrong; what would be right`.
pub fn plan(base: &Plan, overrides: &Value) -> Result<Plan, Vec<String>> {
    let Value::Object(members) = overrides else {
        return Err(vec!["a plan must be an object with keys of `rollout`, like { \"bake\": \"5m\" }".to_owned()]);
    };
    if overrides.to_string().len() > LONGEST {
        return Err(vec![format!("the plan is longer than {LONGEST} bytes; write it into the file")]);
    }
    let mut members = members.clone();
    let mut wrong = Vec::new();
    let every = every(&mut members).unwrap_or_else(|message| {
        wrong.push(message);
        None
    });
    unfold(&mut members);
    let base = called_off(base, &members, every);
    match read(&base, &Value::Object(members), every.unwrap_or(HOLD)) {
        Ok(plan) if wrong.is_empty() => Ok(plan),
        Ok(_) => Err(wrong),
        Err(more) => Err(wrong.into_iter().chain(more).collect()),
    }
}

/// Takes the hold of steps out.
fn every(members: &mut Map<String, Value>) -> Result<Option<Duration>, String> {
    let period = match members.remove("every") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => Period::parse(&text),
        Some(other) => Period::parse(&other.to_string()),
    };
    let Period(every) = period.map_err(|message| format!("every: {message}"))?;
    if every > validate::LONGEST_STEP {
        return Err("every: it is longer than a week; write less".to_owned());
    }
    Ok(Some(every))
}

/// Shares by themselves become steps.
fn unfold(members: &mut Map<String, Value>) {
    for step in members.get_mut("steps").and_then(Value::as_array_mut).into_iter().flatten() {
        if step.is_number() || step.is_string() {
            *step = json!({ "share": step });
        }
    }
}

/// The plan without what was called off, and with the hold of its steps.
fn called_off(base: &Plan, members: &Map<String, Value>, every: Option<Duration>) -> Plan {
    let mut base = base.clone();
    let is_null = |key: &str| members.get(key).is_some_and(Value::is_null);
    if is_null("warm_up") {
        base.warm_up.clear();
    }
    if is_null("validate") {
        base.validate = None;
    }
    if is_null("approval") {
        base.approval = None;
    }
    if is_null("freeze") {
        base.freeze.clear();
    }
    if let (Some(every), Some((_, all_but_last))) = (every, base.steps.split_last_mut()) {
        for step in all_but_last {
            step.hold = every;
        }
    }
    base
}

fn read(base: &Plan, members: &Value, hold: Duration) -> Result<Plan, Vec<String>> {
    let faults = Faults::default();
    let (root, paths) = yaml::from_json(members);
    let check = Check { folder: Path::new(""), env: &|_| None, faults: &faults, files: RefCell::default() };
    let plan = yaml::read::<file::Rollout>(&root, &faults).and_then(|written| {
        let plan = validate::plan(&check, root.place, &written, base, hold)?;
        if written.validate.is_some() {
            program_of_file(&faults, &paths, base, &plan)?;
        }
        Some(plan)
    });
    match plan {
        Some(plan) if faults.is_empty() => Ok(plan),
        _ => {
            let problems = faults.into_error(Path::new("")).problems;
            Err(problems.into_iter().map(|problem| placed(&paths, problem.line, &problem.message)).collect())
        }
    }
}

/// A program runs with our rights: those of whoever may write the file, not of whoever may begin a rollout.
fn program_of_file(faults: &Faults, paths: &[String], base: &Plan, plan: &Plan) -> Option<()> {
    let program = |plan: &Plan| match plan.validate.as_ref().map(|validation| &validation.by) {
        Some(Validator::Command(words)) => Some(words.clone()),
        _ => None,
    };
    let asked = program(plan);
    if asked.is_none() || asked == program(base) {
        return Some(());
    }
    let is_command = |path: &String| path.starts_with("validate.hook.command");
    let line = paths.iter().position(is_command).unwrap_or_default() + 1;
    let message = "only the file names programs, for they run with the rights of pointsman; write the program there, \
                   under `rollout.validate` of the service, or give a `url` here";
    faults.add(Place { line: line as u32, col: 1 }, message);
    None
}

/// The message behind its path, without what the path says already.
fn placed(paths: &[String], line: u32, message: &str) -> String {
    let path = usize::try_from(line).ok().and_then(|line| paths.get(line.checked_sub(1)?)).map_or("", String::as_str);
    let last = path.rsplit('.').next().unwrap_or_default();
    let (key, is_item) = last.split_once('[').map_or((last, false), |(key, _)| (key, true));
    let label = if is_item { format!("an item of `{key}`: ") } else { format!("`{key}`: ") };
    let message = message.strip_prefix(&label).unwrap_or(message);
    if path.is_empty() { message.to_owned() } else { format!("{path}: {message}") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::rollout::plan::{Approval, Approver, Freeze, Gate, OnTimeout, Undecided, UndecidedAct, WarmUp};
    use crate::model::rollout::plan::{Step, Validation};
    use crate::model::split::Share;
    use crate::model::verdict::plan::{Bound, Guards, QuantileLimit};

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn share(percent: f64) -> Share {
        Share::from_percent(percent).unwrap()
    }

    fn steps(steps: &[(f64, u64)]) -> Vec<Step> {
        steps.iter().map(|(percent, hold)| Step { share: share(*percent), hold: secs(*hold) }).collect()
    }

    /// A plan that is nowhere the default.
    fn base() -> Plan {
        let before = vec![Gate::Share(share(50.0))];
        Plan {
            warm_up: vec![WarmUp { path: "/".to_owned(), times: 3 }],
            steps: steps(&[(50.0, 5), (100.0, 1)]),
            approval: Some(Approval { before, within: secs(7), by: Approver::Another, on_timeout: OnTimeout::Pause }),
            bake: secs(3),
            guards: Guards { error_rate: None, connect_failures: 9, ..Guards::default() },
            undecided: Undecided { after: secs(11), act: UndecidedAct::Rollback },
            freeze: vec![Freeze { cron: "0 18 * * FRI".to_owned(), length: secs(60), zone: "UTC".to_owned() }],
            ..Plan::default()
        }
    }

    #[test]
    fn what_a_request_does_not_name_stays_as_in_the_plan_of_the_service() {
        let base = base();
        assert_eq!(plan(&base, &json!({})), Ok(base.clone()));
        let asked = json!({ "bake": "0s", "undecided": { "do": "advance" }, "approval": { "by": "anyone" } });
        let approval = Approval { by: Approver::Anyone, ..base.approval.clone().unwrap() };
        let undecided = Undecided { act: UndecidedAct::Advance, ..base.undecided };
        let expected = Plan { bake: secs(0), approval: Some(approval), undecided, ..base };
        assert_eq!(plan(&self::base(), &asked), Ok(expected));
    }

    #[test]
    fn guards_of_a_request_stand_in_place_of_all_guards_but_the_hard_ones() {
        let asked = json!({ "guards": { "latency_p95": { "above": "800ms" } } });
        let bound = Bound::Above(Duration::from_millis(800));
        let expected = Guards {
            error_rate: None,
            latency_quantiles: vec![QuantileLimit { percent: 95, bound }],
            ..Guards::default()
        };
        assert_eq!(plan(&base(), &asked).unwrap().guards, expected);
    }

    #[test]
    fn steps_have_short_forms() {
        let base = Plan { approval: None, ..base() };
        for (asked, expected) in [
            (json!({ "steps": [10, 99.9, 100], "every": "2m" }), steps(&[(10.0, 120), (99.9, 120), (100.0, 0)])),
            (json!({ "steps": ["10%", { "share": 100, "hold": "1s" }] }), steps(&[(10.0, 600), (100.0, 1)])),
            (json!({ "steps": [100] }), steps(&[(100.0, 0)])),
            (json!({ "every": "2m" }), steps(&[(50.0, 120), (100.0, 1)])),
            (
                json!({ "steps": [{ "share": 1, "hold": "9s" }, { "share": 2 }, { "share": 100 }], "every": "2s" }),
                steps(&[(1.0, 9), (2.0, 2), (100.0, 0)]),
            ),
        ] {
            assert_eq!(plan(&base, &asked), Ok(Plan { steps: expected, ..base.clone() }), "{asked}");
        }
    }

    #[test]
    fn null_calls_off_what_can_be_called_off_and_says_nothing_elsewhere() {
        let asked = json!({ "warm_up": null, "approval": null, "freeze": null, "validate": null, "bake": null });
        let expected = Plan { warm_up: Vec::new(), approval: None, freeze: Vec::new(), ..base() };
        assert_eq!(plan(&base(), &asked), Ok(expected.clone()));
        assert_eq!(plan(&base(), &json!({ "warm_up": [], "approval": null, "freeze": [] })), Ok(expected));
    }

    #[test]
    fn every_mistake_of_a_request_is_named_by_its_key() {
        let said = |asked: Value| plan(&base(), &asked).unwrap_err();
        assert_eq!(
            said(json!({
                "stps": [],
                "steps": [{ "share": "10" }, { "share": 5000, "hold": 5 }, "many", [], { "share": 100, "wait": 1 }],
                "min_requests": "20",
                "every": "1 hour",
                "validate": { "hook": { "command": ["${HOME}/smoke.sh"] } },
            })),
            [
                "every: \"1 hour\" is not a duration; write it like 250ms, 5s, 10m or 1h",
                "stps: the key `stps` is not known here; did you mean `steps`?",
                "steps[1].share: a share is a percentage from 0 to 100, not 5000; write it like 25 or 99.9",
                "steps[1].hold: \"5\" is not a duration; write it like 250ms, 5s, 10m or 1h",
                "steps[2].share: \"many\" is not a percentage from 0 to 100; write it like 25 or 99.9",
                "steps[3]: a list is wrong here; it must be a map with the keys share, hold",
                "steps[4].wait: the key `wait` is not known here; known here: share, hold",
                "min_requests: \"20\" is a text; it must be a whole number from 0 to 18446744073709551615, without quotes",
            ]
        );
        assert_eq!(
            said(json!({ "steps": [10, 25] })),
            ["steps[1]: the last step goes to 25; the last one must go to 100",]
        );
        assert_eq!(
            said(json!({ "steps": [10, 100] })),
            ["steps: no step goes to 50, ahead of which somebody has to agree; steps go to 10, 100"]
        );
        let many: Vec<_> = (0..101).collect();
        assert_eq!(said(json!({ "steps": many })), ["steps: the list has 101 items; at most 100 are allowed"]);
        let long = said(json!({ "steps": vec!["x".repeat(100); 200] }));
        assert_eq!(long, ["the plan is longer than 16384 bytes; write it into the file"]);
        assert_eq!(said(json!({ "every": "169h" })), ["every: it is longer than a week; write less"]);
        assert_eq!(said(json!([])), ["a plan must be an object with keys of `rollout`, like { \"bake\": \"5m\" }"]);
    }

    #[test]
    fn only_the_file_names_programs() {
        let by = |words: &[&str]| Validator::Command(words.iter().map(|word| (*word).to_owned()).collect());
        let base = Plan { validate: Some(Validation { by: by(&["/bin/smoke", "x"]), timeout: secs(9) }), ..base() };
        for command in [json!(["/bin/sh"]), json!(["/bin/smoke", "y"]), json!(["./smoke"])] {
            let wrong = plan(&base, &json!({ "validate": { "hook": { "command": command } } })).unwrap_err();
            assert!(wrong[0].starts_with("validate.hook.command: only the file names programs"), "{wrong:?}");
        }
        let asked = json!({ "validate": { "hook": { "command": ["/bin/smoke", "x"], "timeout": "1m" } } });
        assert_eq!(plan(&base, &asked).unwrap().validate.unwrap().by, by(&["/bin/smoke", "x"]));
    }

    #[test]
    fn a_request_cannot_ask_for_the_environment() {
        assert!(std::env::var("PATH").is_ok());
        let asked = json!({ "validate": { "hook": { "url": "http://127.0.0.1/${PATH}" } } });
        let by = plan(&base(), &asked).map(|plan| plan.validate.unwrap().by);
        assert!(by.is_err() || by == Ok(Validator::Url("http://127.0.0.1/${PATH}".to_owned())), "{by:?}");
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let key = "(steps|share|hold|every|guards|prometheus|approval|before|freeze|cron|for|[a-z]{0,3})";
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            (0_i64..200).prop_map(Value::from),
            "([0-9]{1,3}[a-z%]?|.{0,6})".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 40, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::hash_map(key, inner, 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_request_makes_it_panic_and_every_refusal_says_why(asked in json_value()) {
            if let Err(wrong) = plan(&base(), &asked) {
                prop_assert!(!wrong.is_empty());
                prop_assert!(wrong.iter().all(|line| !line.is_empty() && !line.contains('\n')), "{wrong:?}");
            }
        }
    }
}
