//! Rise and fall: when results of probes become a verdict about an upstream.
//!
//! The first result is the first verdict, so that a new upstream is judged at once. After that it takes a number of
//! opposite results in a row to turn it; a single result that agrees with the verdict starts the count anew. How a
//! probe is made, and when, is not this file's business.

/// What the prober knows of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Health {
    /// No verdict yet. Not healthy.
    Unknown = 0,
    /// It answers as expected.
    Healthy = 1,
    /// It does not.
    Unhealthy = 2,
}

impl Health {
    /// As in the API: `unknown`, `healthy`, `unhealthy`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Health::Unknown => "unknown",
            Health::Healthy => "healthy",
            Health::Unhealthy => "unhealthy",
        }
    }
}

/// How a probe ended. A probe that was cancelled has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// As expected.
    Passed,
    /// Not as expected, or not in time.
    Failed,
}

impl ProbeResult {
    fn verdict(self) -> Health {
        match self {
            ProbeResult::Passed => Health::Healthy,
            ProbeResult::Failed => Health::Unhealthy,
        }
    }
}

/// Results in a row that turn a verdict; 0 counts as 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Passed probes that make an unhealthy upstream healthy.
    pub healthy_after: u32,
    /// Failed probes that make a healthy upstream unhealthy.
    pub unhealthy_after: u32,
}

/// A verdict, and how many results in a row speak against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streak {
    health: Health,
    against: u32,
}

impl Streak {
    /// Begins with a verdict from before (of a check that has been changed since), or with [`Health::Unknown`].
    #[must_use]
    pub fn new(health: Health) -> Self {
        Self { health, against: 0 }
    }

    /// The verdict.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health
    }

    /// Takes in a result. Gives back the verdict when this result has turned it.
    pub fn record(&mut self, result: ProbeResult, thresholds: Thresholds) -> Option<Health> {
        let verdict = result.verdict();
        if verdict == self.health {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let needed = match (self.health, verdict) {
            (Health::Unknown, _) => 1,
            (_, Health::Healthy) => thresholds.healthy_after,
            _ => thresholds.unhealthy_after,
        };
        if self.against < needed {
            return None;
        }
        *self = Self::new(verdict);
        Some(verdict)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::ProbeResult::{Failed, Passed};
    use super::*;

    const TWO_AND_THREE: Thresholds = Thresholds { healthy_after: 2, unhealthy_after: 3 };

    fn verdicts(results: &[ProbeResult]) -> Vec<Health> {
        let mut streak = Streak::new(Health::Unknown);
        results.iter().filter_map(|r| streak.record(*r, TWO_AND_THREE)).collect()
    }

    #[test]
    fn the_first_result_is_the_first_verdict() {
        assert_eq!(verdicts(&[Passed]), [Health::Healthy]);
        assert_eq!(verdicts(&[Failed]), [Health::Unhealthy]);
        assert_eq!(verdicts(&[]), []);
    }

    #[test]
    fn a_verdict_turns_after_enough_opposite_results_in_a_row_and_not_before() {
        assert_eq!(verdicts(&[Passed, Failed, Failed]), [Health::Healthy]);
        assert_eq!(verdicts(&[Passed, Failed, Failed, Failed]), [Health::Healthy, Health::Unhealthy]);
        assert_eq!(verdicts(&[Failed, Passed]), [Health::Unhealthy]);
        assert_eq!(verdicts(&[Failed, Passed, Passed]), [Health::Unhealthy, Health::Healthy]);
    }

    #[test]
    fn a_result_that_agrees_starts_the_count_anew() {
        assert_eq!(verdicts(&[Passed, Failed, Failed, Passed, Failed, Failed, Passed]), [Health::Healthy]);
    }

    proptest! {
        #[test]
        fn the_verdict_is_unknown_only_before_the_first_result_and_each_turn_ends_a_full_row(
            results in proptest::collection::vec(prop_oneof![Just(Passed), Just(Failed)], 1..60),
            healthy_after in 0_u32..5,
            unhealthy_after in 0_u32..5,
        ) {
            let thresholds = Thresholds { healthy_after, unhealthy_after };
            let mut streak = Streak::new(Health::Unknown);
            for (i, result) in results.iter().enumerate() {
                let before = streak.health();
                if let Some(turned) = streak.record(*result, thresholds) {
                    prop_assert_eq!(turned, result.verdict());
                    prop_assert_ne!(turned, before);
                    let row = results[..=i].iter().rev().take_while(|r| *r == result).count();
                    let needed = match before {
                        Health::Unknown => 1,
                        Health::Unhealthy => healthy_after.max(1),
                        Health::Healthy => unhealthy_after.max(1),
                    };
                    prop_assert!(row >= needed as usize);
                } else {
                    prop_assert_eq!(streak.health(), before);
                }
                prop_assert_ne!(streak.health(), Health::Unknown);
            }
        }
    }
}
