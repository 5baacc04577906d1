//! Rollouts as they are looked at: those of now from memory, older ones from the store.

use super::view;
use crate::control::command::Rejected;
use crate::control::gather;
use crate::control::handle::Handle;
use crate::control::view::RolloutView;
use crate::model::names::ServiceName;
use crate::model::rollout::{Rollout, RolloutId};
use crate::store::{RolloutQuery, RolloutRow};

/// Rollouts that one question is answered with, at the most.
const MOST: usize = 100;

impl Handle {
    /// The rollout under way of a service.
    ///
    /// # Errors
    /// [`Rejected::NoRollout`], [`Rejected::UnknownService`].
    pub fn current_rollout(&self, service: &str) -> Result<RolloutView, Rejected> {
        gather::current_rollout(&self.shared, service)
    }

    /// The rollout with this number, under way or ended.
    ///
    /// # Errors
    /// [`Rejected::NoRollout`]; [`Rejected::Store`] when it would have to be read and cannot be.
    pub async fn rollout(&self, id: RolloutId) -> Result<RolloutView, Rejected> {
        // Two moments: one that ends in between, and makes room for the next, is in the store by then.
        if let Some(rollout) = self.shared.running.load().desired.rollouts.get(&id) {
            return Ok(self.looked_at(rollout));
        }
        let row = self.read(move |store| store.rollout(id.0)).await?;
        let row = row.ok_or_else(|| Rejected::NoRollout(format!("there is no rollout {id}")))?;
        Ok(self.looked_at(&read(&row)?))
    }

    /// The last rollouts of a service, newest first, at most `limit` and a hundred.
    ///
    /// # Errors
    /// [`Rejected::UnknownService`]; [`Rejected::Store`] when they cannot be read.
    pub async fn rollouts(&self, service: &str, limit: usize) -> Result<Vec<RolloutView>, Rejected> {
        let limit = limit.min(MOST);
        // What is in memory is newer than all that is only stored, and there however the store is.
        let mut found = gather::rollouts(&self.shared, service)?;
        let rows = if found.len() >= limit { Vec::new() } else { self.stored(service, limit).await? };
        for row in rows {
            if found.iter().any(|known| known.id.0 == row.id) {
                continue;
            }
            // One of another version of pointsman hides no other.
            match read(&row) {
                Ok(rollout) => found.push(rollout),
                Err(why) => tracing::warn!(%why, "a rollout is left out of a list"),
            }
        }
        found.sort_by_key(|rollout| std::cmp::Reverse(rollout.id));
        found.truncate(limit);
        Ok(found.iter().map(|rollout| self.looked_at(rollout)).collect())
    }

    async fn stored(&self, service: &str, limit: usize) -> Result<Vec<RolloutRow>, Rejected> {
        let query = RolloutQuery { service: Some(service.to_owned()), limit, before: None };
        self.read(move |store| store.rollouts(&query)).await
    }

    /// The last one of each service that has had one and is configured, in the order of the file.
    pub fn last_rollouts(&self) -> Vec<(ServiceName, RolloutView)> {
        let running = self.shared.running.load();
        let rollouts = &running.desired.rollouts;
        let last = |name: &ServiceName| rollouts.values().rev().find(|r| r.moves(name.as_str()));
        let names = running.table.services.iter().map(|service| &service.name);
        names.filter_map(|name| Some((name.clone(), view(&self.shared, &running, last(name)?)))).collect()
    }

    fn looked_at(&self, rollout: &Rollout) -> RolloutView {
        view(&self.shared, &self.shared.running.load(), rollout)
    }
}

fn read(row: &RolloutRow) -> Result<Rollout, Rejected> {
    let unreadable = |error| Rejected::Store(format!("rollout r{} makes no sense: {error}", row.id));
    row.read().map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use crate::control::controller::tests::{Plane, two_services};
    use crate::model::change::samples::{begun, service, started};
    use crate::model::rollout::RolloutId;
    use crate::store::sqlite::Sqlite;
    use crate::store::{Batch, RolloutRow, Store};

    #[tokio::test]
    async fn one_that_cannot_be_read_hides_no_other() {
        let mut store = Sqlite::in_memory().unwrap();
        let rollout = begun(&started("blue 100 green 0"), RolloutId(1));
        let services = vec![service("shop")];
        let mut batch = Batch::whole(&rollout);
        batch.rollouts.push(RolloutRow { id: 2, services, ended: true, body: "{}".to_owned() });
        store.commit(&batch).unwrap();
        let (spec, upstreams) = two_services().await;
        let plane = Plane::with(spec, upstreams, Box::new(store)).await;
        let found = plane.handle.rollouts("shop", 10).await.unwrap();
        assert_eq!(found.iter().map(|view| view.rollout.id).collect::<Vec<_>>(), [RolloutId(1)]);
        let why = plane.handle.rollout(RolloutId(2)).await.unwrap_err().to_string();
        assert!(why.contains("r2 makes no sense"), "{why}");
    }
}
