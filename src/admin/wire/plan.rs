//! The plan of a rollout as people write it under `rollout:` in the file.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::{Number, rounded};
use crate::model::period::written;
use crate::model::rollout::plan::{
    Approval, Approver, Gate, OnFailure, OnTimeout, Plan, Then, UndecidedAct, Validation, Validator,
};
use crate::model::split::Share;
use crate::model::verdict::plan::{Bound, Guards, Threshold};

/// A share and how long it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlanStep {
    /// The candidate's share, in per cent.
    pub share: Number,
    /// For so long at least: `10m`.
    pub hold: String,
}

/// The steps of `plan`.
pub(super) fn steps(plan: &Plan) -> Vec<PlanStep> {
    let step = |share: Share, hold| PlanStep { share: Number(share.percent()), hold: written(hold) };
    plan.steps.iter().map(|s| step(s.share, s.hold)).collect()
}

/// All of `plan`, in the shape of the file.
pub(super) fn plan(plan: &Plan) -> Value {
    let warm_up = plan.warm_up.iter().map(|w| json!({ "path": w.path, "times": w.times }));
    let freeze = plan.freeze.iter().map(|f| json!({ "cron": f.cron, "for": written(f.length), "zone": f.zone }));
    json!({
        "warm_up": warm_up.collect::<Vec<_>>(),
        "steps": steps(plan),
        "validate": plan.validate.as_ref().map(validation),
        "approval": plan.approval.as_ref().map(approval),
        "bake": written(plan.bake),
        "then": match plan.then { Then::Drain => "drain", Then::Keep => "keep" },
        "guards": guards(&plan.guards),
        "confidence": percent(plan.confidence),
        "min_requests": plan.min_requests,
        "undecided": { "after": written(plan.undecided.after), "do": match plan.undecided.act {
            UndecidedAct::Hold => "hold",
            UndecidedAct::Advance => "advance",
            UndecidedAct::Rollback => "rollback",
        } },
        "on_failure": match &plan.on_failure {
            OnFailure::Rollback => json!("rollback"),
            OnFailure::StepDown { shares, every } => json!({
                "step_down": shares.iter().map(|s| Number(s.percent())).collect::<Vec<_>>(), "every": written(*every),
            }),
        },
        "freeze": freeze.collect::<Vec<_>>(),
    })
}

fn validation(validation: &Validation) -> Value {
    let timeout = written(validation.timeout);
    match &validation.by {
        Validator::Url(url) => json!({ "hook": { "url": url, "timeout": timeout } }),
        Validator::Command(words) => json!({ "hook": { "command": words, "timeout": timeout } }),
    }
}

fn approval(approval: &Approval) -> Value {
    let gate = |gate: &Gate| match gate {
        Gate::FirstStep => json!("first_step"),
        Gate::EachStep => json!("each_step"),
        Gate::LastStep => json!("last_step"),
        Gate::Share(share) => json!(Number(share.percent())),
        Gate::Drain => json!("drain"),
    };
    json!({
        "before": approval.before.iter().map(gate).collect::<Vec<_>>(),
        "within": written(approval.within),
        "by": match approval.by { Approver::Anyone => "anyone", Approver::Another => "another" },
        "on_timeout": match approval.on_timeout { OnTimeout::Rollback => "rollback", OnTimeout::Pause => "pause" },
    })
}

fn guards(guards: &Guards) -> Value {
    let mut shown = Map::new();
    let mut show = |name: &str, value: Value| shown.insert(name.to_owned(), value);
    if let Some(share) = guards.error_rate {
        show("error_rate", json!({ "above": percent(share.percent() / 100.0) }));
    }
    for limit in &guards.latency_quantiles {
        show(&format!("latency_p{}", limit.percent), bound(limit.bound));
    }
    if let Some(limit) = guards.latency_mean {
        show("latency_mean", bound(limit));
    }
    if let Some(share) = guards.websocket_success {
        show("websocket_success", json!({ "below": percent(share.percent() / 100.0) }));
    }
    show("unhealthy_for", json!(guards.unhealthy_for.map(written)));
    show("connect_failures", json!(guards.connect_failures));
    let prometheus = guards.prometheus.iter().map(|g| {
        let (key, limit) = match g.threshold {
            Threshold::Above(limit) => ("above", limit),
            Threshold::Below(limit) => ("below", limit),
        };
        let mut shown = json!({ "name": g.name, "url": g.url, "query": g.query, "every": written(g.every) });
        shown[key] = json!(limit);
        shown
    });
    show("prometheus", prometheus.collect());
    let http = guards
        .http
        .iter()
        .map(|g| json!({ "name": g.name, "url": g.url, "every": written(g.every), "timeout": written(g.timeout) }));
    show("http", http.collect());
    Value::Object(shown)
}

fn bound(bound: Bound) -> Value {
    match bound {
        Bound::Above(limit) => json!({ "above": written(limit) }),
        Bound::AboveBaseline(fraction) => json!({ "above_baseline": percent(fraction) }),
    }
}

/// `99.9%`.
fn percent(fraction: f64) -> String {
    format!("{}%", rounded(fraction * 100.0, 6).0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_plan_is_shown_as_it_is_written_in_the_file() {
        let mut wanted = Plan::default();
        wanted.guards.latency_mean = Some(Bound::AboveBaseline(0.5));
        wanted.approval = Some(Approval {
            before: vec![Gate::FirstStep, Gate::Share(Share::from_percent(50.0).unwrap())],
            within: Duration::from_secs(1200),
            by: Approver::Another,
            on_timeout: OnTimeout::Rollback,
        });
        let shown = plan(&wanted);
        assert_eq!(shown["steps"][0], json!({ "share": 10, "hold": "10m" }));
        assert_eq!(shown["approval"]["before"], json!(["first_step", 50]));
        assert_eq!(shown["approval"]["within"], "20m");
        assert_eq!(shown["guards"]["error_rate"], json!({ "above": "5%" }));
        assert_eq!(shown["guards"]["latency_mean"], json!({ "above_baseline": "50%" }));
        assert_eq!(
            (&shown["confidence"], &shown["undecided"]),
            (&json!("99.9%"), &json!({ "after": "30m", "do": "hold" }))
        );
    }
}
