//! Judges a candidate: gives each guard what happened, and makes one verdict of what they say.

use std::time::Duration;

use jiff::Timestamp;

use super::guards::{self, Guard};
use super::plan::Guards;
use super::terms::{Company, Elapsed, Pace};
use super::{Figures, Look, Status, Verdict};
use crate::model::split::Share;

/// Between two looks no more than this counts.
const BETWEEN_LOOKS: Duration = Duration::from_secs(60);

/// Judges one candidate through one rollout. Another one for the same rollout, after a restart, has seen nothing and has
/// the whole chance of a false alarm anew.
#[derive(Debug)]
pub struct Judge {
    guards: Vec<Box<dyn Guard>>,
    pace: Pace,
    elapsed: Elapsed,
}

impl Judge {
    /// By these guards, all of which together fail a healthy candidate with a chance of `1 - confidence` at the most; and
    /// no step passes without so many requests.
    #[must_use]
    pub fn new(guards: &Guards, confidence: f64, min_requests: u64) -> Self {
        Self {
            guards: guards::all(guards, confidence, min_requests),
            pace: Pace::default(),
            elapsed: Elapsed::new(BETWEEN_LOOKS),
        }
    }

    /// What the baseline did while the candidate had no users. That is no evidence, neither for the candidate nor against
    /// it; but a step that gives the candidate everything leaves nobody to compare it with, and this is what it is then
    /// held to.
    pub fn learn(&mut self, at: Timestamp, baseline: &Figures) {
        for guard in &mut self.guards {
            guard.learn(at, baseline);
        }
    }

    /// What happened since the last look. To be told of each second and of each failed attempt; and before a step
    /// begins, so that no figures are of two steps.
    pub fn look(&mut self, look: &Look) {
        let passed = self.elapsed.since(look.at);
        self.pace.observe(look.candidate.attempts, passed);
        for guard in &mut self.guards {
            guard.observe(look);
        }
    }

    /// The candidate has another share from now on. Baking at 100 % is a step of its own.
    pub fn begin_step(&mut self, at: Timestamp, share: Share) {
        self.elapsed.since(at);
        self.pace.begin_step();
        let company = if share == Share::ALL { Company::Alone } else { Company::Beside };
        for guard in &mut self.guards {
            guard.begin_step(company);
        }
    }

    /// Whether any guard has failed: the verdict's most urgent part, without its words.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.guards.iter().any(|guard| guard.has_failed())
    }

    /// What is thought of the candidate now.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let rows: Vec<_> = self.guards.iter().map(|guard| guard.row(&self.pace)).collect();
        let status = if rows.iter().any(|row| row.status == Status::Fail) {
            Status::Fail
        } else if rows.iter().all(|row| row.status == Status::Pass) {
            Status::Pass
        } else {
            Status::Undecided
        };
        Verdict { status, rows }
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
