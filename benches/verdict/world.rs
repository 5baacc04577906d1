//! A rollout without anything but its figures: requests come, are given to candidate or baseline, and end somehow.

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use pointsman::model::histogram::BUCKETS;
use pointsman::model::split::Share;
use pointsman::model::verdict::{Figures, Look};

use super::dice::Manner;

/// A part of a rollout.
#[derive(Clone)]
pub(crate) struct Phase {
    pub(crate) seconds: u64,
    /// The candidate's, in per cent.
    pub(crate) share: f64,
    pub(crate) candidate: Manner,
    pub(crate) baseline: Manner,
    /// Whether a step of the rollout begins here.
    pub(crate) is_step: bool,
}

/// When somebody looks.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Looks {
    /// Each second.
    Seconds,
    /// Each second, and after each failed attempt at the candidate.
    Failures,
    /// Each minute, and each second in which something came.
    Minutes,
}

/// Traffic, and what is made of it.
pub(crate) struct World {
    pub(crate) phases: Vec<Phase>,
    pub(crate) requests_a_second: f64,
    pub(crate) looks: Looks,
    /// What counts as bad for users: failed, or in a later bucket than this.
    pub(crate) late_after: usize,
    /// From when on what happens is counted.
    pub(crate) counts_from: u64,
    pub(crate) failing: Failing,
}

/// How attempts at the candidate fail.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Failing {
    /// It answers 500.
    Answers,
    /// It cannot be connected to.
    Connections,
}

/// Who decides.
pub(crate) trait Judging {
    /// What the baseline does while the candidate has no users.
    fn learn(&mut self, at: Timestamp, baseline: &Figures);
    fn begin_step(&mut self, at: Timestamp, share: Share);
    /// Whether it rolls back.
    fn look(&mut self, look: &Look) -> bool;
}

/// What came out.
#[derive(Clone, Copy, Default)]
pub(crate) struct Outcome {
    pub(crate) rolled_back: bool,
    /// Until then, or until the end, from when the fault began.
    pub(crate) seconds: u64,
    pub(crate) requests: u64,
    pub(crate) bad: u64,
}

/// A rollout on its way.
struct Run<'a> {
    judging: &'a mut dyn Judging,
    look: Look,
    outcome: Outcome,
    world: &'a World,
    users: Users,
}

/// Whether the candidate has any.
#[derive(Clone, Copy)]
enum Users {
    None,
    Some,
}

fn nothing() -> Figures {
    Figures { durations: vec![0; BUCKETS], ..Figures::default() }
}

impl Run<'_> {
    fn attempt(&mut self, phase: &Phase, bits: u64, share: u64) -> bool {
        let at_candidate = bits >> 44 < share;
        let manner = if at_candidate { &phase.candidate } else { &phase.baseline };
        let drawn = manner.draw(bits);
        let figures = if at_candidate { &mut self.look.candidate } else { &mut self.look.baseline };
        figures.attempts += 1;
        figures.failures += u64::from(drawn.failed);
        let connected = !drawn.failed || !at_candidate || self.world.failing == Failing::Answers;
        figures.durations[drawn.bucket] += u64::from(connected);
        if at_candidate {
            self.look.connect_failures = if connected { 0 } else { self.look.connect_failures + 1 };
        }
        // One in sixteen asks for a WebSocket.
        if bits.is_multiple_of(16) {
            figures.handshakes += 1;
            figures.handshakes_failed += u64::from(drawn.failed);
        }
        if at_candidate && self.outcome.seconds >= self.world.counts_from {
            self.outcome.requests += 1;
            self.outcome.bad += u64::from(drawn.failed || drawn.bucket > self.world.late_after);
        }
        at_candidate && drawn.failed
    }

    fn is_over(&mut self) -> bool {
        match self.users {
            Users::None => self.judging.learn(self.look.at, &self.look.baseline),
            Users::Some => self.outcome.rolled_back = self.judging.look(&self.look),
        }
        for figures in [&mut self.look.candidate, &mut self.look.baseline] {
            figures.durations.fill(0);
            *figures = Figures { durations: std::mem::take(&mut figures.durations), ..Figures::default() };
        }
        self.outcome.rolled_back
    }

    fn end(&self) -> Outcome {
        Outcome { seconds: self.outcome.seconds.saturating_sub(self.world.counts_from), ..self.outcome }
    }

    /// Whether it is over.
    fn second(&mut self, phase: &Phase, share: u64, rng: &mut Rng) -> bool {
        let world = self.world;
        let (whole, rest) = (world.requests_a_second.trunc(), world.requests_a_second.fract());
        let count = whole as u64 + u64::from(rng.f64() < rest);
        for _ in 0..count {
            let failed = self.attempt(phase, rng.u64(..), share);
            if failed && world.looks == Looks::Failures && self.is_over() {
                return true;
            }
        }
        let skips = world.looks == Looks::Minutes && count == 0 && !self.outcome.seconds.is_multiple_of(60);
        self.look.at += SignedDuration::from_secs(1);
        self.outcome.seconds += 1;
        !skips && self.is_over()
    }
}

impl World {
    /// One rollout.
    pub(crate) fn run(&self, seed: u64, judging: &mut dyn Judging) -> Outcome {
        let mut rng = Rng::with_seed(seed);
        let look = Look {
            at: Timestamp::UNIX_EPOCH,
            candidate: nothing(),
            baseline: nothing(),
            candidate_is_healthy: true,
            connect_failures: 0,
            readings: Vec::new(),
        };
        let mut run = Run { judging, look, outcome: Outcome::default(), world: self, users: Users::None };
        for phase in &self.phases {
            run.users = if phase.share > 0.0 { Users::Some } else { Users::None };
            if phase.is_step {
                let share = Share::from_percent(phase.share).expect("a share of this file");
                run.judging.begin_step(run.look.at, share);
            }
            let share = (phase.share / 100.0 * (1_u64 << 20) as f64).round() as u64;
            for _ in 0..phase.seconds {
                if run.second(phase, share, &mut rng) {
                    return run.end();
                }
            }
        }
        run.end()
    }
}
