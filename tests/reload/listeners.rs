//! Listeners come, go and move with the file; where one of them cannot be had, nothing has changed at all.

use std::net::TcpListener;

use serde_json::json;

use super::{events, reload, with_listener};
use crate::support::ports::Port;
use crate::support::proxy::blue_green;
use crate::support::{Client, Proxy, Upstream, eventually};

async fn refuses(port: &Port) {
    eventually("the port refuses connections", || async { Client::try_connect(port.address()).await.is_err() }).await;
}

#[tokio::test]
async fn listeners_are_added_moved_renamed_and_removed() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = Proxy::blue_green(&blue, &green, "").await;
    let config = blue_green(&blue, &green, "");
    let (first, second) = (Port::reserve(), Port::reserve());
    let mut client = proxy.client().await;
    client.get("/").await.expect(200);

    let report = reload(&proxy, &with_listener(&config, "extra", first.number())).await;
    assert_eq!(report["changes"], json!(["listeners.extra: added"]));
    let mut on_first = Client::connect(first.address()).await;
    on_first.get("/").await.expect(200);

    let report = reload(&proxy, &with_listener(&config, "extra", second.number())).await;
    assert_eq!(report["changes"], json!(["listeners.extra.bind: changed"]));
    Client::connect(second.address()).await.get("/").await.expect(200);
    refuses(&first).await;

    reload(&proxy, &with_listener(&config, "other", second.number())).await;
    Client::connect(second.address()).await.get("/").await.expect(200);

    let report = reload(&proxy, &config).await;
    assert_eq!(report["changes"], json!(["listeners.other: removed"]));
    refuses(&second).await;
    TcpListener::bind(second.address()).expect("another program can have the port");
    client.get("/").await.expect(200);
    let shown = proxy.get("/api/v1/config").await.expect(200).json()["listeners"].clone();
    assert_eq!(shown.as_array().unwrap().len(), 1, "{shown}");
}

#[tokio::test]
async fn a_listener_that_is_renamed_keeps_its_port_without_a_moment_of_refusal() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = Proxy::blue_green(&blue, &green, "").await;
    let load = crate::support::load::Load::start(&proxy, 2);
    for round in 0..6 {
        let name = if round % 2 == 0 { "front" } else { "web" };
        let config = blue_green(&blue, &green, "").replacen("{ web: {", &format!("{{ {name}: {{"), 1);
        reload(&proxy, &config).await;
        proxy.client().await.get("/").await.expect(200);
        load.goes_on_for(5).await;
    }
    load.nothing_failed().await;
}

#[tokio::test]
async fn a_port_that_is_taken_refuses_the_whole_reload_and_leaves_nothing_half_bound() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = Proxy::blue_green(&blue, &green, "").await;
    let (free, taken) = (Port::reserve(), Port::reserve());
    let program = taken.listen();
    let exposed = blue_green(&blue, &green, "expose: { response_header: x-served-by }");
    // The free one stands first in the file, and is bound first.
    let config = with_listener(&with_listener(&exposed, "unlucky", taken.number()), "lucky", free.number());
    proxy.rewrite(&config);
    let refused = proxy.post("/api/v1/config/reload", json!({})).await.expect(422).json();
    let errors = refused["errors"].as_array().unwrap();
    let said = errors[0].as_str().unwrap();
    assert!(errors.len() == 1 && said.contains("listeners.unlucky") && said.contains("it is in use"), "{refused}");
    assert!(said.contains(&taken.address().to_string()), "{said}");
    assert!(Client::try_connect(free.address()).await.is_err(), "a listener of a refused file accepts");
    TcpListener::bind(free.address()).expect("nothing of a refused file stays bound");
    assert_eq!(proxy.client().await.get("/").await.expect(200).header("x-served-by"), None);
    assert!(events(&proxy, "reload").await.is_empty());
    drop(program);
    eventually("the ports can be had", || async {
        let answer = proxy.post("/api/v1/config/reload", json!({})).await;
        if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
    })
    .await;
    for port in [&free, &taken] {
        let answer = Client::connect(port.address()).await.get("/").await.expect(200);
        assert_eq!(answer.header("x-served-by"), Some("blue"));
    }
}

#[tokio::test]
async fn a_connection_of_a_listener_that_is_removed_gets_the_answer_that_it_waits_for() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = Proxy::blue_green(&blue, &green, "").await;
    let (config, extra) = (blue_green(&blue, &green, ""), Port::reserve());
    reload(&proxy, &with_listener(&config, "extra", extra.number())).await;
    let slow = crate::support::Answer::text("slow");
    blue.answer(crate::support::Answer::Later(std::time::Duration::from_millis(500), Box::new(slow)));
    let mut client = Client::connect(extra.address()).await;
    client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    eventually("the request has arrived", || async { blue.requests() == 1 }).await;
    reload(&proxy, &config).await;
    assert_eq!(client.response_to("GET").await.unwrap().expect(200).text(), "slow");
}
