//! The audit log: pages of it, and as a stream without gaps.

use std::time::Duration;

use serde_json::{Value, json};

use super::{all_events, problem, start};
use crate::support::{Client, Proxy, eventually, eventually_within};

/// A stream of events.
struct Stream {
    client: Client,
    text: String,
}

impl Stream {
    async fn open(proxy: &Proxy, target: &str, last: Option<u64>) -> Self {
        let mut client = Client::connect(proxy.address("admin")).await;
        let last = last.map(|last| format!("last-event-id: {last}\r\n")).unwrap_or_default();
        let request = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n{last}\r\n");
        client.send(request.as_bytes()).await.unwrap();
        let head = client.head().await.unwrap();
        assert_eq!(head.status().unwrap(), 200);
        assert_eq!(head.fields.get("content-type"), Some("text/event-stream"));
        assert_eq!(head.fields.get("cache-control"), Some("no-store"));
        let mut stream = Self { client, text: String::new() };
        // The first chunk is there before anything happens: from then on nothing is missed.
        stream.text += &String::from_utf8(stream.client.chunk().await.unwrap()).unwrap();
        stream
    }

    /// The next event that is no verdict about an upstream: those of the start may still be on their way to streams
    /// when they are in the log already.
    async fn next_change(&mut self) -> (u64, String, Value) {
        loop {
            let event = self.next().await;
            if event.1 != "health" {
                return event;
            }
        }
    }

    /// The next event: its id, its name, its data.
    async fn next(&mut self) -> (u64, String, Value) {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n").map(|(b, r)| (b.to_owned(), r.to_owned())) {
                self.text = rest;
                let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                if let Some(data) = field("data:") {
                    let id = field("id:").unwrap().parse().unwrap();
                    return (id, field("event:").unwrap().to_owned(), serde_json::from_str(data).unwrap());
                }
                continue;
            }
            let chunk = self.client.chunk().await.unwrap();
            assert!(!chunk.is_empty(), "the stream has ended");
            self.text += &String::from_utf8(chunk).unwrap();
        }
    }
}

/// Waits until the first verdicts are in the log: from then on nothing is added by itself.
async fn settled(proxy: &Proxy) {
    eventually("both verdicts are in the log", || async {
        all_events(proxy).await.iter().filter(|event| event["kind"] == "health").count() == 2
    })
    .await;
}

#[tokio::test]
async fn events_have_numbers_without_gaps_and_say_who_did_what_when_and_why() {
    let (_blue, _green, proxy) = start().await;
    let body = json!({"to": "green", "reason": "release\u{1b}[31m 2.5.0\r\nactor: root"});
    let receipt = proxy.post(super::SWITCH, body).await.expect(200).json();
    problem(proxy.post(super::SWITCH, json!({"to": "red"})).await, 404, "no_such_group");
    let events = all_events(&proxy).await;
    let ids: Vec<_> = events.iter().map(|e| e["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>());
    assert_eq!(events[0]["kind"], "start");
    let switch = events.iter().find(|e| e["id"] == receipt["event"]).unwrap();
    assert_eq!(
        (&switch["kind"], &switch["actor"], &switch["service"]),
        (&json!("switch"), &json!("local"), &json!("shop"))
    );
    let detail = &switch["detail"];
    assert_eq!((&detail["before"]["blue"], &detail["after"]["green"]), (&json!(100), &json!(100)));
    assert_eq!((&detail["version"], &detail["asked"]["to"]), (&receipt["version"], &json!("green")));
    let reason = detail["reason"].as_str().unwrap();
    assert!(reason.contains("2.5.0") && !reason.contains(char::is_control), "{reason:?}");
    let at: jiff::Timestamp = switch["at"].as_str().unwrap().parse().unwrap();
    assert!(jiff::Timestamp::now().duration_since(at).as_secs().abs() < 60, "{at}");
    let refused = events.iter().find(|e| e["kind"] == "switch.refused").unwrap();
    assert!(refused["detail"]["error"].as_str().unwrap().contains("red"), "{refused}");
}

#[tokio::test]
async fn a_page_begins_and_ends_where_it_was_asked_to() {
    let (_blue, _green, proxy) = start().await;
    settled(&proxy).await;
    for to in ["green", "blue", "green", "blue", "green"] {
        proxy.switch("shop", to).await;
    }
    let all = all_events(&proxy).await;
    let page = |query: &'static str| {
        let proxy = &proxy;
        async move {
            let page = proxy.get(&format!("/api/v1/events{query}")).await.expect(200).json();
            let ids = page["events"].as_array().unwrap().iter().map(|e| e["id"].as_u64().unwrap()).collect::<Vec<_>>();
            (ids, page["next"].as_u64().unwrap())
        }
    };
    let last = all.len() as u64;
    assert_eq!(page("?since=2&limit=3").await, (vec![3, 4, 5], 5));
    assert_eq!(page("?tail=2").await, (vec![last - 1, last], last));
    assert_eq!(page("?since=100000").await, (vec![], 100_000));
    let of_shop: Vec<_> = all.iter().filter(|e| e["service"] == "shop").map(|e| e["id"].as_u64().unwrap()).collect();
    assert!(of_shop.len() >= 5 && of_shop.len() < all.len());
    assert_eq!(page("?service=shop").await.0, of_shop);
    assert_eq!(page("?service=shop&tail=1").await.0, of_shop[of_shop.len() - 1..]);
    assert_eq!(page("?service=nobody").await.0, Vec::<u64>::new());
    // Page after page gives each of them once.
    let (mut since, mut seen) = (0, Vec::new());
    loop {
        let answer = proxy.get(&format!("/api/v1/events?since={since}&limit=2")).await.expect(200).json();
        let events = answer["events"].as_array().unwrap();
        if events.is_empty() {
            break;
        }
        seen.extend(events.clone());
        since = answer["next"].as_u64().unwrap();
    }
    assert_eq!(seen, all);
}

#[tokio::test]
async fn the_log_goes_on_after_a_crash_where_it_stopped() {
    let (_blue, _green, mut proxy) = start().await;
    settled(&proxy).await;
    proxy.switch("shop", "green").await;
    let before = all_events(&proxy).await;
    proxy.kill().await;
    proxy.restart().await;
    let after = all_events(&proxy).await;
    assert_eq!(after[..before.len()], before);
    assert_eq!((&after[before.len()]["kind"], &after[before.len()]["id"]), (&json!("start"), &json!(before.len() + 1)));
}

#[tokio::test]
async fn a_stream_tells_what_happens_from_now_on() {
    let (_blue, _green, proxy) = start().await;
    let mut stream = Stream::open(&proxy, "/api/v1/events", None).await;
    for to in ["green", "blue"] {
        let receipt = proxy.switch("shop", to).await;
        let (id, kind, data) = stream.next_change().await;
        assert_eq!((id, kind.as_str()), (receipt["event"].as_u64().unwrap(), "switch"));
        assert_eq!((&data["id"], &data["detail"]["after"][to]), (&json!(id), &json!(100)));
    }
}

#[tokio::test]
async fn a_stream_that_broke_off_is_taken_up_after_the_last_event_received_without_gap_or_repetition() {
    let (_blue, _green, mut proxy) = start().await;
    let first = proxy.switch("shop", "green").await["event"].as_u64().unwrap();
    let mut stream = Stream::open(&proxy, &format!("/api/v1/events?since={}", first - 1), None).await;
    assert_eq!(stream.next().await.0, first);
    drop(stream);
    proxy.switch("shop", "blue").await;
    proxy.kill().await;
    proxy.restart().await;
    // `Last-Event-ID` wins over the query of the first request, which a browser repeats.
    let mut stream = Stream::open(&proxy, "/api/v1/events?since=0", Some(first)).await;
    let last = proxy.switch("shop", "green").await["event"].as_u64().unwrap();
    for expected in first + 1..=last {
        let (id, kind, _) = stream.next().await;
        assert_eq!(id, expected, "{kind}");
    }
    let bad = [("accept", "text/event-stream"), ("last-event-id", "x")];
    problem(proxy.admin("GET", "/api/v1/events", &bad, None).await, 400, "bad_request");
}

#[tokio::test]
async fn a_stream_of_one_service_leaves_out_the_rest() {
    let (_blue, green, proxy) = start().await;
    let mut stream = Stream::open(&proxy, "/api/v1/events?service=shop&since=0", None).await;
    green.healthy(false);
    proxy.health_is("shop", "green", "unhealthy").await;
    let mut kinds = Vec::new();
    while kinds.last().is_none_or(|(kind, after): &(String, Value)| kind != "health" || after != "unhealthy") {
        let (_, kind, data) = stream.next().await;
        assert_eq!(data["service"], "shop");
        kinds.push((kind, data["detail"]["after"].clone()));
    }
}

#[tokio::test]
async fn many_streams_at_once_see_the_same_and_go_away_with_their_clients() {
    let (_blue, _green, proxy) = start().await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(Stream::open(&proxy, "/api/v1/events", None).await);
    }
    let receipt = proxy.switch("shop", "green").await;
    for stream in &mut streams {
        assert_eq!(stream.next_change().await.0, receipt["event"].as_u64().unwrap());
    }
    drop(streams);
    // A place that is given back can be taken again, however often.
    eventually_within(Duration::from_secs(20), "200 streams one after another", || async {
        for _ in 0..200 {
            Stream::open(&proxy, "/api/v1/events", None).await;
        }
        true
    })
    .await;
}
