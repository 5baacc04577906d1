//! What can be asked of the controller about drains, and what it answers.

use std::time::Duration;

use crate::control::command::Force;
use crate::model::drain::Part;
use crate::model::names::ServiceName;

/// What is wanted of a part of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainChange {
    /// The service.
    pub service: ServiceName,
    /// The group, or one of its upstreams by its URL.
    pub part: Part,
    /// What is to be done.
    pub wish: DrainWish,
}

/// What is to be done with a part of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainWish {
    /// No new requests; those under way may end.
    Begin {
        /// How long they may take; none: the service's `drain.timeout`.
        timeout: Option<Duration>,
        /// Whether it may leave nobody to serve.
        force: Force,
    },
    /// Requests may come again.
    CallOff,
}

/// What a change of a drain did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainReceipt {
    /// The version of the desired state after it.
    pub version: u64,
    /// Whether anything was changed.
    pub changed: bool,
}
