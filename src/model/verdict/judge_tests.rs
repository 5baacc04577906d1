use jiff::SignedDuration;
use proptest::prelude::*;

use super::super::plan::{Bound, QuantileLimit};
use super::super::{Figures, Row};
use super::*;
use crate::model::histogram::{self, BUCKETS};

const TEN: f64 = 10.0;

fn share(percent: f64) -> Share {
    Share::from_percent(percent).unwrap()
}

/// 5 % of errors and nothing else.
fn errors() -> Guards {
    Guards { unhealthy_for: None, ..Guards::default() }
}

/// What an ordinary plan asks for.
fn usual() -> Guards {
    Guards {
        latency_quantiles: vec![QuantileLimit { percent: 95, bound: Bound::AboveBaseline(0.5) }],
        latency_mean: Some(Bound::Above(Duration::from_secs(5))),
        websocket_success: Some(share(95.0)),
        ..Guards::default()
    }
}

/// How a group does: the fraction that fails, and the median of its lognormal durations in ms (0: no durations).
#[derive(Clone, Copy)]
struct Does(f64, f64);

const GOOD: Does = Does(0.001, 0.0);

/// A rollout that is looked at each second, and after each failed attempt.
struct Run {
    judge: Judge,
    rng: fastrand::Rng,
    look: Look,
    part: f64,
    attempts: u64,
    failures: u64,
    /// The attempts at candidate and baseline since then.
    since: (Figures, Figures),
}

fn nothing() -> Look {
    Look {
        at: Timestamp::UNIX_EPOCH,
        candidate: Figures::default(),
        baseline: Figures::default(),
        candidate_is_healthy: true,
        connect_failures: 0,
        readings: Vec::new(),
    }
}

/// Normal, near enough.
fn normal(rng: &mut fastrand::Rng) -> f64 {
    (0..12).map(|_| rng.f64()).sum::<f64>() - 6.0
}

impl Run {
    fn new(guards: &Guards, confidence: f64, percent: f64, seed: u64) -> Self {
        let (judge, rng) = (Judge::new(guards, confidence, 20), fastrand::Rng::with_seed(seed));
        let (look, since) = (nothing(), Default::default());
        let mut run = Self { judge, rng, look, part: 0.0, attempts: 0, failures: 0, since };
        run.step(percent);
        run
    }

    fn step(&mut self, percent: f64) {
        self.part = percent / 100.0;
        self.judge.begin_step(self.look.at, share(percent));
    }

    /// Whether it has failed.
    fn look(&mut self) -> bool {
        (self.look.candidate, self.look.baseline) = std::mem::take(&mut self.since);
        self.judge.look(&self.look);
        self.judge.has_failed()
    }

    fn attempt(&mut self, candidate: Does, baseline: Does) -> bool {
        let at_candidate = self.rng.f64() < self.part;
        let Does(fails, median) = if at_candidate { candidate } else { baseline };
        let failed = self.rng.f64() < fails;
        let figures = if at_candidate { &mut self.since.0 } else { &mut self.since.1 };
        figures.attempts += 1;
        figures.failures += u64::from(failed);
        if median > 0.0 {
            figures.durations.resize(BUCKETS, 0);
            let micros = median * 1e3 * (normal(&mut self.rng) / 2.0).exp();
            figures.durations[histogram::bucket(micros as u64)] += 1;
        }
        self.attempts += u64::from(at_candidate);
        self.failures += u64::from(at_candidate && failed);
        at_candidate && failed
    }

    /// So many requests, a hundred a second, or until it fails; whether it does.
    fn requests(&mut self, count: u64, candidate: Does, baseline: Does) -> bool {
        for request in 1..=count {
            let failed = self.attempt(candidate, baseline);
            let is_second = request.is_multiple_of(100);
            if is_second {
                self.look.at += SignedDuration::from_secs(1);
            }
            if (failed || is_second) && self.look() {
                return true;
            }
        }
        false
    }

    fn row(&self) -> Row {
        self.judge.verdict().rows.swap_remove(0)
    }
}

/// The smallest value that at least this part of all does not exceed.
fn quantile(mut values: Vec<u64>, q: f64) -> u64 {
    values.sort_unstable();
    values[((values.len() as f64 * q).ceil() as usize).max(1) - 1]
}

/// Failed attempts and attempts at the candidate when each of so many runs has failed.
fn until_failure(runs: u64, guards: &Guards, candidate: Does, baseline: Does) -> (Vec<u64>, Vec<u64>) {
    let run = |seed| {
        let mut run = Run::new(guards, 0.999, TEN, seed);
        assert!(run.requests(40_000, candidate, baseline), "run {seed} has not failed");
        (run.failures, run.attempts)
    };
    (0..runs).map(run).unzip()
}

#[test]
fn a_dead_candidate_is_seen_after_five_failed_attempts() {
    let (failures, _) = until_failure(1000, &usual(), Does(1.0, 0.0), GOOD);
    let late = failures.iter().filter(|failures| **failures > 5).count();
    // Some have five attempts before the baseline has had ten: nobody could be certain yet.
    assert!(late <= 50 && quantile(failures, 1.0) <= 8, "{late} of 1000");
}

#[test]
fn a_candidate_of_which_30_percent_fail_is_seen_after_twelve_failed_attempts() {
    let (failures, _) = until_failure(500, &usual(), Does(0.3, 0.0), GOOD);
    assert!(quantile(failures.clone(), 0.5) <= 12 && quantile(failures.clone(), 0.95) <= 25, "{failures:?}");
}

#[test]
fn twice_the_limit_is_seen_within_two_thousand_requests() {
    let (_, attempts) = until_failure(200, &usual(), Does(0.1, 0.0), GOOD);
    assert!(quantile(attempts.clone(), 1.0) <= 2000, "{attempts:?}");
}

#[test]
fn a_doubled_p95_is_seen_within_three_hundred_requests() {
    let (_, attempts) = until_failure(101, &usual(), Does(0.001, 80.0), Does(0.001, 40.0));
    assert!(quantile(attempts.clone(), 0.5) <= 300, "{attempts:?}");
}

#[test]
fn a_candidate_as_good_as_the_baseline_is_left_alone_however_bad_both_are() {
    for (fails, limit) in [(0.001, 5.0), (0.02, 5.0), (0.08, 5.0), (0.02, 1.0)] {
        let guards = Guards { error_rate: Some(share(limit)), ..errors() };
        for seed in 0..100 {
            let mut run = Run::new(&guards, 0.999, TEN, seed);
            for percent in [TEN, 50.0, 100.0, 100.0] {
                run.step(percent);
                assert!(!run.requests(2000, Does(fails, 0.0), Does(fails, 0.0)), "{fails}, run {seed}, at {percent} %");
            }
        }
    }
}

#[test]
fn a_candidate_at_its_limit_fails_no_more_often_than_the_confidence_allows() {
    let fails = |seed| Run::new(&errors(), 0.8, 50.0, seed).requests(4000, Does(0.05, 0.0), Does(0.0, 0.0));
    let failed = (0..300).filter(|seed| fails(*seed)).count();
    // 60 are allowed; none at all would mean that nothing was tested.
    assert!((1..=60).contains(&failed), "{failed} of 300");
}

#[test]
fn a_candidate_like_a_baseline_beyond_the_limit_fails_no_more_often_than_the_confidence_allows() {
    let guards = Guards { error_rate: Some(share(1.0)), ..errors() };
    let fails = |seed| Run::new(&guards, 0.8, 50.0, seed).requests(4000, Does(0.2, 0.0), Does(0.2, 0.0));
    let failed = (0..100).filter(|seed| fails(*seed)).count();
    assert!((1..=20).contains(&failed), "{failed} of 100");
}

#[test]
fn twelve_requests_an_hour_give_no_false_verdict_in_a_week() {
    for seed in 0..5 {
        let mut run = Run::new(&usual(), 0.999, TEN, seed);
        for minute in 0..7 * 24 * 60_u64 {
            if minute.is_multiple_of(5) {
                run.attempt(GOOD, GOOD);
            }
            run.look.at += SignedDuration::from_secs(60);
            assert!(!run.look(), "seed {seed}, minute {minute}");
        }
    }
}

#[test]
fn without_traffic_there_is_no_verdict() {
    let mut run = Run::new(&errors(), 0.999, TEN, 1);
    assert!(!run.look());
    let row = run.row();
    assert_eq!((row.status, row.needs, row.needs_seconds), (Status::Undecided, 20, None));
    assert_eq!(row.why, "nothing has come to the candidate in this step, which is neither good nor bad");
}

#[test]
fn when_both_go_down_together_nothing_fails_and_the_candidate_passes_once_it_is_over() {
    let down = Does(0.7, 0.0);
    let mut run = Run::new(&errors(), 0.999, 50.0, 3);
    assert!(!run.requests(5000, GOOD, GOOD));
    assert!(!run.requests(5000, down, down));
    let row = run.row();
    assert_eq!((row.status, row.needs), (Status::Undecided, 0));
    assert!(row.why.contains("going back would not help"), "{}", row.why);
    assert!(!run.requests(5000, GOOD, GOOD));
    run.step(50.0);
    assert!(!run.requests(1000, GOOD, GOOD));
    assert_eq!(run.row().status, Status::Pass);
}

#[test]
fn a_candidate_that_stays_down_when_the_baseline_is_up_again_fails() {
    let down = Does(0.7, 0.0);
    let mut run = Run::new(&errors(), 0.999, 50.0, 3);
    assert!(!run.requests(3000, down, down));
    let before = run.failures;
    assert!(run.requests(3000, down, GOOD));
    assert!(run.failures - before <= 60, "{}", run.failures - before);
}

#[test]
fn a_fault_that_begins_late_is_seen_as_well() {
    let mut run = Run::new(&usual(), 0.999, TEN, 5);
    for percent in [TEN, 50.0, 100.0] {
        run.step(percent);
        assert!(!run.requests(8000, GOOD, GOOD));
    }
    let before = run.failures;
    assert!(run.requests(2000, Does(0.3, 0.0), GOOD));
    assert!(run.failures - before <= 30, "{}", run.failures - before);
}

#[test]
fn a_candidate_without_a_baseline_is_held_to_its_limit_alone() {
    let mut good = Run::new(&errors(), 0.999, 100.0, 6);
    assert!(!good.requests(3000, Does(0.03, 0.0), GOOD));
    assert_eq!(good.row().status, Status::Pass);
    let mut bad = Run::new(&errors(), 0.999, 100.0, 6);
    assert!(bad.requests(3000, Does(0.3, 0.0), GOOD));
    assert!(bad.failures <= 25, "{}", bad.failures);
}

#[test]
fn at_100_percent_a_candidate_may_be_as_bad_as_the_baseline_was() {
    let mut run = Run::new(&errors(), 0.999, 50.0, 7);
    let bad = Does(0.1, 0.0);
    assert!(!run.requests(6000, bad, bad));
    run.step(100.0);
    assert!(!run.requests(6000, bad, bad));
    assert!(run.requests(6000, Does(0.4, 0.0), bad));
}

#[test]
fn many_attempts_between_two_looks_count_as_if_they_had_come_one_by_one() {
    let look = |at, candidate: (u64, u64), baseline: (u64, u64)| Look {
        at: Timestamp::from_second(at).unwrap(),
        candidate: Figures { attempts: candidate.0, failures: candidate.1, ..Figures::default() },
        baseline: Figures { attempts: baseline.0, failures: baseline.1, ..Figures::default() },
        ..nothing()
    };
    let mut judge = Judge::new(&errors(), 0.999, 20);
    judge.begin_step(Timestamp::UNIX_EPOCH, share(50.0));
    for minute in 1..10 {
        judge.look(&look(60 * minute, (100_000, 8_050), (100_000, 7_950)));
        assert!(!judge.has_failed(), "minute {minute}");
    }
    judge.look(&look(600, (100_000, 30_000), (100_000, 100)));
    assert!(judge.has_failed());
}

#[test]
fn a_clock_that_goes_back_changes_no_verdict_and_makes_no_time_absurd() {
    let run = |jumps: bool| {
        let mut run = Run::new(&usual(), 0.999, TEN, 8);
        (0..40).for_each(|n| {
            run.requests(100, Does(0.09, 0.0), GOOD);
            if jumps && n % 7 == 3 {
                run.look.at -= SignedDuration::from_hours(5);
            }
        });
        (run.failures, run.judge.verdict())
    };
    let (straight, jumping) = (run(false), run(true));
    assert_eq!(straight.0, jumping.0);
    for (one, other) in straight.1.rows.iter().zip(&jumping.1.rows) {
        assert_eq!((&one.guard, one.status, &one.why), (&other.guard, other.status, &other.why));
        assert!(other.needs_seconds.is_none_or(|seconds| (0.0..=7.0 * 86_400.0).contains(&seconds)), "{other:?}");
    }
}

#[test]
fn a_verdict_reads_well() {
    let mut run = Run::new(&errors(), 0.999, TEN, 0);
    let mut told = |candidate: (u64, u64), baseline: (u64, u64)| {
        run.look.at += SignedDuration::from_secs(10);
        run.since.0 = Figures { attempts: candidate.0, failures: candidate.1, ..Figures::default() };
        run.since.1 = Figures { attempts: baseline.0, failures: baseline.1, ..Figures::default() };
        run.look();
        run.row().why
    };
    assert_eq!(
        told((7, 0), (63, 1)),
        "0 of 7 attempts failed (0 %), within the limit of 5 %, but 13 more have to come before that counts"
    );
    assert_eq!(
        told((13, 1), (117, 0)),
        "1 of 20 attempts failed (5 %), within the limit of 5 %; the baseline: 1 of 180, 0.56 %"
    );
    assert_eq!(
        told((10, 2), (90, 0)),
        "3 of 30 attempts failed (10 %), more than the limit of 5 %, but that may still be chance; the baseline: 1 of 270, \
         0.37 %"
    );
    told((10, 8), (90, 0));
    assert_eq!(
        told((10, 8), (90, 0)),
        "19 of 50 attempts failed (38 %), more than the limit of 5 % and than at the baseline (1 of 450, 0.22 %): certain \
         to 99.9 %"
    );
}

#[test]
fn what_is_needed_is_an_estimate_that_comes_true() {
    let mut run = Run::new(&errors(), 0.999, TEN, 9);
    let bad = Does(0.12, 0.0);
    run.requests(1000, bad, GOOD);
    let row = run.row();
    assert_eq!(row.status, Status::Undecided);
    assert!((20..2000).contains(&row.needs), "{row:?}");
    // Ten attempts a second.
    let seconds = row.needs_seconds.unwrap();
    assert!((seconds * 10.0 / row.needs as f64 - 1.0).abs() < 0.3, "{row:?}");
    let before = run.attempts;
    assert!(run.requests(40_000, bad, GOOD));
    let needed = run.attempts - before;
    assert!(needed < 4 * row.needs && 4 * needed > row.needs, "{needed}, not {}", row.needs);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Counters that were reset, clocks that were set, figures that contradict each other: no panic, nothing infinite.
    #[test]
    fn whatever_is_seen_a_verdict_has_figures_that_can_be_shown(
        looks in proptest::collection::vec(
            (any::<[u64; 4]>(), any::<[u32; 4]>(), 0..BUCKETS + 3, -1_000_000_i64..1_000_000, 0..4_u8), 1..12),
    ) {
        let mut judge = Judge::new(&usual(), 0.999, 20);
        judge.begin_step(Timestamp::UNIX_EPOCH, share(TEN));
        for (huge, small, long, at, kind) in looks {
            let [a, b, c, d] = if kind == 0 { huge } else { small.map(u64::from) };
            let of = |attempts, failures| Figures {
                attempts,
                failures,
                durations: (0..long as u64).map(|n| a.rotate_left(n as u32) >> (kind * 16)).collect(),
                handshakes: failures,
                handshakes_failed: attempts,
            };
            let at = Timestamp::from_second(at).unwrap();
            let mut candidate = of(a, b);
            if kind == 3 {
                candidate.add(&of(c, d));
                judge.begin_step(at, share(if a % 2 == 0 { 100.0 } else { TEN }));
            }
            judge.look(&Look { at, candidate, baseline: of(c, d), connect_failures: small[0] % 5, ..nothing() });
            for row in judge.verdict().rows {
                let figures = [row.candidate, row.baseline, row.limit, row.needs_seconds];
                prop_assert!(figures.into_iter().flatten().all(f64::is_finite), "{row:?}");
                prop_assert!(row.evidence.is_finite() && row.fails_at.is_finite() && row.evidence >= 0.0, "{row:?}");
                prop_assert!(row.needs <= 1_000_000 && !row.why.contains("NaN") && !row.why.contains("inf"), "{row:?}");
            }
        }
    }
}
