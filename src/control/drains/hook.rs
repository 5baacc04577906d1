//! The application's hook: asks each upstream of a drained part to finish work of its own, and whether it has.
//!
//! Whatever is unreachable or not yet true is asked again until somebody stops this: the deadline is not its business.
//! Values of header fields never get into what it says.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Full;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::config::spec::{DrainHook, Expect, HookCall};
use crate::control::prober::{Target, call, expect};
use crate::control::tls::HTTP;
use crate::control::view::{HookState, HookView};

/// How long one request to the application may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// From a failed start to the next.
const START_AGAIN: Duration = Duration::from_secs(1);
/// The value of a header field that is shorter is no secret.
const SECRET: usize = 6;
/// Names us in the application's log.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("pointsman/", env!("CARGO_PKG_VERSION"), " (drain)"));

/// Starts the hook at each of `targets` and asks until all have finished. What is said on the way goes to `said`.
pub(super) async fn run(hook: &DrainHook, targets: &[Target], said: watch::Sender<HookView>) {
    for target in targets {
        start(hook, target, &said).await;
    }
    for target in targets {
        poll(hook, target, &said).await;
    }
    said.send_modify(|view| (view.state, view.detail) = (HookState::Done, String::new()));
}

async fn start(hook: &DrainHook, target: &Target, said: &watch::Sender<HookView>) {
    let Some(start) = &hook.start else { return };
    while let Err(detail) = ask(target, start, &accepted(Vec::new())).await.1 {
        said.send_replace(HookView { state: HookState::Starting, detail, answer: None });
        sleep(START_AGAIN).await;
    }
    said.send_replace(HookView { state: HookState::Polling, detail: String::new(), answer: None });
}

async fn poll(hook: &DrainHook, target: &Target, said: &watch::Sender<HookView>) {
    let Some(poll) = &hook.poll else { return };
    let until = accepted(poll.until.clone());
    loop {
        let (answer, content) = ask(target, &poll.call, &until).await;
        let detail = content.as_ref().err().cloned().unwrap_or_default();
        said.send_replace(HookView { state: HookState::Polling, detail, answer });
        if content.is_ok() {
            return;
        }
        sleep(poll.every).await;
    }
}

/// Tells each of `targets` that the drain was called off; once, and what fails is only said.
pub(super) async fn cancel(hook: &DrainHook, targets: &[Target]) -> Result<(), String> {
    let Some(cancel) = &hook.cancel else { return Ok(()) };
    let mut failed = Vec::new();
    for target in targets {
        failed.extend(ask(target, cancel, &accepted(Vec::new())).await.1.err());
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
}

/// Any success, with these values in its JSON.
fn accepted(json: Vec<(String, Value)>) -> Expect {
    Expect { statuses: vec![(200, 299)], json, body_contains: None }
}

/// One request: what the answer has at the expected paths, and whether it is as expected.
async fn ask(target: &Target, asked: &HookCall, expected: &Expect) -> (Option<Value>, Result<(), String>) {
    match answered(target, asked, expected).await {
        Err(why) => (None, Err(why)),
        Ok(answer) => {
            let shown = shown(target, asked);
            let found = expect::found(expected, &answer);
            let problem =
                expect::problem(expected, &answer).map(|what| without_secrets(format!("{shown} {what}"), asked));
            (found, problem.map_or(Ok(()), Err))
        }
    }
}

/// Applications repeat what they were told, where something is wrong with it.
fn without_secrets(mut text: String, asked: &HookCall) -> String {
    for value in asked.headers.iter().filter_map(|(_, value)| value.to_str().ok()).filter(|v| v.len() >= SECRET) {
        text = text.replace(value, "…");
    }
    text
}

/// `POST http://127.0.0.1:9001/drain`.
fn shown(target: &Target, asked: &HookCall) -> String {
    format!("{} {}{}", asked.method, target.live.endpoint.url.trim_end_matches('/'), asked.path)
}

async fn answered(target: &Target, asked: &HookCall, expected: &Expect) -> Result<call::Answer, String> {
    let deadline = Instant::now() + ANSWER_WITHIN;
    let (stream, version) = call::open(target, &HTTP, deadline).await.map_err(|e| e.to_string())?;
    let mut request = call::request(target, version, asked.method.clone(), &asked.path, None)?;
    fill(&mut request, asked);
    let wanted = |status: StatusCode| expect::wanted(expected, status.as_u16());
    let answer = call::exchange(stream, version, request, wanted, deadline).await;
    answer.map_err(|e| format!("{} {e}", shown(target, asked)))
}

fn fill(request: &mut Request<Full<Bytes>>, asked: &HookCall) {
    request.headers_mut().insert(USER_AGENT, AGENT);
    if let Some(json) = &asked.json {
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *request.body_mut() = Full::from(json.to_string());
    }
    for (name, value) in &asked.headers {
        let mut value = value.clone();
        value.set_sensitive(true);
        request.headers_mut().insert(name, value);
    }
}
