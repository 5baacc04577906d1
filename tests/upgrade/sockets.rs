//! What a process that comes or goes must not do to connections.

use std::net::TcpListener;

use serde_json::json;

use super::{pid, upgraded};
use crate::support::proxy::{Signal, blue_green};
use crate::support::{Client, Proxy, Upstream, eventually};

/// As systemd does: the port is opened by somebody else, who does not share it.
fn opened() -> (TcpListener, String) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    (socket, address)
}

#[tokio::test]
async fn a_socket_that_systemd_has_opened_is_used_and_goes_on_to_the_next_process() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let (socket, address) = opened();
    let config = blue_green(&blue, &green, "").replace("127.0.0.1:@web@", &address);
    // Kept here as systemd keeps it: nobody could bind the port anew.
    let kept = socket.try_clone().unwrap();
    let mut proxy = Proxy::start_activated(socket, "web.socket", &config).await;
    let web = kept.local_addr().unwrap();
    assert_eq!(Client::connect(web).await.get("/").await.expect(200).group(), Some("blue"));
    upgraded(&proxy).await;
    assert_eq!(pid(&proxy).await, proxy.pid());
    for _ in 0..10 {
        Client::connect(web).await.get("/").await.expect(200);
    }
    assert_eq!(proxy.ended().await.code(), Some(0));
    proxy.signal(Signal::Term);
    proxy.is_gone().await;
    // systemd would start the next one for it.
    Client::try_connect(web).await.expect("the socket is still open");
}

#[tokio::test]
async fn a_socket_for_which_there_is_no_listener_is_said_and_closed() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let (socket, address) = opened();
    let proxy = Proxy::start_activated(socket, "web", &blue_green(&blue, &green, "")).await;
    proxy.client().await.get("/").await.expect(200);
    let log = proxy.log();
    assert!(log.contains("no listener") && log.contains(&address), "{log}");
    assert!(Client::try_connect(address.parse().unwrap()).await.is_err());
}

#[tokio::test]
async fn ports_that_the_system_has_chosen_stay_what_they_are() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let config = blue_green(&blue, &green, "").replace("127.0.0.1:@web@", "127.0.0.1:0");
    let proxy = Proxy::start(&config).await;
    let shown = || async { proxy.get("/api/v1/config").await.expect(200).json()["listeners"][0]["address"].clone() };
    let before = shown().await;
    upgraded(&proxy).await;
    assert_eq!(shown().await, before);
    let address = before.as_str().unwrap().parse().unwrap();
    Client::connect(address).await.get("/").await.expect(200);
}

#[tokio::test]
async fn connections_that_nobody_has_accepted_yet_are_accepted_by_the_new_process() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let config = blue_green(&blue, &green, "").replace("@web@\"", "@web@\", max_connections: 1");
    let mut proxy = Proxy::start(&config).await;
    let mut first = proxy.client().await;
    first.get("/").await.expect(200);
    // Each worker takes one more, and keeps it waiting; further ones are in the kernel's queue.
    let mut waiting = Vec::new();
    for _ in 0..12 {
        let mut client = proxy.client().await;
        client.send(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        waiting.push(client);
    }
    eventually("the listener is full", || async { proxy.log().contains("as many connections are open") }).await;
    proxy.upgrade(json!({})).await.expect(200);
    for client in &mut waiting {
        client.response_to("GET").await.unwrap().expect(200);
    }
    first.get("/").await.expect(200);
    assert_eq!(proxy.ended().await.code(), Some(0));
}
