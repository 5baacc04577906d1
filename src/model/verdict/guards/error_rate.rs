//! `error_rate`: the fraction of attempts that fail.

use jiff::Timestamp;

use super::super::finding::{Measured, Sense};
use super::super::proportion::Proportion;
use super::super::sequential::Counts;
use super::super::terms::{Company, Pace, Terms};
use super::super::words::Words;
use super::super::{Figures, Look, Row};
use super::Guard;
use crate::model::split::Share;

#[derive(Debug)]
pub(super) struct ErrorRate {
    limit: f64,
    failures: Proportion,
}

impl ErrorRate {
    pub(super) fn new(limit: Share, terms: Terms) -> Self {
        let limit = limit.percent() / 100.0;
        Self { limit, failures: Proportion::new(limit, terms) }
    }
}

fn counts(figures: &Figures) -> Counts {
    Counts::new(figures.attempts, figures.failures)
}

impl Guard for ErrorRate {
    fn learn(&mut self, _: Timestamp, baseline: &Figures) {
        self.failures.learn(counts(baseline));
    }

    fn observe(&mut self, look: &Look) {
        self.failures.observe(counts(&look.candidate), counts(&look.baseline));
    }

    fn begin_step(&mut self, company: Company) {
        self.failures.begin_step(company);
    }

    fn has_failed(&self) -> bool {
        self.failures.has_failed()
    }

    fn row(&self, pace: &Pace) -> Row {
        let (candidate, baseline) = (self.failures.candidate(), self.failures.baseline());
        let measured = Measured {
            guard: "error_rate".to_owned(),
            unit: "fraction",
            sense: Sense::AtMost,
            candidate: candidate.fraction(),
            baseline: baseline.fraction(),
            limit: Some(self.limit),
            requests: candidate.trials,
            words: Words::of_counts(candidate, baseline, "attempts failed", self.limit),
        };
        self.failures.finding().row(measured, self.failures.terms, pace)
    }
}
