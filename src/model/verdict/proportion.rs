//! What guards have in common that judge how often something bad happens: a limit, and the baseline beside it.

use super::finding::{Against, Evidence, Finding};
use super::sequential::Counts;
use super::sequential::bound::upper_bound;
use super::sequential::comparison::Comparison;
use super::sequential::rate::Rate;
use super::sequential::suspicion::Suspicion;
use super::terms::{Company, Terms};

/// A baseline raises the limit to no more than so many times what it has shown, or than the limit if it has kept to it:
/// however little it has shown.
const MOST_RAISE: f64 = 2.0;

/// How often something bad happens.
#[derive(Clone, Debug)]
pub(super) struct Proportion {
    pub terms: Terms,
    limit: f64,
    against_limit: Rate,
    comparison: Comparison,
    suspicion: Suspicion,
    candidate: Counts,
    baseline: Counts,
    failed: bool,
}

impl Proportion {
    /// That may be this fraction.
    pub(super) fn new(limit: f64, terms: Terms) -> Self {
        Self {
            terms,
            limit,
            against_limit: Rate::new(limit, terms.ceiling()),
            comparison: Comparison::new(terms.ceiling()),
            suspicion: Suspicion::above(limit),
            candidate: Counts::default(),
            baseline: Counts::default(),
            failed: false,
        }
    }

    /// What came to the baseline while the candidate had no users.
    pub(super) fn learn(&mut self, baseline: Counts) {
        self.comparison.learn(baseline);
    }

    pub(super) fn observe(&mut self, candidate: Counts, baseline: Counts) {
        if self.suspicion.takes_epoch() {
            self.against_limit.begin_epoch();
            self.comparison.begin_epoch();
        }
        self.comparison.observe(candidate, baseline, &self.suspicion);
        self.suspicion.observe(candidate.hits as f64, candidate.trials);
        self.against_limit.observe(candidate);
        self.candidate = self.candidate.and(candidate);
        self.baseline = self.baseline.and(baseline);
        self.failed |= self.is_certain();
    }

    fn is_certain(&self) -> bool {
        let fails_at = self.terms.fails_at;
        self.against_limit.log_evidence() >= fails_at
            && (is_without_baseline(&self.comparison) || self.comparison.log_evidence() >= fails_at)
    }

    pub(super) fn begin_step(&mut self, company: Company) {
        (self.candidate, self.baseline) = (Counts::default(), Counts::default());
        let limit = self.limit;
        accompany(&mut self.comparison, company, limit, self.terms);
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    /// At the candidate since the step began.
    pub(super) fn candidate(&self) -> Counts {
        self.candidate
    }

    /// At the baseline since the step began.
    pub(super) fn baseline(&self) -> Counts {
        self.baseline
    }

    pub(super) fn finding(&self) -> Finding {
        let growth = self.candidate.fraction().map_or(0.0, |fraction| self.against_limit.growth(fraction));
        Finding {
            limit: Evidence { log: self.against_limit.log_evidence(), growth },
            against: against(&self.comparison, self.candidate, self.baseline),
            failed: self.failed,
        }
    }
}

/// Whether the baseline has no share, and never had any traffic in this rollout.
pub(super) fn is_without_baseline(comparison: &Comparison) -> bool {
    comparison.is_alone() && comparison.seen().trials == 0
}

/// What a comparison says in a finding.
pub(super) fn against(comparison: &Comparison, candidate: Counts, baseline: Counts) -> Against {
    let evidence = Evidence { log: comparison.log_evidence(), growth: comparison.growth(candidate, baseline) };
    match comparison.is_alone() {
        _ if is_without_baseline(comparison) => Against::Nothing,
        true => Against::Memory(evidence),
        false => Against::Baseline(evidence),
    }
}

/// Tells a comparison who is there from now on. Alone, a candidate may be as bad as its limit, or as the baseline was.
pub(super) fn accompany(comparison: &mut Comparison, company: Company, limit: f64, terms: Terms) {
    match company {
        Company::Beside => comparison.beside(),
        Company::Alone => comparison.alone(raised(limit, comparison.seen(), terms.bounds_at)),
    }
}

/// The limit, or what the baseline may well have; but not much more than it has shown, or a baseline of which little was
/// seen would excuse anything: one failure of eight may be chance at 87 % as well. From about 40 failures on, the bound
/// is closer than that, and who is as bad as the baseline is safe to the full confidence. With fewer, that holds unless
/// the baseline has shown less than half of what it is like.
fn raised(limit: f64, seen: Counts, certainty: f64) -> f64 {
    let Some(fraction) = seen.fraction() else { return limit };
    let bound = upper_bound(seen, certainty);
    limit.max(bound.min(fraction.max(limit) * MOST_RAISE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_baseline_of_which_little_was_seen_excuses_no_more_than_twice_what_it_has_shown() {
        let raised = |trials, hits| raised(0.05, Counts::new(trials, hits), 11.0);
        assert!((raised(0, 0) - 0.05).abs() < 1e-9);
        assert!((raised(8, 0) - 0.1).abs() < 1e-9);
        assert!((raised(8, 1) - 0.25).abs() < 1e-9);
        assert!((raised(100, 10) - 0.2).abs() < 1e-9);
        // What is bound to be so is all that counts.
        assert!(raised(600, 60) < 0.19 && raised(100_000, 10_000) < 0.11 && raised(100_000, 1000) < 0.05 + 1e-9);
        assert!(raised(8, 8) <= 1.0);
    }
}
