//! A service as `GET /services/{service}` shows it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Drain, Hold, Number, Rollout, Shares, rounded, shares};
use crate::control::view::{CheckView, GroupView, ServiceView, UpstreamView, Window as WindowView};

/// All services.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Services {
    /// Version of the desired state.
    pub version: u64,
    /// In the order of the file.
    pub services: Vec<Service>,
}

/// A service and all that goes on in it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Version of its last change; what `If-Match` is compared with.
    pub version: u64,
    /// Shares now, in per cent.
    #[schema(value_type = BTreeMap<String, f64>)]
    pub split: Shares,
    /// Where a rollback goes.
    #[schema(value_type = BTreeMap<String, f64>)]
    pub stable_split: Shares,
    /// The group with the largest share.
    pub live: String,
    /// The group that may come next.
    pub candidate: Option<String>,
    /// Groups by name.
    pub groups: BTreeMap<String, Group>,
    /// The rollout under way.
    pub rollout: Option<Rollout>,
    /// The hold under way.
    pub hold: Option<Hold>,
    /// The file's split where it is kept back.
    #[schema(value_type = Option<BTreeMap<String, f64>>)]
    pub pending_file_split: Option<Shares>,
}

/// A group and all that goes on in it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Group {
    /// Requests under way.
    pub in_flight: u64,
    /// Of these, answers that go on for long: Server-Sent Events, large downloads.
    #[serde(default)]
    pub streams: u64,
    /// Tunnels (WebSockets) open.
    pub tunnels: u64,
    /// State of its circuit breaker.
    pub circuit: String,
    /// The drain that keeps users away, under way or ended; null: the group is open.
    pub draining: Option<Drain>,
    /// In the order of the file.
    pub upstreams: Vec<Upstream>,
    /// Figures of the last seconds.
    pub window: Window,
}

/// An upstream and what is known of it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Upstream {
    /// As configured.
    pub url: String,
    /// `unknown`, `healthy` or `unhealthy`.
    pub health: String,
    /// Whether it is ejected as an outlier.
    pub ejected: bool,
    /// Attempts under way.
    pub in_flight: u64,
    /// The drain of this upstream alone that keeps users away, under way or ended; null: it is open.
    #[serde(default)]
    pub draining: Option<Drain>,
    /// The last health check.
    pub last_check: Option<Check>,
}

/// The result of one health check.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// When it ended.
    #[schema(value_type = String, format = DateTime)]
    pub at: jiff::Timestamp,
    /// Whether the answer was as expected.
    pub ok: bool,
    /// HTTP status, where there was one.
    pub status: Option<u16>,
    /// How long it took.
    pub ms: Number,
    /// What was wrong; empty when ok.
    pub why: String,
}

/// Figures over the last `seconds`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Window {
    /// Length; shorter after a start.
    pub seconds: u64,
    /// Requests answered.
    pub requests: u64,
    /// Failed attempts.
    pub errors: u64,
    /// Requests a second.
    pub rps: Number,
    /// Errors by requests, 0 to 1.
    pub error_rate: Number,
    /// Mean duration; null without requests.
    pub mean_ms: Option<Number>,
    /// Median duration.
    pub p50_ms: Option<Number>,
    /// 95th percentile of the durations.
    pub p95_ms: Option<Number>,
    /// 99th percentile of the durations.
    pub p99_ms: Option<Number>,
}

impl From<ServiceView> for Service {
    fn from(view: ServiceView) -> Self {
        Self {
            name: view.name.to_string(),
            version: view.version,
            split: shares(&view.split),
            stable_split: shares(&view.stable_split),
            live: view.live.to_string(),
            candidate: view.candidate.map(|group| group.to_string()),
            groups: view.groups.into_iter().map(|group| (group.name.to_string(), group.into())).collect(),
            rollout: view.rollout.map(|rollout| Rollout::new(rollout, view.version)),
            hold: view.hold.map(Into::into),
            pending_file_split: view.pending_file_split.as_ref().map(shares),
        }
    }
}

impl From<GroupView> for Group {
    fn from(view: GroupView) -> Self {
        Self {
            in_flight: view.in_flight,
            streams: view.streams,
            tunnels: view.tunnels,
            circuit: "closed".to_owned(),
            draining: view.drain.map(Into::into),
            upstreams: view.upstreams.into_iter().map(Into::into).collect(),
            window: view.window.into(),
        }
    }
}

impl From<UpstreamView> for Upstream {
    fn from(view: UpstreamView) -> Self {
        Self {
            url: view.url,
            health: view.health.label().to_owned(),
            ejected: false,
            in_flight: view.in_flight,
            draining: view.drain.map(Into::into),
            last_check: view.last_check.map(Into::into),
        }
    }
}

impl From<CheckView> for Check {
    fn from(view: CheckView) -> Self {
        Self { at: view.at, ok: view.ok, status: view.status, ms: rounded(view.ms, 3), why: view.why }
    }
}

impl From<WindowView> for Window {
    fn from(view: WindowView) -> Self {
        let ms = |value: Option<f64>| value.map(|ms| rounded(ms, 3));
        Self {
            seconds: view.seconds,
            requests: view.requests,
            errors: view.errors,
            rps: rounded(view.rps, 2),
            error_rate: rounded(view.error_rate, 6),
            mean_ms: ms(view.mean_ms),
            p50_ms: ms(view.p50_ms),
            p95_ms: ms(view.p95_ms),
            p99_ms: ms(view.p99_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::names::{GroupName, ServiceName};
    use crate::model::split::Split;
    use crate::routing::live::{GroupTotals, Health};

    #[test]
    fn a_service_has_every_key_that_programs_rely_on() {
        let [blue, green] = ["blue", "green"].map(|name| GroupName::new(name).unwrap());
        let upstream = UpstreamView {
            url: "http://127.0.0.1:9001".into(),
            health: Health::Healthy,
            in_flight: 3,
            drain: None,
            last_check: None,
            attempts: vec![],
        };
        let group = GroupView {
            name: blue.clone(),
            in_flight: 3,
            streams: 1,
            tunnels: 2,
            drain: None,
            upstreams: vec![upstream],
            window: WindowView {
                seconds: 60,
                requests: 600,
                errors: 1,
                rps: 10.0,
                error_rate: 0.001_666_67,
                ..WindowView::default()
            },
            totals: GroupTotals::default(),
        };
        let split = Split::all_to(&blue, [blue.clone(), green.clone()]);
        let view = ServiceView {
            name: ServiceName::new("shop").unwrap(),
            version: 12,
            split: split.clone(),
            stable_split: split,
            live: blue,
            candidate: Some(green),
            groups: vec![group],
            pending_file_split: None,
            rollout: None,
            hold: None,
        };
        let expected = serde_json::json!({
            "name": "shop", "version": 12, "split": {"blue": 100, "green": 0}, "stable_split": {"blue": 100, "green": 0},
            "live": "blue", "candidate": "green",
            "groups": {"blue": {
                "in_flight": 3, "streams": 1, "tunnels": 2, "circuit": "closed", "draining": null,
                "upstreams": [{"url": "http://127.0.0.1:9001", "health": "healthy", "ejected": false, "in_flight": 3, "draining": null, "last_check": null}],
                "window": {"seconds": 60, "requests": 600, "errors": 1, "rps": 10, "error_rate": 0.001_667,
                           "mean_ms": null, "p50_ms": null, "p95_ms": null, "p99_ms": null}}},
            "rollout": null, "hold": null, "pending_file_split": null,
        });
        assert_eq!(serde_json::to_value(Service::from(view)).unwrap(), expected);
    }
}
