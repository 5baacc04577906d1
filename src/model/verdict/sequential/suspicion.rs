//! Whether a candidate has just been beyond its limit: no evidence, but a reason to look closely.
//!
//! It settles nothing; it says *when* to bet, from what is known before. A new epoch begins when it is raised, and then
//! every hundred trials, so that a fault is met by fresh capital however long all was well before.

/// It remembers about so many trials.
const MEMORY: f64 = 32.0;
/// Of a candidate with fewer trials than this nothing is known yet.
const NEW: f64 = 10.0;
/// While it lasts, an epoch begins after so many trials.
const EPOCH: u64 = 100;

/// An average that forgets, and its limit.
#[derive(Clone, Debug, Default)]
pub struct Suspicion {
    limit: f64,
    sum: f64,
    trials: f64,
    /// Trials since it was raised or an epoch began; `None` while it is not raised.
    since: Option<u64>,
    epoch_is_due: bool,
}

impl Suspicion {
    /// That the average is above this.
    #[must_use]
    pub fn above(limit: f64) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Another limit, from now on.
    pub fn set_limit(&mut self, limit: f64) {
        self.limit = limit;
    }

    /// So much in so many trials, the average of which must not be above the limit.
    pub fn observe(&mut self, sum: f64, trials: u64) {
        let kept = (-(trials as f64) / MEMORY).exp();
        self.sum = self.sum * kept + sum;
        self.trials = self.trials * kept + trials as f64;
        let is_above = self.sum > self.limit * self.trials;
        let before = self.since.map(|since| since.saturating_add(trials));
        self.epoch_is_due |= is_above && before.is_none_or(|since| since >= EPOCH);
        self.since = if is_above { Some(before.filter(|since| *since < EPOCH).unwrap_or(0)) } else { None };
    }

    /// Whether what comes next is to count: the candidate is above its limit, or so new that nothing is known.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.since.is_some() || self.trials < NEW
    }

    /// Whether an epoch is to begin ahead of what comes next. It is asked once.
    pub fn takes_epoch(&mut self) -> bool {
        std::mem::take(&mut self.epoch_is_due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_raised_by_failures_and_lowered_by_what_goes_well() {
        let mut suspicion = Suspicion::above(0.05);
        assert!(suspicion.is_raised(), "nothing is known yet");
        suspicion.observe(0.0, 100);
        assert!(!suspicion.is_raised() && !suspicion.takes_epoch());
        suspicion.observe(5.0, 10);
        assert!(suspicion.is_raised());
        assert!(suspicion.takes_epoch() && !suspicion.takes_epoch(), "it is asked once");
        suspicion.observe(1.0, 100);
        assert!(!suspicion.is_raised());
    }

    #[test]
    fn while_it_lasts_an_epoch_begins_every_hundred_trials() {
        let mut suspicion = Suspicion::above(0.05);
        let epochs = (0..1000).filter(|_| {
            suspicion.observe(0.5, 1);
            suspicion.takes_epoch()
        });
        assert_eq!(epochs.count(), 10);
    }
}
