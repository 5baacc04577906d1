//! `latency_p95` and its like: a quantile of the time to an answer's head.
//!
//! That the 95th percentile is at most t means that at most 5 % take longer than t; so this is a guard of how often
//! answers are late. Durations are known by buckets, so late is what lies in a later bucket than t: rounded in the
//! candidate's favour, by up to 12 %. A t that follows the baseline is rounded to the nearest bucket's end, and is taken
//! from what the baseline has shown up to the look before, never from the figures that it is applied to; the comparison
//! holds the same t to both sides. While the baseline has no share, t stays what it was.

use jiff::Timestamp;

use super::super::durations::{Durations, Reference, beyond, lower_bound, total};
use super::super::finding::Measured;
use super::super::plan::{Bound, QuantileLimit};
use super::super::proportion::Proportion;
use super::super::sequential::Counts;
use super::super::terms::{Company, Pace, Terms};
use super::super::words::Times;
use super::super::{Figures, Look, Row};
use super::Guard;
use crate::model::histogram::{self, upper_bound};

/// Of the baseline, so many answers have to be known beyond its quantile before it is trusted.
const BEYOND: f64 = 2.5;
/// And so many at all.
const AT_LEAST: u64 = 30;

#[derive(Debug)]
pub(super) struct LatencyQuantile {
    percent: u8,
    bound: Bound,
    lateness: Proportion,
    reference: Reference,
    company: Company,
    /// In microseconds. `None` as long as too little is known of the baseline.
    limit: Option<f64>,
    /// Answers in later buckets than this are late.
    last_in_time: Option<usize>,
    candidate: Durations,
    baseline: Durations,
}

impl LatencyQuantile {
    pub(super) fn new(limit: QuantileLimit, terms: Terms) -> Self {
        let late = 1.0 - f64::from(limit.percent.min(100)) / 100.0;
        let mut new = Self {
            percent: limit.percent.min(100),
            bound: limit.bound,
            lateness: Proportion::new(late, terms),
            reference: Reference::default(),
            company: Company::Beside,
            limit: None,
            last_in_time: None,
            candidate: Durations::default(),
            baseline: Durations::default(),
        };
        new.set_bound();
        new
    }

    fn quantile(&self) -> f64 {
        f64::from(self.percent) / 100.0
    }

    fn set_bound(&mut self) {
        (self.limit, self.last_in_time) = match self.bound {
            Bound::Above(most) => {
                let micros = most.as_micros() as u64;
                (Some(micros as f64), Some(histogram::bucket(micros)))
            }
            Bound::AboveBaseline(more) => {
                let micros = self.usual().map(|micros| micros * (1.0 + more));
                (micros, micros.map(ends_nearest))
            }
        };
    }

    /// The baseline's quantile, once enough is known of it.
    fn usual(&self) -> Option<f64> {
        let known = self.reference.counts();
        let enough = AT_LEAST.max((BEYOND / (1.0 - self.quantile()).max(1e-3)) as u64);
        if total(known) < enough { None } else { histogram::quantile(known, self.quantile()) }
    }

    fn refer_to(&mut self, at: Timestamp, baseline: &Figures) {
        if !baseline.durations.is_empty() {
            self.reference.add(at, &baseline.durations);
            self.set_bound();
        }
    }

    fn lates(&self, figures: &Figures) -> Counts {
        let Some(last) = self.last_in_time else { return Counts::default() };
        Counts::new(total(&figures.durations), beyond(&figures.durations, last))
    }
}

/// The bucket whose end is nearest, as a ratio.
fn ends_nearest(micros: f64) -> usize {
    let bucket = histogram::bucket(micros as u64);
    let (low, high) = (lower_bound(bucket), upper_bound(bucket));
    if low > 0.0 && micros / low < high / micros { bucket - 1 } else { bucket }
}

impl Guard for LatencyQuantile {
    fn learn(&mut self, at: Timestamp, baseline: &Figures) {
        self.lateness.learn(self.lates(baseline));
        self.refer_to(at, baseline);
    }

    fn observe(&mut self, look: &Look) {
        let (candidate, baseline) = (self.lates(&look.candidate), self.lates(&look.baseline));
        self.lateness.observe(candidate, baseline);
        self.candidate.add(&look.candidate.durations);
        self.baseline.add(&look.baseline.durations);
        if self.company == Company::Beside {
            self.refer_to(look.at, &look.baseline);
        }
    }

    fn begin_step(&mut self, company: Company) {
        (self.candidate, self.baseline) = (Durations::default(), Durations::default());
        self.company = company;
        self.lateness.begin_step(company);
    }

    fn has_failed(&self) -> bool {
        self.lateness.has_failed()
    }

    fn row(&self, pace: &Pace) -> Row {
        let times = Times {
            what: &format!("the {}th percentile", self.percent),
            answers: total(self.candidate.counts()),
            candidate: self.candidate.quantile_ms(self.quantile()),
            baseline: self.baseline.quantile_ms(self.quantile()),
            limit: self.limit.map(|micros| micros / 1e3),
            bound: self.bound,
        };
        let measured = Measured::times(format!("latency_p{}", self.percent), times);
        self.lateness.finding().row(measured, self.lateness.terms, pace)
    }
}
