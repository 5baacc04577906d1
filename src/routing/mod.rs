//! Floor 1: where the two planes meet.
//!
//! An immutable [`table::Table`] behind one pointer, published by one [`publish::Publisher`] and read by many
//! [`publish::Reader`]s; and [`live`] counters, which belong to the identity of a group or an upstream and outlive
//! tables. Workers write their own padded slots; the control plane sums.

pub mod addresses;
pub mod admission;
pub mod affinity;
mod atomic;
pub mod claim;
pub mod hold;
pub mod inherited;
pub mod live;
pub mod publish;
pub mod seldom;
pub mod sockets;
pub mod table;
