//! A switch behind a hold: what is under way ends, what is new waits, and nobody fails.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{GET, asking, kinds, release, start, takes, waiting_are};
use crate::support::client::H2Client;
use crate::support::load::Load;
use crate::support::{Client, Proxy, Upstream, eventually};

const SWITCH: &str = "/api/v1/services/shop/switch";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_nobody_fails_and_after_the_switch_blue_hears_nothing_more() {
    let (blue, green, proxy) = start("").await;
    takes(&blue, Duration::from_millis(30));
    let load = Load::start(&proxy, 12);
    load.goes_on_for(50).await;
    let mut client = H2Client::connect(proxy.address("web")).await;
    for round in 0..5 {
        let receipt = proxy.post(SWITCH, json!({"to": "green", "hold": "20s"})).await.expect(200).json();
        let switched = Instant::now();
        assert!(receipt["hold"]["ms"].as_f64().unwrap() < 20_000.0, "nothing ended: {receipt}");
        assert_eq!(client.get("/").await.expect(200).group(), Some("green"), "round {round}");
        load.goes_on_for(50).await;
        assert_eq!(blue.arrivals_after(switched).len(), 0, "round {round}");
        proxy.switch("shop", "blue").await;
        load.goes_on_for(50).await;
        client = H2Client::connect(proxy.address("web")).await;
    }
    load.nothing_failed().await;
    assert!(green.requests() > 100);
    assert_eq!(kinds(&proxy).await[..4], ["hold", "switch", "release", "switch"]);
}

#[tokio::test]
async fn no_request_reaches_green_before_the_last_one_at_blue_has_ended() {
    let (blue, green, proxy) = start("").await;
    let pause = Duration::from_millis(400);
    takes(&blue, pause);
    let mut under_way = asking(&proxy, GET).await;
    eventually("it has arrived", || async { blue.requests() == 1 }).await;
    let began = blue.arrivals()[0].at;
    let switch = proxy.post(SWITCH, json!({"to": "green", "hold": "20s", "reason": "2.5.0"}));
    let ask = async {
        eventually("it is held", || async { proxy.service("shop").await["hold"]["switch_to"] == "green" }).await;
        proxy.client().await.get("/").await.expect(200)
    };
    let (receipt, held) = tokio::join!(switch, ask);
    let receipt = receipt.expect(200).json();
    assert_eq!((&receipt["split"]["green"], &receipt["hold"]["waited"]), (&json!(100), &json!(1)), "{receipt}");
    assert_eq!(held.group(), Some("green"));
    assert_eq!(under_way.response_to("GET").await.unwrap().expect(200).group(), Some("blue"));
    assert!(green.arrivals()[0].at - began >= pause, "green had it while blue was still at work");
}

#[tokio::test]
async fn a_request_that_does_not_end_delays_the_switch_by_no_more_than_the_hold() {
    let (blue, _green, proxy) = start("").await;
    blue.answer(crate::support::Answer::Hang);
    let _hangs = asking(&proxy, GET).await;
    eventually("it has arrived", || async { blue.requests() == 1 }).await;
    let switch = proxy.post(SWITCH, json!({"to": "green", "hold": "500ms"}));
    let ask = async {
        eventually("it is held", || async { !proxy.service("shop").await["hold"].is_null() }).await;
        proxy.client().await.get("/").await.expect(200)
    };
    let (receipt, held) = tokio::join!(switch, ask);
    assert!(receipt.expect(200).json()["hold"]["ms"].as_f64().unwrap() >= 500.0);
    assert_eq!(held.group(), Some("green"));
}

#[tokio::test]
async fn a_target_that_dies_while_everybody_waits_is_not_switched_to_and_nobody_waits_on() {
    let (blue, green, proxy) = start("").await;
    takes(&blue, Duration::from_secs(2));
    let _under_way = asking(&proxy, GET).await;
    eventually("it has arrived", || async { blue.requests() == 1 }).await;
    let switch = proxy.post(SWITCH, json!({"to": "green", "hold": "20s"}));
    let die = async {
        eventually("it is held", || async { !proxy.service("shop").await["hold"].is_null() }).await;
        green.healthy(false);
        let mut waits = asking(&proxy, GET).await;
        waits.response_to("GET").await.unwrap().expect(200)
    };
    let (refused, held) = tokio::join!(switch, die);
    assert_eq!(refused.expect(409).json()["code"], "no_healthy_upstream");
    assert_eq!((held.group(), proxy.service("shop").await["hold"].clone()), (Some("blue"), json!(null)));
    assert_eq!(kinds(&proxy).await, ["hold", "switch.refused", "release"]);
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_undo_it_and_a_release_gives_it_up() {
    let (blue, _green, proxy) = start("").await;
    takes(&blue, Duration::from_secs(1));
    let _under_way = asking(&proxy, GET).await;
    eventually("it has arrived", || async { blue.requests() == 1 }).await;
    let body = r#"{"to":"green","hold":"20s"}"#;
    let mut caller = Client::connect(proxy.address("admin")).await;
    let request = format!("POST {SWITCH} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    caller.send(request.as_bytes()).await.unwrap();
    eventually("it is held", || async { !proxy.service("shop").await["hold"].is_null() }).await;
    drop(caller);
    eventually("it is switched", || async { proxy.service("shop").await["live"] == "green" }).await;
    proxy.switch("shop", "blue").await;
    let _under_way = asking(&proxy, GET).await;
    eventually("it has arrived", || async { blue.requests() == 2 }).await;
    let switch = proxy.post(SWITCH, json!({"to": "green", "hold": "20s"}));
    let let_go = async {
        eventually("it is held", || async { !proxy.service("shop").await["hold"].is_null() }).await;
        release(&proxy).await
    };
    let (refused, _) = tokio::join!(switch, let_go);
    assert_eq!(refused.expect(409).json()["code"], "hold_released");
    assert_eq!(proxy.service("shop").await["live"], "blue");
}

#[tokio::test]
async fn several_services_are_held_together_and_move_together_or_not_at_all() {
    let upstreams = ["blue", "green", "blue", "green"].map(Upstream::start);
    let service = |name: &str, blue: &Upstream, green: &Upstream| {
        format!(
            "  {name}:\n    groups: {{ blue: {{ upstreams: [\"{}\"] }}, green: {{ upstreams: [\"{}\"] }} }}\n    \
             health: {{ kind: http, path: /health, interval: 100ms, timeout: 1s }}\n",
            blue.url(),
            green.url()
        )
    };
    let [shop_blue, shop_green, api_blue, api_green] = &upstreams;
    let services = service("shop", shop_blue, shop_green) + &service("api", api_blue, api_green);
    let config = format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:@web@\" }} }}\nservices:\n{services}routes:\n  \
         - {{ match: {{ path: /shop }}, service: shop }}\n  - {{ match: {{ path: /api }}, service: api }}\n"
    );
    let proxy = Proxy::start(&config).await;
    let body = json!({"services": ["shop", "api"], "to": "green", "hold": "20s"});
    proxy.post("/api/v1/services/api/hold", json!({"for": "1m"})).await.expect(200);
    assert_eq!(proxy.post("/api/v1/switch", body.clone()).await.expect(409).json()["code"], "hold_in_progress");
    assert_eq!(proxy.service("shop").await["hold"], json!(null), "it is held for nothing");
    proxy.admin("DELETE", "/api/v1/services/api/hold", &[], None).await.expect(200);
    takes(api_blue, Duration::from_millis(700));
    let _under_way = asking(&proxy, "GET /api HTTP/1.1\r\nhost: x\r\n\r\n").await;
    eventually("it has arrived", || async { api_blue.requests() == 1 }).await;
    let switch = proxy.post("/api/v1/switch", body);
    let ask = async {
        eventually("both are held", || async {
            !proxy.service("shop").await["hold"].is_null() && !proxy.service("api").await["hold"].is_null()
        })
        .await;
        let mut waits = asking(&proxy, "GET /shop HTTP/1.1\r\nhost: x\r\n\r\n").await;
        waiting_are(&proxy, "shop", 1).await;
        waits.response_to("GET").await.unwrap().expect(200)
    };
    let (receipt, held) = tokio::join!(switch, ask);
    assert_eq!(receipt.expect(200).json()["hold"]["waited"], 1);
    assert_eq!((held.group(), shop_blue.requests(), api_green.requests()), (Some("green"), 0, 0));
    let (shop, api) = (proxy.service("shop").await, proxy.service("api").await);
    assert_eq!((&shop["live"], &api["live"], &shop["version"]), (&json!("green"), &json!("green"), &api["version"]));
}

#[tokio::test]
async fn nothing_flips_forward_behind_a_rollback() {
    let (blue, _green, proxy) = start("").await;
    takes(&blue, Duration::from_secs(2));
    let mut under_way = asking(&proxy, GET).await;
    eventually("it has arrived", || async { blue.requests() == 1 }).await;
    let switch = proxy.post(SWITCH, json!({"to": "green", "hold": "20s"}));
    let roll_back = async {
        eventually("it waits", || async { proxy.service("shop").await["hold"]["switch_to"] == "green" }).await;
        let mut held = asking(&proxy, GET).await;
        waiting_are(&proxy, "shop", 1).await;
        // Blue is live and stable: there is nothing to change, and all the same nothing may change behind it.
        let receipt = proxy.post("/api/v1/services/shop/rollback", json!({})).await.expect(200).json();
        assert_eq!(receipt["changed"], false, "{receipt}");
        assert_eq!(held.response_to("GET").await.unwrap().expect(200).group(), Some("blue"), "it is let go");
    };
    let (refused, ()) = tokio::join!(switch, roll_back);
    assert_eq!(refused.expect(409).json()["code"], "hold_released");
    assert_eq!(under_way.response_to("GET").await.unwrap().expect(200).group(), Some("blue"));
    assert_eq!(proxy.service("shop").await["split"]["blue"], 100);
}
