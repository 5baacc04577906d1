//! Other ids than a cookie: a header, the client's address, none; and how exactly the shares are met.

use serde_json::json;

use super::{cookie_set, group};
use crate::support::proxy::blue_green;
use crate::support::{Client, Proxy, Upstream};

const DIVIDED: &str = "split: { blue: 50, green: 50 }";

#[tokio::test]
async fn the_same_user_gets_the_same_group_on_every_device() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = Proxy::blue_green(&blue, &green, &format!("{DIVIDED}\naffinity: {{ header: x-user-id }}")).await;
    let (mut laptop, mut phone) = (proxy.client().await, proxy.client().await);
    let mut reached = [0; 2];
    for user in 0..100 {
        let id = format!("user-{user}");
        let at = group(&mut laptop, &[("x-user-id", &id), ("cookie", "pointsman=laptop")]).await;
        assert_eq!(group(&mut phone, &[("X-User-Id", &id), ("cookie", "pointsman=phone")]).await, at, "{id}");
        reached[usize::from(at == "green")] += 1;
    }
    assert!(reached.iter().all(|n| *n >= 20), "{reached:?}");
}

#[tokio::test]
async fn a_request_without_its_id_is_drawn_and_gets_no_cookie() {
    for affinity in ["affinity: { header: x-user-id }", "affinity: none"] {
        let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
        let proxy = Proxy::blue_green(&blue, &green, &format!("{DIVIDED}\n{affinity}")).await;
        let mut client = proxy.client().await;
        for _ in 0..64 {
            let answer = client.get_with("/", &[("cookie", "pointsman=x")]).await.expect(200);
            assert_eq!(cookie_set(&answer), None);
        }
        assert!(blue.requests() >= 8 && green.requests() >= 8, "{} and {}", blue.requests(), green.requests());
    }
}

#[tokio::test]
async fn the_same_address_gets_the_same_group() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let config = blue_green(&blue, &green, &format!("{DIVIDED}\naffinity: {{ client_ip: true }}"));
    let behind = "@web@\" }, behind: { bind: \"127.0.0.1:@behind@\", trusted_proxies: [127.0.0.0/8] }";
    let proxy = Proxy::start(&config.replace("@web@\" }", behind)).await;
    let mut direct = proxy.client().await;
    let own = group(&mut direct, &[]).await;
    for forged in 0..20 {
        // From an untrusted peer the field means nothing.
        assert_eq!(group(&mut direct, &[("x-forwarded-for", &format!("10.0.0.{forged}"))]).await, own);
    }
    let (mut one, mut other) =
        (Client::connect(proxy.address("behind")).await, Client::connect(proxy.address("behind")).await);
    let mut reached = [0; 2];
    for host in 0..100 {
        let at = group(&mut one, &[("x-forwarded-for", &format!("10.0.0.{host}"))]).await;
        let chain = format!("6.6.6.6, ::ffff:10.0.0.{host}, 127.0.0.1");
        assert_eq!(group(&mut other, &[("x-forwarded-for", &chain)]).await, at, "10.0.0.{host}");
        reached[usize::from(at == "green")] += 1;
    }
    assert!(reached.iter().all(|n| *n >= 20), "{reached:?}");
}

/// Requests with the ids `from..to`, many under way on one connection.
async fn pipelined(proxy: &Proxy, from: usize, to: usize) {
    let mut client = proxy.client().await;
    for batch in (from..to).collect::<Vec<_>>().chunks(100) {
        let requests: String =
            batch.iter().map(|id| format!("GET /{id} HTTP/1.1\r\nhost: x\r\nx-user-id: user-{id}\r\n\r\n")).collect();
        client.send(requests.as_bytes()).await.unwrap();
        for _ in batch {
            client.response_to("GET").await.unwrap().expect(200);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_20_000_sequential_ids_every_group_gets_its_share() {
    let [blue, green, red] = ["blue", "green", "red"].map(Upstream::start);
    let config = blue_green(&blue, &green, "affinity: { header: x-user-id }");
    let red_too = format!("green: {{ upstreams: [\"{}\"] }}, red: {{ upstreams: [\"{}\"] }}", green.url(), red.url());
    let proxy =
        Proxy::start(&config.replace(&format!("green: {{ upstreams: [\"{}\"] }}", green.url()), &red_too)).await;
    let split = json!({"weights": {"blue": 72.5, "green": 25, "red": 2.5}});
    proxy.put("/api/v1/services/shop/split", split).await.expect(200);
    tokio::join!(
        pipelined(&proxy, 0, 5000),
        pipelined(&proxy, 5000, 10_000),
        pipelined(&proxy, 10_000, 15_000),
        pipelined(&proxy, 15_000, 20_000),
    );
    for (upstream, share) in [(&blue, 0.725), (&green, 0.25), (&red, 0.025)] {
        // The salt is another one each time; five standard deviations do not come by in a lifetime of runs.
        let bound = 5.0 * f64::sqrt(share * (1.0 - share) / 20_000.0);
        let found = upstream.requests() as f64 / 20_000.0;
        assert!((found - share).abs() < bound, "{found} for {share} ± {bound}");
    }
}

#[tokio::test]
async fn the_header_of_the_response_names_the_group_where_that_is_asked_for() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy =
        Proxy::blue_green(&blue, &green, &format!("{DIVIDED}\nexpose: {{ response_header: x-served-by }}")).await;
    let mut client = proxy.client().await;
    for id in 0..20 {
        let answer = client.get_with("/", &[("cookie", &format!("pointsman={id}"))]).await.expect(200);
        assert_eq!(answer.header("x-served-by"), answer.group());
    }
    assert!(blue.requests() > 0 && green.requests() > 0);
}
