//! Drains under load: once a group is drained, it has seen its last request.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::DRAIN;
use crate::support::load::Load;
use crate::support::{Client, Proxy, Upstream};

/// Rounds of a switch there and a switch back.
const ROUNDS: usize = 40;

async fn asked(admin: &mut Client, method: &str, path: &str, body: &Value) -> Value {
    let body = body.to_string();
    admin.request(method, path, &[], Some(body.as_bytes())).await.expect(200).json()
}

#[tokio::test]
async fn after_drained_the_old_upstream_sees_nothing_however_often_it_goes_back_and_forth() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = Proxy::blue_green(&blue, &green, "").await;
    proxy.health_is("shop", "green", "healthy").await;
    let load = Load::start(&proxy, 4);
    load.goes_on_for(50).await;
    let mut admin = Client::connect(proxy.address("admin")).await;
    for round in 0..ROUNDS {
        let (to, from, old) = if round % 2 == 0 { ("green", "blue", &blue) } else { ("blue", "green", &green) };
        asked(&mut admin, "POST", "/api/v1/services/shop/switch", &json!({ "to": to, "drain": true })).await;
        let path = format!("/api/v1/services/shop/groups/{from}/drain");
        let drained_by = Instant::now() + Duration::from_secs(20);
        while asked(&mut admin, "GET", &path, &Value::Null).await["state"] != "drained" {
            assert!(Instant::now() < drained_by, "round {round}: {from} is not drained");
        }
        let drained = Instant::now();
        load.goes_on_for(20).await;
        let late = old.arrivals_after(drained);
        assert!(late.is_empty(), "round {round}: {from} was drained and has got {} requests", late.len());
    }
    load.nothing_failed().await;
}

#[tokio::test]
async fn after_drained_one_upstream_of_several_sees_nothing_either_also_while_attempts_are_repeated() {
    let [first, second, green] = ["blue", "blue", "green"].map(Upstream::start);
    // Connections that end without a word make requests look for another upstream, by the table that they began with.
    first.close_after_requests(3);
    second.close_after_requests(3);
    let config = crate::support::proxy::blue_green(&first, &green, "retries: { attempts: 5, budget: 100% }");
    let two = format!("upstreams: [\"{}\", \"{}\"]", first.url(), second.url());
    let proxy = Proxy::start(&config.replace(&format!("upstreams: [\"{}\"]", first.url()), &two)).await;
    let load = Load::start(&proxy, 4);
    load.goes_on_for(50).await;
    let mut admin = Client::connect(proxy.address("admin")).await;
    for round in 0..ROUNDS {
        let upstream = if round % 2 == 0 { &first } else { &second };
        let body = json!({ "upstream": upstream.url() });
        asked(&mut admin, "POST", DRAIN, &body).await;
        let path = format!("{DRAIN}?upstream={}", upstream.url());
        let drained_by = Instant::now() + Duration::from_secs(20);
        while asked(&mut admin, "GET", &path, &Value::Null).await["state"] != "drained" {
            assert!(Instant::now() < drained_by, "round {round}: it is not drained");
        }
        let drained = Instant::now();
        load.goes_on_for(20).await;
        let late = upstream.arrivals_after(drained);
        assert!(late.is_empty(), "round {round}: it was drained and has got {} requests", late.len());
        asked(&mut admin, "DELETE", &path, &Value::Null).await;
    }
    load.nothing_failed().await;
}
