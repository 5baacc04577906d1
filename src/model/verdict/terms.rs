//! What a guard that judges by statistics is held to, and how fast its requests come.

use std::time::Duration;

use jiff::Timestamp;

/// Evidence is kept up to so many times (as a logarithm) what settles the matter: see
/// [`super::sequential::mixture`].
const BEYOND: f64 = 5.0;
/// Of a guard's chance of a false alarm, the part that is kept for the bound of what the baseline has shown.
const FOR_BOUNDS: f64 = 1.0 / 16.0;
/// A chance below this is not told from none.
const LEAST_CHANCE: f64 = 1e-12;
/// The rate of about so long ago counts.
const RECENTLY: f64 = 60.0;
/// Fewer attempts than this do not make a rate.
const FEW: f64 = 5.0;
/// Nobody waits for longer than this.
const FORESEEABLE: f64 = 7.0 * 86_400.0;

/// What a guard that judges by statistics is held to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// The logarithm of the evidence at which it fails.
    pub fails_at: f64,
    /// The certainty of bounds, as a logarithm.
    pub bounds_at: f64,
    /// That of all guards together, for people.
    pub confidence: f64,
    /// It does not pass without so many requests in the step.
    pub min_requests: u64,
}

impl Terms {
    /// So many guards share the chance that this confidence leaves.
    pub(super) fn new(confidence: f64, guards: usize, min_requests: u64) -> Self {
        let chance = if confidence.is_nan() { LEAST_CHANCE } else { (1.0 - confidence).clamp(LEAST_CHANCE, 1.0) };
        let chance = chance / guards.max(1) as f64;
        Self {
            fails_at: -(chance * (1.0 - FOR_BOUNDS)).ln(),
            bounds_at: -(chance * FOR_BOUNDS).ln(),
            confidence,
            min_requests,
        }
    }

    /// Where evidence stops growing.
    pub(super) fn ceiling(self) -> f64 {
        self.fails_at + BEYOND
    }
}

/// Whether the baseline has a share too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Company {
    /// It has.
    Beside,
    /// It has not: the candidate has everything.
    Alone,
}

/// The time from look to look. A clock that jumps does not make much of it.
#[derive(Clone, Debug)]
pub(super) struct Elapsed {
    last: Option<Timestamp>,
    at_most: Duration,
}

impl Elapsed {
    /// Of which no more than this counts each time.
    pub(super) fn new(at_most: Duration) -> Self {
        Self { last: None, at_most }
    }

    /// Since the last look: nothing at the first one, nor when the clock went back.
    pub(super) fn since(&mut self, at: Timestamp) -> Duration {
        let last = self.last.replace(at);
        let passed = last.and_then(|last| Duration::try_from(at.duration_since(last)).ok());
        passed.unwrap_or_default().min(self.at_most)
    }
}

/// How fast attempts come to the candidate.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    recent: Flow,
    step: Flow,
}

/// So many attempts in so many seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    attempts: f64,
    seconds: f64,
}

impl Pace {
    pub(super) fn observe(&mut self, attempts: u64, passed: Duration) {
        let (attempts, seconds) = (attempts as f64, passed.as_secs_f64());
        let kept = (-seconds / RECENTLY).exp();
        self.recent =
            Flow { attempts: self.recent.attempts * kept + attempts, seconds: self.recent.seconds * kept + seconds };
        self.step = Flow { attempts: self.step.attempts + attempts, seconds: self.step.seconds + seconds };
    }

    pub(super) fn begin_step(&mut self) {
        self.step = Flow::default();
    }

    /// How long it takes until so many more of a guard's requests have come, of which so many came in this step.
    /// `None` where that cannot be said, or is more than a week.
    pub(super) fn seconds(&self, needs: u64, requests: u64) -> Option<f64> {
        let flow = if self.recent.attempts >= FEW { self.recent } else { self.step };
        if needs == 0 || requests == 0 || flow.attempts <= 0.0 || flow.seconds <= 0.0 || self.step.attempts <= 0.0 {
            return None;
        }
        let seconds = needs as f64 * flow.seconds / flow.attempts * (self.step.attempts / requests as f64);
        (seconds <= FORESEEABLE).then_some(seconds)
    }
}
