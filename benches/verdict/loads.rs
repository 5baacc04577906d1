//! The loads: what candidate and baseline do in each, for how long, and how many rollouts of it are run.

use pointsman::model::histogram::{self, BUCKETS};

use super::dice::{Manner, lognormal};
use super::judges::guards;
use super::world::{Failing, Looks, Phase, World};
use pointsman::model::verdict::plan::Guards;

/// So many scales of durations, within one power of two: where a bound falls within its bucket matters.
const SCALES: usize = 8;

/// One kind of rollout.
pub(crate) struct Load {
    pub(crate) name: &'static str,
    pub(crate) runs: u64,
    pub(crate) guards: Guards,
    /// One for each scale of durations.
    pub(crate) worlds: Vec<World>,
    /// What a poll takes for the highest 95th percentile, in each world: half as long again as the baseline's.
    pub(crate) p95: Vec<f64>,
    /// Whether a rollback is right.
    pub(crate) is_bad: bool,
}

/// How durations are spread.
#[derive(Clone, Copy)]
enum Shape {
    Lognormal(f64),
    Exponential,
    /// A tenth takes ten times as long.
    TwoHumps,
}

impl Shape {
    fn within(self, scale: f64) -> Box<dyn Fn(f64) -> f64> {
        match self {
            Self::Lognormal(sigma) => Box::new(lognormal(scale, sigma)),
            Self::Exponential => Box::new(move |micros| 1.0 - (-micros / scale).exp()),
            Self::TwoHumps => {
                let (many, few) = (lognormal(scale, 0.4), lognormal(10.0 * scale, 0.4));
                Box::new(move |micros| 0.9 * many(micros) + 0.1 * few(micros))
            }
        }
    }

    fn p95(self, scale: f64) -> f64 {
        let within = self.within(scale);
        let (mut low, mut high) = (1.0, 1e9);
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            if within(middle) < 0.95 { low = middle } else { high = middle }
        }
        low
    }
}

/// What a group does: fails so often, and takes so many times as long as it should.
#[derive(Clone, Copy)]
struct Does {
    fails: f64,
    slower: f64,
}

const fn fails(fails: f64) -> Does {
    Does { fails, slower: 1.0 }
}

const fn slower(slower: f64) -> Does {
    Does { fails: 0.001, slower }
}

/// Seconds, share, candidate, baseline; and whether it is a step.
type Sketch = (u64, f64, Does, Does, bool);

struct Plan {
    name: &'static str,
    runs: u64,
    requests_a_second: f64,
    looks: Looks,
    shape: Shape,
    is_bad: bool,
    counts_from: u64,
    failing: Failing,
    phases: Vec<Sketch>,
}

impl Plan {
    fn load(self) -> Load {
        let scales: Vec<f64> = (0..SCALES).map(|n| 20_000.0 * (n as f64 / SCALES as f64).exp2()).collect();
        let p95: Vec<f64> = scales.iter().map(|&scale| 1.5 * self.shape.p95(scale)).collect();
        let is_about_time = self.phases.iter().any(|(_, _, does, _, _)| does.slower > 1.0);
        let worlds = scales.iter().zip(&p95).map(|(&scale, &p95)| World {
            phases: self.phases.iter().map(|sketch| self.phase(*sketch, scale)).collect(),
            requests_a_second: self.requests_a_second,
            looks: self.looks,
            counts_from: self.counts_from,
            failing: self.failing,
            late_after: if is_about_time { histogram::bucket(p95 as u64) } else { BUCKETS },
        });
        Load { worlds: worlds.collect(), name: self.name, runs: self.runs, guards: guards(), p95, is_bad: self.is_bad }
    }

    fn phase(&self, (seconds, share, candidate, baseline, is_step): Sketch, scale: f64) -> Phase {
        let manner = |does: Does| Manner::new(does.fails, self.shape.within(scale * does.slower));
        Phase { seconds, share, candidate: manner(candidate), baseline: manner(baseline), is_step }
    }
}

const GOOD: Does = fails(0.001);
const USUAL: Shape = Shape::Lognormal(0.5);

/// 10, 25, 50, 100 % and the bake, each of so many seconds.
fn steps(seconds: u64, candidate: Does, baseline: Does) -> Vec<Sketch> {
    [10.0, 25.0, 50.0, 100.0, 100.0].map(|share| (seconds, share, candidate, baseline, true)).into()
}

/// A candidate that is bad from the start.
fn bad(name: &'static str, runs: u64, shape: Shape, does: Does, requests_a_second: f64) -> Plan {
    Plan {
        name,
        runs,
        requests_a_second,
        looks: Looks::Failures,
        shape,
        is_bad: true,
        counts_from: 0,
        failing: Failing::Answers,
        phases: steps(600, does, GOOD),
    }
}

/// A candidate that is as good as the baseline: 100,000 requests in 1,000 seconds.
fn good(name: &'static str, runs: u64, does: Does, looks: Looks) -> Plan {
    Plan { looks, is_bad: false, phases: steps(200, does, does), ..bad(name, runs, USUAL, does, 100.0) }
}

/// Everything that is run; `part` of the rollouts.
pub(crate) fn all(part: f64) -> Vec<Load> {
    let worse = fails(0.005);
    let week = 7 * 86_400 / 5;
    let outage = |does| {
        vec![
            (600, 10.0, does, GOOD, true),
            (600, 50.0, does, GOOD, true),
            (300, 50.0, fails(0.3), fails(0.3), false),
            (300, 50.0, does, GOOD, false),
        ]
    };
    let late = vec![
        (600, 10.0, GOOD, GOOD, true),
        (600, 25.0, GOOD, GOOD, true),
        (600, 50.0, GOOD, GOOD, true),
        (600, 100.0, GOOD, GOOD, true),
        (400, 100.0, GOOD, GOOD, true),
        (3000, 100.0, fails(0.3), GOOD, false),
    ];
    // A minute without users, and then everybody at once.
    let at_once = |does, baseline| vec![(60, 0.0, GOOD, baseline, false), (600, 100.0, does, baseline, true)];
    let plans = vec![
        bad("30 % fail", 2000, USUAL, fails(0.3), 100.0),
        bad("30 % fail, 1,000 a second", 500, USUAL, fails(0.3), 1000.0),
        bad("30 % fail, 1 a second", 1000, USUAL, fails(0.3), 1.0),
        bad("all fail", 1000, USUAL, fails(1.0), 100.0),
        Plan { failing: Failing::Connections, ..bad("no connection", 1000, USUAL, fails(1.0), 100.0) },
        bad("10 % fail", 2000, USUAL, fails(0.1), 100.0),
        Plan { phases: late, counts_from: 2800, ..bad("30 % fail, after 47 min, at 100 %", 200, USUAL, GOOD, 100.0) },
        Plan {
            phases: at_once(fails(0.3), GOOD),
            counts_from: 60,
            ..bad("30 % fail, straight to 100 %", 1000, USUAL, GOOD, 100.0)
        },
        Plan {
            phases: at_once(slower(2.0), GOOD),
            counts_from: 60,
            ..bad("p95 doubled, straight to 100 %", 1000, USUAL, GOOD, 100.0)
        },
        bad("p95 doubled", 2000, USUAL, slower(2.0), 100.0),
        bad("p95 doubled, lognormal σ = 0.25", 1000, Shape::Lognormal(0.25), slower(2.0), 100.0),
        bad("p95 doubled, lognormal σ = 1", 1000, Shape::Lognormal(1.0), slower(2.0), 100.0),
        bad("p95 doubled, exponential", 1000, Shape::Exponential, slower(2.0), 100.0),
        bad("p95 doubled, two humps", 1000, Shape::TwoHumps, slower(2.0), 100.0),
        good("as good: 0.1 % fail", 10_000, GOOD, Looks::Seconds),
        good("as good: 2 % fail", 10_000, fails(0.02), Looks::Seconds),
        good("as good: 8 % fail", 10_000, fails(0.08), Looks::Seconds),
        good("as good: 8 % fail, looks after each failure", 2000, fails(0.08), Looks::Failures),
        Plan { shape: Shape::TwoHumps, ..good("as good: 2 % fail, two humps", 2000, fails(0.02), Looks::Seconds) },
        Plan {
            shape: Shape::Lognormal(1.0),
            ..good("as good: 2 % fail, lognormal σ = 1", 2000, fails(0.02), Looks::Seconds)
        },
        Plan {
            requests_a_second: 5.0,
            phases: steps(4000, fails(0.02), fails(0.02)),
            ..good("as good: 2 % fail, 5 a second", 1000, GOOD, Looks::Failures)
        },
        Plan {
            phases: at_once(fails(0.02), fails(0.02)),
            ..good("as good: 2 % fail, straight to 100 %", 5000, GOOD, Looks::Seconds)
        },
        Plan {
            phases: at_once(fails(0.08), fails(0.08)),
            ..good("as good: 8 % fail, straight to 100 %", 5000, GOOD, Looks::Seconds)
        },
        Plan {
            requests_a_second: 5.0,
            phases: at_once(fails(0.08), fails(0.08)),
            ..good("as good: 8 % fail, straight to 100 %, 5 a second", 5000, GOOD, Looks::Failures)
        },
        Plan { phases: outage(GOOD), ..good("as good, both down for 5 min", 5000, GOOD, Looks::Seconds) },
        Plan { phases: outage(worse), ..good("0.5 % fail, both down for 5 min", 5000, GOOD, Looks::Seconds) },
        Plan {
            requests_a_second: 12.0 / 3600.0,
            phases: steps(week, GOOD, GOOD),
            ..good("as good, 12 an hour, a week", 1000, GOOD, Looks::Minutes)
        },
        Plan {
            requests_a_second: 12.0 / 3600.0,
            phases: steps(week, fails(0.3), GOOD),
            looks: Looks::Minutes,
            ..bad("30 % fail, 12 an hour, a week", 300, USUAL, GOOD, 1.0)
        },
    ];
    plans.into_iter().map(|plan| Plan { runs: ((plan.runs as f64 * part) as u64).max(1), ..plan }.load()).collect()
}
