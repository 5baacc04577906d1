//! What verdicts are made of: every attempt of a user, at its own group, and nothing else.

use crate::support::metrics::Scrape;
use crate::support::proxy::blue_green;
use crate::support::{Answer, Client, Proxy, Upstream, eventually};
use crate::tunnels::ASKS;

/// How many ended well and how many badly, by the metric.
async fn counted(proxy: &Proxy, what: &str, group: &str) -> (u64, u64) {
    let scrape = Scrape::of(proxy).await;
    let of = |outcome| {
        let name =
            format!("pointsman_{what}_counted_total{{service=\"shop\",group=\"{group}\",outcome=\"{outcome}\"}}");
        scrape.value(&name).unwrap_or_else(|| panic!("{name} is not in {:#?}", scrape.names())) as u64
    };
    (of("ok"), of("failed"))
}

/// Waits until those of `group` that ended well and badly are so many.
async fn are(proxy: &Proxy, what: &str, group: &str, expected: (u64, u64)) {
    eventually(&format!("{expected:?} {what} at {group} are counted"), || async {
        let found = counted(proxy, what, group).await;
        if found == expected { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

/// Waits until so many attempts at `group`, of whomever, have ended in this way.
async fn ended(proxy: &Proxy, group: &str, outcome: &str, count: f64) {
    eventually(&format!("{count} have ended as {outcome}"), || async {
        let scrape = Scrape::of(proxy).await;
        let of = |n: &&str| n.starts_with("pointsman_upstream_attempts") && n.contains(group) && n.contains(outcome);
        let sum: f64 = scrape.names().iter().filter(|n| of(n)).filter_map(|n| scrape.value(n)).sum();
        if (sum - count).abs() < 0.5 { Ok(()) } else { Err(sum) }
    })
    .await;
}

/// Probed once, at the start; with a listener for validation.
async fn start(blue: &Upstream, green: &Upstream, extra: &str) -> Proxy {
    let health = "    health: { kind: tcp, interval: 1h }\n    affinity: none\n";
    let validation = "{ web: { bind: \"127.0.0.1:@web@\" }, \
        validation: { bind: \"127.0.0.1:@validation@\", sends_to: candidate } }";
    let config = blue_green(blue, green, extra)
        .replace("    health: { kind: http, path: /health, interval: 100ms, timeout: 1s }\n", health)
        .replace("{ web: { bind: \"127.0.0.1:@web@\" } }", validation);
    Proxy::start(&config).await
}

#[tokio::test]
async fn users_count_and_those_who_validate_do_not() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    green.answer(Answer::Plain(500, "oh".to_owned()));
    let proxy = start(&blue, &green, "limits: { body: 10B }").await;
    let (mut user, mut validator) = (proxy.client().await, Client::connect(proxy.address("validation")).await);
    for _ in 0..5 {
        user.get("/").await.expect(200);
        validator.get("/").await.expect(500);
        validator.get_with("/", &ASKS).await.expect(500);
    }
    // An answer of our own says nothing about anybody.
    proxy.client().await.post("/", &[b'x'; 11]).await.expect(413);
    blue.answer(Answer::Plain(503, "oh".to_owned()));
    user.get("/").await.expect(503);
    are(&proxy, "attempts", "blue", (5, 1)).await;
    ended(&proxy, "green", "server_error", 10.0).await;
    assert_eq!(counted(&proxy, "attempts", "green").await, (0, 0));
    assert_eq!(counted(&proxy, "handshakes", "green").await, (0, 0));
    let service = proxy.service("shop").await;
    let window = |group: &str| service["groups"][group]["window"].clone();
    assert_eq!((&window("green")["errors"], &window("blue")["errors"]), (&0.into(), &1.into()), "{service}");
    // What the client was told makes a request; what the upstream did makes an error.
    assert_eq!((&window("blue")["requests"], &window("green")["error_rate"]), (&7.into(), &0.into()), "{service}");
    assert!((window("blue")["error_rate"].as_f64().unwrap() - 1.0 / 6.0).abs() < 1e-5, "{service}");
}

#[tokio::test]
async fn clients_that_leave_are_counted_neither_for_nor_against_a_group() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = start(&blue, &green, "").await;
    let long = Answer::Chunked {
        chunks: vec![vec![b'x'; 10]; 1000],
        pause: std::time::Duration::from_millis(50),
        trailers: vec![],
    };
    for (i, answer) in [Answer::Hang, long].into_iter().enumerate() {
        blue.answer(answer);
        let mut client = proxy.client().await;
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        eventually("it is on its way", || async { blue.requests() == i + 1 }).await;
        if i == 1 {
            client.head().await.unwrap();
        }
        drop(client);
        ended(&proxy, "blue", "client_gone", (i + 1) as f64).await;
    }
    assert_eq!(counted(&proxy, "attempts", "blue").await, (0, 0));
}

#[tokio::test]
async fn an_attempt_counts_at_its_own_group_whoever_answers_in_the_end() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let extra = "split: { blue: 100, green: 0 }\nemergency: green\nretries: { budget: 100%, across_groups: true }";
    let proxy = start(&blue, &green, extra).await;
    blue.refuse().await;
    let mut client = proxy.client().await;
    for _ in 0..8 {
        assert_eq!(client.get("/").await.expect(200).group(), Some("green"));
    }
    are(&proxy, "attempts", "green", (8, 0)).await;
    are(&proxy, "attempts", "blue", (0, 8)).await;
}

#[tokio::test]
async fn a_grpc_call_counts_by_its_status_wherever_that_stands() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = start(&blue, &green, "").await;
    let trailers_only = |status: &str| Answer::With(vec![("grpc-status".to_owned(), status.to_owned())], Vec::new());
    let in_trailers = |status: &str| Answer::Chunked {
        chunks: vec![b"\0\0\0\0\0".to_vec()],
        pause: std::time::Duration::ZERO,
        trailers: vec![("grpc-status".to_owned(), status.to_owned())],
    };
    let mut client = proxy.client().await;
    let mut expected = (0, 0);
    // OK, NOT_FOUND and PERMISSION_DENIED are not the server's fault; INTERNAL and UNAVAILABLE are.
    for (status, fault) in [("0", 0), ("5", 0), ("7", 0), ("13", 1), ("14", 1)] {
        for answer in [trailers_only(status), in_trailers(status)] {
            blue.answer(answer);
            let fields = [("content-type", "application/grpc"), ("te", "trailers")];
            client.request("POST", "/test.Echo/Unary", &fields, Some(b"\0\0\0\0\0")).await.expect(200);
            expected = (expected.0 + 1 - fault, expected.1 + fault);
            are(&proxy, "attempts", "blue", expected).await;
        }
    }
}

#[tokio::test]
async fn a_websocket_counts_by_its_handshake() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = start(&blue, &green, "timeouts: { response: 300ms }\nretries: { attempts: 0 }").await;
    let plain = |status| Answer::Plain(status, String::new());
    let not_ours = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: other\r\n\r\n".to_vec();
    // What is the client's own fault is not counted; who answers 200 knows of no WebSocket.
    for (answer, status, expected) in [
        (Answer::Upgrade, 101, (1, 0)),
        (plain(401), 401, (1, 0)),
        (plain(302), 302, (1, 0)),
        (plain(503), 503, (1, 1)),
        (plain(200), 200, (1, 2)),
        (Answer::Close, 502, (1, 3)),
        (Answer::Hang, 504, (1, 4)),
        (Answer::Raw(not_ours), 502, (1, 5)),
        (Answer::Upgrade, 101, (2, 5)),
    ] {
        blue.answer(answer.clone());
        proxy.client().await.get_with("/ws", &ASKS).await.expect(status);
        are(&proxy, "handshakes", "blue", expected).await;
    }
    blue.refuse().await;
    proxy.client().await.get_with("/ws", &ASKS).await.expect(502);
    assert_eq!(counted(&proxy, "handshakes", "blue").await, (2, 6));
    // Each is an attempt as well; what is not a handshake is one only.
    are(&proxy, "attempts", "blue", (5, 5)).await;
}
