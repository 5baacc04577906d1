//! Lines for the audit log: what they say, and that nothing in them can harm whoever reads them.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::command::{DrainChange, Origin, Rejected, WasHeld};
use super::prober::Turn;
use super::receipts::{self, Request, split_value};
use super::view::{DrillView, ReloadReport};
use crate::model::adoption::{FileMove, FileReason};
use crate::model::change::{Decision, Desired, Move};
use crate::model::drain::{Drain, Outcome, Part};
use crate::model::job::{Job, Kind, Notify, StartRollout};
use crate::model::names::{GroupName, ServiceName};
use crate::model::period;
use crate::model::rollout::{Entry, Freezes, Moving, Rollout};
use crate::store::NewEvent;

/// Longest text that came from a caller, in characters.
const LONGEST: usize = 500;

/// We ourselves as an actor.
pub(super) const OURSELVES: &str = "pointsman";

/// A line about what this process does by itself.
pub(super) fn own(kind: &str, detail: Value) -> NewEvent {
    event(OURSELVES, kind, None, detail)
}

/// One line for each service whose state a request has changed.
pub(super) fn changed(request: &Request, origin: &Origin, decision: &Decision) -> Vec<NewEvent> {
    let together: Vec<_> = decision.moves.iter().filter(|m| m.changed).map(|m| m.service.as_str()).collect();
    let line = |m: &Move| {
        let mut detail = json!({
            "version": decision.desired.version,
            "before": split_value(&m.before),
            "after": split_value(&m.after),
            "stable": split_value(&m.stable),
            "asked": request.asked(),
            "reason": reason(origin),
        });
        if together.len() > 1 {
            detail["together"] = json!(together);
        }
        event(&origin.actor, request.kind(), Some(m.service.to_string()), detail)
    };
    decision.moves.iter().filter(|m| m.changed).map(line).collect()
}

/// One line for each service of a request that was not followed.
pub(super) fn refused(request: &Request, origin: &Origin, rejected: &Rejected) -> Vec<NewEvent> {
    let kind = format!("{}.refused", request.kind());
    let detail =
        json!({ "asked": request.asked(), "error": sanitised(&rejected.to_string()), "reason": reason(origin) });
    let intent = request.intent();
    let services = intent.services().into_iter();
    services.map(|s| event(&origin.actor, &kind, Some(s.to_string()), detail.clone())).collect()
}

/// One line for each drain that has begun, ended or was called off on the way from `old` to `new`.
pub(super) fn drains(old: &Desired, new: &Desired, actor: &str) -> Vec<NewEvent> {
    let mut lines = Vec::new();
    for (service, state) in &new.services {
        let before = old.services.get(service.as_str()).map(|s| &s.drains);
        for (part, drain) in &state.drains {
            if before.and_then(|drains| drains.get(part)) != Some(drain) {
                lines.push(drain_line(service, part, drain, actor));
            }
        }
    }
    lines
}

fn drain_line(service: &ServiceName, part: &Part, drain: &Drain, actor: &str) -> NewEvent {
    let kind = match &drain.end {
        None => "drain",
        Some(end) if end.outcome == Outcome::Cancelled => "drain.cancelled",
        Some(_) => "drain.ended",
    };
    let detail = json!({
        "group": part.group.as_str(),
        "upstream": part.upstream,
        "state": drain.label(),
        "began": drain.began.to_string(),
        "deadline": drain.deadline.to_string(),
        "seconds": drain.end.as_ref().map(|end| end.at.duration_since(drain.began).as_secs_f64()),
        "reason": drain.end.as_ref().map(|end| sanitised(&end.why)),
    });
    event(actor, kind, Some(service.to_string()), detail)
}

/// One line for each entry of a timeline that is new on the way from `old` to `new`, and service.
pub(super) fn rollouts(old: &Desired, new: &Desired) -> Vec<NewEvent> {
    let mut lines = Vec::new();
    for (id, rollout) in &new.rollouts {
        let before = old.rollouts.get(id);
        if before.is_some_and(|b| b == rollout) {
            continue;
        }
        if let Some(entry) = rollout.timeline.last() {
            let line = |m: &Moving| rollout_line(rollout, before, entry, &m.service);
            lines.extend(rollout.services.iter().map(line));
        }
    }
    lines
}

fn rollout_line(rollout: &Rollout, before: Option<&Rollout>, entry: &Entry, service: &ServiceName) -> NewEvent {
    let kind = format!("rollout.{}", if before.is_none() { "started" } else { entry.state.as_str() });
    let mut detail = json!({
        "rollout": rollout.id.to_string(),
        "to": rollout.to.as_str(),
        "state": entry.state,
        "before": before.map(|b| b.state.label()),
        "share": entry.share.percent(),
        "share_before": before.map(|b| b.share.percent()),
        "step": rollout.step.map(|step| step + 1),
        "steps": rollout.plan.steps.len(),
        "cause": sanitised(&entry.cause),
        "figures": entry.figures,
    });
    if before.is_none() {
        detail["reason"] = json!(rollout.reason.as_deref().map(sanitised));
        let gates = rollout.plan.approval.as_ref().map_or(0, |approval| approval.before.len());
        let steps = rollout.plan.steps.iter().map(|step| step.share.percent()).collect::<Vec<_>>();
        detail["plan"] = json!({ "steps": steps, "approvals": gates, "validated": rollout.plan.validate.is_some() });
        detail["override_freeze"] = json!(rollout.freeze == Freezes::Overridden);
    }
    event(&entry.actor, &kind, Some(service.to_string()), detail)
}

/// A rollout was not begun or steered.
pub(super) fn rollout_refused(kind: &str, asked: &Value, origin: &Origin, rejected: &Rejected) -> Vec<NewEvent> {
    let detail = json!({ "asked": asked, "error": sanitised(&rejected.to_string()), "reason": reason(origin) });
    let services = asked["services"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let line = |s: &str| event(&origin.actor, &format!("{kind}.refused"), Some(s.to_owned()), detail.clone());
    services.map(line).collect()
}

/// Somebody has tried out whether the guards notice a bad candidate.
pub(super) fn drilled(drill: &DrillView, origin: &Origin) -> NewEvent {
    let runs = drill.runs.iter().map(|run| {
        let fired = run.guards.iter().filter_map(|g| Some((g.guard.clone(), json!(g.fired_after?))));
        let fired: serde_json::Map<_, _> = fired.collect();
        json!({ "fault": run.fault.label(), "sent": run.sent, "fired_after": fired, "as_expected": run.as_expected })
    });
    let detail = json!({
        "to": drill.to.as_str(),
        "as_expected": drill.runs.iter().all(|run| run.as_expected),
        "runs": runs.collect::<Vec<_>>(),
        "reason": origin.reason.as_deref().map(sanitised),
    });
    event(&origin.actor, "rollout.drill", Some(drill.service.to_string()), detail)
}

/// A candidate has failed, and the way back leads to a group that is down.
pub(super) fn rollout_stuck(rollout: &Rollout, service: &ServiceName, rejected: &Rejected) -> NewEvent {
    let detail = json!({ "rollout": rollout.id.to_string(), "error": sanitised(&rejected.to_string()) });
    event(OURSELVES, "rollout.stuck", Some(service.to_string()), detail)
}

/// A change of a drain that was not made.
pub(super) fn drain_refused(change: &DrainChange, origin: &Origin, rejected: &Rejected) -> NewEvent {
    let detail = json!({
        "asked": receipts::drain_asked(change),
        "error": sanitised(&rejected.to_string()),
        "reason": reason(origin),
    });
    event(&origin.actor, "drain.refused", Some(change.service.to_string()), detail)
}

/// A service is held from now on; `to`: where a switch goes behind it.
pub(super) fn held(service: &ServiceName, time: Duration, to: Option<&GroupName>, origin: &Origin) -> NewEvent {
    let mut detail = json!({ "for": period::written(time), "reason": reason(origin) });
    if let Some(to) = to {
        detail["switch_to"] = json!(to.as_str());
    }
    event(&origin.actor, "hold", Some(service.to_string()), detail)
}

/// A hold or a release that was asked for and not done.
pub(super) fn hold_refused(kind: &str, service: &ServiceName, origin: &Origin, rejected: &Rejected) -> NewEvent {
    let detail = json!({ "error": sanitised(&rejected.to_string()), "reason": reason(origin) });
    event(&origin.actor, kind, Some(service.to_string()), detail)
}

/// A hold has ended; by itself where the origin names nobody.
pub(super) fn hold_ended(
    kind: &str,
    service: &ServiceName,
    was: WasHeld,
    refused: u64,
    note: Option<&str>,
    origin: &Origin,
) -> NewEvent {
    let actor = if origin.actor.is_empty() { OURSELVES } else { &origin.actor };
    let reason = note.map(ToOwned::to_owned).or_else(|| reason(origin));
    let detail = json!({ "ms": was.ms.round(), "waited": was.waited, "refused": refused, "reason": reason });
    event(actor, kind, Some(service.to_string()), detail)
}

/// A service whose split the file has moved.
pub(super) fn moved_by_file(moved: &FileMove, actor: &str, version: u64) -> NewEvent {
    let detail = json!({
        "version": version,
        "before": split_value(&moved.before),
        "after": split_value(&moved.after),
        "reason": file_reason(moved.reason),
    });
    event(actor, "split", Some(moved.service.to_string()), detail)
}

/// For people.
pub(super) fn file_reason(reason: FileReason) -> &'static str {
    match reason {
        FileReason::Edited => "the split in the file was changed",
        FileReason::GroupGone => "a group with a share is not in the file any more; the file's split is used",
        FileReason::Returned => "the service is in the file again; it goes on where it was left",
    }
}

/// A configuration was put to work.
pub(super) fn reloaded(report: &ReloadReport, origin: &Origin) -> NewEvent {
    let detail = json!({
        "version": report.version,
        "changes": report.changes,
        "needs_restart": report.needs_restart,
        "reason": reason(origin),
    });
    event(&origin.actor, "reload", None, detail)
}

/// A configuration was not put to work.
pub(super) fn reload_refused(errors: &[String], origin: &Origin) -> NewEvent {
    event(&origin.actor, "reload.refused", None, json!({ "errors": errors, "reason": reason(origin) }))
}

/// Another process has taken over, or was to and did not.
pub(super) fn upgraded(kind: &str, mut detail: Value, origin: &Origin) -> NewEvent {
    if let Some(Value::String(error)) = detail.get_mut("error") {
        *error = sanitised(error);
    }
    detail["reason"] = json!(reason(origin));
    event(&origin.actor, kind, None, detail)
}

/// A job has failed for good.
pub(super) fn job_dead(job: &Job) -> NewEvent {
    let mut detail = job_shown(job);
    (detail["attempts"], detail["error"]) = (json!(job.attempts), json!(job.last_error.as_deref().map(sanitised)));
    own("job.dead", detail)
}

/// Jobs were given up because there were too many.
pub(super) fn jobs_given_up(jobs: &[Job], why: &str) -> NewEvent {
    let (first, last) = (jobs.iter().map(|job| job.id).min(), jobs.iter().map(|job| job.id).max());
    own("job.dead", json!({ "count": jobs.len(), "first": first, "last": last, "error": why }))
}

/// Somebody has a dead job tried again.
pub(super) fn job_retried(job: &Job, origin: &Origin) -> NewEvent {
    let mut detail = job_shown(job);
    detail["reason"] = json!(reason(origin));
    event(&origin.actor, "job.retried", None, detail)
}

/// Somebody does not want a job to be done any more.
pub(super) fn job_cancelled(job: &Job, origin: &Origin) -> NewEvent {
    let mut detail = job_shown(job);
    detail["reason"] = json!(reason(origin));
    event(&origin.actor, "job.cancelled", None, detail)
}

/// A rollout will begin later; one line for each service.
pub(super) fn rollout_scheduled(wish: &StartRollout, job: u64, at: Timestamp) -> Vec<NewEvent> {
    let detail = json!({
        "job": job,
        "at": at.to_string(),
        "to": wish.to.as_str(),
        "plan": wish.plan,
        "override_freeze": wish.freeze == Freezes::Overridden,
        "reason": wish.reason.as_deref().map(sanitised),
    });
    let line = |s: &ServiceName| event(&wish.actor, "rollout.scheduled", Some(s.to_string()), detail.clone());
    wish.services.iter().map(line).collect()
}

fn job_shown(job: &Job) -> Value {
    let mut detail = json!({ "job": job.id, "kind": job.kind.label() });
    match &job.kind {
        Kind::Notify(Notify { webhook, event }) => {
            (detail["webhook"], detail["about"]) = (json!(webhook), json!(event.kind));
        }
        Kind::Validate(validate) => detail["rollout"] = json!(validate.rollout),
        Kind::StartRollout(start) => detail["services"] = json!(start.services),
    }
    detail
}

/// An upstream's verdict has turned.
pub(super) fn health(turn: &Turn) -> NewEvent {
    let detail = json!({
        "group": turn.group.as_str(),
        "upstream": turn.url,
        "before": turn.from.label(),
        "after": turn.to.label(),
        "status": turn.check.status,
        "ms": turn.check.ms,
        "why": turn.check.why,
    });
    let line = event(OURSELVES, "health", Some(turn.service.to_string()), detail);
    NewEvent { at: turn.check.at, ..line }
}

fn event(actor: &str, kind: &str, service: Option<String>, detail: Value) -> NewEvent {
    let (actor, kind) = (sanitised(actor), kind.to_owned());
    NewEvent { at: Timestamp::now(), actor, kind, service, detail }
}

fn reason(origin: &Origin) -> Option<String> {
    origin.reason.as_deref().map(sanitised)
}

/// In one line and of bounded length.
fn sanitised(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_caller_says_is_one_line_of_bounded_length() {
        assert_eq!(sanitised("a\r\nINFO b\u{1b}[2J"), "a  INFO b [2J");
        assert_eq!(sanitised(&"ä".repeat(2 * LONGEST)).chars().count(), LONGEST);
    }
}
