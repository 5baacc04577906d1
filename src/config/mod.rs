//! Floor 1: from a YAML file to a checked specification.
//!
//! `file` mirrors what users write, `validate` reports everything that is wrong with it, `spec` is what is left.

pub mod spec;
