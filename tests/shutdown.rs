//! The way down: what is under way finishes, what waits is let go, and the second signal means it.

mod goaway;

use std::time::{Duration, Instant};

use tokio::net::UnixStream;

use crate::support::client::H2Client;
use crate::support::proxy::{Signal, blue_green};
use crate::support::{Answer, Client, Proxy, Upstream, eventually};

async fn refuses(proxy: &Proxy) {
    let web = proxy.address("web");
    eventually("new connections are refused", || async { Client::try_connect(web).await.is_err() }).await;
}

fn slowly(answer: Answer) -> Answer {
    Answer::Later(Duration::from_secs(2), Box::new(answer))
}

#[tokio::test]
async fn told_to_stop_it_lets_requests_finish_and_takes_no_new_ones() {
    for signal in [Signal::Term, Signal::Int] {
        let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
        let mut proxy = Proxy::blue_green(&blue, &green, "").await;
        let mut idle = proxy.client().await;
        idle.get("/").await.expect(200);
        blue.script(|head| match head.path() {
            "/chunks" => {
                let chunks = vec![b"one ".to_vec(), b"two ".to_vec(), b"three".to_vec()];
                Answer::Chunked { chunks, pause: Duration::from_millis(300), trailers: vec![] }
            }
            _ => slowly(Answer::text("slow")),
        });
        let (mut slow, mut streamed) = (proxy.client().await, proxy.client().await);
        slow.send(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        streamed.send(b"GET /chunks HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let h2 = H2Client::connect(proxy.address("web")).await;
        let over_h2 = tokio::spawn(async move { h2.get("/h2").await });
        eventually("all three have arrived", || async { blue.requests() == 4 }).await;
        proxy.signal(signal);
        refuses(&proxy).await;
        let early = tokio::time::timeout(Duration::ZERO, slow.receive()).await;
        assert!(early.is_err(), "new connections were refused only when all was over: {early:?}");
        let ready = proxy.get("/readyz").await.expect(503).json();
        assert_eq!(ready["notes"], serde_json::json!(["shutting down"]), "{ready}");
        assert!(idle.is_closed().await, "an idle connection is closed");
        assert_eq!(slow.response_to("GET").await.unwrap().expect(200).text(), "slow");
        assert!(slow.is_closed().await, "a connection that has had its answer is closed");
        assert_eq!(streamed.response_to("GET").await.unwrap().expect(200).text(), "one two three");
        assert_eq!(over_h2.await.unwrap().expect(200).text(), "slow");
        assert_eq!(proxy.ended().await.code(), Some(0), "{signal:?}");
    }
}

#[tokio::test]
async fn a_lame_duck_says_that_it_leaves_and_serves_new_connections_for_as_long() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let config = format!("shutdown: {{ lame_duck: 5s, timeout: 10s }}\n{}", blue_green(&blue, &green, ""));
    let mut proxy = Proxy::start(&config).await;
    let mut early = proxy.client().await;
    early.get("/").await.expect(200);
    proxy.signal(Signal::Term);
    eventually("it says so", || async { proxy.get("/readyz").await.status == 503 }).await;
    let notes = proxy.get("/readyz").await.expect(503).json()["notes"].clone();
    assert_eq!(notes, serde_json::json!(["shutting down"]));
    let late = proxy.client().await.get("/").await.expect(200);
    assert_eq!((late.group(), late.header("connection")), (Some("blue"), None), "nobody is sent away yet");
    assert_eq!(early.get("/").await.expect(200).header("connection"), None);
    refuses(&proxy).await;
    assert!(early.is_closed().await);
    assert_eq!(proxy.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_request_that_was_on_its_way_is_answered_and_told_that_it_was_the_last() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let mut proxy = Proxy::blue_green(&blue, &green, "").await;
    let mut client = proxy.client().await;
    assert_eq!(client.get("/").await.expect(200).header("connection"), None);
    client.send(b"GET / HTTP/1.1\r\n").await.unwrap();
    proxy.signal(Signal::Term);
    refuses(&proxy).await;
    client.send(b"host: x\r\n\r\n").await.unwrap();
    let last = client.response_to("GET").await.unwrap().expect(200);
    assert_eq!(last.header("connection"), Some("close"));
    assert!(client.is_closed().await);
    assert_eq!(proxy.ended().await.code(), Some(0));
}

#[tokio::test]
async fn what_is_not_finished_in_time_is_cut_said_and_in_the_exit_code() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let config = format!("shutdown: {{ timeout: 300ms }}\n{}", blue_green(&blue, &green, ""));
    let mut proxy = Proxy::start(&config).await;
    blue.answer(Answer::Hang);
    let mut stuck = [proxy.client().await, proxy.client().await];
    for client in &mut stuck {
        client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    }
    eventually("both have arrived", || async { blue.requests() == 2 }).await;
    assert_eq!(proxy.terminate().await.code(), Some(1));
    let log = proxy.log();
    assert!(log.contains("were cut") && log.contains("cut=2"), "{log}");
}

#[tokio::test]
async fn a_connection_without_a_word_does_not_hold_up_the_end() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let mut proxy = Proxy::blue_green(&blue, &green, "").await;
    let mut silent = proxy.client().await;
    eventually("it was accepted", || async {
        let shown = proxy.get("/api/v1/config").await.expect(200).json()["listeners"][0]["connections"].clone();
        if shown == 1 { Ok(()) } else { Err(shown.to_string()) }
    })
    .await;
    let started = Instant::now();
    assert_eq!(proxy.terminate().await.code(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert!(silent.is_closed().await);
}

#[tokio::test]
async fn a_second_signal_with_nothing_under_way_cuts_nothing() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let config = format!("shutdown: {{ lame_duck: 10m }}\n{}", blue_green(&blue, &green, ""));
    let mut proxy = Proxy::start(&config).await;
    proxy.signal(Signal::Term);
    eventually("it says so", || async { proxy.get("/readyz").await.status == 503 }).await;
    assert_eq!(proxy.terminate().await.code(), Some(0));
    assert!(proxy.log().contains("told to stop twice"));
}

#[tokio::test]
async fn while_the_last_requests_finish_a_rollback_is_still_answered() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let mut proxy = Proxy::blue_green(&blue, &green, "").await;
    proxy.switch("shop", "green").await;
    green.answer(slowly(Answer::text("slow")));
    let mut client = proxy.client().await;
    client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    eventually("it has arrived", || async { green.requests() == 1 }).await;
    proxy.signal(Signal::Term);
    refuses(&proxy).await;
    let receipt = proxy.post("/api/v1/services/shop/rollback", serde_json::json!({})).await.expect(200).json();
    assert_eq!(receipt["changed"], true, "{receipt}");
    assert_eq!(client.response_to("GET").await.unwrap().expect(200).text(), "slow");
    assert_eq!(proxy.ended().await.code(), Some(0));
    green.answer(Answer::text("green"));
    proxy.restart().await;
    assert_eq!(proxy.client().await.get("/").await.expect(200).group(), Some("blue"));
}

#[tokio::test]
async fn nothing_under_way_means_that_it_ends_at_once() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let mut proxy = Proxy::blue_green(&blue, &green, "").await;
    let mut idle = proxy.client().await;
    idle.get("/").await.expect(200);
    let started = Instant::now();
    assert_eq!(proxy.terminate().await.code(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let log = proxy.log();
    assert!(!log.contains("ERROR"), "{log}");
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_whatever_is_under_way() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let mut proxy = Proxy::blue_green(&blue, &green, "").await;
    blue.answer(Answer::Hang);
    let mut client = proxy.client().await;
    client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    eventually("it has arrived", || async { blue.requests() == 1 }).await;
    proxy.signal(Signal::Term);
    refuses(&proxy).await;
    let started = Instant::now();
    proxy.signal(Signal::Term);
    assert_eq!(proxy.ended().await.code(), Some(1), "cut off is not in good order");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert!(proxy.log().contains("told to stop twice"));
}

#[tokio::test]
async fn a_signal_while_it_still_waits_for_the_first_health_round_ends_it() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    blue.health(Answer::Hang);
    let health = "health: { kind: http, path: /health, interval: 1m, timeout: 1m }";
    let mut proxy = Proxy::launch(&blue_green(&blue, &green, health), &[]);
    eventually("it asks for blue's health", || async { blue.probes() > 0 }).await;
    let started = Instant::now();
    proxy.signal(Signal::Term);
    assert_eq!(proxy.ended().await.code(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_unix_socket_is_there_again_after_a_stop_and_after_a_crash_and_never_taken_from_a_living_process() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let config = blue_green(&blue, &green, "").replacen("127.0.0.1:@web@", "unix:@dir@/web.sock", 1);
    let mut proxy = Proxy::start(&config).await;
    let path = proxy.dir().join("web.sock");
    let get = || async {
        let stream = UnixStream::connect(&path).await.unwrap();
        Client::over(stream, "localhost").get("/").await.expect(200)
    };
    assert_eq!(get().await.group(), Some("blue"));
    assert_eq!(proxy.terminate().await.code(), Some(0));
    assert!(!path.exists(), "a stop in good order leaves no file behind");
    proxy.restart().await;
    get().await;
    proxy.kill().await;
    assert!(path.exists());
    proxy.restart().await;
    get().await;
    let mut second = Proxy::launch(&config.replace("@dir@/web.sock", &path.display().to_string()), &[]);
    assert_eq!(second.ended().await.code(), Some(1));
    assert!(second.log().contains("web.sock: it is in use"), "{}", second.log());
    get().await;
}
