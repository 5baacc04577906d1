//! From what a statistical guard has found to its row of a verdict.

use super::terms::{Pace, Terms};
use super::{Row, Status};

/// No more than this is said to be needed.
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

    /// How many more requests until it fails, if it goes on like this. `None` if it would not.
    fn until_failure(self, fails_at: f64) -> Option<u64> {
        let until = |evidence: Evidence| {
            let missing = (fails_at - evidence.log).max(0.0);
            if missing > 0.0 && evidence.growth <= 0.0 { None } else { Some(missing / evidence.growth.max(1e-9)) }
        };
        let limit = until(self.limit)?;
        let most = match self.against {
            Against::Baseline(e) | Against::Memory(e) => until(e)?.max(limit),
            Against::Nothing => limit,
        };
        Some(most.ceil().clamp(1.0, MOST_NEEDS) as u64)
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
        let why = self.why(&measured, status, terms);
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

    fn why(self, measured: &Measured, status: Status, terms: Terms) -> String {
        let (Some(limit), limit_settled) = (measured.limit, self.limit.log >= terms.fails_at) else {
            return "the baseline has answered too little to know what is usual".to_owned();
        };
        let Some(candidate) = measured.candidate else {
            return "nothing has come to the candidate in this step; that is neither good nor bad".to_owned();
        };
        let (candidate, limit) = (said(candidate, measured.unit), said(limit, measured.unit));
        let beyond = measured.sense.beyond();
        let beside =
            measured.baseline.map_or_else(String::new, |b| format!("; the baseline: {}", said(b, measured.unit)));
        match (status, measured.is_within()) {
            (Status::Fail, _) => match self.against {
                Against::Nothing => format!("{beyond} the limit of {limit} beyond doubt; in this step: {candidate}"),
                _ => format!(
                    "{beyond} the limit of {limit} and worse than the baseline, both beyond doubt; in this step: {candidate}{beside}"
                ),
            },
            (Status::Pass, _) => format!("{candidate} is within the limit of {limit}{beside}"),
            (Status::Undecided, Some(true)) => {
                format!("{candidate} is within the limit of {limit}, but too few have come to say so")
            }
            (Status::Undecided, _) if limit_settled => match self.against {
                Against::Baseline(_) if measured.baseline.is_none() => {
                    format!(
                        "{candidate} is {beyond} the limit of {limit}, but nothing comes to the baseline to compare with"
                    )
                }
                Against::Baseline(_) if measured.baseline_is_beyond() => {
                    format!(
                        "{candidate} is {beyond} the limit of {limit}, but so is the baseline{beside}: nothing speaks for going back"
                    )
                }
                Against::Baseline(_) => {
                    format!(
                        "{beyond} the limit of {limit} beyond doubt, but not yet certainly worse than the baseline: {candidate}{beside}"
                    )
                }
                _ => format!(
                    "{candidate} is {beyond} the limit of {limit}, but not certainly worse than the baseline had been"
                ),
            },
            (Status::Undecided, _) => {
                format!("{candidate} is {beyond} the limit of {limit}, but that may still be chance{beside}")
            }
        }
    }
}

impl Sense {
    fn beyond(self) -> &'static str {
        match self {
            Self::AtMost => "above",
            Self::AtLeast => "below",
        }
    }
}

impl Measured {
    fn keeps(&self, figure: Option<f64>) -> Option<bool> {
        let (figure, limit) = (figure?, self.limit?);
        Some(match self.sense {
            Sense::AtMost => figure <= limit,
            Sense::AtLeast => figure >= limit,
        })
    }

    fn is_within(&self) -> Option<bool> {
        self.keeps(self.candidate)
    }

    fn baseline_is_beyond(&self) -> bool {
        self.keeps(self.baseline) == Some(false)
    }
}

/// A figure for people: `4.2 %`, `812 ms`.
pub(super) fn said(figure: f64, unit: &str) -> String {
    let digits = |figure: f64| if figure.abs() >= 100.0 { 0 } else { 2 };
    match unit {
        "fraction" => {
            let percent = figure * 100.0;
            format!("{} %", shortened(percent, digits(percent)))
        }
        "" => shortened(figure, 4),
        _ => format!("{} {unit}", shortened(figure, digits(figure))),
    }
}

/// With so many decimals at the most.
fn shortened(figure: f64, decimals: usize) -> String {
    let text = format!("{figure:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}
