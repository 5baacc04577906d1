//! A store in place of one that cannot be read: nothing is known, and nothing can be kept.
//!
//! With it the proxy serves by the file's splits rather than not at all, says so, and refuses changes other than a
//! rollback. It never writes, so that what may still be saved on disk is not overwritten.

use super::{Batch, Event, EventQuery, KeptReceipt, RolloutQuery, RolloutRow, Store, StoreError, Stored, Verified};

/// Stands for a store that could not be opened.
#[derive(Debug)]
pub struct Unavailable {
    why: String,
}

impl Unavailable {
    /// In place of the store that failed with `error`.
    #[must_use]
    pub fn new(error: &StoreError) -> Self {
        Self { why: error.to_string() }
    }

    /// In place of a store that is not there for this reason.
    #[must_use]
    pub fn because(why: &str) -> Self {
        Self { why: why.to_owned() }
    }

    fn failed(&self) -> StoreError {
        StoreError::Failed { what: self.why.clone() }
    }
}

impl Store for Unavailable {
    fn load(&mut self) -> Result<Stored, StoreError> {
        Ok(Stored::default())
    }

    fn commit(&mut self, _: &Batch) -> Result<Vec<Event>, StoreError> {
        Err(self.failed())
    }

    fn receipt(&mut self, _: &str) -> Result<Option<KeptReceipt>, StoreError> {
        Ok(None)
    }

    fn events(&mut self, _: &EventQuery) -> Result<Vec<Event>, StoreError> {
        Err(self.failed())
    }

    fn last_event(&mut self, _: &str, _: &[&str]) -> Result<Option<Event>, StoreError> {
        Ok(None)
    }

    fn rollouts(&mut self, _: &RolloutQuery) -> Result<Vec<RolloutRow>, StoreError> {
        Err(self.failed())
    }

    fn rollout(&mut self, _: u64) -> Result<Option<RolloutRow>, StoreError> {
        Err(self.failed())
    }

    fn verify(&mut self) -> Result<Verified, StoreError> {
        Err(self.failed())
    }
}
