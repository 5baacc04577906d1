//! Whatever is said to a rollout, in whatever order: nobody is left where nobody watches over them.

#![allow(clippy::float_cmp, reason = "shares are exact to four decimals")]

use proptest::prelude::*;

use super::super::plan::{Approval, Approver, Gate, OnTimeout, Plan, Validation, Validator, WarmUp};
use super::super::{Begin, Freezes, Frozen, Moment, State, begin};
use super::*;
use crate::model::adoption::{FileService, adopt};
use crate::model::change::samples::*;
use crate::model::change::{ServiceState, decide};
use crate::model::cohort::Salt;
use crate::model::verdict::Status;
use std::time::Duration;

const ID: RolloutId = RolloutId(9);

fn by() -> By {
    By { actor: "ops".to_owned(), cause: "because".to_owned(), figures: Vec::new() }
}

fn term(_: &ServiceName) -> Term {
    Term { began: now(), deadline: now() }
}

/// `shop` and `api`, both at `blue`.
fn two() -> Desired {
    let api = FileService { name: service("api"), ..file("blue 100 green 0") };
    adopt(&Desired::default(), &[file("blue 100 canary 0 green 0"), api], || Salt(7)).desired
}

fn begun(plan: Plan) -> Desired {
    begun_with(&two(), plan, &["shop", "api"])
}

fn begun_with(desired: &Desired, plan: Plan, services: &[&str]) -> Desired {
    let services = services.iter().map(|s| service(s)).collect();
    let begin =
        Begin { id: ID, services, to: group("green"), plan, salt: Salt(8), reason: None, freeze: Freezes::Heeded };
    super::super::begin(desired, begin, &by(), now()).unwrap().desired
}

fn said(desired: &Desired, inputs: &[Input]) -> Desired {
    inputs
        .iter()
        .fold(desired.clone(), |d, input| advance(&d, ID, *input, &by(), now(), Frozen::No, term).unwrap().desired)
}

fn label(desired: &Desired) -> &'static str {
    desired.rollouts[&ID].state.label()
}

fn green(desired: &Desired) -> (f64, f64) {
    let share = |s: &str| desired.services[s].split.share(&group("green")).percent();
    (share("shop"), share("api"))
}

#[test]
fn the_plain_way_leads_over_the_steps_to_the_bake_the_drain_and_the_end() {
    let desired = begun(Plan::default());
    assert_eq!((label(&desired), green(&desired)), ("checking", (0.0, 0.0)));
    let mut desired = said(&desired, &[Input::Ready]);
    for share in [10.0, 25.0, 50.0, 100.0] {
        assert_eq!((label(&desired), green(&desired)), ("shifting", (share, share)));
        desired = said(&desired, &[Input::Onward]);
    }
    assert_eq!(label(&desired), "baking");
    desired = said(&desired, &[Input::Onward]);
    assert_eq!(label(&desired), "draining");
    assert!(desired.services["shop"].is_kept_out(&group("blue")), "blue is let go of");
    assert!(!desired.services["shop"].is_kept_out(&group("canary")), "it had nothing before");
    assert!(!desired.has_drained(&desired.rollouts[&ID]));
    desired = said(&desired, &[Input::Drained]);
    assert_eq!((label(&desired), green(&desired)), ("done", (100.0, 100.0)));
    let back = decide(&desired, &rollback(), now()).unwrap().desired;
    assert_eq!(shop(&back).split, split("blue 100 canary 0 green 0"), "a rollback leads to where it came from");
}

#[test]
fn what_the_plan_asks_for_comes_ahead_of_the_first_step() {
    let plan = Plan {
        warm_up: vec![WarmUp { path: "/".to_owned(), times: 1 }],
        validate: Some(Validation { by: Validator::Url("http://a/".to_owned()), timeout: Duration::from_secs(9) }),
        approval: Some(Approval {
            before: vec![Gate::FirstStep, Gate::LastStep, Gate::Drain],
            within: Duration::from_secs(60),
            by: Approver::Anyone,
            on_timeout: OnTimeout::Pause,
        }),
        ..Plan::default()
    };
    let mut desired = begun(plan);
    let mut seen = vec![label(&desired)];
    for input in [Input::Ready, Input::Ready, Input::Ready, Input::Agreed, Input::Onward, Input::Onward] {
        desired = said(&desired, &[input]);
        seen.push(label(&desired));
    }
    assert_eq!(seen, ["checking", "warming", "validating", "awaiting_approval", "shifting", "shifting", "shifting"]);
    for (input, expected) in [
        (Input::Onward, "awaiting_approval"),
        (Input::Agreed, "shifting"),
        (Input::Onward, "baking"),
        (Input::Onward, "awaiting_approval"),
        (Input::Agreed, "draining"),
    ] {
        desired = said(&desired, &[input]);
        assert_eq!(label(&desired), expected);
    }
}

#[test]
fn what_is_not_ready_ends_it_before_anybody_was_moved() {
    let desired = said(&begun(Plan::default()), &[Input::NotReady]);
    assert_eq!((label(&desired), green(&desired)), ("failed", (0.0, 0.0)));
    assert!(advance(&desired, ID, Input::Ready, &by(), now(), Frozen::No, term).is_err(), "it is over");
    assert_eq!(label(&begun_with(&desired, Plan::default(), &["shop"])), "checking", "there may be another one");
}

#[test]
fn a_pause_does_not_keep_those_who_test_and_what_they_have_found_holds_after_it() {
    let validate = Some(Validation { by: Validator::Url("http://a/".to_owned()), timeout: Duration::from_secs(9) });
    let paused = said(&begun(Plan { validate, ..Plan::default() }), &[Input::Ready, Input::Pause]);
    assert!(paused.rollouts[&ID].wants_test());
    let well = said(&paused, &[Input::Ready]);
    assert_eq!((label(&well), well.rollouts[&ID].wants_test()), ("paused", false));
    assert!(advance(&well, ID, Input::Ready, &by(), now(), Frozen::No, term).is_err(), "it was said already");
    let on = said(&well, &[Input::Resume]);
    assert_eq!((label(&on), green(&on)), ("shifting", (10.0, 10.0)));
    let resumed = said(&paused, &[Input::Resume]);
    assert_eq!((label(&resumed), resumed.rollouts[&ID].wants_test()), ("validating", true));
    for (from, input, tested) in [
        (&paused, Input::NotReady, Tested::Ill),
        (&resumed, Input::NotReady, Tested::Ill),
        (&resumed, Input::Untested, Tested::NotYet),
    ] {
        let failed = said(from, &[input]);
        assert_eq!((label(&failed), green(&failed), failed.rollouts[&ID].tested), ("failed", (0.0, 0.0), tested));
        assert!(!failed.rollouts[&ID].wants_test());
    }
}

#[test]
fn in_a_freeze_no_step_is_taken_and_what_was_found_or_agreed_meanwhile_holds_after_it() {
    let frozen = |desired: &Desired, input| advance(desired, ID, input, &by(), now(), Frozen::Yes, term);
    let due = |desired: &Desired, frozen| {
        let (spent, waited) = (Duration::from_secs(9999), Duration::from_secs(1));
        desired.rollouts[&ID].due(Moment { spent, waited, verdict: Status::Pass, frozen }).map(|(input, _)| input)
    };
    let checked = frozen(&begun(Plan::default()), Input::Ready).unwrap().desired;
    assert_eq!((green(&checked), checked.rollouts[&ID].is_let_through()), ((0.0, 0.0), true));
    assert_eq!((due(&checked, Frozen::Yes), due(&checked, Frozen::No)), (None, Some(Input::Onward)));
    assert_eq!(green(&said(&checked, &[Input::Onward])), (10.0, 10.0));
    let before = vec![Gate::FirstStep];
    let (by_anyone, within) = (Approver::Anyone, Duration::from_secs(60));
    let approval = Some(Approval { before, within, by: by_anyone, on_timeout: OnTimeout::Rollback });
    let waits = said(&begun(Plan { approval, ..Plan::default() }), &[Input::Ready]);
    let agreed = frozen(&waits, Input::Agreed).unwrap().desired;
    assert_eq!((label(&agreed), green(&agreed)), ("awaiting_approval", (0.0, 0.0)));
    assert_eq!((due(&agreed, Frozen::Yes), due(&agreed, Frozen::No)), (None, Some(Input::Agreed)));
    assert_eq!(green(&said(&agreed, &[Input::Agreed])), (10.0, 10.0));
    // Who agrees to what is paused does not resume it.
    let paused = said(&waits, &[Input::Pause, Input::Agreed]);
    assert_eq!((label(&paused), green(&paused)), ("paused", (0.0, 0.0)));
    assert_eq!(green(&said(&paused, &[Input::Resume])), (10.0, 10.0));
}

#[test]
fn who_was_on_a_candidate_that_is_not_ready_goes_back() {
    let shifted = decide(&two(), &shift("green", 20.0), now()).unwrap().desired;
    let desired = said(&begun_with(&shifted, Plan::default(), &["shop"]), &[Input::NotReady]);
    assert_eq!((label(&desired), green(&desired)), ("rolled_back", (0.0, 0.0)));
    let uneven = Begin {
        id: ID,
        services: vec![service("shop"), service("api")],
        to: group("green"),
        plan: Plan::default(),
        salt: Salt(1),
        reason: None,
        freeze: Freezes::Heeded,
    };
    let refused = begin(&shifted, uneven, &by(), now()).unwrap_err();
    assert!(refused.to_string().contains("shop 20 %, api 0 %"), "{refused}");
}

#[test]
fn what_a_candidate_has_replaced_may_be_taken_away_and_others_are_sent_back_to_groups_that_are_open() {
    let steps = vec![Input::Ready, Input::Onward, Input::Onward, Input::Onward, Input::Onward, Input::Onward];
    let draining = said(&begun(Plan::default()), &steps);
    assert_eq!((label(&draining), green(&draining)), ("draining", (100.0, 100.0)));
    let api = FileService { name: service("api"), ..file("blue 100 green 0") };
    let mut done = adopt(&draining, &[file("canary 0 green 100"), api.clone()], || Salt(1)).desired;
    fail_without(&mut done, now());
    assert_eq!((label(&done), green(&done)), ("done", (100.0, 100.0)));
    let mut failed = adopt(&draining, &[file("blue 100 canary 0"), api], || Salt(1)).desired;
    fail_without(&mut failed, now());
    assert_eq!((label(&failed), green(&failed).1), ("failed", 0.0));
    assert!(!state(&failed, "api").is_kept_out(&group("blue")), "users come to it");
}

#[test]
fn a_service_that_is_taken_away_in_mid_way_comes_back_without_the_candidates_share() {
    let shifted = said(&begun(Plan::default()), &[Input::Ready]);
    let api = FileService { name: service("api"), ..file("blue 100 green 0") };
    let mut without = adopt(&shifted, &[file("blue 100 canary 0 green 0")], || Salt(1)).desired;
    fail_without(&mut without, now());
    assert_eq!((label(&without), without.retired.contains_key("api")), ("failed", true));
    let back = adopt(&without, &[file("blue 100 canary 0 green 0"), api], || Salt(1)).desired;
    assert_eq!(green(&back), (0.0, 0.0));
}

#[test]
fn while_it_is_under_way_nobody_else_moves_its_services_but_a_rollback() {
    let desired = said(&begun(Plan::default()), &[Input::Ready]);
    for intent in [switch("green"), shift("green", 50.0), set("blue 100 green 0")] {
        let refused = decide(&desired, &intent, now()).unwrap_err();
        assert!(matches!(refused, ChangeError::RolloutInProgress { .. }), "{refused}");
    }
    let again = Begin {
        id: RolloutId(10),
        services: vec![service("shop")],
        to: group("canary"),
        plan: Plan::default(),
        salt: Salt(1),
        reason: None,
        freeze: Freezes::Heeded,
    };
    assert!(begin(&desired, again, &by(), now()).is_err());
    let mut decision = decide(&desired, &rollback(), now()).unwrap();
    roll_back(&mut decision, &by(), now());
    assert_eq!((label(&decision.desired), green(&decision.desired)), ("rolled_back", (0.0, 0.0)), "api went along");
    assert_eq!(decision.desired.version, desired.version + 1);
    let mut again = decide(&decision.desired, &rollback(), now()).unwrap();
    roll_back(&mut again, &by(), now());
    assert!(!again.changed(), "repeating it changes nothing");
}

#[test]
fn a_second_attempt_begins_with_other_users_and_one_in_mid_way_does_not() {
    assert_eq!(shop(&begun(Plan::default())).salt, Salt(8));
    let by_hand = decide(&two(), &shift("green", 10.0), now()).unwrap().desired;
    let desired = begun_with(&by_hand, Plan::default(), &["shop"]);
    assert_eq!(shop(&desired).salt, Salt(7), "those who are on green already stay there");
    let desired = said(&desired, &[Input::Ready]);
    assert_eq!(green(&desired), (25.0, 0.0), "10 % it had");
    assert_eq!(green(&said(&desired, &[Input::Abort])), (0.0, 0.0));
}

#[test]
fn a_slow_candidate_goes_back_step_by_step_and_a_dead_one_at_once() {
    let share = |percent| Share::from_percent(percent).unwrap();
    let on_failure =
        OnFailure::StepDown { shares: vec![share(50.0), share(20.0), share(0.0)], every: Duration::from_secs(60) };
    let desired = begun(Plan { on_failure, ..Plan::default() });
    let at_50 = said(&desired, &[Input::Ready, Input::Onward, Input::Onward]);
    let down = said(&at_50, &[Input::GuardFailed]);
    assert_eq!((label(&down), green(&down).0), ("rolling_back", 20.0));
    assert_eq!(label(&said(&down, &[Input::FurtherBack])), "rolled_back");
    assert_eq!((label(&said(&at_50, &[Input::Back])), green(&said(&at_50, &[Input::Back])).0), ("rolled_back", 0.0));
    assert!(advance(&down, ID, Input::Resume, &by(), now(), Frozen::No, term).is_err());
}

#[test]
fn the_file_does_not_move_what_a_rollout_owns_and_ends_it_where_its_group_is_gone() {
    let desired = said(&begun(Plan::default()), &[Input::Ready]);
    let api = FileService { name: service("api"), ..file("blue 100 green 0") };
    let edited = [file("blue 30 canary 0 green 70"), api.clone()];
    let adoption = adopt(&desired, &edited, || Salt(1));
    assert_eq!((adoption.moves, green(&adoption.desired)), (Vec::new(), (10.0, 10.0)));
    let ended = said(&adoption.desired, &[Input::Abort]);
    let adoption = adopt(&ended, &edited, || Salt(1));
    assert_eq!(green(&adoption.desired).0, 70.0, "read again after the end, it counts");
    let mut without = adopt(&desired, &[file("blue 100 canary 0"), api], || Salt(1)).desired;
    fail_without(&mut without, now());
    assert_eq!(label(&without), "failed");
    // The service that is still there does not stay where nobody watches over it.
    assert_eq!(green(&without).1, 0.0);
    let cause = &without.rollouts[&ID].timeline.last().unwrap().cause;
    assert_eq!(cause, "group green of service shop is not in the file any more");
}

#[test]
fn what_is_due_depends_on_the_time_and_the_verdict() {
    let desired = said(&begun(Plan::default()), &[Input::Ready]);
    let rollout = &desired.rollouts[&ID];
    let due = |minutes: u64, verdict, frozen| {
        let spent = Duration::from_secs(60 * minutes);
        rollout.due(Moment { spent, waited: spent, verdict, frozen }).map(|(input, _)| input)
    };
    assert_eq!(due(9, Status::Pass, Frozen::No), None);
    assert_eq!(due(10, Status::Pass, Frozen::No), Some(Input::Onward));
    assert_eq!(due(10, Status::Pass, Frozen::Yes), None, "no step is taken in a freeze");
    assert_eq!(due(29, Status::Undecided, Frozen::No), None, "no traffic is no verdict");
    assert_eq!(due(30, Status::Undecided, Frozen::No), Some(Input::Pause));
    assert_eq!(due(99, Status::Fail, Frozen::No), None, "whoever judges says so");
}

fn any_input() -> impl Strategy<Value = Input> {
    prop_oneof![
        5 => Just(Input::Ready), 1 => Just(Input::NotReady), 3 => Just(Input::Agreed), 8 => Just(Input::Onward),
        1 => Just(Input::GuardFailed), 1 => Just(Input::Back), 2 => Just(Input::FurtherBack), 2 => Just(Input::Pause),
        2 => Just(Input::Resume), 1 => Just(Input::Abort), 2 => Just(Input::Drained),
    ]
}

fn any_plan() -> impl Strategy<Value = Plan> {
    (any::<[bool; 5]>(), proptest::collection::vec(Just(()), 0..3)).prop_map(|(which, gates)| {
        let share = |percent| Share::from_percent(percent).unwrap();
        let gates = gates.iter().zip([Gate::FirstStep, Gate::EachStep, Gate::Drain]).map(|((), g)| g).collect();
        let step_down = OnFailure::StepDown { shares: vec![share(30.0), share(0.0)], every: Duration::from_secs(1) };
        Plan {
            warm_up: if which[0] { vec![WarmUp { path: "/".to_owned(), times: 1 }] } else { Vec::new() },
            validate: which[1]
                .then(|| Validation { by: Validator::Command(vec!["x".to_owned()]), timeout: Duration::from_secs(1) }),
            approval: which[2].then(|| Approval {
                before: gates,
                within: Duration::from_secs(1),
                by: Approver::Anyone,
                on_timeout: OnTimeout::Rollback,
            }),
            then: if which[3] { Then::Keep } else { Then::Drain },
            on_failure: if which[4] { step_down } else { OnFailure::Rollback },
            ..Plan::default()
        }
    })
}

fn state<'a>(desired: &'a Desired, name: &str) -> &'a ServiceState {
    &desired.services[name]
}

proptest! {
    #[test]
    fn whatever_happens_the_way_back_ends_at_the_stable_split(
        plan in any_plan(), inputs in proptest::collection::vec(any_input(), 0..40), hard: bool,
    ) {
        let stable = two();
        let mut desired = begun(plan.clone());
        let mut before = 0.0;
        for input in &inputs {
            let Ok(decision) = advance(&desired, ID, *input, &by(), now(), Frozen::No, term) else { continue };
            prop_assert_eq!(decision.desired.version, desired.version + 1);
            desired = decision.desired;
            let rollout = &desired.rollouts[&ID];
            let (shop, api) = green(&desired);
            prop_assert_eq!(shop, api, "they move in lockstep");
            prop_assert_eq!(rollout.share.percent(), shop);
            let falls = matches!(rollout.state, State::RollingBack(_) | State::RolledBack);
            prop_assert!(shop >= before || falls, "it fell from {} to {} in {:?}", before, shop, rollout.state);
            if rollout.state == State::Active(Phase::Shifting) {
                prop_assert_eq!(rollout.share, plan.steps[rollout.step.unwrap()].share);
            }
            if rollout.state == State::RolledBack {
                prop_assert_eq!(shop, 0.0);
            }
            before = shop;
        }
        let rollout = desired.rollouts[&ID].clone();
        let done = rollout.state == State::Done;
        let mut decision = decide(&desired, &rollback(), now()).unwrap();
        roll_back(&mut decision, &by(), now());
        prop_assert_eq!(&state(&decision.desired, "shop").split, &state(&stable, "shop").split);
        if !done {
            prop_assert_eq!(green(&decision.desired), (0.0, 0.0));
            prop_assert!(decision.desired.rollouts[&ID].state.is_over());
        }
        if rollout.has_users() {
            let input = if hard { Input::Back } else { Input::GuardFailed };
            let mut last = advance(&desired, ID, input, &by(), now(), Frozen::No, term).map_or(desired, |d| d.desired);
            for _ in 0..3 {
                last = advance(&last, ID, Input::FurtherBack, &by(), now(), Frozen::No, term).map_or(last, |d| d.desired);
            }
            prop_assert_eq!(green(&last), (0.0, 0.0));
            prop_assert!(!state(&last, "shop").is_kept_out(&group("blue")), "blue is open again");
        }
    }
}
