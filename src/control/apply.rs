//! The controller's part of a reload: a configuration that was read, bound and loaded is put to work, or nothing is.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::command::{Origin, Rejected};
use super::controller::{Controller, PATIENCE, stored_key};
use super::journal::Otherwise;
use super::prober::targets;
use super::registry::Registry;
use super::running::Running;
use super::source::Loaded;
use super::view::ReloadReport;
use super::{compile, difference, events, hold, receipts, start};
use crate::model::adoption::{Adoption, adopt};
use crate::model::rollout;
use crate::store::{Batch, KeptReceipt};

impl Controller {
    /// The report of an earlier reload with the same key.
    pub(super) async fn recall(&mut self, origin: &Origin) -> Result<Option<ReloadReport>, Rejected> {
        let kept = self.kept_receipt(origin, receipts::RELOAD).await?;
        Ok(kept.and_then(|receipt| receipts::report_from_value(&receipt)))
    }

    /// What was answered to a request with the same key, which must have had the same fingerprint.
    pub(super) async fn kept_receipt(&mut self, origin: &Origin, fingerprint: &str) -> Result<Option<Value>, Rejected> {
        let Some(key) = &origin.idempotency_key else { return Ok(None) };
        match self.journal.receipt(&self.running.desired, &stored_key(origin, key), PATIENCE).await {
            Ok(None) => Ok(None),
            Ok(Some(kept)) if kept.fingerprint == fingerprint => Ok(Some(kept.receipt)),
            Ok(Some(_)) => Err(Rejected::IdempotencyKeyReused(key.clone())),
            Err(why) => Err(Rejected::Store(why)),
        }
    }

    /// Puts `loaded` to work over `registry`, which was renewed with it.
    pub(super) async fn apply(
        &mut self,
        loaded: Loaded,
        registry: Registry,
        origin: &Origin,
    ) -> Result<ReloadReport, Rejected> {
        let old = Arc::clone(&self.running);
        let current = old.desired.version;
        if let Some(expected) = origin.expected_version.filter(|v| *v != current) {
            return Err(Rejected::StaleVersion { what: "the state".to_owned(), expected, current });
        }
        let mut adoption = adopt(&old.desired, &compile::file_services(&loaded.spec), start::fresh_salt);
        rollout::fail_without(&mut adoption.desired, Timestamp::now());
        let report = report(&old, &loaded, &registry, &adoption);
        let mut batch = Batch::between(&old.desired, &adoption.desired);
        if report.changed {
            batch.events.push(events::reloaded(&report, origin));
        }
        let version = adoption.desired.version;
        batch.events.extend(events::drains(&old.desired, &adoption.desired, &origin.actor));
        batch.events.extend(events::rollouts(&old.desired, &adoption.desired));
        batch.jobs = self.shared.jobs.validations(&adoption.desired);
        batch.events.extend(adoption.moves.iter().map(|m| events::moved_by_file(m, &origin.actor, version)));
        batch.receipts.extend(kept(origin, &report));
        if !batch.is_empty() {
            self.write_reload(batch).await?;
        }
        for moved in &adoption.moves {
            let why = events::file_reason(moved.reason);
            tracing::warn!(service = %moved.service, before = %moved.before, after = %moved.after, "{why}");
        }
        let next = Running {
            holds: hold::left_of(&old.holds, &loaded.spec),
            spec: Arc::new(difference::until_restart(&old.spec, loaded.spec)),
            text: loaded.text.into(),
            files: loaded.files.into(),
            desired: Arc::new(adoption.desired),
            registry: Arc::new(registry),
            farewells: Arc::clone(&old.farewells),
            table: Arc::clone(&old.table),
        };
        self.shared.jobs.tell(&next.spec.webhooks);
        self.put_to_work(next, report.changed);
        self.end_holds_of_gone(&old.holds).await;
        Ok(report)
    }

    /// What is only a line in the audit log may follow later; new desired state must be durable first.
    async fn write_reload(&mut self, batch: Batch) -> Result<(), Rejected> {
        let numbered = self.journal.numbered(&batch.events);
        let otherwise =
            if batch.version.is_none() && batch.services.is_empty() { Otherwise::Keep } else { Otherwise::Refuse };
        let written = self.journal.write(&self.running.desired, batch, PATIENCE, otherwise).await;
        let events = match written {
            Ok(events) => events,
            Err(_) if otherwise == Otherwise::Keep => numbered,
            Err(why) => return Err(Rejected::Store(why)),
        };
        self.shared.announce(events);
        Ok(())
    }

    fn put_to_work(&mut self, next: Running, changed: bool) {
        if changed {
            self.publish(next);
            self.targets.send_replace(targets(&self.running.spec, &self.running.table));
        } else {
            self.running = Arc::new(next);
            self.shared.running.store(Arc::clone(&self.running));
        }
    }
}

/// The answer to a repeated request, where it has a key to know it by.
fn kept(origin: &Origin, report: &ReloadReport) -> Option<KeptReceipt> {
    let key = stored_key(origin, origin.idempotency_key.as_ref()?);
    let (fingerprint, receipt) = (receipts::RELOAD.to_owned(), receipts::report_to_value(report));
    Some(KeptReceipt { key, fingerprint, receipt, at: Timestamp::now() })
}

fn report(old: &Running, loaded: &Loaded, registry: &Registry, adoption: &Adoption) -> ReloadReport {
    let mut changes: Vec<_> =
        difference::reloadable(&old.spec, &loaded.spec).iter().map(difference::Difference::change).collect();
    changes.extend(registry.exchanged_certificates(&old.registry));
    changes.extend(adoption.moves.iter().map(|m| {
        let why = events::file_reason(m.reason);
        format!("services.{}.split: {} -> {} ({why})", m.service, m.before, m.after)
    }));
    let needs_restart =
        difference::needs_restart(&old.spec, &loaded.spec).iter().map(difference::Difference::change).collect();
    let version = adoption.desired.version;
    ReloadReport { version, changed: !changes.is_empty() || version != old.desired.version, changes, needs_restart }
}
