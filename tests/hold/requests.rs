//! What becomes of requests of every kind while a service is held, and after.

use serde_json::json;

use super::{GET, HOLD, asking, hold, kinds, release, start, waiting_are};
use crate::support::client::H2Client;
use crate::support::metrics::Scrape;
use crate::support::proxy::blue_green;
use crate::support::{Answer, Client, Proxy, Upstream, eventually};
use crate::tunnels::{ASKS, echoes};

#[tokio::test]
async fn requests_of_every_kind_wait_and_are_then_answered_in_full_by_the_group_of_then() {
    let (blue, green, proxy) = start("").await;
    for upstream in [&blue, &green] {
        upstream.script(|head| match (head.path(), head.method()) {
            ("/ws", _) => Answer::Upgrade,
            (_, "POST") => Answer::Echo,
            _ => Answer::text("hello"),
        });
    }
    let h2 = H2Client::connect(proxy.address("web")).await;
    hold(&proxy).await;
    let body = vec![b'x'; 300_000];
    let mut get = asking(&proxy, GET).await;
    let mut tunnel = proxy.client().await;
    let mut post = proxy.client().await;
    let upgrade = tunnel.get_with("/ws", &ASKS);
    let posted = post.post("/", &body);
    let (h2_get, h2_post) = (h2.get("/"), h2.request("POST", "/", &[], &body));
    let answers = async { tokio::join!(get.response_to("GET"), upgrade, posted, h2_get, h2_post) };
    let let_go = async {
        waiting_are(&proxy, "shop", 5).await;
        assert_eq!(Scrape::of(&proxy).await.value("pointsman_held{service=\"shop\"}"), Some(5.0));
        assert_eq!(
            (blue.requests(), proxy.service("shop").await["groups"]["blue"]["in_flight"].clone()),
            (0, json!(0))
        );
        proxy.switch("shop", "green").await;
        waiting_are(&proxy, "shop", 5).await;
        let receipt = release(&proxy).await;
        assert_eq!((&receipt["changed"], &receipt["held"]["waited"]), (&json!(true), &json!(5)));
    };
    let ((get, upgrade, posted, h2_get, h2_post), ()) = tokio::join!(answers, let_go);
    assert_eq!(get.unwrap().expect(200).text(), "hello");
    upgrade.expect(101);
    echoes(&mut tunnel, b"through").await;
    assert!(posted.expect(200).body == body && h2_post.unwrap().expect(200).body == body);
    assert_eq!(h2_get.expect(200).group(), Some("green"));
    assert_eq!((blue.requests(), green.requests()), (0, 5));
    assert_eq!(proxy.service("shop").await["hold"], json!(null));
    assert_eq!(kinds(&proxy).await, ["hold", "switch", "release"]);
}

#[tokio::test]
async fn a_hold_survives_reloads_and_one_whose_service_is_gone_lets_everybody_go() {
    let (blue, green, proxy) = start("").await;
    hold(&proxy).await;
    let mut waits = asking(&proxy, GET).await;
    waiting_are(&proxy, "shop", 1).await;
    let config = blue_green(&blue, &green, "expose: { response_header: x-by }");
    proxy.rewrite(&config);
    proxy.post("/api/v1/config/reload", json!({})).await.expect(200);
    waiting_are(&proxy, "shop", 1).await;
    proxy.rewrite(&config.replace("  shop:", "  other:").replace("service: shop", "service: other"));
    proxy.post("/api/v1/config/reload", json!({})).await.expect(200);
    assert!(waits.response_to("GET").await.unwrap().expect(200).header("x-by").is_some());
    assert_eq!(kinds(&proxy).await, ["hold", "release"]);
}

#[tokio::test]
async fn whoever_asks_for_our_health_from_outside_is_answered_while_everybody_else_waits() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let routes = "routes: [ { match: { path: / }, service: shop }, { match: { path: /api }, service: shop, strip_prefix: /api } ]";
    let config = blue_green(&blue, &green, "").replace("routes: [ { match: { path: / }, service: shop } ]", routes);
    let proxy = Proxy::start(&config).await;
    let h2 = H2Client::connect(proxy.address("web")).await;
    hold(&proxy).await;
    let mut client = proxy.client().await;
    for path in ["/health", "/health?from=lb", "/api/health"] {
        let answer = client.get(path).await.expect(200);
        assert_eq!((answer.text().as_str(), answer.group()), ("ok\n", None), "{path}");
    }
    client.request("HEAD", "/health", &[], None).await.expect(200);
    h2.get("/health").await.expect(200);
    let mut others = Vec::new();
    for request in ["POST /health", "GET /healthy", "GET /api/healthy", "GET /api"] {
        others.push(asking(&proxy, &format!("{request} HTTP/1.1\r\nhost: x\r\n\r\n")).await);
    }
    waiting_are(&proxy, "shop", others.len()).await;
    release(&proxy).await;
    for mut other in others {
        other.response_to("GET").await.unwrap().expect(200);
    }
}

#[tokio::test]
async fn test_traffic_to_the_candidate_is_never_held() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let listeners =
        "web: { bind: \"127.0.0.1:@web@\" }, validation: { bind: \"127.0.0.1:@validation@\", sends_to: candidate }";
    let config = blue_green(&blue, &green, "").replace("web: { bind: \"127.0.0.1:@web@\" }", listeners);
    let proxy = Proxy::start(&config).await;
    hold(&proxy).await;
    let mut waits = asking(&proxy, GET).await;
    waiting_are(&proxy, "shop", 1).await;
    let mut tester = Client::connect(proxy.address("validation")).await;
    assert_eq!(tester.get("/").await.expect(200).group(), Some("green"));
    release(&proxy).await;
    assert_eq!(waits.response_to("GET").await.unwrap().expect(200).group(), Some("blue"));
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_gives_its_place_back() {
    let (blue, _green, proxy) = start("hold: { requests: 3 }").await;
    hold(&proxy).await;
    let h2 = H2Client::connect(proxy.address("web")).await;
    let stays = asking(&proxy, GET).await;
    let leaves = asking(&proxy, GET).await;
    let asked = tokio::spawn(async move { drop(h2.get("/").await) });
    waiting_are(&proxy, "shop", 3).await;
    drop(leaves);
    waiting_are(&proxy, "shop", 2).await;
    asked.abort();
    waiting_are(&proxy, "shop", 1).await;
    // One with a body that nobody has read.
    let uploads = asking(&proxy, "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 500000\r\n\r\nsome").await;
    waiting_are(&proxy, "shop", 2).await;
    drop(uploads);
    waiting_are(&proxy, "shop", 1).await;
    release(&proxy).await;
    let mut stays = stays;
    stays.response_to("GET").await.unwrap().expect(200);
    assert_eq!(blue.requests(), 1, "a request without a client went on");
}

#[tokio::test]
async fn a_client_that_has_closed_its_side_with_all_said_still_gets_its_answer() {
    let (blue, _green, proxy) = start("").await;
    blue.answer(Answer::Echo);
    hold(&proxy).await;
    let mut client = asking(&proxy, "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nsome").await;
    client.finish_sending().await.unwrap();
    waiting_are(&proxy, "shop", 1).await;
    release(&proxy).await;
    assert_eq!(client.response_to("POST").await.unwrap().expect(200).text(), "some");
}

#[tokio::test]
async fn a_stop_lets_everybody_go() {
    let (_blue, _green, mut proxy) = start("").await;
    hold(&proxy).await;
    let mut waits = asking(&proxy, GET).await;
    waiting_are(&proxy, "shop", 1).await;
    let (answer, status) = tokio::join!(waits.response_to("GET"), proxy.terminate());
    answer.unwrap().expect(200);
    assert!(status.success());
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_nobody_waits() {
    let (_blue, _green, proxy) = start("").await;
    let nothing = release(&proxy).await;
    assert_eq!((&nothing["changed"], &nothing["held"]), (&json!(false), &json!(null)));
    for time in ["0s", "11m", "x"] {
        proxy.post(HOLD, json!({"for": time})).await.expect(422);
    }
    proxy.admin("POST", HOLD, &[("if-match", "\"99\"")], Some(json!({}))).await.expect(412);
    proxy.client().await.get("/").await.expect(200);
    hold(&proxy).await;
    let second = proxy.post(HOLD, json!({})).await.expect(409).json();
    assert_eq!(second["code"], "hold_in_progress");
    eventually("they are in the audit log", || async { kinds(&proxy).await.len() >= 5 }).await;
    release(&proxy).await;
    let kinds = kinds(&proxy).await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "hold.refused").count(), 4, "{kinds:?}");
    assert_eq!(kinds.last().unwrap(), "release");
}
