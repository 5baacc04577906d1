//! Requests and receipts as JSON: for the audit log, and to answer a repeated request with the first receipt.

use serde_json::{Map, Value, json};

use super::command::{
    DrainChange, DrainReceipt, DrainWish, Force, Receipt, Replaced, ServiceReceipt, Stable, TrafficChange,
};
use super::view::ReloadReport;
use crate::model::change::Intent;
use crate::model::names::{GroupName, ServiceName};
use crate::model::split::{Share, Split};

/// What can be asked of traffic: a change, or a share for one group.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Request {
    Change(TrafficChange),
    Shift { service: ServiceName, group: GroupName, share: Share },
}

impl Request {
    /// The kind of its event.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Request::Change(TrafficChange::Split { .. }) | Request::Shift { .. } => "split",
            Request::Change(TrafficChange::Switch { .. }) => "switch",
            Request::Change(TrafficChange::Rollback { .. }) => "rollback",
        }
    }

    pub(super) fn is_rollback(&self) -> bool {
        matches!(self, Request::Change(TrafficChange::Rollback { .. }))
    }

    pub(super) fn force(&self) -> Force {
        match self {
            Request::Change(TrafficChange::Switch { force, .. } | TrafficChange::Rollback { force, .. }) => *force,
            Request::Change(TrafficChange::Split { .. }) | Request::Shift { .. } => Force::No,
        }
    }

    /// What becomes of the groups that it replaces.
    pub(super) fn replaced(&self) -> Replaced {
        match self {
            Request::Change(TrafficChange::Switch { replaced, .. }) => *replaced,
            Request::Change(TrafficChange::Split { .. } | TrafficChange::Rollback { .. }) | Request::Shift { .. } => {
                Replaced::Kept
            }
        }
    }

    pub(super) fn intent(&self) -> Intent {
        match self.clone() {
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
        let receipt = Receipt { version: 7, changed: true, services: vec![moved], ms: 1.25, event: Some(9) };
        let kept = to_value(&receipt).to_string();
        assert!(kept.contains(r#""after":{"blue":0,"green":100}"#), "{kept}");
        assert_eq!(from_value(&serde_json::from_str(&kept).unwrap()), Some(receipt));
        assert_eq!(from_value(&json!({"version": 1})), None);
    }
    #[test]
    fn a_report_is_the_same_after_it_was_kept() {
        let changes = vec!["services.shop: health changed".to_owned()];
        let report = ReloadReport { version: 3, changed: true, changes, needs_restart: vec!["workers".to_owned()] };
        assert_eq!(report_from_value(&report_to_value(&report)), Some(report));
        assert_eq!(report_from_value(&json!({"version": 1})), None);
    }
}
