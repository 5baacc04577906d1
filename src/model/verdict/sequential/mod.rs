//! Evidence against a claim that may be looked at as often as one likes.
//!
//! A claim is, for example, "at most 5 % of attempts fail". Evidence against it is the capital of somebody who bets
//! against it at fair odds and never borrows: while the claim holds it is a non-negative supermartingale that begins
//! with 1, so the chance that it *ever* reaches 1/α is at most α (Ville 1939), whatever made one look, stop or go on.
//! That is the sequential probability ratio of Wald (1945) made open-ended by Robbins (1970); "e-process" and
//! "anytime-valid" in Ramdas, Grünwald, Vovk and Shafer (2023) and Howard, Ramdas, McAuliffe and Sekhon (2021).
//!
//! - [`mixture`]: several bets at once, and bets that begin anew, because a fault may begin late.
//! - [`rate`]: against "at most the fraction p".
//! - [`mean`]: against "at most m on average", for values of which only a bucket is known.
//! - [`comparison`]: against "no more often than at the baseline at the same moments".
//! - [`suspicion`]: when to bet at all.
//! - [`bound`]: how large a fraction may be of which so much was seen.

mod arrival;
pub mod bound;
pub mod comparison;
mod margins;
pub mod mean;
pub mod mixture;
pub mod rate;
pub mod suspicion;

/// So many trials, and what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How many there were.
    pub trials: u64,
    /// How many of these were hits: bad ones.
    pub hits: u64,
}

impl Counts {
    /// So many, of which there cannot be more hits than trials.
    #[must_use]
    pub fn new(trials: u64, hits: u64) -> Self {
        Self { trials, hits: hits.min(trials) }
    }

    /// Both together.
    #[must_use]
    pub fn and(self, more: Self) -> Self {
        Self::new(self.trials.saturating_add(more.trials), self.hits.saturating_add(more.hits))
    }

    /// The fraction of hits. `None` of nothing.
    #[must_use]
    pub fn fraction(self) -> Option<f64> {
        (self.trials > 0).then(|| self.hits as f64 / self.trials as f64)
    }
}
