//! How the drains under way are getting on, beside what the data plane counts: what their hooks have said.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::DrainKey;
use crate::control::view::HookView;

/// The last word of each hook. Written by the task that watches over the drain, read by whoever asks for a view; that
/// of an ended drain stays until the same part is drained again.
#[derive(Debug, Default)]
pub(in crate::control) struct Progresses(Mutex<HashMap<DrainKey, HookView>>);

impl Progresses {
    pub(super) fn set(&self, key: &DrainKey, hook: HookView) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|k, _| k == key || k.service != key.service || k.part != key.part);
        all.insert(key.clone(), hook);
    }

    pub(super) fn of(&self, key: &DrainKey) -> Option<HookView> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }
}
