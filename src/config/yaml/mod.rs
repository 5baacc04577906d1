//! YAML with places: text → tree → serde.
//!
//! A serde error stops at the first mistake, and a user wants to hear of all. So the text is first composed into a tree
//! that knows its places ([`compose`]), then environment variables, duplicate keys and merge keys are seen to
//! ([`resolve`]), and then it is read through serde by a deserializer that takes note of a mistake and goes on
//! ([`read`]). This folder is the only one that knows the YAML crate. It knows nothing of what a configuration means.

mod at;
mod compose;
mod json;
mod read;
mod resolve;
mod scalar;
mod tree;

pub(super) use at::{At, Named};
pub(super) use compose::compose;
pub(super) use json::from_json;
pub(super) use read::read;
pub(super) use resolve::resolve;
pub(super) use scalar::{Scalar, Text};
pub(super) use tree::{Node, Origin, Value, quote};
