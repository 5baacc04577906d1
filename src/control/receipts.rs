//! Requests and receipts as JSON: for the audit log, and to answer a repeated request with the first receipt.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::command::{
    DrainChange, DrainReceipt, DrainWish, Force, HoldReceipt, Receipt, Replaced, ServiceReceipt, Stable, TrafficChange,
    WasHeld,
};
use super::view::ReloadReport;
use crate::model::change::{Decision, Intent, Move};
use crate::model::names::{GroupName, ServiceName};
use crate::model::period;
use crate::model::split::{Share, Split};

/// What can be asked of traffic: a change, or a share for one group.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Request {
    Change(TrafficChange),
    /// The same, while new requests wait for so long at the most.
    Held(TrafficChange, Duration),
    Shift {
        service: ServiceName,
        group: GroupName,
        share: Share,
    },
}

impl Request {
    /// The kind of its event.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Request::Held(change, _) => Request::Change(change.clone()).kind(),
            Request::Change(TrafficChange::Split { .. }) | Request::Shift { .. } => "split",
            Request::Change(TrafficChange::Switch { .. }) => "switch",
            Request::Change(TrafficChange::Rollback { .. }) => "rollback",
        }
    }

    /// How long new requests wait for it.
    pub(super) fn hold(&self) -> Option<Duration> {
        match self {
            Request::Held(_, time) => Some(*time),
            Request::Change(_) | Request::Shift { .. } => None,
        }
    }

    /// The group that a switch goes to.
    pub(super) fn target(&self) -> Option<&GroupName> {
        match self {
            Request::Change(TrafficChange::Switch { to, .. }) | Request::Held(TrafficChange::Switch { to, .. }, _) => {
                Some(to)
            }
            _ => None,
        }
    }

    pub(super) fn is_rollback(&self) -> bool {
        matches!(self, Request::Change(TrafficChange::Rollback { .. }))
    }

    pub(super) fn force(&self) -> Force {
        match self {
            Request::Held(change, _) => Request::Change(change.clone()).force(),
            Request::Change(TrafficChange::Switch { force, .. } | TrafficChange::Rollback { force, .. }) => *force,
            Request::Change(TrafficChange::Split { .. }) | Request::Shift { .. } => Force::No,
        }
    }

    /// What becomes of the groups that it replaces.
    pub(super) fn replaced(&self) -> Replaced {
        match self {
            Request::Change(TrafficChange::Switch { replaced, .. })
            | Request::Held(TrafficChange::Switch { replaced, .. }, _) => *replaced,
            Request::Change(_) | Request::Held(..) | Request::Shift { .. } => Replaced::Kept,
        }
    }

    pub(super) fn intent(&self) -> Intent {
        match self.clone() {
            Request::Held(change, _) => Request::Change(change).intent(),
            Request::Change(TrafficChange::Split { service, split, stable }) => {
                Intent::Split { service, split, stable }
            }
            Request::Change(TrafficChange::Switch { services, to, .. }) => Intent::Switch { services, to },
            Request::Change(TrafficChange::Rollback { services, .. }) => Intent::Rollback { services },
            Request::Shift { service, group, share } => Intent::Shift { service, group, share },
        }
    }

    /// What was asked, for the audit log and to tell one request from another.
    pub(super) fn asked(&self) -> Value {
        let names = |services: &[ServiceName]| services.iter().map(ToString::to_string).collect::<Vec<_>>();
        match self {
            Request::Held(change, time) => {
                let mut asked = Request::Change(change.clone()).asked();
                asked["hold"] = json!(period::written(*time));
                asked
            }
            Request::Change(TrafficChange::Split { service, split, stable }) => json!({
                "services": [service.as_str()], "split": split_value(split), "stable": *stable == Stable::Declared,
            }),
            Request::Change(TrafficChange::Switch { services, to, force, replaced }) => json!({
                "services": names(services), "to": to.as_str(), "force": *force == Force::Yes,
                "drain": *replaced == Replaced::Drained,
            }),
            Request::Change(TrafficChange::Rollback { services, force }) => json!({
                "services": names(services), "force": *force == Force::Yes,
            }),
            Request::Shift { service, group, share } => json!({
                "services": [service.as_str()], "group": group.as_str(), "share": share_value(*share),
            }),
        }
    }

    /// Two requests are the same when this is.
    pub(super) fn fingerprint(&self) -> String {
        format!("{} {}", self.kind(), self.asked())
    }
}

/// What was asked of a drain, for the audit log and to tell one request from another.
pub(super) fn drain_asked(change: &DrainChange) -> Value {
    let DrainChange { service, part, wish } = change;
    let mut asked = json!({ "service": service.as_str(), "group": part.group.as_str(), "upstream": part.upstream });
    match wish {
        DrainWish::Begin { timeout, force } => {
            asked["timeout_ms"] = json!(timeout.map(|t| t.as_millis() as u64));
            asked["force"] = json!(*force == Force::Yes);
        }
        DrainWish::CallOff => asked["cancel"] = json!(true),
    }
    asked
}

/// Two changes of drains are the same when this is.
pub(super) fn drain_fingerprint(change: &DrainChange) -> String {
    format!("drain {}", drain_asked(change))
}

/// Tells what is wanted of a job (`retry`, `cancel`) from all other wishes.
pub(super) fn job_fingerprint(verb: &str, id: u64) -> String {
    format!("job {verb} {id}")
}

/// A drain's receipt as it is kept.
pub(super) fn drain_to_value(receipt: DrainReceipt) -> Value {
    json!({ "version": receipt.version, "changed": receipt.changed })
}

/// A drain's receipt that was kept; none when it makes no sense (any more).
pub(super) fn drain_from_value(value: &Value) -> Option<DrainReceipt> {
    Some(DrainReceipt { version: value.get("version")?.as_u64()?, changed: value.get("changed")?.as_bool()? })
}

/// The fingerprint of a reload: it has no parameters.
pub(super) const RELOAD: &str = "reload";

/// `{"blue":90,"green":10}`.
pub(super) fn split_value(split: &Split) -> Value {
    Value::Object(split.iter().map(|(group, share)| (group.to_string(), share_value(share))).collect())
}

/// In per cent, whole where it is whole.
fn share_value(share: Share) -> Value {
    let ppm = share.ppm();
    if ppm.is_multiple_of(10_000) { json!(ppm / 10_000) } else { json!(share.percent()) }
}

fn split(value: &Value) -> Option<Split> {
    let share = |(group, percent): (&String, &Value)| {
        Some((GroupName::new(group).ok()?, Share::from_percent(percent.as_f64()?).ok()?))
    };
    Split::new(value.as_object()?.iter().map(share).collect::<Option<Vec<_>>>()?).ok()
}

/// A receipt as it is kept.
pub(super) fn to_value(receipt: &Receipt) -> Value {
    let service = |s: &ServiceReceipt| {
        json!({
            "service": s.service.as_str(),
            "before": split_value(&s.before),
            "after": split_value(&s.after),
            "stable": split_value(&s.stable),
        })
    };
    json!({
        "version": receipt.version,
        "changed": receipt.changed,
        "services": receipt.services.iter().map(service).collect::<Vec<_>>(),
        "ms": receipt.ms,
        "event": receipt.event,
        "hold": receipt.hold.map(was_held_value),
    })
}

/// A receipt that was kept; none when it makes no sense (any more).
pub(super) fn from_value(value: &Value) -> Option<Receipt> {
    let service = |value: &Value| {
        let members: &Map<_, _> = value.as_object()?;
        Some(ServiceReceipt {
            service: ServiceName::new(members.get("service")?.as_str()?).ok()?,
            before: split(members.get("before")?)?,
            after: split(members.get("after")?)?,
            stable: split(members.get("stable")?)?,
        })
    };
    Some(Receipt {
        version: value.get("version")?.as_u64()?,
        changed: value.get("changed")?.as_bool()?,
        services: value.get("services")?.as_array()?.iter().map(service).collect::<Option<_>>()?,
        ms: value.get("ms")?.as_f64()?,
        event: value.get("event")?.as_u64(),
        hold: value.get("hold").and_then(was_held),
    })
}

fn was_held_value(held: WasHeld) -> Value {
    json!({ "ms": held.ms, "waited": held.waited })
}

fn was_held(value: &Value) -> Option<WasHeld> {
    Some(WasHeld { ms: value.get("ms")?.as_f64()?, waited: value.get("waited")?.as_u64()? as u32 })
}

/// The receipt of a hold or a release as it is kept.
pub(super) fn hold_to_value(receipt: &HoldReceipt) -> Value {
    json!({
        "version": receipt.version,
        "changed": receipt.changed,
        "service": receipt.service.as_str(),
        "until": receipt.until.map(|at| at.to_string()),
        "held": receipt.held.map(was_held_value),
    })
}

/// Such a receipt that was kept; none when it makes no sense (any more).
pub(super) fn hold_from_value(value: &Value) -> Option<HoldReceipt> {
    Some(HoldReceipt {
        version: value.get("version")?.as_u64()?,
        changed: value.get("changed")?.as_bool()?,
        service: ServiceName::new(value.get("service")?.as_str()?).ok()?,
        until: value.get("until")?.as_str().and_then(|at| at.parse().ok()),
        held: value.get("held").and_then(was_held),
    })
}

/// A reload's report as it is kept.
pub(super) fn report_to_value(report: &ReloadReport) -> Value {
    let ReloadReport { version, changed, changes, needs_restart } = report;
    json!({ "version": version, "changed": changed, "changes": changes, "needs_restart": needs_restart })
}

/// A reload's report that was kept; none when it makes no sense (any more).
pub(super) fn report_from_value(value: &Value) -> Option<ReloadReport> {
    let texts = |key: &str| {
        let texts = value.get(key)?.as_array()?.iter().map(|text| text.as_str().map(ToOwned::to_owned));
        texts.collect::<Option<Vec<_>>>()
    };
    Some(ReloadReport {
        version: value.get("version")?.as_u64()?,
        changed: value.get("changed")?.as_bool()?,
        changes: texts("changes")?,
        needs_restart: texts("needs_restart")?,
    })
}

/// What `decision` has come to; `event` is its line in the audit log.
pub(super) fn of(decision: &Decision, event: Option<u64>) -> Receipt {
    let service = |m: &Move| ServiceReceipt {
        service: m.service.clone(),
        before: m.before.clone(),
        after: m.after.clone(),
        stable: m.stable.clone(),
    };
    Receipt {
        version: decision.desired.version,
        changed: decision.changed(),
        services: decision.moves.iter().map(service).collect(),
        ms: 0.0,
        event,
        hold: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::change::samples::{service, split as of};

    #[test]
    fn a_receipt_is_the_same_after_it_was_kept() {
        let moved = ServiceReceipt {
            service: service("shop"),
            before: of("blue 33.3333 green 66.6667"),
            after: of("blue 0 green 100"),
            stable: of("blue 100 green 0"),
        };
        let receipt = Receipt {
            version: 7,
            changed: true,
            services: vec![moved],
            ms: 1.25,
            event: Some(9),
            hold: Some(WasHeld { ms: 8.5, waited: 3 }),
        };
        let kept = to_value(&receipt).to_string();
        assert!(kept.contains(r#""after":{"blue":0,"green":100}"#), "{kept}");
        assert_eq!(from_value(&serde_json::from_str(&kept).unwrap()), Some(receipt));
        assert_eq!(from_value(&json!({"version": 1})), None);
    }

    #[test]
    fn the_receipts_of_a_hold_and_a_release_are_the_same_after_they_were_kept() {
        let until = Some("2026-11-05T10:00:00.25Z".parse().unwrap());
        let hold = HoldReceipt { version: 7, changed: true, service: service("shop"), until, held: None };
        let release = HoldReceipt { until: None, held: Some(WasHeld { ms: 2.5, waited: 9 }), ..hold.clone() };
        for receipt in [hold, release] {
            assert_eq!(hold_from_value(&hold_to_value(&receipt)), Some(receipt));
        }
    }

    #[test]
    fn a_report_is_the_same_after_it_was_kept() {
        let changes = vec!["services.shop: health changed".to_owned()];
        let report = ReloadReport { version: 3, changed: true, changes, needs_restart: vec!["workers".to_owned()] };
        assert_eq!(report_from_value(&report_to_value(&report)), Some(report));
        assert_eq!(report_from_value(&json!({"version": 1})), None);
    }
}
