//! The callers' end of the controller: what `admin` holds.

use tokio::sync::broadcast;

use super::command::{Origin, Receipt, Rejected, TrafficChange};
use super::view::{Drift, Event, Explanation, ListenerView, Question, Readiness, ReloadReport, ServiceView};
use crate::model::names::{GroupName, ServiceName};
use crate::model::split::Share;

/// Asks the controller and looks at the living counters. Clone freely.
#[derive(Clone, Debug)]
pub struct Handle {}

impl Handle {
    /// All services in the order of the file.
    pub async fn services(&self) -> Vec<ServiceView> {
        todo!()
    }
    /// One service.
    pub async fn service(&self, _name: &str) -> Result<ServiceView, Rejected> {
        todo!()
    }
    /// Changes traffic. A switch to a group whose health is unknown waits for its first verdict before anything is
    /// touched. Returns when the change is durable and published.
    pub async fn change(&self, _change: TrafficChange, _origin: Origin) -> Result<Receipt, Rejected> {
        todo!()
    }
    /// `group` gets `share`, the others keep their proportions (computed by the controller on its current split).
    pub async fn shift(
        &self,
        _service: ServiceName,
        _group: GroupName,
        _share: Share,
        _origin: Origin,
    ) -> Result<Receipt, Rejected> {
        todo!()
    }
    /// Where a request like this would go.
    pub async fn explain(&self, _service: &str, _question: &Question) -> Result<Explanation, Rejected> {
        todo!()
    }
    /// Reads the file again and applies it, or changes nothing.
    pub async fn reload(&self, _origin: Origin) -> Result<ReloadReport, Rejected> {
        todo!()
    }
    /// What differs between the file as it is on disk now and what is running.
    pub async fn drift(&self) -> Result<Vec<Drift>, Rejected> {
        todo!()
    }
    /// The running configuration as the text of a YAML file, with the splits of now; secrets stay `${NAME}`.
    pub async fn export(&self) -> Result<String, Rejected> {
        todo!()
    }
    /// Version of the desired state.
    pub fn version(&self) -> u64 {
        todo!()
    }
    /// Up to `limit` events after number `since`, oldest first, of one service where one is named.
    pub async fn events(&self, _since: u64, _limit: usize, _service: Option<&str>) -> Result<Vec<Event>, Rejected> {
        todo!()
    }
    /// Events from now on. A slow receiver is told how many it has missed and reads them with [`Handle::events`].
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        todo!()
    }
    /// Listeners in the order of the file.
    pub fn listeners(&self) -> Vec<ListenerView> {
        todo!()
    }
    /// Whether traffic can be served.
    pub fn readiness(&self) -> Readiness {
        todo!()
    }
    /// Durations of switches and rollbacks so far, seconds, from arrival to publication, as
    /// (upper bound, count) buckets plus sum and count.
    pub fn switch_seconds(&self) -> (Vec<(f64, u64)>, f64, u64) {
        todo!()
    }
    /// Rollbacks so far by service and cause (`operator`, `monitor`).
    pub fn rollbacks(&self) -> Vec<(String, &'static str, u64)> {
        todo!()
    }
}
