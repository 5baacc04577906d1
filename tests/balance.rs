//! Balancing within a group: in turn, by load, by client, by weight; and less for one that has come back.

use std::time::Duration;

use crate::support::{Answer, Proxy, Upstream};

/// One group with these upstreams and weights, and further keys of the service, on one worker.
fn config(upstreams: &[(&Upstream, u32)], extra: &str) -> String {
    let upstreams = upstreams.iter().map(|(u, weight)| format!("{{ url: \"{}\", weight: {weight} }}", u.url()));
    format!(
        "workers: 1
listeners: {{ web: {{ bind: \"127.0.0.1:@web@\" }} }}
services:
  shop:
    groups: {{ blue: {{ upstreams: [{}] }} }}
    health: {{ kind: http, path: /health, interval: 50ms, timeout: 1s }}
    {extra}
routes: [ {{ service: shop }} ]
",
        upstreams.collect::<Vec<_>>().join(", ")
    )
}

/// Waits until all upstreams have this verdict, in their order.
async fn verdicts(proxy: &Proxy, expected: &[&str]) {
    crate::support::eventually(&format!("health is {expected:?}"), || async {
        let shop = proxy.service("shop").await;
        let upstreams = shop["groups"]["blue"]["upstreams"].as_array().unwrap().clone();
        let seen: Vec<_> = upstreams.iter().map(|u| u["health"].as_str().unwrap().to_owned()).collect();
        if seen == expected { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
}

/// How many of `requests` further ones, one after another, each upstream gets.
async fn shares(proxy: &Proxy, upstreams: &[&Upstream], requests: usize) -> Vec<usize> {
    let before: Vec<_> = upstreams.iter().map(|u| u.requests()).collect();
    let mut client = proxy.client().await;
    for _ in 0..requests {
        client.get("/").await.expect(200);
    }
    let after: Vec<_> = upstreams.iter().zip(before).map(|(u, before)| u.requests() - before).collect();
    assert_eq!(after.iter().sum::<usize>(), requests);
    after
}

#[tokio::test]
async fn in_turn_each_upstream_gets_exactly_as_much_as_its_weight_says() {
    let (a, b, c) = (Upstream::start("a"), Upstream::start("b"), Upstream::start("c"));
    let proxy = Proxy::start(&config(&[(&a, 1), (&b, 2), (&c, 3)], "balance: round_robin")).await;
    verdicts(&proxy, &["healthy"; 3]).await;
    assert_eq!(shares(&proxy, &[&a, &b, &c], 60).await, [10, 20, 30]);
}

#[tokio::test]
async fn by_load_an_upstream_gets_its_weight_when_all_are_idle_and_less_when_it_is_slow() {
    let (a, b) = (Upstream::start("a"), Upstream::start("b"));
    let proxy = Proxy::start(&config(&[(&a, 1), (&b, 3)], "balance: least_requests")).await;
    verdicts(&proxy, &["healthy"; 2]).await;
    let seen = shares(&proxy, &[&a, &b], 600).await;
    // 150 expected; six standard deviations to either side.
    assert!((86..=214).contains(&seen[0]), "weights 1 and 3 became {seen:?}");

    let proxy = Proxy::start(&config(&[(&a, 1), (&b, 1)], "balance: least_requests")).await;
    verdicts(&proxy, &["healthy"; 2]).await;
    a.answer(Answer::Later(Duration::from_millis(400), Box::new(Answer::text("slow"))));
    let (before, begun) = ((a.requests(), b.requests()), std::time::Instant::now());
    let client = || async {
        let mut client = proxy.client().await;
        while begun.elapsed() < Duration::from_millis(1500) {
            client.get("/").await.expect(200);
        }
    };
    tokio::join!(client(), client(), client(), client());
    let (slow, fast) = (a.requests() - before.0, b.requests() - before.1);
    assert!(slow > 0 && fast > 5 * slow, "the slow one got {slow}, the fast one {fast}");
}

#[tokio::test]
async fn by_client_each_one_stays_at_its_upstream_and_only_those_of_a_lost_one_move() {
    let all: Vec<_> = ["a", "b", "c"].map(Upstream::start).into();
    let weighted: Vec<_> = all.iter().zip([1, 1, 2]).collect();
    let proxy = Proxy::start(&config(&weighted, "balance: hash\n    affinity: { header: x-user-id }")).await;
    verdicts(&proxy, &["healthy"; 3]).await;
    let placed = || async {
        let mut client = proxy.client().await;
        let mut seen = Vec::new();
        for user in 0..200 {
            let user = format!("user-{user}");
            seen.push(client.get_with("/", &[("x-user-id", &user)]).await.expect(200).text());
        }
        seen
    };
    let first = placed().await;
    assert_eq!(placed().await, first, "a client moved though nothing has changed");
    let of = |name: &str| first.iter().filter(|at| *at == name).count();
    assert!(of("a") > 20 && of("b") > 20 && of("c") > 70, "{} {} {}", of("a"), of("b"), of("c"));
    all[0].healthy(false);
    verdicts(&proxy, &["unhealthy", "healthy", "healthy"]).await;
    let second = placed().await;
    assert!(second.iter().all(|at| at != "a"));
    assert!(first.iter().zip(&second).all(|(then, now)| then == "a" || then == now), "somebody else moved, too");
}

#[tokio::test]
async fn an_upstream_that_has_come_back_gets_little_at_first_and_its_part_in_the_end() {
    for balance in ["round_robin", "least_requests"] {
        let (a, b) = (Upstream::start("a"), Upstream::start("b"));
        let both = [(&a, 1), (&b, 1)];
        let slowly = |time: &str| config(&both, &format!("balance: {balance}\n    slow_start: {time}"));
        let proxy = Proxy::start(&slowly("1h")).await;
        verdicts(&proxy, &["healthy"; 2]).await;
        let seen = shares(&proxy, &[&a, &b], 400).await;
        assert!((130..=270).contains(&seen[1]), "{balance}: both are new, and one is spared: {seen:?}");
        b.healthy(false);
        verdicts(&proxy, &["healthy", "unhealthy"]).await;
        assert_eq!(shares(&proxy, &[&a, &b], 50).await, [50, 0]);
        b.healthy(true);
        verdicts(&proxy, &["healthy"; 2]).await;
        let seen = shares(&proxy, &[&a, &b], 400).await;
        // A tenth against a whole: 36 expected.
        assert!((8..=80).contains(&seen[1]), "{balance}: just back, and it gets {seen:?}");
        // The same moment, seen from behind the end of a shorter time.
        proxy.rewrite(&slowly("1ms"));
        proxy.post("/api/v1/config/reload", serde_json::json!({})).await.expect(200);
        let seen = shares(&proxy, &[&a, &b], 400).await;
        assert!((130..=270).contains(&seen[1]), "{balance}: back for long, and it gets {seen:?}");
    }
}

#[tokio::test]
async fn an_upstream_that_joins_a_group_at_work_begins_slowly_too() {
    let (a, b) = (Upstream::start("a"), Upstream::start("b"));
    let extra = "balance: round_robin\n    slow_start: 1h";
    let proxy = Proxy::start(&config(&[(&a, 1)], extra)).await;
    verdicts(&proxy, &["healthy"]).await;
    proxy.rewrite(&config(&[(&a, 1), (&b, 1)], extra));
    proxy.post("/api/v1/config/reload", serde_json::json!({})).await.expect(200);
    verdicts(&proxy, &["healthy"; 2]).await;
    let seen = shares(&proxy, &[&a, &b], 400).await;
    assert!((8..=80).contains(&seen[1]), "it gets {seen:?}");
}
