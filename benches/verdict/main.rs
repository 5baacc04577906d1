//! How soon the verdict sees a bad candidate, and how often it takes a good one for bad: rollouts simulated on `model`.
//!
//! `benches/run verdict` runs it and writes `benches/results/verdict.md`. It prints a row for each load and judge, as
//! CSV; the seeds are fixed, so that the same code prints the same rows. `--part 0.05` runs a twentieth of the rollouts,
//! `--only TEXT` the loads with this in their names; `--rollouts FILE` writes a row for each rollout that pointsman took
//! back.

#![allow(clippy::unwrap_used, reason = "a program for figures, not a service")]

mod dice;
mod judges;
mod loads;
mod world;

use judges::{Pointsman, Poll, Quiet};
use loads::Load;
use world::{Judging, Outcome};

const COLUMNS: &str = "load,judge,is_bad,runs,rolled_back,bad_median,bad_p95,bad_max,bad_mean,requests_median,requests_p95,\
                       requests_max,seconds_median,seconds_p95,seconds_max";

/// Polls: after how many failed checks, and what a quiet minute is.
const POLLS: [(&str, u32, Quiet); 3] =
    [("poll-5", 5, Quiet::Fails), ("poll-1", 1, Quiet::Fails), ("poll-5-forgiving", 5, Quiet::Passes)];

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

fn run(load: &Load, runs: u64, judging: impl Fn(usize) -> Box<dyn Judging>) -> Vec<Outcome> {
    let one = |n: u64| {
        let world = n as usize % load.worlds.len();
        load.worlds[world].run(n + 1, &mut *judging(world))
    };
    (0..runs).map(one).collect()
}

/// What follows a name on the command line.
fn argument(name: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != name).nth(1)
}

fn main() -> std::io::Result<()> {
    let part = argument("--part").map_or(1.0, |part| part.parse().expect("--part is followed by a fraction"));
    let only = argument("--only").unwrap_or_default();
    let mut rollouts = vec!["load,run,bad,requests,seconds".to_owned()];
    println!("{COLUMNS}");
    for load in loads::all(part).iter().filter(|load| load.name.contains(&only)) {
        let began = std::time::Instant::now();
        let outcomes = run(load, load.runs, |_| Box::new(Pointsman::new(&load.guards)));
        row(load, "pointsman", &outcomes);
        for (n, outcome) in outcomes.iter().enumerate().filter(|(_, outcome)| outcome.rolled_back) {
            let Outcome { bad, requests, seconds, .. } = outcome;
            rollouts.push(format!("\"{}\",{},{bad},{requests},{seconds}", load.name, n + 1));
        }
        // The poll needs no more of them: its figures are far apart.
        let runs = load.runs.min(1000);
        for (judge, most, quiet) in POLLS {
            row(load, judge, &run(load, runs, |world| Box::new(Poll::new(most, quiet, load.p95[world]))));
        }
        eprintln!("{}: {:.1} s", load.name, began.elapsed().as_secs_f64());
    }
    argument("--rollouts").map_or(Ok(()), |file| std::fs::write(file, rollouts.join("\n") + "\n"))
}
