//! The report of a rollout: what whoever looks at it later wants to know, made of what the rollout itself says.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Entry, Figure, Number, Rollout, rounded};

/// All there is to be said about a rollout. It is made of the rollout alone, whenever somebody asks.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Report {
    /// When this was made.
    #[schema(value_type = String, format = DateTime)]
    pub made_at: Timestamp,
    /// Which pointsman has made it.
    pub made_by: String,
    /// How long it took, or has taken so far, in seconds.
    pub took_seconds: Number,
    /// Each share that the candidate had, in the order of time, with what the guards said at its end.
    pub stays: Vec<Stay>,
    /// Each time that somebody had to agree.
    pub approvals: Vec<Approval>,
    /// The rollout: who, when, why, its plan, its verdict, its timeline, its drains.
    pub rollout: Rollout,
}

/// A share that the candidate had for a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Stay {
    /// `step 2`, `bake`, `on the way back`.
    pub name: String,
    /// The candidate's share, in per cent.
    pub share: Number,
    /// From when.
    #[schema(value_type = String, format = DateTime)]
    pub began_at: Timestamp,
    /// Until when; null: it is so now.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// For how long, pauses included.
    pub seconds: Option<Number>,
    /// What it ended with; null: it is so now.
    pub ended_by: Option<String>,
    /// What the guards said at its end, or say now.
    pub figures: Vec<Figure>,
}

/// A time that somebody had to agree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Approval {
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub asked_at: Timestamp,
    /// The candidate's share meanwhile, in per cent.
    pub share: Number,
    /// Until when; null: somebody still has to.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub answered_at: Option<Timestamp>,
    /// Who has ended it: the name of a token, `link`, or `pointsman` when the time was over.
    pub by: Option<String>,
    /// Whether the rollout went on; null: nobody has said anything yet.
    pub agreed: Option<bool>,
    /// In what words.
    pub cause: Option<String>,
}

impl Report {
    /// Of `rollout`, at this moment.
    #[must_use]
    pub fn new(mut rollout: Rollout, now: Timestamp) -> Self {
        let end = rollout.ended_at.unwrap_or(now);
        if rollout.ended_at.is_some() {
            // What the guards said last stands with the stays; how long the rest is remembered is chance.
            (rollout.verdict, rollout.spent_seconds) = (None, None);
        }
        Self {
            made_at: now,
            made_by: concat!("pointsman ", env!("CARGO_PKG_VERSION")).to_owned(),
            took_seconds: rounded(end.duration_since(rollout.started_at).as_secs_f64(), 1),
            stays: stays(&rollout),
            approvals: approvals(&rollout.timeline),
            rollout,
        }
    }
}

/// Whether an entry is of a time at a share; its name.
fn stay(rollout: &Rollout, entry: &Entry) -> Option<String> {
    match entry.state.as_str() {
        "shifting" => {
            let step = rollout.steps.iter().position(|step| step.share == entry.share);
            Some(step.map_or_else(|| "a step".to_owned(), |step| format!("step {}", step + 1)))
        }
        "baking" => Some("bake".to_owned()),
        "rolling_back" => Some("on the way back".to_owned()),
        _ => None,
    }
}

fn stays(rollout: &Rollout) -> Vec<Stay> {
    let mut all: Vec<Stay> = Vec::new();
    let mut open = false;
    for entry in &rollout.timeline {
        let name = stay(rollout, entry);
        let is_same =
            name.is_some() && all.last().is_some_and(|s| Some(&s.name) == name.as_ref() && s.share == entry.share);
        // A pause, and its end, are part of the stay.
        if open && (entry.state == "paused" || is_same) {
            continue;
        }
        if let Some(last) = all.last_mut().filter(|_| open) {
            end(last, entry);
        }
        open = name.is_some();
        if let Some(name) = name {
            let (share, began_at) = (entry.share, entry.at);
            let (ended_at, seconds, ended_by, figures) = (None, None, None, Vec::new());
            all.push(Stay { name, share, began_at, ended_at, seconds, ended_by, figures });
        }
    }
    if let (true, Some(last), Some(verdict)) = (open, all.last_mut(), &rollout.verdict) {
        last.figures = verdict.guards.iter().cloned().map(Figure::from).collect();
    }
    all
}

fn end(stay: &mut Stay, by: &Entry) {
    stay.ended_at = Some(by.at);
    stay.seconds = Some(rounded(by.at.duration_since(stay.began_at).as_secs_f64(), 1));
    stay.ended_by = Some(by.cause.clone());
    stay.figures.clone_from(&by.figures);
}

fn approvals(timeline: &[Entry]) -> Vec<Approval> {
    let mut all: Vec<Approval> = Vec::new();
    let mut open = false;
    for entry in timeline {
        match (entry.state.as_str(), open) {
            // Paused and resumed, it waits all the same.
            ("awaiting_approval" | "paused", true) => {}
            ("awaiting_approval", false) => {
                let (asked_at, share) = (entry.at, entry.share);
                all.push(Approval { asked_at, share, answered_at: None, by: None, agreed: None, cause: None });
                open = true;
            }
            (state, true) => {
                if let Some(last) = all.last_mut() {
                    last.answered_at = Some(entry.at);
                    last.by = Some(entry.actor.clone());
                    last.agreed = Some(matches!(state, "shifting" | "baking" | "draining" | "done"));
                    last.cause = Some(entry.cause.clone());
                }
                open = false;
            }
            (_, false) => {}
        }
    }
    all
}

#[cfg(test)]
pub(in crate::admin) mod samples {
    use serde_json::json;

    use super::*;

    /// A rollout that was approved, paused, and rolled back by a guard in its second step.
    pub(in crate::admin) fn rollout() -> Rollout {
        let figure = |status: &str, candidate: f64, requests: u64| {
            json!([{"service": "shop", "guard": "error_rate", "status": status, "candidate": candidate, "baseline": 0.001,
                    "limit": 0.05, "unit": "fraction", "requests": requests, "why": "31 of 310 have failed | more than 5 %"}])
        };
        let entry = |at: &str, state: &str, share: f64, actor: &str, cause: &str, figures: serde_json::Value| json!({"at": format!("2026-11-05T{at}Z"), "state": state, "share": share, "actor": actor, "cause": cause, "figures": figures});
        let timeline = json!([
            entry("10:00:00", "checking", 0.0, "ops", "it was started: 2.5.0", json!([])),
            entry("10:00:01", "awaiting_approval", 0.0, "pointsman", "the candidate is healthy", json!([])),
            entry("10:05:00", "shifting", 10.0, "boss", "it was approved", json!([])),
            entry("10:06:00", "paused", 10.0, "ops", "it was paused", figure("undecided", 0.0, 12)),
            entry("10:07:00", "shifting", 10.0, "ops", "it was resumed", figure("undecided", 0.0, 20)),
            entry("10:15:00", "shifting", 50.0, "pointsman", "every guard has passed", figure("pass", 0.0012, 800)),
            entry("10:16:30", "rolled_back", 0.0, "pointsman", "guard error_rate has failed", figure("fail", 0.1, 310)),
        ]);
        serde_json::from_value(json!({
            "id": "r3", "service": "shop", "services": ["shop"], "from": "blue", "to": "green",
            "from_splits": {"shop": {"blue": 100, "green": 0}}, "state": "rolled_back", "paused_in": null, "waits_for": null,
            "step": 2, "share": 0, "steps": [{"share": 10, "hold": "10m"}, {"share": 50, "hold": "10m"}, {"share": 100, "hold": "0s"}],
            "started_at": "2026-11-05T10:00:00Z", "started_by": "ops", "reason": "2.5.0 *with* <new> carts",
            "since": "2026-11-05T10:16:30Z", "ended_at": "2026-11-05T10:16:30Z", "spent_seconds": null, "left_seconds": null,
            "verdict": null, "timeline": timeline, "drains": [], "override_freeze": false, "version": 12,
            "plan": {"bake": "10m", "confidence": "99.9%", "guards": {"error_rate": {"above": "5%"}, "http": []}, "validate": null}
        }))
        .unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::samples::rollout;
    use super::*;

    #[test]
    fn each_share_has_its_time_and_the_figures_of_its_end() {
        let report = Report::new(rollout(), Timestamp::UNIX_EPOCH);
        let stays: Vec<_> = report.stays.iter().map(|s| (s.name.as_str(), s.share.0, s.seconds.map(|s| s.0))).collect();
        assert_eq!(stays, [("step 1", 10.0, Some(600.0)), ("step 2", 50.0, Some(90.0))]);
        let requests: Vec<_> = report.stays.iter().map(|s| s.figures[0].requests).collect();
        assert_eq!(requests, [800, 310], "a pause ends no step");
        assert_eq!(report.stays[1].ended_by.as_deref(), Some("guard error_rate has failed"));
        assert_eq!(report.took_seconds, Number(990.0));
    }

    #[test]
    fn each_approval_says_who_has_agreed_and_one_that_is_open_nobody() {
        let mut rollout = rollout();
        let report = Report::new(rollout.clone(), Timestamp::UNIX_EPOCH);
        assert_eq!(report.approvals.len(), 1);
        assert_eq!((report.approvals[0].by.as_deref(), report.approvals[0].agreed), (Some("boss"), Some(true)));
        rollout.timeline.truncate(2);
        let report = Report::new(rollout, Timestamp::UNIX_EPOCH);
        assert_eq!((report.approvals[0].by.as_deref(), report.approvals[0].agreed), (None, None));
        assert!(report.stays.is_empty());
    }
}
