//! The last rollout of each service, as far as it is in memory: what can be seen at once, whatever the store does.

use super::view;
use crate::control::handle::Handle;
use crate::control::view::RolloutView;
use crate::model::names::ServiceName;

impl Handle {
    /// Of each service that has one, in the order of the file.
    pub fn last_rollouts(&self) -> Vec<(ServiceName, RolloutView)> {
        let running = self.shared.running.load();
        let rollouts = &running.desired.rollouts;
        let last = |name: &ServiceName| rollouts.values().rev().find(|r| r.moves(name.as_str()));
        let names = running.table.services.iter().map(|service| &service.name);
        names.filter_map(|name| Some((name.clone(), view(&self.shared, &running, last(name)?)))).collect()
    }
}
