//! How soon the verdict sees a bad candidate, and how often it takes a good one for bad: rollouts simulated on `model`.
//!
//! `benches/run verdict` runs it and writes `benches/results/verdict.md`. It prints a row for each load and judge, as
//! CSV; the seeds are fixed, so that the same code prints the same rows. `--quick` runs a hundredth; `--only TEXT` the
//! loads with this in their names.

#![allow(clippy::unwrap_used, reason = "a program for figures, not a service")]

mod dice;
mod judges;
mod loads;
mod world;

use judges::{Pointsman, Poll};
use loads::Load;
use world::{Judging, Outcome};

const COLUMNS: &str = "load,judge,is_bad,runs,rolled_back,bad_median,bad_p95,bad_max,bad_mean,requests_median,requests_p95,\
                       requests_max,seconds_median,seconds_p95,seconds_max";

/// The smallest value that at least this part of all does not exceed.
fn quantile(values: &mut [u64], q: f64) -> u64 {
    values.sort_unstable();
    values[((values.len() as f64 * q).ceil() as usize).clamp(1, values.len()) - 1]
}

fn row(load: &Load, judge: &str, outcomes: &[Outcome]) {
    let rolled_back = outcomes.iter().filter(|outcome| outcome.rolled_back).count();
    let mean = outcomes.iter().map(|outcome| outcome.bad as f64).sum::<f64>() / outcomes.len() as f64;
    let three = |of: fn(&Outcome) -> u64| {
        let mut values: Vec<u64> = outcomes.iter().map(of).collect();
        [0.5, 0.95, 1.0].map(|q| quantile(&mut values, q).to_string()).join(",")
    };
    println!(
        "\"{}\",{judge},{},{},{rolled_back},{},{mean:.1},{},{}",
        load.name,
        load.is_bad,
        outcomes.len(),
        three(|outcome| outcome.bad),
        three(|outcome| outcome.requests),
        three(|outcome| outcome.seconds),
    );
}

fn run(load: &Load, judge: &str, runs: u64, judging: impl Fn(usize) -> Box<dyn Judging>) {
    let outcomes: Vec<Outcome> = (0..runs)
        .map(|n| {
            let world = n as usize % load.worlds.len();
            load.worlds[world].run(n + 1, &mut *judging(world))
        })
        .collect();
    row(load, judge, &outcomes);
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let part = if arguments.iter().any(|argument| argument == "--quick") { 0.01 } else { 1.0 };
    let only = arguments.iter().position(|argument| argument == "--only").and_then(|at| arguments.get(at + 1));
    println!("{COLUMNS}");
    for load in loads::all(part).iter().filter(|load| only.is_none_or(|text| load.name.contains(text))) {
        let began = std::time::Instant::now();
        run(load, "pointsman", load.runs, |_| Box::new(Pointsman::new(&load.guards)));
        // The poll needs no more of them: its figures are far apart.
        let runs = load.runs.min(1000);
        for threshold in [5, 1] {
            run(load, &format!("poll-{threshold}"), runs, |world| Box::new(Poll::new(threshold, load.p95[world])));
        }
        eprintln!("{}: {:.1} s", load.name, began.elapsed().as_secs_f64());
    }
}
