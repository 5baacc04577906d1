//! Descriptors: when they run out, nothing stops for good, and nobody else is blamed.

use std::time::{Duration, Instant};

use super::behind;
use crate::routing::proxy_error;
use crate::support::proxy::blue_green;
use crate::support::{Client, Proxy, Upstream, eventually};

#[tokio::test]
async fn a_process_without_descriptors_goes_on_as_soon_as_there_are_some() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    // A connection of its own for each request to an upstream.
    blue.close_after_requests(1);
    green.close_after_requests(1);
    let proxy = Proxy::start_behind("ulimit -n 128", &blue_green(&blue, &green, "")).await;
    let mut client = proxy.client().await;
    client.get("/").await.expect(200);
    let mut admin = Client::connect(proxy.address("admin")).await;
    admin.get("/readyz").await.expect(200);

    let mut idle = Vec::new();
    let begun = Instant::now();
    eventually("there are no descriptors left", || {
        idle.extend((0..40).map(|_| std::net::TcpStream::connect(proxy.address("web")).unwrap()));
        async { proxy.log().contains("cannot accept connections") }
    })
    .await;
    // What a connection to an upstream has given back is soon taken by a client.
    let mut answer = client.get("/").await;
    while answer.status == 200 && begun.elapsed() < Duration::from_secs(20) {
        answer = client.get("/").await;
    }
    assert_eq!((answer.status, proxy_error(&answer)), (503, Some("proxy_internal_error")));
    // Several rounds of health checks, none of which can be made.
    let probes = (blue.probes(), green.probes());
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let shop = admin.get("/api/v1/services/shop").await.expect(200).json();
    for group in ["blue", "green"] {
        assert_eq!(shop["groups"][group]["upstreams"][0]["health"], "healthy", "{group} is blamed: {shop}");
    }
    let said = proxy.log().matches("cannot accept connections").count() as u64;
    assert!(said <= 2 * (begun.elapsed().as_secs() + 2), "{said} times in {:?}", begun.elapsed());

    drop(idle);
    client.get("/").await.expect(200);
    for _ in 0..10 {
        proxy.client().await.get("/").await.expect(200);
    }
    proxy.get("/readyz").await.expect(200);
    eventually("health is asked for again", || async { blue.probes() > probes.0 && green.probes() > probes.1 }).await;
}

#[tokio::test]
async fn a_limit_of_connections_keeps_descriptors_for_everything_else() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = behind("max_connections: 5", &blue, &green, "").await;
    let mut client = proxy.client().await;
    client.get("/").await.expect(200);
    let idle: Vec<_> = (0..50).map(|_| std::net::TcpStream::connect(proxy.address("web")).unwrap()).collect();
    let open = std::fs::read_dir(format!("/proc/{}/fd", proxy.pid())).unwrap().count();
    assert!(open < 100, "{open} descriptors are open");
    client.get("/").await.expect(200);
    drop(idle);
    eventually("new ones are served", || async {
        let mut client = proxy.client().await;
        let served = tokio::time::timeout(Duration::from_secs(1), client.try_request("GET", "/", &[], None)).await;
        matches!(served, Ok(Ok(answer)) if answer.status == 200)
    })
    .await;
}
