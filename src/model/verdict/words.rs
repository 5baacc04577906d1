//! What a statistical guard has found, in a sentence for operators.

use super::Status;
use super::finding::{Against, Finding, Measured, Sense};
use super::plan::Bound;
use super::sequential::Counts;
use super::terms::Terms;

/// What was measured, in words.
#[derive(Clone, Debug)]
pub(super) struct Words {
    /// `12 of 40 attempts failed (30 %)`.
    pub candidate: String,
    /// `1 of 360, 0.28 %`.
    pub baseline: String,
    /// `the limit of 5 %`.
    pub limit: String,
}

/// A figure of durations in milliseconds, and what it must not exceed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times<'a> {
    /// `the 95th percentile`.
    pub what: &'a str,
    pub answers: u64,
    pub candidate: Option<f64>,
    pub baseline: Option<f64>,
    pub limit: Option<f64>,
    pub bound: Bound,
}

impl Words {
    /// Of how often something was so: `attempts failed`.
    pub(super) fn of_counts(candidate: Counts, baseline: Counts, so: &str, limit: f64) -> Self {
        let percent = |counts: Counts| said(counts.fraction().unwrap_or_default(), "fraction");
        Self {
            candidate: format!("{} of {} {so} ({})", candidate.hits, candidate.trials, percent(candidate)),
            baseline: format!("{} of {}, {}", baseline.hits, baseline.trials, percent(baseline)),
            limit: format!("the limit of {}", said(limit, "fraction")),
        }
    }
}

impl Times<'_> {
    pub(super) fn words(self) -> Words {
        let ms = |figure: Option<f64>| said(figure.unwrap_or_default(), "ms");
        let relative = match self.bound {
            Bound::Above(_) => String::new(),
            Bound::AboveBaseline(more) => format!(" (the baseline's and {})", said(more, "fraction")),
        };
        Words {
            candidate: format!("{} of {} answers is {}", self.what, self.answers, ms(self.candidate)),
            baseline: ms(self.baseline),
            limit: format!("the limit of {}{relative}", ms(self.limit)),
        }
    }
}

/// Why a row says what it says.
pub(super) fn why(finding: Finding, measured: &Measured, status: Status, terms: Terms) -> String {
    if measured.limit.is_none() {
        return match finding.against {
            Against::Nothing => "the limit follows the baseline, which has had no traffic in this rollout".to_owned(),
            _ => "the limit follows the baseline, which has answered too little so far".to_owned(),
        };
    }
    if measured.candidate.is_none() && status != Status::Fail {
        return "nothing has come to the candidate in this step, which is neither good nor bad".to_owned();
    }
    let Words { candidate, limit, .. } = &measured.words;
    let is_within = measured.is_within() != Some(false);
    match status {
        Status::Fail if is_within => {
            format!("it was worse than {limit} allows ({}); in this step so far {candidate}", certain(terms))
        }
        Status::Fail => format!("{candidate}, {}", beyond_both(finding, measured, terms)),
        Status::Pass => format!("{candidate}, within {limit}{}", beside(measured)),
        Status::Undecided if is_within => {
            let missing = terms.min_requests.saturating_sub(measured.requests);
            format!("{candidate}, within {limit}, but {missing} more have to come before that counts")
        }
        Status::Undecided if finding.limit.log >= terms.fails_at => {
            format!("{candidate}, {} {limit} ({}), {}", measured.beyond(), certain(terms), but(finding, measured))
        }
        Status::Undecided => {
            format!("{candidate}, {} {limit}, but that may still be chance{}", measured.beyond(), beside(measured))
        }
    }
}

fn beyond_both(finding: Finding, measured: &Measured, terms: Terms) -> String {
    let (beyond, limit, certain) = (measured.beyond(), &measured.words.limit, certain(terms));
    match finding.against {
        Against::Nothing => format!("{beyond} {limit} ({certain})"),
        Against::Memory(_) => format!("{beyond} {limit} and than at the baseline while that had traffic ({certain})"),
        Against::Baseline(_) => {
            format!("{beyond} {limit} and than at the baseline ({}): {certain}", measured.words.baseline)
        }
    }
}

/// Why a candidate that is beyond its limit has not failed.
fn but(finding: Finding, measured: &Measured) -> String {
    let baseline = &measured.words.baseline;
    match finding.against {
        Against::Baseline(_) if measured.baseline.is_none() => {
            "but nothing comes to the baseline to compare with".to_owned()
        }
        Against::Baseline(_) if measured.baseline_is_beyond() => {
            format!("but so is the baseline ({baseline}): going back would not help")
        }
        Against::Baseline(_) => format!("but not yet certainly worse than the baseline ({baseline})"),
        Against::Memory(_) | Against::Nothing => {
            "but not certainly worse than the baseline was while it had traffic".to_owned()
        }
    }
}

fn beside(measured: &Measured) -> String {
    measured.baseline.map_or_else(String::new, |_| format!("; the baseline: {}", measured.words.baseline))
}

fn certain(terms: Terms) -> String {
    format!("certain to {} %", shortened(terms.confidence * 100.0, 4))
}

impl Measured {
    fn beyond(&self) -> &'static str {
        match self.sense {
            Sense::AtMost => "more than",
            Sense::AtLeast => "less than",
        }
    }
}

/// A figure for people: `4.2 %`, `812 ms`, `1.5 s`.
pub(super) fn said(figure: f64, unit: &str) -> String {
    match unit {
        "fraction" => format!("{} %", to_three_digits(figure * 100.0)),
        "ms" if figure >= 1000.0 => said(figure / 1000.0, "s"),
        "" => shortened(figure, 4),
        _ => format!("{} {unit}", to_three_digits(figure)),
    }
}

fn to_three_digits(figure: f64) -> String {
    let decimals = match figure.abs() {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    shortened(figure, decimals)
}

/// With so many decimals at the most.
fn shortened(figure: f64, decimals: usize) -> String {
    let text = format!("{figure:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_said_as_people_say_them() {
        let all =
            [(0.3, "fraction"), (0.0028, "fraction"), (1.0, "fraction"), (812.4, "ms"), (3.456, "ms"), (7.0, "s")];
        let said: Vec<_> = all.iter().map(|(figure, unit)| said(*figure, unit)).collect();
        assert_eq!(said, ["30 %", "0.28 %", "100 %", "812 ms", "3.46 ms", "7 s"]);
    }
}
