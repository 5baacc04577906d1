//! The one integration binary: a module for each promise.

mod architecture;
mod dependencies;
mod fixtures;
mod support;
