//! Whether a change may be made as things are: whoever gets everything must be able to serve.

use super::command::Rejected;
use super::controller::Controller;
use super::receipts::Request;
use super::running::Shared;
use crate::model::change::Decision;
use crate::model::split::{Share, Split};
use crate::routing::table::{Entrance, Group, Service, Upstream};

impl Controller {
    /// A switch needs a healthy group to go to, a rollback too. A split does not: it knows health.
    pub(super) fn check_health(&self, request: &Request, decision: &Decision) -> Result<(), Rejected> {
        if request.kind() == "split" {
            return Ok(());
        }
        for moved in decision.moves.iter().filter(|m| m.changed) {
            let Some(service) = self.running.table.service(moved.service.as_str()) else { continue };
            if takers(service, &moved.after).any(Group::can_serve) {
                continue;
            }
            let (service_name, group) = (moved.service.clone(), moved.after.live().clone());
            let why = service
                .group_index(group.as_str())
                .map(|i| self.shared.why_unhealthy(&service.groups[i]))
                .unwrap_or_default();
            return Err(if request.is_rollback() {
                Rejected::StableGroupUnhealthy { service: service_name, group, why }
            } else {
                Rejected::NoHealthyUpstream { service: service_name, group, why }
            });
        }
        Ok(())
    }
}

impl Shared {
    /// Each upstream's last check.
    pub(super) fn why_unhealthy(&self, group: &Group) -> String {
        group.upstreams.iter().map(|u| self.why_not(u)).collect::<Vec<_>>().join("; ")
    }

    fn why_not(&self, upstream: &Upstream) -> String {
        let url = &upstream.live.endpoint.url;
        if upstream.live.entrance() != Entrance::Open {
            return format!("{url} is drained; open it again with `pointsman drain --cancel … --upstream {url}`");
        }
        match self.board.last(upstream.live.id) {
            None => format!("{url} has not been checked yet"),
            Some(check) if check.ok => format!("{url} is not healthy yet; its last check passed"),
            Some(check) => check.why,
        }
    }
}

/// The groups that take traffic under `split`.
fn takers<'a>(service: &'a Service, split: &Split) -> impl Iterator<Item = &'a Group> {
    service.groups.iter().filter(move |g| split.share(&g.name) > Share::NONE)
}
