//! The guards: one file for each kind, behind one small trait.
//!
//! A new kind is a file here, a key in [`super::plan::Guards`], and a line in [`all`].

mod connect_failures;
mod error_rate;
mod latency_mean;
mod latency_quantile;
mod outside;
mod unhealthy;
mod websocket_success;

use jiff::Timestamp;

use super::plan::{Guards, PrometheusGuard, Threshold};
use super::terms::{Company, Pace, Terms};
use super::{Figures, Look, Row};

/// Judges a candidate by one thing.
pub(super) trait Guard: std::fmt::Debug + Send + Sync {
    /// What the baseline did while the candidate had no users. To be used as a reference only: nothing can be compared.
    fn learn(&mut self, _: Timestamp, _: &Figures) {}

    /// What happened since the last look.
    fn observe(&mut self, look: &Look);

    /// The figures for people begin anew, and the baseline has a share or not from now on.
    fn begin_step(&mut self, company: Company);

    /// Whether its row says so.
    fn has_failed(&self) -> bool;

    /// What it says now.
    fn row(&self, pace: &Pace) -> Row;
}

/// The guards that a plan asks for. Those that judge by statistics share the chance of a false alarm.
pub(super) fn all(plan: &Guards, confidence: f64, min_requests: u64) -> Vec<Box<dyn Guard>> {
    let statistical = usize::from(plan.error_rate.is_some())
        + plan.latency_quantiles.len()
        + usize::from(plan.latency_mean.is_some())
        + usize::from(plan.websocket_success.is_some());
    let terms = Terms::new(confidence, statistical, min_requests);
    let mut all: Vec<Box<dyn Guard>> = Vec::new();
    if let Some(limit) = plan.error_rate {
        all.push(Box::new(error_rate::ErrorRate::new(limit, terms)));
    }
    for limit in &plan.latency_quantiles {
        all.push(Box::new(latency_quantile::LatencyQuantile::new(*limit, terms)));
    }
    if let Some(bound) = plan.latency_mean {
        all.push(Box::new(latency_mean::LatencyMean::new(bound, terms)));
    }
    if let Some(least) = plan.websocket_success {
        all.push(Box::new(websocket_success::WebsocketSuccess::new(least, terms)));
    }
    if let Some(at_most) = plan.unhealthy_for {
        all.push(Box::new(unhealthy::Unhealthy::new(at_most)));
    }
    all.push(Box::new(connect_failures::ConnectFailures::new(plan.connect_failures)));
    for guard in &plan.prometheus {
        let patience = outside::patience(guard.every, PrometheusGuard::TIMEOUT);
        all.push(Box::new(outside::Outside::new(&guard.name, patience, Some(guard.threshold))));
    }
    for guard in &plan.http {
        let patience = outside::patience(guard.every, guard.timeout);
        all.push(Box::new(outside::Outside::new(&guard.name, patience, None::<Threshold>)));
    }
    all
}
