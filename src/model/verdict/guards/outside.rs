//! A guard outside: a figure of Prometheus, or whoever answers at a URL.
//!
//! Something bad has to be said twice in a row before it fails: a single scrape may be off. Who says nothing is no
//! reason to go back, nor to go on: undecided, and two bad answers are needed after it.

use super::super::plan::Threshold;
use super::super::terms::{Company, Pace};
use super::super::words::said;
use super::super::{Look, Row, Said, Status};
use super::Guard;

/// Bad so often in a row is bad.
const IN_A_ROW: u32 = 2;

#[derive(Debug)]
pub(super) struct Outside {
    name: String,
    /// For those that say a figure.
    threshold: Option<Threshold>,
    figure: Option<f64>,
    status: Status,
    bad_in_a_row: u32,
    why: String,
}

/// What an answer comes to.
enum Answer {
    Well(String),
    Bad(String),
    Nothing(String),
}

impl Outside {
    pub(super) fn new(name: &str, threshold: Option<Threshold>) -> Self {
        Self {
            name: name.to_owned(),
            threshold,
            figure: None,
            status: Status::Undecided,
            bad_in_a_row: 0,
            why: "it has not answered in this step yet".to_owned(),
        }
    }

    fn read(&mut self, said: &Said) {
        self.figure = match said {
            Said::Value(value) if value.is_finite() => Some(*value),
            _ => None,
        };
        match self.judge(said) {
            Answer::Well(why) => self.settle(Status::Pass, 0, why),
            Answer::Nothing(why) => self.settle(Status::Undecided, 0, why),
            Answer::Bad(why) => {
                let times = self.bad_in_a_row.saturating_add(1);
                let status = if times >= IN_A_ROW { Status::Fail } else { Status::Undecided };
                let once = if times < IN_A_ROW { "; once is not enough to go back" } else { "" };
                self.settle(status, times, format!("{why}{once}"));
            }
        }
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
    if !value.is_finite() {
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
        for reading in &look.readings {
            if reading.guard == self.name {
                self.read(&reading.said);
            }
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
