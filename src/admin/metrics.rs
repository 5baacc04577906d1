//! `GET /metrics`: gathers what the controller shows and has it written for Prometheus.

use axum::extract::State;
use axum::http::{HeaderName, header};

use super::Desk;
use crate::control::view::{GroupView, RolloutState, ServiceView};
use crate::model::outcome::Outcome;
use crate::routing::live::Health;
use crate::telemetry::metrics::{Durations, GroupSample, HoldSample, Judged, Samples, UpstreamSample, write};

/// All metrics.
#[utoipa::path(get, path = "/metrics", operation_id = "metrics", tag = "process",
    responses((status = 200, body = String, content_type = "application/openmetrics-text", description = "For Prometheus")))]
pub(super) async fn scrape(State(desk): State<Desk>) -> ([(HeaderName, &'static str); 1], String) {
    let services = desk.handle.services().await;
    let (buckets, sum, count) = desk.handle.switch_seconds();
    let samples = Samples {
        version: env!("CARGO_PKG_VERSION"),
        last_reload_ok: desk.handle.readiness().last_reload_ok,
        groups: services.into_iter().flat_map(groups).collect(),
        connections: desk.handle.listeners().into_iter().map(|l| (l.name.to_string(), l.connections)).collect(),
        admissions: desk
            .handle
            .admissions()
            .into_iter()
            .map(|a| (a.service.to_string(), a.waiting, a.refused))
            .collect(),
        holds: desk
            .handle
            .holds()
            .into_iter()
            .map(|h| HoldSample {
                service: h.service.to_string(),
                held: h.held,
                refused: h.refused,
                expired: h.expired,
            })
            .collect(),
        rollouts: {
            let last = desk.handle.last_rollouts().into_iter();
            last.map(|(service, view)| (service.to_string(), view.rollout.state.label())).collect()
        },
        jobs: desk.handle.job_counts().into_iter().map(|(state, count)| (state.label(), count)).collect(),
        job_attempts: desk.handle.job_attempts(),
        rollout_states: &RolloutState::LABELS,
        rollbacks: desk.handle.rollbacks(),
        switch_seconds: Durations { buckets, sum, count },
        drain_seconds: {
            let (buckets, sum, count) = desk.handle.drain_seconds();
            Durations { buckets, sum, count }
        },
    };
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], write(samples))
}

fn groups(service: ServiceView) -> impl Iterator<Item = GroupSample> {
    let ServiceView { name, split, groups, .. } = service;
    groups.into_iter().map(move |group| {
        let share = split.share(&group.name).percent();
        sample(name.to_string(), share, group)
    })
}

fn sample(service: String, share: f64, group: GroupView) -> GroupSample {
    let upstreams = group.upstreams.into_iter().map(|upstream| UpstreamSample {
        url: upstream.url,
        healthy: upstream.health == Health::Healthy,
        attempts: Outcome::ALL.iter().map(|outcome| outcome.label()).zip(upstream.attempts).collect(),
    });
    GroupSample {
        service,
        group: group.name.to_string(),
        share,
        in_flight: group.in_flight,
        streams: group.streams,
        tunnels: group.tunnels,
        retries: group.totals.retries,
        attempts: Judged { all: group.totals.attempts, failed: group.totals.failures },
        handshakes: Judged { all: group.totals.handshakes, failed: group.totals.handshakes_failed },
        tunnel_ends: group.totals.tunnel_ends,
        codes: group.totals.codes,
        durations: Durations::from_micros(&group.totals.durations, group.totals.micros),
        upstreams: upstreams.collect(),
    }
}
