//! From what a statistical guard has found to its row of a verdict.

use super::terms::{Pace, Terms};
use super::words::{self, Times, Words};
use super::{Row, Status};

/// An estimate that is larger says nothing: the candidate is next to its limit.
const MOST_NEEDS: f64 = 1e6;

/// Which side of a limit is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sense {
    /// Not above it.
    AtMost,
    /// Not below it.
    AtLeast,
}

/// What was measured since the step began.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub guard: String,
    pub unit: &'static str,
    pub sense: Sense,
    pub candidate: Option<f64>,
    pub baseline: Option<f64>,
    pub limit: Option<f64>,
    pub requests: u64,
    pub words: Words,
}

/// Evidence against a claim, as a logarithm, and by how much it grows with each request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence {
    pub log: f64,
    pub growth: f64,
}

/// What the baseline has to do with it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Against {
    /// The candidate is compared with it, at the same moments.
    Baseline(Evidence),
    /// The baseline has no share now; the candidate is compared with what it had shown.
    Memory(Evidence),
    /// Nothing is known of the baseline: the limit decides.
    Nothing,
}

/// What a statistical guard has found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Finding {
    pub limit: Evidence,
    pub against: Against,
    /// Since when both were certain once.
    pub failed: bool,
}

impl Finding {
    /// The weaker of the two: both have to be certain.
    pub(super) fn log_evidence(self) -> f64 {
        match self.against {
            Against::Baseline(e) | Against::Memory(e) => e.log.min(self.limit.log),
            Against::Nothing => self.limit.log,
        }
    }

    /// About how many more requests until it fails, if it goes on like this. `None` if it would not, or only after so many
    /// that nobody would wait for them.
    fn until_failure(self, fails_at: f64) -> Option<u64> {
        let until = |evidence: Evidence| match (fails_at - evidence.log).max(0.0) {
            0.0 => Some(0.0),
            _ if evidence.growth <= 0.0 => None,
            missing => Some(missing / evidence.growth),
        };
        let limit = until(self.limit)?;
        let most = match self.against {
            Against::Baseline(e) | Against::Memory(e) => until(e)?.max(limit),
            Against::Nothing => limit,
        };
        (most <= MOST_NEEDS).then(|| rounded(most.max(1.0)))
    }

    /// The row.
    pub(super) fn row(self, measured: Measured, terms: Terms, pace: &Pace) -> Row {
        let within = measured.is_within();
        let status = match within {
            _ if self.failed => Status::Fail,
            Some(true) if measured.requests >= terms.min_requests => Status::Pass,
            _ => Status::Undecided,
        };
        let missing = terms.min_requests.saturating_sub(measured.requests);
        let needs = match (status, within) {
            (Status::Undecided, Some(false)) => self.until_failure(terms.fails_at).unwrap_or(missing),
            (Status::Undecided, _) => missing,
            _ => 0,
        };
        let why = words::why(self, &measured, status, terms);
        Row {
            status,
            hard: false,
            needs,
            needs_seconds: pace.seconds(needs, measured.requests),
            evidence: self.log_evidence().exp(),
            fails_at: terms.fails_at.exp(),
            why,
            guard: measured.guard,
            candidate: measured.candidate,
            baseline: measured.baseline,
            limit: measured.limit,
            unit: measured.unit,
            requests: measured.requests,
        }
    }
}

impl Measured {
    /// Of durations.
    pub(super) fn times(guard: String, times: Times<'_>) -> Self {
        Self {
            guard,
            unit: "ms",
            sense: Sense::AtMost,
            candidate: times.candidate,
            baseline: times.baseline,
            limit: times.limit,
            requests: times.answers,
            words: times.words(),
        }
    }

    fn keeps(&self, figure: Option<f64>) -> Option<bool> {
        let (figure, limit) = (figure?, self.limit?);
        Some(match self.sense {
            Sense::AtMost => figure <= limit,
            Sense::AtLeast => figure >= limit,
        })
    }

    /// Whether the candidate keeps to its limit, where both are known.
    pub(super) fn is_within(&self) -> Option<bool> {
        self.keeps(self.candidate)
    }

    /// Whether the baseline does not.
    pub(super) fn baseline_is_beyond(&self) -> bool {
        self.keeps(self.baseline) == Some(false)
    }
}

/// Up, to two digits: an estimate should not look like a count.
fn rounded(estimate: f64) -> u64 {
    let step = 10_f64.powf((estimate.log10().floor() - 1.0).max(0.0));
    ((estimate / step).ceil() * step) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_is_rounded_up_to_two_digits() {
        assert_eq!([1.0, 9.2, 99.0, 101.0, 1234.0, 258_001.0].map(rounded), [1, 10, 99, 110, 1300, 260_000]);
    }
}
