//! How the rollouts under way are getting on: what their guards say, and how long they have been at it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::control::view::VerdictView;
use crate::model::rollout::{Figure, RolloutId};

/// What is known of a rollout beside desired state.
#[derive(Clone, Debug, Default)]
pub(in crate::control) struct Progress {
    /// What is thought of the candidate; none while nobody is on it.
    pub(super) verdict: Option<VerdictView>,
    /// How long it has been busy with what it is busy with, pauses left out.
    pub(super) spent: Duration,
}

/// The progress of each rollout. Written by the task that drives it, read by whoever asks for a view.
#[derive(Debug, Default)]
pub(in crate::control) struct Verdicts(Mutex<HashMap<RolloutId, Progress>>);

impl Verdicts {
    pub(super) fn set(&self, id: RolloutId, progress: Progress) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, progress);
    }

    pub(super) fn of(&self, id: RolloutId) -> Option<Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// What the guards of a rollout say now.
    pub(super) fn figures(&self, id: RolloutId) -> Vec<Figure> {
        let verdict = self.of(id).and_then(|progress| progress.verdict);
        verdict.map(|v| v.rows.iter().map(|(service, row)| Figure::of(service, row)).collect()).unwrap_or_default()
    }

    /// Forgets those that nobody asks for any more.
    pub(super) fn keep(&self, wanted: impl Fn(RolloutId) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|id, _| wanted(*id));
    }
}
