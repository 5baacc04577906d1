//! `connect_failures`, a hard guard: so many attempts in a row that could not connect to the candidate.

use super::super::terms::{Company, Pace};
use super::super::{Look, Row, Status};
use super::Guard;

#[derive(Debug)]
pub(super) struct ConnectFailures {
    limit: u32,
    in_a_row: u32,
}

impl ConnectFailures {
    pub(super) fn new(limit: u32) -> Self {
        Self { limit: limit.max(1), in_a_row: 0 }
    }
}

impl Guard for ConnectFailures {
    fn observe(&mut self, look: &Look) {
        self.in_a_row = look.connect_failures;
    }

    fn begin_step(&mut self, _: Company) {}

    fn has_failed(&self) -> bool {
        self.in_a_row >= self.limit
    }

    fn row(&self, _: &Pace) -> Row {
        let why = match self.in_a_row {
            0 => "the last attempt could connect, or there was none".to_owned(),
            n => format!("{n} attempts in a row could not connect to the candidate; {} are too many", self.limit),
        };
        Row {
            guard: "connect_failures".to_owned(),
            status: if self.has_failed() { Status::Fail } else { Status::Pass },
            hard: true,
            candidate: Some(f64::from(self.in_a_row)),
            baseline: None,
            limit: Some(f64::from(self.limit)),
            unit: "",
            requests: 0,
            needs: 0,
            needs_seconds: None,
            evidence: 1.0,
            fails_at: 0.0,
            why,
        }
    }
}
