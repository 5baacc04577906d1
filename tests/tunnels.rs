//! WebSockets through the proxy: opened by the upstream's own word, untouched by changes that do not concern them.

mod extended;
mod farewell;
mod handshake;
mod lasting;
mod peers;

use std::time::Duration;

use crate::support::client::Response;
use crate::support::{Client, Proxy, eventually};

const KEY: (&str, &str) = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
pub(crate) const ASKS: [(&str, &str); 4] =
    [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13"), KEY];

/// A client whose tunnel is open; the upstream echoes bytes.
pub(crate) async fn tunnel(proxy: &Proxy) -> Client {
    let mut client = proxy.client().await;
    let answer = client.get_with("/ws", &ASKS).await.expect(101);
    assert_eq!(answer.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    client
}

/// Bytes there and back.
pub(crate) async fn echoes(client: &mut Client, what: &[u8]) {
    client.send(what).await.unwrap();
    assert_eq!(client.receive_exactly(what.len()).await.unwrap(), what);
}

/// Waits until the API counts so many tunnels at the group.
async fn tunnels_are(proxy: &Proxy, group: &str, count: u64) {
    eventually(&format!("{group} has {count} tunnels"), || async {
        let seen = proxy.service("shop").await["groups"][group].clone();
        if seen["tunnels"] == count { Ok(()) } else { Err(seen.to_string()) }
    })
    .await;
}

/// Asks for a tunnel and gives whatever comes.
async fn asked(proxy: &Proxy) -> (Client, Response) {
    let mut client = proxy.client().await;
    let answer = client.get_with("/ws", &ASKS).await;
    (client, answer)
}

/// Long enough for anything that is on its way to arrive.
const A_WHILE: Duration = Duration::from_millis(200);
