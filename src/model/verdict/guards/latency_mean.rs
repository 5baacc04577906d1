//! `latency_mean`: the mean of the time to an answer's head.
//!
//! Against the limit it is a test of the mean. Beside the baseline, how often answers take longer than the limit is
//! compared: means of durations have no bound from above, frequencies have one.

use jiff::Timestamp;

use super::super::durations::{Durations, Reference, beyond, lower_bound, mean, total};
use super::super::finding::{Evidence, Finding, Measured};
use super::super::plan::Bound;
use super::super::proportion::{accompany, against, is_without_baseline};
use super::super::sequential::Counts;
use super::super::sequential::comparison::Comparison;
use super::super::sequential::mean::Mean;
use super::super::sequential::suspicion::Suspicion;
use super::super::terms::{Company, Pace, Terms};
use super::super::words::Times;
use super::super::{Figures, Look, Row};
use super::Guard;
use crate::model::histogram;

/// So many answers of the baseline have to be known before its mean is trusted.
const AT_LEAST: u64 = 50;
/// Alone, so many answers may take longer than the mean may be: whatever the baseline has shown.
const LATE: f64 = 0.01;

#[derive(Debug)]
pub(super) struct LatencyMean {
    terms: Terms,
    bound: Bound,
    against_limit: Mean,
    comparison: Comparison,
    suspicion: Suspicion,
    reference: Reference,
    company: Company,
    limit: Option<f64>,
    candidate: Durations,
    baseline: Durations,
    failed: bool,
}

impl LatencyMean {
    pub(super) fn new(bound: Bound, terms: Terms) -> Self {
        let mut new = Self {
            terms,
            bound,
            against_limit: Mean::new(terms.ceiling()),
            comparison: Comparison::new(terms.ceiling()),
            suspicion: Suspicion::default(),
            reference: Reference::default(),
            company: Company::Beside,
            limit: None,
            candidate: Durations::default(),
            baseline: Durations::default(),
            failed: false,
        };
        new.set_bound();
        new
    }

    fn set_bound(&mut self) {
        self.limit = match self.bound {
            Bound::Above(most) => Some(most.as_micros() as f64),
            Bound::AboveBaseline(_) if total(self.reference.counts()) < AT_LEAST => None,
            Bound::AboveBaseline(more) => mean(self.reference.counts()).map(|micros| micros * (1.0 + more)),
        };
        if let Some(limit) = self.limit {
            self.against_limit.set_bound(limit);
            self.suspicion.set_limit(limit);
        }
    }

    fn lates(&self, counts: &[u64]) -> Counts {
        let Some(limit) = self.limit else { return Counts::default() };
        Counts::new(total(counts), beyond(counts, histogram::bucket(limit as u64)))
    }

    fn is_certain(&self) -> bool {
        let fails_at = self.terms.fails_at;
        self.against_limit.log_evidence() >= fails_at
            && (is_without_baseline(&self.comparison) || self.comparison.log_evidence() >= fails_at)
    }

    fn refer_to(&mut self, at: Timestamp, durations: &[u64]) {
        if !durations.is_empty() {
            self.reference.add(at, durations);
            if matches!(self.bound, Bound::AboveBaseline(_)) {
                self.set_bound();
            }
        }
    }
}

/// The least that these can have taken together, in microseconds.
fn sum(counts: &[u64]) -> f64 {
    counts.iter().enumerate().filter(|(_, count)| **count > 0).map(|(b, &count)| lower_bound(b) * count as f64).sum()
}

impl Guard for LatencyMean {
    fn learn(&mut self, at: Timestamp, baseline: &Figures) {
        self.comparison.learn(self.lates(&baseline.durations));
        self.refer_to(at, &baseline.durations);
    }

    fn observe(&mut self, look: &Look) {
        let (candidate, baseline) = (&look.candidate.durations, &look.baseline.durations);
        if self.suspicion.takes_epoch() {
            self.against_limit.begin_epoch();
            self.comparison.begin_epoch();
        }
        self.comparison.observe(self.lates(candidate), self.lates(baseline), &self.suspicion);
        self.suspicion.observe(sum(candidate), total(candidate));
        if self.limit.is_some() {
            self.against_limit.observe(candidate);
        }
        self.candidate.add(candidate);
        self.baseline.add(baseline);
        self.failed |= self.is_certain();
        if self.company == Company::Beside {
            self.refer_to(look.at, baseline);
        }
    }

    fn begin_step(&mut self, company: Company) {
        (self.candidate, self.baseline) = (Durations::default(), Durations::default());
        self.company = company;
        accompany(&mut self.comparison, company, LATE, self.terms);
    }

    fn has_failed(&self) -> bool {
        self.failed
    }

    fn row(&self, pace: &Pace) -> Row {
        let (candidate, baseline) = (self.candidate.counts(), self.baseline.counts());
        let growth = self.against_limit.growth(candidate);
        let finding = Finding {
            limit: Evidence { log: self.against_limit.log_evidence(), growth },
            against: against(&self.comparison, self.lates(candidate), self.lates(baseline)),
            failed: self.failed,
        };
        let times = Times {
            what: "the mean",
            answers: total(candidate),
            candidate: self.candidate.mean_ms(),
            baseline: self.baseline.mean_ms(),
            limit: self.limit.map(|micros| micros / 1e3),
            bound: self.bound,
        };
        let measured = Measured::times("latency_mean".to_owned(), times);
        finding.row(measured, self.terms, pace)
    }
}
