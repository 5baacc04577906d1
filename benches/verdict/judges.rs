//! Who decides: pointsman's verdict, and a poll with fixed thresholds as Flagger does it.

use jiff::Timestamp;
use pointsman::model::histogram;
use pointsman::model::split::Share;
use pointsman::model::verdict::judge::Judge;
use pointsman::model::verdict::plan::{Bound, Guards, QuantileLimit};
use pointsman::model::verdict::{Figures, Look};

use super::world::Judging;

/// The guards of an ordinary plan: 5 % of errors, the 95th percentile half as long again as the baseline's, a mean of
/// 5 s, 95 % of WebSocket handshakes.
pub(crate) fn guards() -> Guards {
    Guards {
        latency_quantiles: vec![QuantileLimit { percent: 95, bound: Bound::AboveBaseline(0.5) }],
        latency_mean: Some(Bound::Above(std::time::Duration::from_secs(5))),
        websocket_success: Some(Share::from_percent(95.0).expect("95 is a percentage")),
        ..Guards::default()
    }
}

/// pointsman's verdict.
pub(crate) struct Pointsman(Judge);

impl Pointsman {
    pub(crate) fn new(guards: &Guards) -> Self {
        Self(Judge::new(guards, 0.999, 20))
    }
}

impl Judging for Pointsman {
    fn learn(&mut self, at: Timestamp, baseline: &Figures) {
        self.0.learn(at, baseline);
    }

    fn begin_step(&mut self, at: Timestamp, share: Share) {
        self.0.begin_step(at, share);
    }

    fn look(&mut self, look: &Look) -> bool {
        self.0.look(look);
        self.0.has_failed()
    }
}

/// Every minute: back, if so many checks have failed in all; else a check of the candidate's last minute against fixed
/// thresholds. That is Flagger's order (`advanceCanary` in its pkg/controller/scheduler.go), so that a rollback comes a
/// minute after the last check that failed. With Flagger a minute in which nothing came is a failed check.
pub(crate) struct Poll {
    most: u32,
    quiet: Quiet,
    failed: u32,
    /// The 95th percentile may be this, in microseconds.
    p95: f64,
    next: i64,
    attempts: u64,
    failures: u64,
    durations: Vec<u64>,
}

/// What a minute is in which nothing came.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Quiet {
    Fails,
    Passes,
}

impl Poll {
    pub(crate) fn new(most: u32, quiet: Quiet, p95: f64) -> Self {
        let durations = vec![0; histogram::BUCKETS];
        Self { most, quiet, failed: 0, p95, next: 60, attempts: 0, failures: 0, durations }
    }

    fn check_fails(&self) -> bool {
        if self.attempts == 0 {
            return self.quiet == Quiet::Fails;
        }
        let slow = histogram::quantile(&self.durations, 0.95).is_some_and(|p95| p95 > self.p95);
        self.failures as f64 > 0.05 * self.attempts as f64 || slow
    }
}

impl Judging for Poll {
    fn learn(&mut self, at: Timestamp, _: &Figures) {
        self.next = at.as_second() + 60;
    }

    fn begin_step(&mut self, _: Timestamp, _: Share) {}

    fn look(&mut self, look: &Look) -> bool {
        self.attempts += look.candidate.attempts;
        self.failures += look.candidate.failures;
        for (sum, more) in self.durations.iter_mut().zip(&look.candidate.durations) {
            *sum += more;
        }
        if look.at.as_second() < self.next {
            return false;
        }
        self.next += 60;
        if self.failed >= self.most {
            return true;
        }
        self.failed += u32::from(self.check_fails());
        (self.attempts, self.failures) = (0, 0);
        self.durations.fill(0);
        false
    }
}
