//! Who gets which group: cookies, ids and addresses, rules ahead of them, and health behind them.

mod cookies;
mod health;
mod ids;
mod rules;

use serde_json::{Value, json};

use crate::support::client::Response;
use crate::support::{Client, Proxy};

/// Gives `group` this share by the verb for it.
async fn shift(proxy: &Proxy, group: &str, share: f64) -> Value {
    proxy.post("/api/v1/services/shop/shift", json!({"group": group, "to": share})).await.expect(200).json()
}

/// The group that a request with these fields reaches.
async fn group(client: &mut Client, fields: &[(&str, &str)]) -> String {
    client.get_with("/", fields).await.expect(200).group().unwrap().to_owned()
}

/// The `name=value` of the cookie that a response sets.
fn cookie_set(response: &Response) -> Option<&str> {
    response.header("set-cookie").map(|line| line.split(';').next().unwrap())
}

/// The members of a group among `ids`, each sent in the header `name` after `prefix`.
async fn members(proxy: &Proxy, name: &str, prefix: &str, ids: usize, of: &str) -> Vec<usize> {
    let mut client = proxy.client().await;
    let mut members = Vec::new();
    for id in 0..ids {
        if group(&mut client, &[(name, &format!("{prefix}{id}"))]).await == of {
            members.push(id);
        }
    }
    members
}
