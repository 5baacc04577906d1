//! Fuses: which groups are watched, and when users leave one that cannot be reached, without waiting for anybody.
//!
//! The candidate of a rollout has a fuse while it has users. The data plane goes by it; here is only what it is told.

use std::collections::BTreeMap;

use crate::model::change::Desired;
use crate::model::names::{GroupName, ServiceName};
use crate::model::rollout::{Moving, Rollout};
use crate::routing::table::Table;

/// Watched groups, by service.
pub(super) type Fuses = BTreeMap<ServiceName, Fuse>;

/// A group that is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fuse {
    /// The candidate.
    pub(super) group: GroupName,
    /// Attempts of users in a row that cannot connect.
    pub(super) blows_at: u32,
    /// Where users go then, and whenever no group with a share can serve, unless the file names another group for that:
    /// where a rollback would take them, ahead of it. Matters where the candidate has all of the users.
    pub(super) instead: GroupName,
}

/// The candidates that have users because of a rollout.
pub(super) fn of(desired: &Desired) -> Fuses {
    let watched = desired.rollouts.values().filter(|r| r.has_users());
    let fuse = |rollout: &Rollout, moving: &Moving| {
        let (group, blows_at) = (rollout.to.clone(), rollout.plan.guards.connect_failures);
        let instead = desired.services.get(moving.service.as_str()).map_or(&moving.from, |s| &s.stable);
        (moving.service.clone(), Fuse { group, blows_at, instead: instead.live().clone() })
    };
    watched.flat_map(|r| r.services.iter().map(move |m| fuse(r, m))).collect()
}

/// A group that is watched from this publication on begins with a whole fuse. Called ahead of it.
pub(super) fn renew(old: &Table, new: &Table) {
    for service in &new.services {
        let before = old.service(service.name.as_str());
        for group in service.groups.iter().filter(|g| g.fuse.is_some()) {
            let same = before.and_then(|s| s.groups.iter().find(|g| g.name == group.name));
            if same.is_none_or(|g| g.fuse != group.fuse) {
                group.live.reset_fuse();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::compile::{compile, file_services};
    use crate::control::drains::Farewells;
    use crate::control::hold::Holds;
    use crate::control::registry::Registry;
    use crate::control::samples;
    use crate::model::adoption::adopt;
    use crate::model::cohort::Salt;
    use crate::model::outcome::Outcome;

    #[test]
    fn a_fuse_that_has_blown_is_put_right_by_the_next_watch_and_by_no_other_publication() {
        let spec = samples::spec(&["http://127.0.0.1:1", "http://127.0.0.1:2"]);
        let desired = adopt(&Desired::default(), &file_services(&spec), || Salt(5)).desired;
        let registry = Registry::new(1).renewed(&spec).unwrap();
        let [blue, green] = [0, 1].map(|i| spec.services[0].groups[i].name.clone());
        let table = |blows_at: Option<u32>| {
            let fuse = |blows_at| Fuse { group: green.clone(), blows_at, instead: blue.clone() };
            let fuses = blows_at.map(|n| (spec.services[0].name.clone(), fuse(n))).into_iter().collect();
            compile(&spec, &desired, &registry, &Farewells::new(), &Holds::new(), &fuses)
        };
        let (without, watched) = (table(None), table(Some(2)));
        let shop = |table: &Table| std::sync::Arc::clone(&table.services[0]);
        assert_eq!(shop(&watched).groups.iter().map(|g| g.fuse).collect::<Vec<_>>(), [None, Some(2)]);
        assert_eq!((shop(&without).emergency, shop(&watched).emergency), (None, Some(0)));
        let green = &shop(&watched).groups[1];
        (0..2).for_each(|_| green.live.note_failure(Outcome::ConnectFailed, green.fuse));
        assert!(green.has_blown() && !green.is_open() && shop(&without).groups[1].is_open());
        renew(&watched, &table(Some(2)));
        renew(&watched, &without);
        assert!(green.has_blown());
        renew(&without, &watched);
        assert!(!green.has_blown() && green.live.connect_failures() == 0);
    }
}
