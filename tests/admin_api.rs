//! What programs rely on: versions, keys against repetition, problems, events, and everything that can be read.

mod changes;
mod configuration;
mod events;
mod metrics;
mod openapi;
mod problems;
mod reads;

use serde_json::Value;

use crate::support::client::Response;
use crate::support::{Proxy, Upstream};

const SWITCH: &str = "/api/v1/services/shop/switch";
const SPLIT: &str = "/api/v1/services/shop/split";

async fn start() -> (Upstream, Upstream, Proxy) {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = Proxy::blue_green(&blue, &green, "").await;
    (blue, green, proxy)
}

/// Every event so far.
async fn all_events(proxy: &Proxy) -> Vec<Value> {
    let page = proxy.get("/api/v1/events?limit=1000").await.expect(200).json();
    page["events"].as_array().unwrap().clone()
}

/// The problem that a response holds (RFC 9457), checked for what each of them has.
#[track_caller]
fn problem(response: Response, status: u16, code: &str) -> Value {
    let response = response.expect(status);
    assert_eq!(response.header("content-type"), Some("application/problem+json"));
    let problem = response.json();
    assert_eq!((&problem["code"], &problem["status"]), (&code.into(), &status.into()), "{problem}");
    assert_eq!(problem["type"], format!("urn:pointsman:problem:{code}"));
    for text in ["title", "detail"] {
        assert!(problem[text].as_str().is_some_and(|t| t.len() > 5), "{text} of {problem}");
    }
    problem
}
