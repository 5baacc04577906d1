//! New requests of a service wait for a moment: nobody is refused, and everybody goes by the table of then.

mod bounds;
mod command;
mod requests;
mod switch;

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Answer, Client, Proxy, Upstream, eventually};

const HOLD: &str = "/api/v1/services/shop/hold";

async fn start(extra: &str) -> (Upstream, Upstream, Proxy) {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = Proxy::blue_green(&blue, &green, extra).await;
    (blue, green, proxy)
}

/// Holds `shop` for a minute.
async fn hold(proxy: &Proxy) -> Value {
    proxy.post(HOLD, json!({"for": "1m"})).await.expect(200).json()
}

async fn release(proxy: &Proxy) -> Value {
    proxy.admin("DELETE", HOLD, &[], None).await.expect(200).json()
}

/// Waits until the API says that so many wait.
async fn waiting_are(proxy: &Proxy, service: &str, count: usize) {
    eventually(&format!("{count} wait for {service}"), || async {
        let seen = proxy.service(service).await["hold"].clone();
        if seen["waiting"] == count { Ok(()) } else { Err(seen.to_string()) }
    })
    .await;
}

/// A client whose request is sent.
async fn asking(proxy: &Proxy, request: &str) -> Client {
    let mut client = proxy.client().await;
    client.send(request.as_bytes()).await.unwrap();
    client
}

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

/// Blue takes so long for an answer.
fn takes(blue: &Upstream, time: Duration) {
    blue.answer(Answer::Later(time, Box::new(Answer::text("at last"))));
}

/// Kinds of the events about holds and switches of `shop`.
async fn kinds(proxy: &Proxy) -> Vec<String> {
    let events = proxy.events().await;
    let kinds = events.iter().filter(|e| e["service"] == "shop").map(|e| e["kind"].as_str().unwrap().to_owned());
    kinds.filter(|kind| kind != "health").collect()
}
