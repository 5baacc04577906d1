//! A guard outside: a figure of Prometheus, or whoever answers at a URL.
//!
//! Something bad has to be said twice in a row before it fails: a single scrape may be off. Who says nothing is no
//! reason to go back, nor to go on: undecided, and two bad answers are needed after it. Who is not heard of at all any
//! more has taken back what it said.
//!
//! The same sample counts once, however often it is told. By its stamp alone that cannot be seen: Prometheus gives the
//! time at which it evaluates a query, not that of a scrape. So a figure that is the same to the last digit is taken for
//! the same sample too, until a scrape has surely come in between.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::super::plan::Threshold;
use super::super::terms::{Company, Elapsed, Pace};
use super::super::words::said;
use super::super::{Look, Reading, Row, Said, Status};
use super::Guard;

/// Bad so often in a row is bad.
const IN_A_ROW: u32 = 2;
/// From one scrape to the next.
const SCRAPED: Duration = Duration::from_secs(15);
/// A stamp that is further from now is by another clock, or by none. It tells nothing.
const CREDIBLE: SignedDuration = SignedDuration::from_mins(5);
/// Between two looks no more than this counts: a process that stood still could not hear anybody.
const BETWEEN_LOOKS: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Outside {
    name: String,
    /// For those that say a figure.
    threshold: Option<Threshold>,
    patience: Duration,
    elapsed: Elapsed,
    /// Since when nothing was heard.
    silent_for: Duration,
    /// What was bad last, if it has a stamp.
    last: Option<Sample>,
    figure: Option<f64>,
    status: Status,
    bad_in_a_row: u32,
    why: String,
}

/// A figure that was told.
#[derive(Debug)]
struct Sample {
    at: Timestamp,
    figure: f64,
    /// For how long it has been known.
    age: Duration,
}

/// Who has said nothing for so long has taken back what it said.
pub(super) fn patience(every: Duration, timeout: Duration) -> Duration {
    every.saturating_mul(2).max(timeout)
}

/// What an answer comes to.
enum Answer {
    Well(String),
    Bad(String),
    Nothing(String),
}

impl Outside {
    pub(super) fn new(name: &str, patience: Duration, threshold: Option<Threshold>) -> Self {
        Self {
            name: name.to_owned(),
            threshold,
            patience,
            elapsed: Elapsed::new(BETWEEN_LOOKS),
            silent_for: Duration::ZERO,
            last: None,
            figure: None,
            status: Status::Undecided,
            bad_in_a_row: 0,
            why: "it has not answered in this step yet".to_owned(),
        }
    }

    fn read(&mut self, at: Timestamp, reading: &Reading) {
        self.figure = match reading.said {
            Said::Value(value) if !value.is_nan() => Some(value),
            _ => None,
        };
        match self.judge(&reading.said) {
            Answer::Well(why) => self.settle(Status::Pass, 0, why),
            Answer::Nothing(why) => self.settle(Status::Undecided, 0, why),
            Answer::Bad(why) => {
                let times = if self.is_new(at, reading.sample) {
                    self.bad_in_a_row.saturating_add(1)
                } else {
                    self.bad_in_a_row.max(1)
                };
                let status = if times >= IN_A_ROW { Status::Fail } else { Status::Undecided };
                let once = if times < IN_A_ROW { "; once is not enough to go back" } else { "" };
                self.settle(status, times, format!("{why}{once}"));
            }
        }
    }

    /// Whether the figure is of another sample than what was bad before it.
    fn is_new(&mut self, now: Timestamp, sample: Option<Timestamp>) -> bool {
        let sample = sample.filter(|at| now.duration_since(*at).abs() <= CREDIBLE);
        let (Some(at), Some(figure)) = (sample, self.figure) else { return true };
        let is_same = |last: &Sample| last.at == at || (last.figure.total_cmp(&figure).is_eq() && last.age < SCRAPED);
        let is_new = !self.last.as_ref().is_some_and(is_same);
        if is_new {
            self.last = Some(Sample { at, figure, age: Duration::ZERO });
        }
        is_new
    }

    fn settle(&mut self, status: Status, bad_in_a_row: u32, why: String) {
        (self.status, self.bad_in_a_row, self.why) = (status, bad_in_a_row, why);
    }

    fn judge(&self, said: &Said) -> Answer {
        match (said, self.threshold) {
            (Said::Well(why), _) => Answer::Well(why.clone()),
            (Said::Bad(why), _) => Answer::Bad(why.clone()),
            (Said::Nothing(why), _) => Answer::Nothing(why.clone()),
            (Said::Value(value), Some(threshold)) => compare(*value, threshold),
            (Said::Value(value), None) => Answer::Nothing(format!("it says {value}, and no threshold is given")),
        }
    }
}

fn compare(value: f64, threshold: Threshold) -> Answer {
    let (limit, word, is_bad) = match threshold {
        Threshold::Above(limit) => (limit, "above", value > limit),
        Threshold::Below(limit) => (limit, "below", value < limit),
    };
    if value.is_nan() {
        return Answer::Nothing(format!("its value is {value}: there is nothing to compare"));
    }
    let (value, limit) = (said(value, ""), said(limit, ""));
    if is_bad {
        Answer::Bad(format!("{value} is {word} {limit}"))
    } else {
        Answer::Well(format!("{value} is not {word} {limit}"))
    }
}

impl Guard for Outside {
    fn observe(&mut self, look: &Look) {
        let passed = self.elapsed.since(look.at);
        self.silent_for = self.silent_for.saturating_add(passed);
        if let Some(last) = &mut self.last {
            last.age = last.age.saturating_add(passed);
        }
        for reading in &look.readings {
            if reading.guard == self.name {
                self.silent_for = Duration::ZERO;
                self.read(look.at, reading);
            }
        }
        if self.silent_for > self.patience && self.status != Status::Fail {
            self.figure = None;
            let why = format!("it has not answered for {}", said(self.silent_for.as_secs_f64(), "s"));
            self.settle(Status::Undecided, 0, why);
        }
    }

    /// What it said of the step before is not an answer to this one.
    fn begin_step(&mut self, _: Company) {
        if self.status == Status::Pass {
            self.settle(Status::Undecided, 0, "it has not answered in this step yet".to_owned());
        }
    }

    fn has_failed(&self) -> bool {
        self.status == Status::Fail
    }

    fn row(&self, _: &Pace) -> Row {
        Row {
            guard: self.name.clone(),
            status: self.status,
            hard: false,
            candidate: self.figure,
            baseline: None,
            limit: self.threshold.map(|(Threshold::Above(limit) | Threshold::Below(limit))| limit),
            unit: "",
            requests: 0,
            needs: 0,
            needs_seconds: None,
            evidence: 1.0,
            fails_at: 0.0,
            why: self.why.clone(),
        }
    }
}
