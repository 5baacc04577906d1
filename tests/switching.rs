//! A change of traffic is a transaction: durable, published, and in force for every request that starts after it.

mod load;
mod refusals;
mod rollback;
mod several;
mod shares;

use serde_json::{Value, json};

use crate::support::client::H2Client;
use crate::support::{Client, Proxy, Upstream};

/// The group that is not this one.
fn other(group: &str) -> &'static str {
    if group == "blue" { "green" } else { "blue" }
}

/// Sets blue's and green's shares.
async fn split(proxy: &Proxy, blue: f64, stable: bool) -> Value {
    let body = json!({"weights": {"blue": blue, "green": 100.0 - blue}, "stable": stable});
    proxy.put("/api/v1/services/shop/split", body).await.expect(200).json()
}

async fn rollback(proxy: &Proxy) -> Value {
    proxy.post("/api/v1/services/shop/rollback", json!({})).await.expect(200).json()
}

/// Connections of every kind that were open before a switch.
struct Old {
    http1: Vec<Client>,
    http2: Vec<H2Client>,
}

impl Old {
    async fn open(proxy: &Proxy) -> Self {
        let mut old = Self { http1: Vec::new(), http2: Vec::new() };
        // More than there are workers, so that each has some.
        for _ in 0..6 {
            old.http1.push(proxy.client().await);
            old.http2.push(H2Client::connect(proxy.address("web")).await);
        }
        old.all_reach("blue", "before").await;
        old
    }

    /// The next request of each connection goes to `group`; on those of HTTP/2 several at once.
    async fn all_reach(&mut self, group: &str, when: &str) {
        for (i, client) in self.http1.iter_mut().enumerate() {
            let answer = client.get("/").await.expect(200);
            assert_eq!(answer.group(), Some(group), "HTTP/1 connection {i}, {when}");
        }
        for (i, client) in self.http2.iter().enumerate() {
            let (a, b, c) = tokio::join!(client.get("/"), client.get("/"), client.get("/"));
            for answer in [a, b, c] {
                assert_eq!(answer.expect(200).group(), Some(group), "HTTP/2 connection {i}, {when}");
            }
        }
    }
}

#[tokio::test]
async fn after_the_answer_every_request_on_old_connections_reaches_the_new_group() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = Proxy::blue_green(&blue, &green, "").await;
    let mut old = Old::open(&proxy).await;
    let mut to = "green";
    for round in 0..20 {
        let receipt = proxy.switch("shop", to).await;
        assert_eq!(receipt["split"][to], 100);
        old.all_reach(to, &format!("round {round}")).await;
        to = other(to);
    }
}

#[tokio::test]
async fn after_the_command_line_says_so_every_request_on_old_connections_reaches_the_new_group() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = Proxy::blue_green(&blue, &green, "").await;
    let mut old = Old::open(&proxy).await;
    for (verb, group) in [
        (&["switch", "shop", "green"][..], "green"),
        (&["rollback", "shop"], "blue"),
        (&["switch", "--all", "green"], "green"),
    ] {
        let output = proxy.cli(verb).await;
        assert!(output.status.success(), "{verb:?}: {output:?}");
        old.all_reach(group, &format!("{verb:?}")).await;
    }
}

#[tokio::test]
async fn a_request_under_way_stays_where_it_began_and_its_connection_is_kept() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let slow = crate::support::Answer::Trickle(b"slowly".to_vec(), std::time::Duration::from_millis(100));
    blue.answer(slow);
    let proxy = Proxy::blue_green(&blue, &green, "").await;
    let mut client = proxy.client().await;
    client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let head = client.head().await.unwrap();
    assert_eq!(head.fields.get("x-upstream"), Some("blue"));
    assert_eq!(proxy.service("shop").await["groups"]["blue"]["in_flight"], 1);
    proxy.switch("shop", "green").await;
    assert_eq!(proxy.service("shop").await["groups"]["blue"]["in_flight"], 1, "the answer is not complete");
    assert_eq!(client.receive_exactly(6).await.unwrap(), b"slowly");
    proxy.is_idle("shop", "blue").await;
    let next = client.get("/").await.expect(200);
    assert_eq!(next.group(), Some("green"));
    assert!(!next.fields.lists("connection", "close") && !head.fields.lists("connection", "close"));
}

#[tokio::test]
async fn a_switch_survives_a_crash_right_after_its_answer() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let mut proxy = Proxy::blue_green(&blue, &green, "").await;
    let mut to = "green";
    for _ in 0..3 {
        let receipt = proxy.switch("shop", to).await;
        proxy.kill().await;
        proxy.restart().await;
        let service = proxy.service("shop").await;
        assert_eq!((&service["split"], &service["version"]), (&receipt["split"], &receipt["version"]));
        assert_eq!(proxy.client().await.get("/").await.group(), Some(to));
        to = other(to);
    }
    // Back to what was stable, after a crash as well.
    assert_eq!(rollback(&proxy).await["split"], json!({"blue": 100, "green": 0}));
}
