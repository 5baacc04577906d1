//! Requests of a service: as many as may be under way at a time, and as many as may wait.

use std::time::Duration;

use super::{behind, limited};
use crate::routing::proxy_error;
use crate::support::client::{H2Client, Response};
use crate::support::metrics::Scrape;
use crate::support::{Answer, Client, Proxy, Upstream, eventually};
use crate::tunnels::{echoes, tunnel};

/// `/held` is answered in so many seconds, everything else at once.
fn holds(blue: &Upstream, seconds: u64) {
    holds_with(blue, Answer::Later(Duration::from_secs(seconds), Box::new(Answer::text("held"))));
}

fn holds_with(blue: &Upstream, answer: Answer) {
    blue.script(move |head| match head.path() {
        "/held" => answer.clone(),
        "/ws" => Answer::Upgrade,
        _ => Answer::text("at once"),
    });
}

async fn limited_to(limits: &str, blue: &Upstream, green: &Upstream) -> Proxy {
    behind("head_timeout: 30s", blue, green, limits).await
}

/// So many requests that are under way at the upstream from now on.
async fn under_way(proxy: &Proxy, blue: &Upstream, n: usize) -> Vec<Client> {
    let (before, mut clients) = (blue.requests(), Vec::new());
    for _ in 0..n {
        let mut client = proxy.client().await;
        client.send(b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        clients.push(client);
    }
    eventually("they have arrived", || async { blue.requests() == before + n }).await;
    clients
}

#[track_caller]
fn is_refused(answer: &Response) {
    let seen = (answer.status, answer.header("retry-after"), proxy_error(answer));
    assert_eq!(seen, (503, Some("1"), Some("connection_limit_reached")));
}

#[tokio::test]
async fn a_request_beyond_the_limit_is_refused_at_once_and_the_next_one_after_an_end_is_served() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    holds(&blue, 2);
    let proxy = limited_to("limits: { in_flight: 2 }", &blue, &green).await;
    let mut under_way = under_way(&proxy, &blue, 2).await;
    let arrived = blue.requests();
    let mut third = proxy.client().await;
    for _ in 0..3 {
        is_refused(&third.get("/").await);
    }
    is_refused(&H2Client::connect(proxy.address("web")).await.get("/").await);
    assert_eq!(blue.requests(), arrived, "a refused request reached the upstream");
    for client in &mut under_way {
        assert_eq!(client.response_to("GET").await.unwrap().expect(200).text(), "held");
    }
    third.get("/").await.expect(200);
    assert_eq!(Scrape::of(&proxy).await.value("pointsman_refused_total{service=\"shop\"}"), Some(4.0));
}

#[tokio::test]
async fn a_request_that_waits_is_served_when_a_place_is_free_and_goes_by_the_table_of_then() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    holds(&blue, 2);
    let proxy = limited_to("limits: { in_flight: 1, queue: 1 }", &blue, &green).await;
    let mut first = under_way(&proxy, &blue, 1).await;
    let (mut one, mut other) = (proxy.client().await, proxy.client().await);
    for client in [&mut one, &mut other] {
        client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    }
    // There is room for one of them; that the other is refused shows that it waits.
    let (refused, mut waits) = tokio::select! {
        answer = one.response_to("GET") => (answer, other),
        answer = other.response_to("GET") => (answer, one),
    };
    is_refused(&refused.unwrap());
    proxy.switch("shop", "green").await;
    assert_eq!(first[0].response_to("GET").await.unwrap().expect(200).text(), "held");
    let answer = waits.response_to("GET").await.unwrap().expect(200);
    assert_eq!(answer.group(), Some("green"), "it chose its group before it had a place");
}

#[tokio::test]
async fn who_waits_for_too_long_is_refused_and_tunnels_take_no_place() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    holds_with(&blue, Answer::Trickle(vec![b'.'; 25], Duration::from_millis(100)));
    let proxy = limited_to("limits: { in_flight: 1, queue: 1 }\ntimeouts: { response: 1s }", &blue, &green).await;
    let mut tunnel = tunnel(&proxy).await;
    let mut first = under_way(&proxy, &blue, 1).await;
    let (mut waits, begun) = (proxy.client().await, std::time::Instant::now());
    is_refused(&waits.get("/").await);
    assert!(begun.elapsed() > Duration::from_millis(900), "it was refused after {:?}", begun.elapsed());
    first[0].response_to("GET").await.unwrap().expect(200);
    waits.get("/").await.expect(200);
    echoes(&mut tunnel, b"still here").await;
}

#[tokio::test]
async fn a_reload_that_leaves_the_limits_alone_leaves_their_places_taken() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    holds(&blue, 3);
    let limits = "limits: { in_flight: 1 }";
    let proxy = limited_to(limits, &blue, &green).await;
    let mut first = under_way(&proxy, &blue, 1).await;
    let config = limited("head_timeout: 31s", &blue, &green, limits);
    for (limits, status) in [(limits, 503), ("limits: { in_flight: 5 }", 200), ("retries: { attempts: 1 }", 200)] {
        proxy.rewrite(&config.replace("limits: { in_flight: 1 }", limits));
        proxy.post("/api/v1/config/reload", serde_json::json!({})).await.expect(200);
        proxy.client().await.get("/").await.expect(status);
    }
    first[0].response_to("GET").await.unwrap().expect(200);
}
