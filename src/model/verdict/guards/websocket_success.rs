//! `websocket_success`: the fraction of WebSocket handshakes that are accepted.

use jiff::Timestamp;

use super::super::finding::{Measured, Sense};
use super::super::proportion::Proportion;
use super::super::sequential::Counts;
use super::super::terms::{Company, Pace, Terms};
use super::super::words::Words;
use super::super::{Figures, Look, Row, Status};
use super::Guard;
use crate::model::split::Share;

#[derive(Debug)]
pub(super) struct WebsocketSuccess {
    at_least: f64,
    refusals: Proportion,
    /// Whether anybody has asked for one since the rollout began.
    asked_for: bool,
}

impl WebsocketSuccess {
    pub(super) fn new(at_least: Share, terms: Terms) -> Self {
        let at_least = at_least.percent() / 100.0;
        Self { at_least, refusals: Proportion::new(1.0 - at_least, terms), asked_for: false }
    }
}

fn counts(figures: &Figures) -> Counts {
    Counts::new(figures.handshakes, figures.handshakes_failed)
}

fn accepted(refused: Counts) -> Counts {
    Counts::new(refused.trials, refused.trials - refused.hits)
}

impl Guard for WebsocketSuccess {
    fn learn(&mut self, _: Timestamp, baseline: &Figures) {
        self.asked_for |= baseline.handshakes > 0;
        self.refusals.learn(counts(baseline));
    }

    fn observe(&mut self, look: &Look) {
        self.asked_for |= look.candidate.handshakes > 0 || look.baseline.handshakes > 0;
        self.refusals.observe(counts(&look.candidate), counts(&look.baseline));
    }

    fn begin_step(&mut self, company: Company) {
        self.refusals.begin_step(company);
    }

    fn has_failed(&self) -> bool {
        self.refusals.has_failed()
    }

    fn row(&self, pace: &Pace) -> Row {
        let (candidate, baseline) = (accepted(self.refusals.candidate()), accepted(self.refusals.baseline()));
        let measured = Measured {
            guard: "websocket_success".to_owned(),
            unit: "fraction",
            sense: Sense::AtLeast,
            candidate: candidate.fraction(),
            baseline: baseline.fraction(),
            limit: Some(self.at_least),
            requests: candidate.trials,
            words: Words::of_counts(candidate, baseline, "WebSocket handshakes succeeded", self.at_least),
        };
        let row = self.refusals.finding().row(measured, self.refusals.terms, pace);
        if self.asked_for {
            return row;
        }
        let why = "nobody has asked for a WebSocket since the rollout began".to_owned();
        Row { status: Status::Pass, needs: 0, why, ..row }
    }
}
