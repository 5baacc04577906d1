//! Rollouts: a service's way from one group to another, step by step.

pub mod plan;
