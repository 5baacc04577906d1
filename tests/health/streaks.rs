//! Rise and fall: how many results in a row turn a verdict, to the probe.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::turns;
use crate::support::{Answer, Proxy, Upstream, eventually};

/// Answers to probes in their order, then only good ones; and when each probe came.
#[derive(Clone, Default)]
struct Sequence {
    left: Arc<Mutex<VecDeque<bool>>>,
    came: Arc<Mutex<Vec<Timestamp>>>,
}

impl Sequence {
    /// `P` passes, `F` fails.
    fn on(upstream: &Upstream, results: &str) -> Self {
        let sequence = Self::default();
        sequence.left.lock().unwrap().extend(results.chars().map(|c| c == 'P'));
        let answering = sequence.clone();
        upstream.no_health();
        upstream.script(move |head| {
            if head.path() != "/health" {
                return Answer::text("blue");
            }
            answering.came.lock().unwrap().push(Timestamp::now());
            let passes = answering.left.lock().unwrap().pop_front().unwrap_or(true);
            Answer::Plain(if passes { 200 } else { 503 }, String::new())
        });
        sequence
    }

    fn is_over(&self) -> bool {
        self.left.lock().unwrap().is_empty()
    }

    /// The number, from 0, of the probe that a turn was brought about by.
    fn probe_of(&self, turn: &Value) -> usize {
        let at: Timestamp = turn["at"].as_str().unwrap().parse().unwrap();
        self.came.lock().unwrap().iter().rposition(|came| *came <= at).unwrap()
    }

    /// Waits for the end of the sequence; then each turn's probe and verdict.
    async fn turns(&self, proxy: &Proxy, expected: usize) -> Vec<(usize, Value)> {
        eventually("all probes were sent and the turns written", || async {
            let turns = turns(proxy, "blue").await;
            if self.is_over() && turns.len() >= expected { Ok(()) } else { Err(format!("{turns:?}")) }
        })
        .await;
        let turns = turns(proxy, "blue").await;
        turns.iter().map(|turn| (self.probe_of(turn), turn["detail"]["after"].clone())).collect()
    }
}

const HEALTH: &str =
    "health: { kind: http, path: /health, interval: 40ms, timeout: 1s, healthy_after: 2, unhealthy_after: 3 }";
/// Number 0 is the first verdict; 3 and 8 start their counts anew; 6 and 10 turn it.
const RESULTS: &str = "PFFPFFFPFPP";

fn expected() -> Vec<(usize, Value)> {
    vec![(0, json!("healthy")), (6, json!("unhealthy")), (10, json!("healthy"))]
}

#[tokio::test]
async fn results_in_a_row_turn_the_verdict_and_an_opposite_one_starts_the_count_anew() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let sequence = Sequence::on(&blue, RESULTS);
    let proxy = Proxy::blue_green(&blue, &green, HEALTH).await;
    assert_eq!(sequence.turns(&proxy, 3).await, expected());
}

#[tokio::test]
async fn counts_go_on_over_reloads_that_do_not_change_the_check() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let sequence = Sequence::on(&blue, RESULTS);
    // Slow enough for several reloads in the midst of it, however busy the machine is.
    let health = HEALTH.replace("interval: 40ms", "interval: 200ms");
    let proxy = Proxy::blue_green(&blue, &green, &health).await;
    let mut reloads = 0;
    while !sequence.is_over() {
        reloads += 1;
        let extra = format!("{health}\nexpose: {{ response_header: x-group-{reloads} }}");
        proxy.rewrite(&crate::support::proxy::blue_green(&blue, &green, &extra));
        proxy.post("/api/v1/config/reload", json!({})).await.expect(200);
    }
    assert!(reloads >= 3, "only {reloads} reloads");
    assert_eq!(sequence.turns(&proxy, 3).await, expected());
}
