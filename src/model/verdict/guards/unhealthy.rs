//! `unhealthy_for`, a hard guard: no upstream of the candidate has been healthy for so long.

use std::time::Duration;

use super::super::terms::{Company, Elapsed, Pace};
use super::super::words::said;
use super::super::{Look, Row, Status};
use super::Guard;

/// Between two looks no more than this counts: a clock that was set, or a process that stood still, is nobody's fault.
const AT_MOST: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Unhealthy {
    limit: Duration,
    elapsed: Elapsed,
    /// How long it has not been healthy, up to the last look.
    so_far: Option<Duration>,
    looks: u64,
}

impl Unhealthy {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, elapsed: Elapsed::new(AT_MOST), so_far: None, looks: 0 }
    }
}

impl Guard for Unhealthy {
    fn observe(&mut self, look: &Look) {
        let passed = self.elapsed.since(look.at);
        self.looks = self.looks.saturating_add(1);
        self.so_far = match self.so_far {
            _ if look.candidate_is_healthy => None,
            // What was before the first bad look is not known to have been bad.
            None => Some(Duration::ZERO),
            Some(so_far) => Some(so_far.saturating_add(passed)),
        };
    }

    fn begin_step(&mut self, _: Company) {}

    fn has_failed(&self) -> bool {
        self.so_far.is_some_and(|so_far| so_far >= self.limit)
    }

    fn row(&self, _: &Pace) -> Row {
        let (seconds, limit) = (self.so_far.unwrap_or_default().as_secs_f64(), self.limit.as_secs_f64());
        let why = match self.so_far {
            _ if self.looks == 0 => "not looked yet".to_owned(),
            None => "an upstream of the candidate is healthy".to_owned(),
            Some(_) => {
                format!(
                    "no upstream of the candidate has been healthy for {}; {} is the limit",
                    said(seconds, "s"),
                    said(limit, "s")
                )
            }
        };
        Row {
            guard: "unhealthy_for".to_owned(),
            status: if self.has_failed() { Status::Fail } else { Status::Pass },
            hard: true,
            candidate: Some(seconds),
            baseline: None,
            limit: Some(limit),
            unit: "s",
            requests: 0,
            needs: 0,
            needs_seconds: None,
            evidence: 1.0,
            fails_at: 0.0,
            why,
        }
    }
}
