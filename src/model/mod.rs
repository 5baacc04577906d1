//! Floor 0: pure values and state machines.
//!
//! Owns what the words of the lexicon mean. Refuses to know sockets, clocks, threads and randomness: whatever of
//! those a rule needs is an argument.

pub mod adoption;
pub mod change;
pub mod cohort;
pub mod drain;
pub mod fields;
pub mod health;
pub mod histogram;
pub mod job;
pub mod matching;
pub mod names;
pub mod outcome;
pub mod period;
pub mod rollout;
pub mod slow_start;
pub mod split;
pub mod summary;
pub mod verdict;
pub mod websocket;
