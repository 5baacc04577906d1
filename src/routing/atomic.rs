//! The atomics that [`super::claim`] is written with. The model checker's test puts its own in this place.

pub(super) use std::sync::atomic::{AtomicU64, Ordering, fence};
