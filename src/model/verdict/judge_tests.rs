//! The judge, tried on simulated rollouts: what it sees and how soon, what it leaves alone, and how it reads.

use jiff::SignedDuration;
use proptest::prelude::*;

use super::super::plan::{Bound, PrometheusGuard, QuantileLimit, Threshold};
use super::super::{Figures, Reading, Row, Said};
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

/// A mean that follows the baseline's, and nothing else.
fn slow() -> Guards {
    Guards { latency_mean: Some(Bound::AboveBaseline(0.5)), error_rate: None, ..errors() }
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
        let mut run = Self::before_the_first_step(guards, confidence, seed);
        run.step(percent);
        run
    }

    fn before_the_first_step(guards: &Guards, confidence: f64, seed: u64) -> Self {
        let (judge, rng) = (Judge::new(guards, confidence, 20), fastrand::Rng::with_seed(seed));
        let (look, since) = (nothing(), Default::default());
        Self { judge, rng, look, part: 0.0, attempts: 0, failures: 0, since }
    }

    fn step(&mut self, percent: f64) {
        self.part = percent / 100.0;
        self.judge.begin_step(self.look.at, share(percent));
    }

    /// The candidate has no users yet, and so many requests come to the baseline, a hundred a second.
    fn learn(&mut self, count: u64, baseline: Does) {
        self.part = 0.0;
        for request in 1..=count {
            self.attempt(GOOD, baseline);
            if request.is_multiple_of(100) {
                self.look.at += SignedDuration::from_secs(1);
                self.judge.learn(self.look.at, &std::mem::take(&mut self.since.1));
            }
        }
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

/// A rollout that has learnt from so many requests what the baseline is like, and then takes a step.
fn learnt(guards: &Guards, count: u64, baseline: Does, percent: f64, seed: u64) -> Run {
    let mut run = Run::before_the_first_step(guards, 0.999, seed);
    run.learn(count, baseline);
    run.step(percent);
    run
}

#[test]
fn who_is_dead_on_arrival_is_seen_as_soon_after_ten_minutes_without_users() {
    let failures = |seed| {
        let mut run = learnt(&usual(), 60_000, GOOD, TEN, seed);
        assert!(run.requests(1000, Does(1.0, 0.0), GOOD), "run {seed}");
        run.failures
    };
    let failures: Vec<_> = (0..100).map(failures).collect();
    let late = failures.iter().filter(|failures| **failures > 5).count();
    assert!(quantile(failures.clone(), 0.5) <= 4 && late <= 5, "{failures:?}");
}

#[test]
fn who_gets_everything_at_once_is_held_to_what_the_baseline_was_like_before() {
    for (seed, guards) in [0, 1].into_iter().flat_map(|seed| [usual(), slow()].map(|guards| (seed, guards))) {
        let usual = Does(0.001, 40.0);
        let mut good = learnt(&guards, 60_000, usual, 100.0, seed);
        assert!(!good.requests(20_000, usual, usual), "{:?}", good.judge.verdict());
        let mut slow = learnt(&guards, 60_000, usual, 100.0, seed);
        assert!(slow.requests(3000, Does(0.001, 80.0), usual), "{:?}", slow.judge.verdict());
    }
}

#[test]
fn one_failure_of_eight_at_the_baseline_does_not_excuse_every_other_attempt() {
    for seed in 0..20 {
        let mut run = Run::before_the_first_step(&errors(), 0.999, seed);
        run.judge.learn(run.look.at, &Figures { attempts: 8, failures: 1, ..Figures::default() });
        run.step(100.0);
        assert!(run.requests(2000, Does(0.5, 0.0), GOOD), "{:?}", run.row());
        assert!(run.failures <= 100, "{}", run.failures);
    }
}

#[test]
fn where_both_are_bad_who_gets_everything_at_once_is_left_alone() {
    for (seed, bad) in (0..30).flat_map(|seed| [0.08, 0.2, 0.6].map(|fails| (seed, Does(fails, 40.0)))) {
        let mut run = learnt(&usual(), 3000, bad, 100.0, seed);
        assert!(!run.requests(5000, bad, bad), "{:?}", run.judge.verdict());
    }
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

/// A judge with these guards, told of looks a second apart; gives the verdict after each.
fn told(guards: &Guards, looks: Vec<Look>) -> Vec<Vec<Row>> {
    let mut judge = Judge::new(guards, 0.999, 20);
    judge.begin_step(Timestamp::UNIX_EPOCH, share(TEN));
    let mut verdict = |(second, look): (i64, Look)| {
        judge.look(&Look { at: Timestamp::from_second(second).unwrap(), ..look });
        let verdict = judge.verdict();
        assert_eq!(judge.has_failed(), verdict.status == Status::Fail);
        verdict.rows
    };
    (1..).zip(looks).map(&mut verdict).collect()
}

fn statuses(verdicts: &[Vec<Row>]) -> Vec<Status> {
    verdicts.iter().map(|rows| rows[0].status).collect()
}

const fn none() -> Guards {
    Guards {
        error_rate: None,
        latency_quantiles: Vec::new(),
        latency_mean: None,
        websocket_success: None,
        unhealthy_for: None,
        connect_failures: u32::MAX,
        prometheus: Vec::new(),
        http: Vec::new(),
    }
}

#[test]
fn three_attempts_in_a_row_that_cannot_connect_are_a_hard_failure_and_fewer_are_none() {
    let looks = [0, 2, 0, 3].map(|connect_failures| Look { connect_failures, ..nothing() });
    let verdicts = told(&Guards { connect_failures: 3, ..none() }, looks.into());
    assert_eq!(statuses(&verdicts), [Status::Pass, Status::Pass, Status::Pass, Status::Fail]);
    let row = &verdicts[3][0];
    assert!(row.hard);
    assert_eq!(row.why, "3 attempts in a row could not connect to the candidate; 3 are too many");
}

#[test]
fn a_candidate_that_is_unhealthy_for_too_long_is_a_hard_failure_and_one_that_recovers_is_none() {
    let guards = Guards { unhealthy_for: Some(Duration::from_secs(3)), ..none() };
    let healthy = |healthy: &[bool]| {
        let look = |&candidate_is_healthy| Look { candidate_is_healthy, ..nothing() };
        statuses(&told(&guards, healthy.iter().map(look).collect())).pop().unwrap()
    };
    assert_eq!(healthy(&[true, false, false, false]), Status::Pass, "two seconds");
    assert_eq!(healthy(&[true, false, false, false, false]), Status::Fail);
    assert_eq!(healthy(&[true, false, false, true, false, false]), Status::Pass);
}

#[test]
fn a_process_that_stood_still_does_not_hold_the_time_against_the_candidate() {
    let guards = Guards { unhealthy_for: Some(Duration::from_secs(30)), ..none() };
    let mut judge = Judge::new(&guards, 0.999, 20);
    for second in [1, 2, 3600] {
        let at = Timestamp::from_second(second).unwrap();
        judge.look(&Look { at, candidate_is_healthy: false, ..nothing() });
    }
    assert!(!judge.has_failed(), "{:?}", judge.verdict());
}

/// A guard outside, and nothing else.
fn checkout() -> Guards {
    let prometheus = PrometheusGuard {
        name: "checkout".to_owned(),
        url: String::new(),
        query: String::new(),
        threshold: Threshold::Above(0.01),
        every: Duration::from_secs(15),
    };
    Guards { prometheus: vec![prometheus], connect_failures: u32::MAX, ..none() }
}

fn reading(said: Said, sample: Option<Timestamp>) -> Reading {
    Reading { guard: "checkout".to_owned(), said, sample }
}

#[test]
fn a_guard_outside_has_to_say_twice_in_a_row_what_is_bad_and_silence_is_neither() {
    let guards = checkout();
    let look = |said: Said| Look { readings: vec![reading(said, None)], ..nothing() };
    let said = [
        Said::Value(0.005),
        Said::Value(0.02),
        Said::Nothing("it could not be reached".to_owned()),
        Said::Value(0.02),
        Said::Value(f64::NAN),
        Said::Value(0.02),
        Said::Value(0.02),
    ];
    let verdicts = told(&guards, said.map(look).into());
    let rows: Vec<_> = verdicts.iter().map(|rows| rows.iter().find(|row| row.guard == "checkout").unwrap()).collect();
    let statuses: Vec<_> = rows.iter().map(|row| row.status.label()).collect();
    assert_eq!(statuses, ["pass", "undecided", "undecided", "undecided", "undecided", "undecided", "fail"]);
    assert_eq!(rows[1].why, "0.02 is above 0.01; once is not enough to go back");
    assert_eq!(rows[2].why, "it could not be reached");
}

/// What `checkout` says of these readings, one a second, in order.
fn says(readings: impl IntoIterator<Item = Option<Reading>>) -> Vec<&'static str> {
    let looks = readings.into_iter().map(|reading| Look { readings: reading.into_iter().collect(), ..nothing() });
    let row = |rows: &Vec<Row>| rows.iter().find(|row| row.guard == "checkout").unwrap().status.label();
    told(&checkout(), looks.collect()).iter().map(row).collect()
}

#[test]
fn the_same_sample_counts_once_however_often_it_is_told() {
    let told = |second: i64, figure| Some(reading(Said::Value(figure), Timestamp::from_second(second).ok()));
    assert_eq!(says([told(1, 0.5), told(1, 0.5), told(1, 0.5)]), ["undecided"; 3], "one stamp");
    assert_eq!(says([told(1, 0.5), told(1, 0.5), told(2, 0.6)]), ["undecided", "undecided", "fail"]);
    // Prometheus stamps what it has evaluated, not what it has scraped.
    let evaluated = says((1..=17).map(|second| told(second, 0.5)));
    assert_eq!((evaluated[14], evaluated[15]), ("undecided", "fail"), "after 15 seconds there was another scrape");
    let by_another_clock = says([told(1_000_000, 0.5), told(1_000_000, 0.5)]);
    assert_eq!(by_another_clock, ["undecided", "fail"]);
    assert_eq!(says([told(1, 0.0), told(1, 0.0)]), ["pass", "pass"]);
}

#[test]
fn a_guard_outside_that_falls_silent_takes_back_what_it_said() {
    let mut readings = vec![Some(reading(Said::Value(0.0), None))];
    readings.extend(vec![None; 40]);
    let said = says(readings);
    assert_eq!((said[30], said[31]), ("pass", "undecided"), "twice as long as from one question to the next");
    let bad = || Some(reading(Said::Value(0.5), None));
    let said = says([bad()].into_iter().chain(vec![None; 40]).chain([bad(), bad()]));
    assert_eq!(said[40..], ["undecided", "undecided", "fail"], "two in a row are needed again");
}

#[test]
fn what_a_guard_outside_said_of_a_step_is_no_answer_to_the_next_one() {
    let mut judge = Judge::new(&checkout(), 0.999, 20);
    judge.look(&Look { readings: vec![reading(Said::Value(0.0), None)], ..nothing() });
    assert_eq!(judge.verdict().status, Status::Pass);
    judge.begin_step(Timestamp::UNIX_EPOCH, share(TEN));
    assert_eq!(judge.verdict().status, Status::Undecided);
}

#[test]
fn websockets_that_nobody_asks_for_hold_nothing_up_and_refused_ones_fail() {
    let guards = Guards { websocket_success: Some(share(95.0)), ..none() };
    let look = |handshakes, handshakes_failed| Look {
        candidate: Figures { handshakes, handshakes_failed, ..Figures::default() },
        baseline: Figures { handshakes: 9 * handshakes, ..Figures::default() },
        ..nothing()
    };
    let verdicts = told(&guards, vec![look(0, 0), look(10, 1), look(10, 9), look(10, 9)]);
    assert_eq!(statuses(&verdicts), [Status::Pass, Status::Undecided, Status::Fail, Status::Fail]);
    assert_eq!(
        verdicts[3][0].why,
        "11 of 30 WebSocket handshakes succeeded (36.7 %), less than the limit of 95 % and than at the baseline (270 of \
         270, 100 %): certain to 99.9 %"
    );
}

/// So many answers at the candidate, each of which takes so many ms, beside nine times as many at the baseline.
fn answers(count: u64, ms: u64, baseline_ms: u64) -> Look {
    let of = |count: u64, ms: u64| {
        let mut durations = vec![0; BUCKETS];
        durations[histogram::bucket(ms * 1000)] = count;
        Figures { attempts: count, durations, ..Figures::default() }
    };
    Look { candidate: of(count, ms), baseline: of(9 * count, baseline_ms), ..nothing() }
}

#[test]
fn a_candidate_slower_than_the_limit_and_the_baseline_fails_by_its_percentile_and_by_its_mean() {
    let absolute = Bound::Above(Duration::from_millis(200));
    for (bound, limit) in [(absolute, "the limit of 200 ms"), (Bound::AboveBaseline(0.5), "(the baseline's and 50 %)")]
    {
        let quantile = vec![QuantileLimit { percent: 95, bound }];
        let guards = Guards { latency_quantiles: quantile, latency_mean: Some(bound), ..none() };
        let mut looks = vec![answers(10, 100, 100); 3];
        assert_eq!(statuses(&told(&guards, looks.clone())).pop(), Some(Status::Pass));
        looks.extend(vec![answers(10, 600, 100); 12]);
        let rows = told(&guards, looks).pop().unwrap();
        for row in rows.iter().take(2) {
            assert_eq!((row.status, row.unit, row.requests), (Status::Fail, "ms", 150), "{row:?}");
            assert!(row.why.contains(limit) && row.why.contains("certain to 99.9 %"), "{}", row.why);
        }
    }
}

#[test]
fn answers_slow_at_both_are_no_reason_to_go_back() {
    let bound = Bound::Above(Duration::from_millis(200));
    let quantile = vec![QuantileLimit { percent: 95, bound }];
    let guards = Guards { latency_quantiles: quantile, latency_mean: Some(bound), ..none() };
    let verdicts = told(&guards, vec![answers(50, 600, 600); 50]);
    assert_eq!(statuses(&verdicts).pop(), Some(Status::Undecided));
    let why = &verdicts[49][0].why;
    assert!(
        why.contains("the 95th percentile of 2500 answers is 6") && why.contains("but so is the baseline"),
        "{why}"
    );
}

#[test]
fn a_limit_that_follows_the_baseline_says_so_where_there_is_none() {
    let quantile = vec![QuantileLimit { percent: 95, bound: Bound::AboveBaseline(0.5) }];
    let mut judge = Judge::new(&Guards { latency_quantiles: quantile, ..none() }, 0.999, 20);
    judge.begin_step(Timestamp::UNIX_EPOCH, share(100.0));
    judge.look(&Look { baseline: Figures::default(), ..answers(100, 50, 50) });
    let row = judge.verdict().rows.swap_remove(0);
    assert_eq!((row.status, row.limit, row.needs), (Status::Undecided, None, 0));
    assert_eq!(row.why, "the limit follows the baseline, which has had no traffic in this rollout");
}

#[test]
fn guards_share_the_chance_of_a_false_alarm() {
    let fails_at = |guards: &Guards| Judge::new(guards, 0.999, 20).verdict().rows[0].fails_at;
    let (one, four) = (fails_at(&errors()), fails_at(&usual()));
    assert!((1000.0..1100.0).contains(&one) && (four / one - 4.0).abs() < 1e-6, "{one}, {four}");
}
