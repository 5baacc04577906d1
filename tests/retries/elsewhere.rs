//! Nothing was written: any method goes elsewhere, in another group too where that is allowed.

use super::{attempts, config, counted, down, quoted};
use crate::support::certs::Authority;
use crate::support::server::Server;
use crate::support::{Answer, Proxy, Upstream};

const BUDGET: &str = "retries: { attempts: 2, budget: 100% }";
/// Sends a request to blue, whatever the split says.
const TO_BLUE: &str = "rules: [ { when: { header: { x-to: blue } }, group: blue } ]";

#[tokio::test]
async fn a_refused_connection_sends_any_method_to_another_upstream_of_the_group() {
    let (dead, alive) = (Upstream::start("blue"), Upstream::start("blue"));
    alive.answer(Answer::Echo);
    let urls = [quoted(&dead.url()), quoted(&alive.url())];
    let proxy = Proxy::start(&config(&[("blue", &urls)], &["balance: round_robin", BUDGET])).await;
    down(&dead).await;
    let mut client = proxy.client().await;
    let body = vec![b'x'; 300_000];
    for _ in 0..5 {
        client.get("/").await.expect(200);
        assert!(client.post("/", &body).await.expect(200).body == body, "the body did not come along");
        client.request("DELETE", "/", &[], None).await.expect(200);
        client
            .send(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
            .await
            .unwrap();
        assert_eq!(client.response_to("POST").await.unwrap().expect(200).text(), "abc");
    }
    assert_eq!((alive.requests(), attempts(&proxy, "blue", "ok").await), (20, 20));
    let failed = attempts(&proxy, "blue", "connect_failed").await;
    assert!(failed >= 5, "{failed} attempts at the dead one; it was not its turn often enough to prove anything");
    assert_eq!(counted(&proxy, "pointsman_retries_total", &[]).await, failed);
}

#[tokio::test]
async fn a_refused_connection_goes_to_another_group_only_where_that_is_allowed() {
    for allowed in [true, false] {
        let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
        let retries = format!("retries: {{ attempts: 2, budget: 100%, across_groups: {allowed} }}");
        let split = "split: { blue: 50, green: 50 }";
        let groups = [("blue", &[quoted(&blue.url())][..]), ("green", &[quoted(&green.url())])];
        let proxy = Proxy::start(&config(&groups, &[split, TO_BLUE, &retries])).await;
        down(&blue).await;
        let mut client = proxy.client().await;
        for method in ["GET", "POST"] {
            let body = (method == "POST").then_some(&b"abc"[..]);
            let answer = client.request(method, "/", &[("x-to", "blue")], body).await;
            if allowed {
                assert_eq!(answer.expect(200).group(), Some("green"));
            } else {
                let refused = answer.expect(502);
                assert_eq!(refused.header("proxy-status"), Some("pointsman; error=connection_refused"));
            }
        }
        // The user saw no error, yet blue is judged by both.
        assert_eq!(attempts(&proxy, "blue", "connect_failed").await, 2);
        assert_eq!(attempts(&proxy, "green", "ok").await, if allowed { 2 } else { 0 });
        assert_eq!(green.requests(), if allowed { 2 } else { 0 });
    }
}

#[tokio::test]
async fn a_retry_never_promotes_a_group_without_a_share() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let groups = [("blue", &[quoted(&blue.url())][..]), ("green", &[quoted(&green.url())])];
    let proxy = Proxy::start(&config(&groups, &["split: { blue: 100, green: 0 }", BUDGET])).await;
    down(&blue).await;
    let mut client = proxy.client().await;
    for _ in 0..5 {
        client.get("/").await.expect(502);
    }
    assert_eq!(green.requests(), 0);
}

#[tokio::test]
async fn tls_that_fails_counts_as_no_connection() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let strange = Server::tls(&theirs.issue("app", &["localhost"]), &["h2", "http/1.1"]).await;
    let alive = Server::tls(&ours.issue("app", &["localhost"]), &["h2", "http/1.1"]).await;
    let ca = ours.ca();
    let urls = [&strange, &alive].map(|s| format!("{{ url: \"{}\", ca: {} }}", s.url(), ca.display()));
    let proxy = Proxy::start(&config(&[("blue", &urls)], &["balance: round_robin", BUDGET])).await;
    let mut client = proxy.client().await;
    for _ in 0..6 {
        client.post("/echo", b"abc").await.expect(200);
    }
    assert_eq!(strange.connections(), 0);
    assert!(attempts(&proxy, "blue", "connect_failed").await >= 2);
}

#[tokio::test]
async fn streams_that_http_2_refuses_go_elsewhere_and_hurt_nobody() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refusing = format!("h2c://{}", listener.local_addr().unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        loop {
            let stream = listener.accept().await.unwrap().0;
            // A probe says nothing.
            let Ok(mut connection) = h2::server::handshake(stream).await else { continue };
            tokio::spawn(async move {
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    respond.send_reset(h2::Reason::REFUSED_STREAM);
                }
            });
        }
    });
    let alive = Server::h2c().await;
    let urls = [quoted(&refusing), quoted(alive.url())];
    let proxy = Proxy::start(&config(&[("blue", &urls)], &["balance: round_robin", BUDGET])).await;
    let mut client = proxy.client().await;
    for _ in 0..6 {
        client.get("/").await.expect(200);
        client.request("POST", "/", &[], None).await.expect(200);
    }
    assert!(attempts(&proxy, "blue", "unprocessed").await >= 4);
    let window = proxy.service("shop").await["groups"]["blue"]["window"].clone();
    assert_eq!(window["errors"], 0, "{window}");
}

#[tokio::test]
async fn an_http_2_upstream_that_leaves_in_good_order_loses_nothing() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("h2c://{}", listener.local_addr().unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        loop {
            let stream = listener.accept().await.unwrap().0;
            let Ok(mut connection) = h2::server::handshake(stream).await else { continue };
            tokio::spawn(async move {
                // After five requests: GOAWAY, and whoever came too late is not processed.
                let mut served = 0;
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    let head = http::Response::builder().header("x-upstream", "blue").body(()).unwrap();
                    respond.send_response(head, true).unwrap();
                    served += 1;
                    if served == 5 {
                        connection.graceful_shutdown();
                    }
                }
            });
        }
    });
    let proxy = Proxy::start(&config(&[("blue", &[quoted(&url)])], &[BUDGET])).await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let mut client = proxy.client().await;
        clients.spawn(async move {
            for _ in 0..25 {
                client.request("POST", "/", &[], None).await.expect(200);
            }
        });
    }
    clients.join_all().await;
}
