//! Guards outside: asks a Prometheus server, or anybody who answers by status, again and again while a candidate has
//! users, and keeps what they say until the next look.
//!
//! Whoever cannot be reached, or has no number, has said nothing: that neither passes nor fails. What was asked before a
//! step began is no answer to that step.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Method;
use jiff::Timestamp;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::control::outgoing::{Answered, Ask, Client};
use crate::control::running::Shared;
use crate::model::names::ServiceName;
use crate::model::rollout::Rollout;
use crate::model::verdict::plan::{Guards, HttpGuard, PrometheusGuard};
use crate::model::verdict::{Reading, Said};

/// As much of an answer is shown.
const SHOWN: usize = 300;

/// Those who are asked for one service; they are asked no more when this is dropped.
#[derive(Default)]
pub(super) struct Outside {
    asking: JoinSet<()>,
    heard: Heard,
}

/// What was said in this step and has not been looked at.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Step>>);

#[derive(Default)]
struct Step {
    /// Counts on with each step.
    number: u64,
    readings: Vec<Reading>,
}

/// Whether an answer counts.
#[derive(Debug, PartialEq, Eq)]
enum Kept {
    Yes,
    /// Another step has begun since it was asked for.
    TooLate,
}

impl Heard {
    fn step(&self) -> MutexGuard<'_, Step> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, asked_in: u64, reading: Reading) -> Kept {
        let mut step = self.step();
        if step.number != asked_in {
            return Kept::TooLate;
        }
        step.readings.push(reading);
        Kept::Yes
    }
}

impl Outside {
    /// Begins to ask, where that has not begun yet.
    pub(super) fn ask(&mut self, rollout: &Rollout, service: &ServiceName, shared: &Shared) {
        if !self.asking.is_empty() {
            return;
        }
        let guards = &rollout.plan.guards;
        let from = rollout.services.iter().find(|m| m.service == *service).map(|m| m.from.live().to_string());
        let baseline = from.unwrap_or_default();
        let names = Names { service: service.as_str(), candidate: rollout.to.as_str(), baseline: &baseline };
        for guard in &guards.prometheus {
            let (guard, client) = (names.of_prometheus(guard), shared.client.clone());
            self.every(guard.every, guard.name.clone(), move || {
                let (client, guard) = (client.clone(), guard.clone());
                async move { queried(&client, &guard).await }
            });
        }
        for guard in &guards.http {
            let (guard, client) = (names.of_http(guard), shared.client.clone());
            self.every(guard.every, guard.name.clone(), move || {
                let (client, guard) = (client.clone(), guard.clone());
                async move { asked(&client, &guard).await }
            });
        }
    }

    /// What was said since this was called last.
    pub(super) fn readings(&mut self) -> Vec<Reading> {
        std::mem::take(&mut self.heard.step().readings)
    }

    /// What was asked before this counts no more; it is asked anew.
    pub(super) fn begin_step(&mut self) {
        let mut step = self.heard.step();
        step.number += 1;
        step.readings.clear();
    }

    fn every<F: Future<Output = Reading> + Send + 'static>(
        &mut self,
        every: Duration,
        guard: String,
        question: impl Fn() -> F + Send + 'static,
    ) {
        let heard = self.heard.clone();
        self.asking.spawn(async move {
            let mut tick = interval(every);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                let asked_in = heard.step().number;
                let reading = caught(&guard, question()).await;
                if heard.keep(asked_in, reading) == Kept::TooLate {
                    tick.reset_immediately();
                }
            }
        });
    }
}

/// The answer. A question that panics has none, and is asked again like any other.
async fn caught(guard: &str, question: impl Future<Output = Reading> + Send + 'static) -> Reading {
    let mut asking = JoinSet::new();
    asking.spawn(question);
    match asking.join_next().await {
        Some(Ok(reading)) => reading,
        _ => reading(guard, Said::Nothing("pointsman failed to ask; its log says why".to_owned())),
    }
}

/// What is meant in questions by `{service}`, `{candidate}` and `{baseline}`.
pub(super) struct Names<'a> {
    pub(super) service: &'a str,
    pub(super) candidate: &'a str,
    pub(super) baseline: &'a str,
}

impl Names<'_> {
    fn placed(&self, text: &str) -> String {
        let text = text.replace("{service}", self.service).replace("{candidate}", self.candidate);
        text.replace("{baseline}", self.baseline)
    }

    fn of_prometheus(&self, guard: &PrometheusGuard) -> PrometheusGuard {
        PrometheusGuard { query: self.placed(&guard.query), ..guard.clone() }
    }

    fn of_http(&self, guard: &HttpGuard) -> HttpGuard {
        HttpGuard { url: self.placed(&guard.url), ..guard.clone() }
    }
}

/// Asks each of these guards once, all at the same time. Each answer is to count as often as it is looked at.
pub(super) async fn once(guards: &Guards, names: &Names<'_>, client: &Client) -> Vec<Reading> {
    let mut asking = JoinSet::new();
    for guard in guards.prometheus.iter().map(|guard| names.of_prometheus(guard)) {
        let client = client.clone();
        asking.spawn(async move { Reading { sample: None, ..queried(&client, &guard).await } });
    }
    for guard in guards.http.iter().map(|guard| names.of_http(guard)) {
        let client = client.clone();
        asking.spawn(async move { asked(&client, &guard).await });
    }
    asking.join_all().await
}

/// Asks `/api/v1/query` (Prometheus HTTP API, instant queries).
async fn queried(client: &Client, guard: &PrometheusGuard) -> Reading {
    let query: String = guard.query.bytes().map(escaped).collect();
    let url = format!("{}/api/v1/query?query={query}", guard.url.trim_end_matches('/'));
    let answer = client.ask(Ask { timeout: PrometheusGuard::TIMEOUT, ..Ask::new(Method::GET, &url) }).await;
    let value = answer
        .map_err(|why| why.to_string())
        .and_then(|answer| value(&answer).map_err(|why| format!("Prometheus {why}")));
    match value {
        Ok((value, sample)) => Reading { sample, ..reading(&guard.name, Said::Value(value)) },
        Err(why) => reading(&guard.name, Said::Nothing(why)),
    }
}

fn reading(guard: &str, said: Said) -> Reading {
    Reading { guard: guard.to_owned(), said, sample: None }
}

/// RFC 3986, section 2.3: everything else is percent-encoded.
fn escaped(byte: u8) -> String {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    }
}

/// The one number of an answer and its stamp: a scalar, or a vector of one.
fn value(answer: &Answered) -> Result<(f64, Option<Timestamp>), String> {
    let body: Value = serde_json::from_slice(&answer.body)
        .map_err(|_| format!("answered with status {} and no JSON", answer.status.as_u16()))?;
    if body["status"] != "success" {
        let error = body["error"].as_str().unwrap_or("it does not say why");
        return Err(format!("did not answer the query: {}", shortened(error)));
    }
    let result = &body["data"]["result"];
    let sample = match body["data"]["resultType"].as_str() {
        Some("scalar") => result,
        Some("vector") => match result.as_array().map(Vec::as_slice) {
            Some([one]) => &one["value"],
            Some([]) => return Err("has no series for the query".to_owned()),
            _ => return Err("has several series for the query; write one that gives a single number".to_owned()),
        },
        other => return Err(format!("answered with a {}, not with a number", other.unwrap_or("nothing"))),
    };
    let number = sample[1].as_str().and_then(|s| s.parse::<f64>().ok()).filter(|n| !n.is_nan());
    let number = number.ok_or_else(|| "answered with something that is no number".to_owned())?;
    let stamp = sample[0].as_f64().and_then(|s| Timestamp::from_millisecond((s * 1e3).round() as i64).ok());
    Ok((number, stamp))
}

/// 200 is well, 202 is not known yet, anything else is bad.
async fn asked(client: &Client, guard: &HttpGuard) -> Reading {
    let said = match client.ask(Ask { timeout: guard.timeout, ..Ask::new(Method::GET, &guard.url) }).await {
        Err(why) => Said::Nothing(why.to_string()),
        Ok(answer) => {
            let text = String::from_utf8_lossy(&answer.body);
            let text = format!("status {}: {}", answer.status.as_u16(), shortened(text.trim()));
            match answer.status.as_u16() {
                200 => Said::Well(text),
                202 | 429 | 502..=504 => Said::Nothing(text),
                _ => Said::Bad(text),
            }
        }
    };
    reading(&guard.name, said)
}

fn shortened(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    const OFTEN: Duration = Duration::from_millis(1);

    async fn heard(outside: &mut Outside) -> Reading {
        loop {
            if let Some(reading) = outside.readings().pop() {
                return reading;
            }
            tokio::time::sleep(OFTEN).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_that_panics_has_no_answer_and_is_asked_again() {
        let (mut outside, asked) = (Outside::default(), AtomicU32::new(0));
        outside.every(OFTEN, "smoke".to_owned(), move || {
            let first = asked.fetch_add(1, Ordering::Relaxed) == 0;
            async move {
                assert!(!first, "the first one goes wrong");
                reading("smoke", Said::Well(String::new()))
            }
        });
        let first = heard(&mut outside).await;
        assert_eq!(first.guard, "smoke");
        assert!(matches!(first.said, Said::Nothing(why) if why.contains("its log")));
        assert_eq!(heard(&mut outside).await.said, Said::Well(String::new()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_asked_before_a_step_began_is_asked_anew() {
        let (mut outside, asked) = (Outside::default(), Arc::new(AtomicU32::new(0)));
        let (answers, count) = (Arc::new(Semaphore::new(0)), Arc::clone(&asked));
        let waits = Arc::clone(&answers);
        outside.every(Duration::from_secs(3600), "smoke".to_owned(), move || {
            let (waits, nth) = (Arc::clone(&waits), count.fetch_add(1, Ordering::Relaxed));
            async move {
                waits.acquire().await.unwrap().forget();
                reading("smoke", Said::Well(nth.to_string()))
            }
        });
        while asked.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(OFTEN).await;
        }
        outside.begin_step();
        answers.add_permits(2);
        assert_eq!(heard(&mut outside).await.said, Said::Well("1".to_owned()));
    }

    #[test]
    fn a_figure_has_the_stamp_of_its_sample() {
        let value = |data: &str| {
            let body = format!(r#"{{"status":"success","data":{data}}}"#).into();
            value(&Answered { status: http::StatusCode::OK, headers: http::HeaderMap::new(), body })
        };
        let stamp = Timestamp::from_millisecond(1_790_000_000_250).ok();
        let vector = r#"{"resultType":"vector","result":[{"metric":{},"value":[1790000000.25,"0.5"]}]}"#;
        assert_eq!(value(vector), Ok((0.5, stamp)));
        assert_eq!(value(r#"{"resultType":"scalar","result":[1790000000.25,"2"]}"#), Ok((2.0, stamp)));
        assert_eq!(value(r#"{"resultType":"scalar","result":["soon","2"]}"#), Ok((2.0, None)));
        assert!(value(r#"{"resultType":"vector","result":[{"metric":{},"value":[1,"NaN"]}]}"#).is_err());
    }
}
