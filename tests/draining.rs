//! Draining: no new requests, the old ones may end, facts about both, and always an end.

mod changing;
mod flips;
mod hook;
mod lasting;
mod refusals;
mod verb;

use serde_json::{Value, json};

use crate::support::{Answer, Client, Proxy, Upstream, eventually};

const DRAIN: &str = "/api/v1/services/shop/groups/blue/drain";

/// An upstream that answers `/slow` when it is told to, and everything else at once.
struct Slow {
    upstream: Upstream,
    go: tokio::sync::watch::Sender<bool>,
}

impl Slow {
    fn start(group: &str) -> Self {
        let (go, _) = tokio::sync::watch::channel(false);
        let upstream = Upstream::start(group);
        let (name, waiting) = (group.to_owned(), go.subscribe());
        upstream.script(move |head| match head.path() {
            "/slow" => Answer::When(waiting.clone(), Box::new(Answer::text(&name))),
            _ => Answer::text(&name),
        });
        Self { upstream, go }
    }

    fn let_go(&self) {
        self.go.send_replace(true);
    }
}

/// A proxy between two such upstreams, and a client whose request to `/slow` has arrived at blue.
async fn with_one_under_way(extra: &str) -> (Proxy, Slow, Slow, Client) {
    let (blue, green) = (Slow::start("blue"), Slow::start("green"));
    let proxy = Proxy::blue_green(&blue.upstream, &green.upstream, extra).await;
    let mut client = proxy.client().await;
    client.send(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    eventually("it has arrived", || async { blue.upstream.requests() == 1 }).await;
    (proxy, blue, green, client)
}

async fn drain(proxy: &Proxy) -> Value {
    proxy.get(DRAIN).await.expect(200).json()
}

/// Waits until blue's drain is in this state, and gives it.
async fn drain_is(proxy: &Proxy, state: &str) -> Value {
    eventually(&format!("the drain is {state}"), || async {
        // There is none yet where somebody else begins it.
        let seen = proxy.get(DRAIN).await.json();
        if seen["state"] == state { Ok(seen) } else { Err(seen.to_string()) }
    })
    .await
}

async fn events(proxy: &Proxy, kind: &str) -> Vec<Value> {
    proxy.events().await.into_iter().filter(|event| event["kind"] == kind).collect()
}

async fn switch_and_drain(proxy: &Proxy, to: &str) -> Value {
    proxy.post("/api/v1/services/shop/switch", json!({ "to": to, "drain": true })).await.expect(200).json()
}
