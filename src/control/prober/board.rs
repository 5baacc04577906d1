//! The last probe of every upstream, for views and for whoever waits for a verdict.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use crate::control::view::CheckView;

/// The last probe of every upstream. Written by probes, read by views; never on a request's path.
#[derive(Debug)]
pub(in crate::control) struct Board {
    checks: Mutex<HashMap<u64, CheckView>>,
    turns: watch::Sender<u64>,
}

impl Default for Board {
    fn default() -> Self {
        Self { checks: Mutex::default(), turns: watch::channel(0).0 }
    }
}

impl Board {
    /// Takes in the result of a probe of the upstream `id`; wakes those who wait when it has turned the verdict.
    pub(super) fn record(&self, id: u64, check: CheckView, turned: bool) {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner).insert(id, check);
        if turned {
            self.turns.send_modify(|n| *n += 1);
        }
    }

    /// Forgets the upstreams that are gone.
    pub(super) fn retain(&self, stays: impl Fn(u64) -> bool) {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner).retain(|id, _| stays(*id));
    }

    /// The last probe of the upstream `id`.
    pub(in crate::control) fn last(&self, id: u64) -> Option<CheckView> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// Changes whenever a verdict has turned.
    pub(in crate::control) fn turns(&self) -> watch::Receiver<u64> {
        self.turns.subscribe()
    }
}
