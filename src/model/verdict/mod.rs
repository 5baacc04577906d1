//! The verdict on a candidate: pass, fail or undecided, at any moment, however often it is looked at.
//!
//! Guards get what has happened since the last look, at the candidate and at the baseline in the same moments, and say
//! what they have found. Owns the statistics; knows nothing of where figures come from, and nothing of steps.

mod durations;
mod finding;
mod guards;
pub mod judge;
pub mod plan;
mod proportion;
pub mod sequential;
mod terms;
mod words;

use jiff::Timestamp;

/// What happened at one group since the last look. Only what users did counts: no probes, no validation or mirrored
/// traffic, no clients that went away, no answers of our own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Attempts that ended well or badly.
    pub attempts: u64,
    /// Those that ended badly.
    pub failures: u64,
    /// Attempts that got an answer, by the time to its head, in the buckets of [`crate::model::histogram`]. Empty or
    /// [`crate::model::histogram::BUCKETS`] long.
    pub durations: Vec<u64>,
    /// WebSocket handshakes that were answered.
    pub handshakes: u64,
    /// Those that were not accepted.
    pub handshakes_failed: u64,
}

impl Figures {
    /// Adds what happened at another group over the same time.
    pub fn add(&mut self, other: &Self) {
        self.attempts = self.attempts.saturating_add(other.attempts);
        self.failures = self.failures.saturating_add(other.failures);
        self.handshakes = self.handshakes.saturating_add(other.handshakes);
        self.handshakes_failed = self.handshakes_failed.saturating_add(other.handshakes_failed);
        if self.durations.len() < other.durations.len() {
            self.durations.resize(other.durations.len(), 0);
        }
        self.durations.iter_mut().zip(&other.durations).for_each(|(sum, more)| *sum = sum.saturating_add(*more));
    }
}

/// One look at a rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// When.
    pub at: Timestamp,
    /// The candidate's figures since the last look.
    pub candidate: Figures,
    /// The baseline's figures over the same time: all other groups with a share together.
    pub baseline: Figures,
    /// Whether at least one upstream of the candidate is healthy.
    pub candidate_is_healthy: bool,
    /// Attempts at the candidate in a row, up to now, that could not connect.
    pub connect_failures: u32,
    /// What guards outside have said since the last look.
    pub readings: Vec<Reading>,
}

/// What a guard outside has said.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The guard's name.
    pub guard: String,
    /// What it has said.
    pub said: Said,
    /// When a figure was taken, where its server says so.
    pub sample: Option<Timestamp>,
}

/// What a guard outside has said.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// A figure.
    Value(f64),
    /// That the candidate is well, and why.
    Well(String),
    /// That it is not, and why.
    Bad(String),
    /// Nothing that could be used, and why: it could not be reached, it has no data, it does not know yet.
    Nothing(String),
}

/// What is thought of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Nothing speaks against it, and enough was seen.
    Pass,
    /// It is worse than it may be.
    Fail,
    /// Neither.
    Undecided,
}

impl Status {
    /// Its name in the API.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Undecided => "undecided",
        }
    }
}

/// What is thought of a candidate, guard by guard.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Fail when any guard has failed; pass when all have passed.
    pub status: Status,
    /// One row for each guard.
    pub rows: Vec<Row>,
}

/// One guard's part of a verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The guard's name: `error_rate`, `latency_p95`, `unhealthy_for`…
    pub guard: String,
    /// What it says.
    pub status: Status,
    /// Whether a failure of it is certain enough to go straight back whatever the policy.
    pub hard: bool,
    /// The candidate's figure since the step began; fractions are 0 to 1, times are milliseconds.
    pub candidate: Option<f64>,
    /// The baseline's figure over the same time.
    pub baseline: Option<f64>,
    /// What the candidate's figure must not exceed (or fall below).
    pub limit: Option<f64>,
    /// The unit of these: `fraction`, `ms`, `s`, or empty.
    pub unit: &'static str,
    /// Attempts at the candidate that were counted since the step began.
    pub requests: u64,
    /// About how many more are needed for another answer than undecided; 0 where none are, and where it cannot be said.
    pub needs: u64,
    /// About how long these take at the rate of the last minute, in seconds; none where nothing comes, and where it would
    /// be more than a week.
    pub needs_seconds: Option<f64>,
    /// The evidence against the candidate: 1 is none, and it fails at `fails_at`.
    pub evidence: f64,
    /// The evidence at which it fails; 0 for hard guards and guards outside.
    pub fails_at: f64,
    /// For people, in one sentence.
    pub why: String,
}
