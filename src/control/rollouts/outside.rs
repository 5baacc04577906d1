//! Guards outside: asks a Prometheus server, or anybody who answers by status, again and again while a candidate has
//! users, and keeps what they say until the next look.
//!
//! Whoever cannot be reached, or has no number, has said nothing: that neither passes nor fails.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::control::outgoing::{Answered, Ask, Client};
use crate::control::running::Shared;
use crate::model::names::ServiceName;
use crate::model::rollout::Rollout;
use crate::model::verdict::plan::{Guards, HttpGuard, PrometheusGuard};
use crate::model::verdict::{Reading, Said};

/// How long a Prometheus server may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// As much of an answer is shown.
const SHOWN: usize = 300;

/// Those who are asked for one service; they are asked no more when this is dropped.
#[derive(Default)]
pub(super) struct Outside {
    asking: JoinSet<()>,
    said: Arc<Mutex<Vec<Reading>>>,
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
        std::mem::take(&mut *self.said.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn every<F: Future<Output = Said> + Send + 'static>(
        &mut self,
        every: Duration,
        guard: String,
        question: impl Fn() -> F + Send + 'static,
    ) {
        let heard = Arc::clone(&self.said);
        self.asking.spawn(async move {
            let mut tick = interval(every);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                let said = question().await;
                let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                heard.push(Reading { guard: guard.clone(), said });
            }
        });
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

/// Asks each of these guards once, all at the same time.
pub(super) async fn once(guards: &Guards, names: &Names<'_>, client: &Client) -> Vec<Reading> {
    let mut asking = JoinSet::new();
    for guard in guards.prometheus.iter().map(|guard| names.of_prometheus(guard)) {
        let client = client.clone();
        asking.spawn(async move { Reading { said: queried(&client, &guard).await, guard: guard.name } });
    }
    for guard in guards.http.iter().map(|guard| names.of_http(guard)) {
        let client = client.clone();
        asking.spawn(async move { Reading { said: asked(&client, &guard).await, guard: guard.name } });
    }
    asking.join_all().await
}

/// Asks `/api/v1/query` (Prometheus HTTP API, instant queries).
async fn queried(client: &Client, guard: &PrometheusGuard) -> Said {
    let query: String = guard.query.bytes().map(escaped).collect();
    let url = format!("{}/api/v1/query?query={query}", guard.url.trim_end_matches('/'));
    match client.ask(Ask { timeout: ANSWER_WITHIN, ..Ask::new(Method::GET, &url) }).await {
        Err(why) => Said::Nothing(why.to_string()),
        Ok(answer) => value(&answer).map_or_else(|why| Said::Nothing(format!("Prometheus {why}")), Said::Value),
    }
}

/// RFC 3986, section 2.3: everything else is percent-encoded.
fn escaped(byte: u8) -> String {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    }
}

/// The one number of an answer: a scalar, or a vector of one.
fn value(answer: &Answered) -> Result<f64, String> {
    let body: Value = serde_json::from_slice(&answer.body)
        .map_err(|_| format!("answered with status {} and no JSON", answer.status.as_u16()))?;
    if body["status"] != "success" {
        let error = body["error"].as_str().unwrap_or("it does not say why");
        return Err(format!("did not answer the query: {}", shortened(error)));
    }
    let result = &body["data"]["result"];
    let sample = match body["data"]["resultType"].as_str() {
        Some("scalar") => &result[1],
        Some("vector") => match result.as_array().map(Vec::as_slice) {
            Some([one]) => &one["value"][1],
            Some([]) => return Err("has no series for the query".to_owned()),
            _ => return Err("has several series for the query; write one that gives a single number".to_owned()),
        },
        other => return Err(format!("answered with a {}, not with a number", other.unwrap_or("nothing"))),
    };
    let number = sample.as_str().and_then(|s| s.parse::<f64>().ok()).filter(|n| n.is_finite());
    number.ok_or_else(|| "answered with something that is no number".to_owned())
}

/// 200 is well, 202 is not known yet, anything else is bad.
async fn asked(client: &Client, guard: &HttpGuard) -> Said {
    match client.ask(Ask { timeout: guard.timeout, ..Ask::new(Method::GET, &guard.url) }).await {
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
    }
}

fn shortened(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN).collect()
}
