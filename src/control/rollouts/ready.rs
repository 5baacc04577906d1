//! Whether a candidate is ready for users: its health, and requests that make it load what it needs.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tokio::time::{Instant, timeout_at};

use crate::control::prober::{Target, call, targets};
use crate::control::running::Shared;
use crate::control::tls::HTTP;
use crate::model::rollout::{Input, Rollout};
use crate::routing::table::Group;

/// How long the candidate may take to become healthy beyond what its health check needs for that.
const GRACE: Duration = Duration::from_secs(2);

/// How long one request of the warm-up may take.
const WARM_WITHIN: Duration = Duration::from_secs(30);

/// Waits until the candidate of each service is healthy; for as long as its health checks need for a verdict.
pub(super) async fn check(shared: &Arc<Shared>, rollout: &Rollout) -> (Input, String) {
    let deadline = Instant::now() + patience(shared, rollout);
    let mut turns = shared.board.turns();
    loop {
        let ill = ill(shared, rollout);
        let Some(ill) = ill else { return (Input::Ready, "the candidate is healthy".to_owned()) };
        if timeout_at(deadline, turns.changed()).await.is_err() {
            return (Input::NotReady, ill);
        }
    }
}

/// Time enough for the health checks to turn.
fn patience(shared: &Shared, rollout: &Rollout) -> Duration {
    let running = shared.running.load();
    let moved = running.spec.services.iter().filter(|s| rollout.moves(s.name.as_str()));
    let longest = moved.map(|s| (s.health.interval + s.health.timeout) * s.health.healthy_after.max(1)).max();
    longest.unwrap_or_default() + GRACE
}

/// Why the candidate cannot serve; none: it can.
fn ill(shared: &Shared, rollout: &Rollout) -> Option<String> {
    let running = shared.running.load();
    rollout.services.iter().find_map(|moving| {
        let service = running.table.service(moving.service.as_str())?;
        let group = &service.groups[service.group_index(rollout.to.as_str())?];
        let is_ill = !group.upstreams.iter().any(|u| u.live.health() == crate::routing::live::Health::Healthy);
        is_ill.then(|| unhealthy(shared, rollout, group, moving.service.as_str()))
    })
}

fn unhealthy(shared: &Shared, rollout: &Rollout, group: &Group, service: &str) -> String {
    format!("group {} of service {service} is not healthy: {}", rollout.to, shared.why_unhealthy(group))
}

/// Sends the plan's requests to each upstream of the candidate. Any answer below 500 will do.
pub(super) async fn warm_up(shared: &Arc<Shared>, rollout: &Rollout) -> (Input, String) {
    let targets = {
        let running = shared.running.load();
        let meant = |t: &Target| rollout.moves(t.service.as_str()) && t.group == rollout.to;
        targets(&running.spec, &running.table).iter().filter(|t| meant(t)).cloned().collect::<Vec<_>>()
    };
    let mut sent = 0_u32;
    for target in &targets {
        for warm_up in &rollout.plan.warm_up {
            for _ in 0..warm_up.times {
                if let Err(why) = ask(target, &warm_up.path).await {
                    let url = target.live.endpoint.url.trim_end_matches('/');
                    return (Input::NotReady, format!("the warm-up failed: GET {url}{}: {why}", warm_up.path));
                }
                sent += 1;
            }
        }
    }
    (Input::Ready, format!("{sent} requests have warmed the candidate up"))
}

async fn ask(target: &Target, path: &str) -> Result<(), String> {
    let deadline = Instant::now() + WARM_WITHIN;
    let (stream, version) = call::open(target, &HTTP, deadline).await.map_err(|e| e.to_string())?;
    let request = call::request(target, version, Method::GET, path, None)?;
    let answer = call::exchange(stream, version, request, |_| call::Wanted::Body, deadline).await;
    let status = answer?.status();
    if status.is_server_error() { Err(format!("status {status}")) } else { Ok(()) }
}
