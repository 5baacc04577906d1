//! Who may do what at the admin port, and who may not even ask.

mod guard;
mod start;
mod tokens;
mod transport;

use serde_json::Value;

use crate::support::client::Response;
use crate::support::proxy::blue_green;
use crate::support::{Client, Proxy, Upstream};

/// A configuration with these keys under `admin`, a line each; `listen` is added where missing.
fn config(blue: &Upstream, green: &Upstream, admin: &str) -> String {
    let listen = if admin.contains("listen:") { "" } else { "  listen: 127.0.0.1:@admin@\n" };
    let admin: String = admin.lines().map(|line| format!("  {line}\n")).collect();
    format!("admin:\n{listen}{admin}{}", blue_green(blue, green, ""))
}

async fn start(admin: &str, environment: &[(&str, &str)]) -> (Upstream, Upstream, Proxy) {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = Proxy::start_with(&config(&blue, &green, admin), environment).await;
    (blue, green, proxy)
}

/// A request with this token; without one where it is empty.
async fn ask(proxy: &Proxy, token: &str, method: &str, path: &str, body: Option<Value>) -> Response {
    let bearer = format!("Bearer {token}");
    let fields = [("authorization", bearer.as_str())];
    proxy.admin(method, path, if token.is_empty() { &[] } else { &fields }, body).await
}

/// The response to a head as it is written here, over a connection of its own.
async fn raw(proxy: &Proxy, head: &str) -> Response {
    let mut client = Client::connect(proxy.address("admin")).await;
    client.send(format!("{}\r\n\r\n", head.replace('\n', "\r\n")).as_bytes()).await.unwrap();
    client.response_to("GET").await.unwrap()
}
