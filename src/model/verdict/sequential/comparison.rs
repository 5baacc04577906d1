//! Evidence against "hits are no more frequent at the candidate than at the baseline at the same moments".
//!
//! **Blocks.** What happened is cut into short blocks. Within one, of n_c and n_b trials at candidate and baseline
//! together k were hits, of which x at the candidate. If both hit equally often, x is hypergeometric given these,
//! whatever that frequency is and however it changes from block to block. The alternatives are hits at the candidate
//! with m times the odds: see [`super::margins`].
//!
//! A block ends by how much there is in it, not by whose it is: then trials are as good as shuffled within it. Where
//! the look that ends it comes because an attempt has failed, that is not quite so; simulated, a block's ratio is then 1
//! on average for rare hits, to within 1 %, and less for frequent ones. A block in which only one side had trials says
//! nothing.
//!
//! **Suspicion.** A candidate may well be worse than a very good baseline if it keeps within its limit. It must not be
//! held against it when later both go down together: so only blocks count at whose begin the candidate has just been
//! beyond its limit. To choose blocks by what was known before them is allowed.
//!
//! **Alone.** Where the baseline has no share there is nothing to compare with. Then the claim is that hits are no more
//! frequent than a fraction which the baseline had kept to, or the limit: a test of a rate, with the same capital.

use super::Counts;
use super::arrival::Arrival;
use super::margins::log_ratios;
use super::mixture::{ALTERNATIVES, Mixture, ln_sum};
use super::rate::{Costs, growth};
use super::suspicion::Suspicion;

/// So many trials at both sides together make a block.
const BLOCK: u64 = 10;
/// The part of the capital that is bet on a candidate that is dead on arrival.
const ON_ARRIVAL: f64 = 0.3;
/// How many times the odds: from "a quarter more" to "all of them".
const MULTIPLES: [f64; ALTERNATIVES] = [1.3, 1.6, 2.1, 3.0, 4.5, 7.5, 14.0, 40.0, 300.0];
/// How much is bet on each. A candidate that is dead is the commonest fault, and the one that must be seen soonest.
const WEIGHTS: [f64; ALTERNATIVES] = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0];

/// A test of candidate against baseline.
#[derive(Clone, Debug)]
pub struct Comparison {
    mixture: Mixture,
    arrival: Arrival,
    has_begun: bool,
    candidate: Counts,
    baseline: Counts,
    block_counts: bool,
    /// An epoch that waits for the next block: this one was part of the reason for it.
    epoch_is_due: bool,
    /// What the baseline has shown in this rollout while it had a share, also before the candidate had one.
    seen: Counts,
    alone: Option<Alone>,
}

/// The claim while there is nothing to compare with.
#[derive(Clone, Debug)]
struct Alone {
    at_most: f64,
    costs: Costs,
}

impl Comparison {
    /// Of a candidate and a baseline that have shown nothing yet.
    #[must_use]
    pub fn new(ceiling: f64) -> Self {
        Self {
            mixture: Mixture::new(WEIGHTS, ceiling),
            arrival: Arrival::default(),
            has_begun: false,
            candidate: Counts::default(),
            baseline: Counts::default(),
            block_counts: false,
            epoch_is_due: false,
            seen: Counts::default(),
            alone: None,
        }
    }

    /// What has come at the baseline while the candidate had no share: what it may be held to once it is alone. No block,
    /// and no part of an arrival, which hangs on the share being constant.
    pub fn learn(&mut self, baseline: Counts) {
        self.seen = self.seen.and(baseline);
    }

    /// What has come at both, with what is suspected before it comes.
    pub fn observe(&mut self, candidate: Counts, baseline: Counts, suspicion: &Suspicion) {
        if let Some(alone) = &self.alone {
            if candidate.trials > 0 {
                self.mixture.settle(|alternative| alone.costs.log_factor(alternative, candidate));
            }
            return;
        }
        self.arrival.observe(candidate, baseline);
        if self.candidate.trials == 0 && self.baseline.trials == 0 {
            self.block_counts = suspicion.is_raised();
            if std::mem::take(&mut self.epoch_is_due) {
                self.mixture.begin_epoch();
            }
        }
        self.candidate = self.candidate.and(candidate);
        self.baseline = self.baseline.and(baseline);
        self.seen = self.seen.and(baseline);
        self.has_begun |= candidate.trials > 0 || baseline.trials > 0;
        if self.candidate.trials.saturating_add(self.baseline.trials) >= BLOCK {
            self.end_block();
        }
    }

    fn end_block(&mut self) {
        let (candidate, baseline) = (std::mem::take(&mut self.candidate), std::mem::take(&mut self.baseline));
        let says_nothing = candidate.trials == 0 || baseline.trials == 0 || (candidate.hits == 0 && baseline.hits == 0);
        if !self.block_counts || says_nothing {
            return;
        }
        let ratios = log_ratios(candidate, baseline, &MULTIPLES);
        self.mixture.settle(|alternative| ratios[alternative]);
    }

    /// The baseline has a share from now on.
    pub fn beside(&mut self) {
        self.end_block();
        self.end_arrival();
        self.alone = None;
    }

    /// The baseline has no share from now on, and the candidate may hit as often as this.
    pub fn alone(&mut self, at_most: f64) {
        self.end_block();
        self.end_arrival();
        if std::mem::take(&mut self.epoch_is_due) {
            self.mixture.begin_epoch();
        }
        self.alone = Some(Alone { at_most, costs: Costs::of(at_most) });
    }

    /// It lasts for one step in which anything came.
    fn end_arrival(&mut self) {
        if self.has_begun {
            self.arrival.end();
        }
    }

    /// What the baseline has shown in this rollout while it had a share.
    #[must_use]
    pub fn seen(&self) -> Counts {
        self.seen
    }

    /// Whether the baseline has no share.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.alone.is_some()
    }

    /// See [`Mixture::begin_epoch`].
    pub fn begin_epoch(&mut self) {
        if self.alone.is_some() { self.mixture.begin_epoch() } else { self.epoch_is_due = true }
    }

    /// The logarithm of the evidence.
    #[must_use]
    pub fn log_evidence(&self) -> f64 {
        let (blocks, arrival) = (self.mixture.log_evidence(), self.arrival.log_evidence());
        ln_sum(&[blocks + (1.0 - ON_ARRIVAL).ln(), arrival + ON_ARRIVAL.ln()])
    }

    /// By how much the logarithm grows with each trial at the candidate when both are as these.
    #[must_use]
    pub fn growth(&self, candidate: Counts, baseline: Counts) -> f64 {
        let Some(often) = candidate.fraction() else { return 0.0 };
        if let Some(alone) = &self.alone {
            return growth(often, alone.at_most);
        }
        let Some(often_there) = baseline.fraction() else { return 0.0 };
        let share = part(candidate, baseline);
        let hits = often + often_there * (1.0 - share) / share;
        if hits > 0.0 { hits * growth(often / hits, share) } else { 0.0 }
    }
}

/// The candidate's part of the trials.
fn part(candidate: Counts, baseline: Counts) -> f64 {
    candidate.trials as f64 / (candidate.trials as f64 + baseline.trials as f64)
}
