//! Jobs that tests begin with.

use proptest::prelude::*;
use serde_json::json;

use super::*;

pub(crate) fn second(n: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + n).unwrap()
}

pub(crate) fn notify(webhook: &str) -> Kind {
    let (kind, service) = ("switch".to_owned(), Some("shop".to_owned()));
    let event = NotedEvent { id: 4, at: second(0), actor: "ops".to_owned(), kind, service, detail: json!({ "n": 1 }) };
    Kind::Notify(Notify { webhook: webhook.to_owned(), event })
}

/// Number `id`, due at once, for the webhook `ops`.
pub(crate) fn notification(id: u64) -> Job {
    Job::new(id, notify("ops"), Priority::Normal, second(0))
}

/// One of each.
pub(crate) fn kinds() -> [Kind; 3] {
    let start = StartRollout {
        services: vec![ServiceName::new("shop").unwrap(), ServiceName::new("api").unwrap()],
        to: GroupName::new("green").unwrap(),
        plan: json!({ "bake": "1m" }),
        actor: "ops".to_owned(),
        reason: None,
        freeze: Freezes::Overridden,
    };
    [notify("ops"), Kind::Validate(Validate { rollout: 3 }), Kind::StartRollout(start)]
}

pub(crate) fn any_job() -> impl Strategy<Value = Job> {
    (0_u64..50, prop::sample::select(Priority::ALL.to_vec()), 0_i64..9)
        .prop_map(|(id, priority, due)| Job { priority, ..notification(id).due_at(second(due)) })
}
