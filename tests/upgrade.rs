//! Upgrades of pointsman itself: another process takes over, and nobody notices.

mod drains;
mod load;
mod refusals;
mod sockets;
mod systemd;

use serde_json::{Value, json};
use tokio::net::UnixStream;

use crate::support::metrics::Scrape;
use crate::support::{Answer, Client, Proxy, Upstream, eventually};

/// Upgrades to the same program with the same file; gives the answer.
async fn upgraded(proxy: &Proxy) -> Value {
    proxy.upgrade(json!({})).await.expect(200).json()
}

async fn pid(proxy: &Proxy) -> u32 {
    u32::try_from(proxy.get("/healthz").await.expect(200).json()["pid"].as_u64().unwrap()).unwrap()
}

async fn kinds(proxy: &Proxy) -> Vec<String> {
    proxy.events().await.iter().map(|event| event["kind"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_new_process_has_the_state_and_all_new_connections_and_the_old_one_finishes_what_it_has() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let mut proxy = Proxy::blue_green(&blue, &green, "").await;
    proxy.switch("shop", "green").await;
    let before = proxy.pid();
    green.script(|head| match head.path() {
        "/slow" => Answer::Later(std::time::Duration::from_secs(3), Box::new(Answer::text("slow"))),
        _ => Answer::text("green"),
    });
    let mut slow = proxy.client().await;
    slow.send(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    eventually("it has arrived", || async { green.requests() == 1 }).await;
    let answer = upgraded(&proxy).await;
    assert_eq!(
        (&answer["old_pid"], &answer["version"]),
        (&before.into(), &env!("CARGO_PKG_VERSION").into()),
        "{answer}"
    );
    assert!(answer["ms"].as_f64().unwrap() > 0.0 && proxy.pid() != before, "{answer}");
    assert_eq!(pid(&proxy).await, proxy.pid());
    for _ in 0..20 {
        assert_eq!(proxy.client().await.get("/").await.expect(200).text(), "green");
    }
    let counted = Scrape::of(&proxy).await.sum("pointsman_requests_total{");
    assert!(counted >= 20.0, "the new process has counted {counted} requests only");
    let last = slow.response_to("GET").await.unwrap().expect(200);
    assert_eq!((last.text().as_str(), last.header("connection")), ("slow", Some("close")));
    assert_eq!(proxy.ended().await.code(), Some(0), "nothing was cut");
    let events = proxy.events().await;
    let upgrade = events.iter().find(|event| event["kind"] == "upgrade").expect("a line in the audit log");
    assert_eq!((&upgrade["actor"], &upgrade["detail"]["from"]["pid"]), (&"local".into(), &before.into()), "{upgrade}");
    assert_eq!(upgrade["detail"]["to"]["pid"], proxy.pid(), "{upgrade}");
    assert_eq!(
        proxy.get("/api/v1/config/drift").await.expect(200).json()["differences"][0]["what"],
        "services.shop.split"
    );
    proxy.post("/api/v1/services/shop/rollback", json!({})).await.expect(200);
    assert_eq!(proxy.client().await.get("/").await.expect(200).group(), Some("blue"));
}

#[tokio::test]
async fn a_keep_alive_connection_of_the_old_process_gets_one_more_answer_by_what_the_new_one_has_decided() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let mut proxy = Proxy::blue_green(&blue, &green, "").await;
    let mut idle = Vec::new();
    for _ in 0..40 {
        let mut client = proxy.client().await;
        client.get("/").await.expect(200);
        idle.push(client);
    }
    upgraded(&proxy).await;
    let first = idle.pop().unwrap().get("/").await.expect(200);
    assert_eq!((first.group(), first.header("connection")), (Some("blue"), Some("close")));
    proxy.switch("shop", "green").await;
    let idle = std::cell::RefCell::new(idle);
    eventually("what is left in the old process goes to green, too", || async {
        let mut client = idle.borrow_mut().pop().expect("a connection that the old process still has");
        let answer = client.get("/").await.expect(200);
        assert_eq!(answer.header("connection"), Some("close"));
        if answer.group() == Some("green") { Ok(()) } else { Err(format!("{:?}", answer.group())) }
    })
    .await;
    drop(idle);
    assert_eq!(proxy.ended().await.code(), Some(0));
}

#[tokio::test]
async fn another_file_with_more_workers_and_other_ports_is_taken_over_to() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let config = crate::support::proxy::blue_green(&blue, &green, "");
    let two = "{ web: { bind: \"127.0.0.1:@web@\" }, gone: { bind: \"127.0.0.1:@gone@\" } }";
    let mut proxy = Proxy::start(&config.replace("{ web: { bind: \"127.0.0.1:@web@\" } }", two)).await;
    let [of_workers, of_listeners] = ["workers: .*", "listeners: .*"].map(|line| regex::Regex::new(line).unwrap());
    for (workers, renamed) in [("4", "front"), ("1", "web"), ("3", "door")] {
        let text = std::fs::read_to_string(proxy.config_path()).unwrap();
        let text = of_workers.replace(&text, format!("workers: {workers}")).into_owned();
        let listeners = format!(
            "listeners: {{ {renamed}: {{ bind: \"{}\" }}, added: {{ bind: \"{}\" }} }}",
            proxy.address("web"),
            proxy.address("added")
        );
        let text = of_listeners.replace(&text, listeners).into_owned();
        let path = proxy.dir().join(format!("{renamed}.yaml"));
        std::fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap().to_owned();
        proxy.upgrade(json!({ "config": path })).await.expect(200);
        for _ in 0..40 {
            proxy.client().await.get("/").await.expect(200);
            Client::connect(proxy.address("added")).await.get("/").await.expect(200);
        }
        let shown = proxy.get("/api/v1/config").await.expect(200).json()["listeners"].clone();
        assert_eq!(shown[0]["name"], renamed, "{shown}");
    }
    assert_eq!(proxy.ended().await.code(), Some(0));
    let gone = proxy.address("gone");
    eventually("the listener that is gone refuses", || async { Client::try_connect(gone).await.is_err() }).await;
    proxy.signal(crate::support::proxy::Signal::Term);
    proxy.is_gone().await;
}

#[tokio::test]
async fn unix_sockets_of_clients_and_of_the_admin_port_are_there_all_the_time_and_go_with_the_last_process() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let config = crate::support::proxy::blue_green(&blue, &green, "");
    let config = config.replacen("127.0.0.1:@web@", "unix:@dir@/web.sock", 1);
    let mut proxy = Proxy::launch(&format!("admin: {{ listen: \"unix:@dir@/admin.sock\" }}\n{config}"), &[]);
    let (web, admin) = (proxy.dir().join("web.sock"), proxy.dir().join("admin.sock"));
    let get = |path: std::path::PathBuf, target: &'static str| async move {
        let stream = UnixStream::connect(path).await.map_err(|e| e.to_string())?;
        let answer = Client::over(stream, "localhost").try_request("GET", target, &[], None).await;
        answer.map_err(|e| e.to_string())
    };
    eventually("it is ready", || async { get(admin.clone(), "/readyz").await.is_ok_and(|a| a.status == 200) }).await;
    let url = format!("unix:{}", admin.display());
    for round in 0..3 {
        let output = proxy.cli(&["--admin", &url, "upgrade", "--output", "json"]).await;
        assert!(output.status.success(), "{round}: {}", String::from_utf8_lossy(&output.stderr));
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        proxy.taken_over_by(answer["pid"].as_u64().unwrap());
        assert_eq!(get(web.clone(), "/").await.unwrap().expect(200).group(), Some("blue"));
        let shown = get(admin.clone(), "/healthz").await.unwrap().expect(200).json();
        assert_eq!(shown["pid"], answer["pid"]);
        eventually("the one before has left", || async { proxy.processes() == [proxy.pid()] }).await;
        assert!(web.exists() && admin.exists());
        get(web.clone(), "/").await.unwrap().expect(200);
    }
    assert_eq!(proxy.ended().await.code(), Some(0));
    proxy.signal(crate::support::proxy::Signal::Term);
    proxy.is_gone().await;
    assert!(!web.exists() && !admin.exists(), "the last one has left its files behind");
}

#[tokio::test]
async fn the_command_says_which_process_serves_and_which_leaves() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let mut proxy = Proxy::blue_green(&blue, &green, "").await;
    let output = proxy.cli(&["upgrade", "--config", "pointsman.yaml", "--reason", "0.2"]).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    proxy.taken_over_by(u64::from(pid(&proxy).await));
    assert!(said.starts_with(&format!("process {} (pointsman ", proxy.pid())) && said.ends_with(" leaves\n"), "{said}");
    assert_eq!(proxy.ended().await.code(), Some(0));
    let events = proxy.events().await;
    assert!(events.iter().any(|event| event["kind"] == "upgrade" && event["detail"]["reason"] == "0.2"), "{events:?}");
}

#[tokio::test]
async fn what_the_old_process_cannot_finish_in_time_is_cut_and_said() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let config = crate::support::proxy::blue_green(&blue, &green, "");
    let mut proxy = Proxy::start(&format!("shutdown: {{ timeout: 300ms }}\n{config}")).await;
    blue.script(|_| Answer::Hang);
    let mut stuck = proxy.client().await;
    stuck.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    eventually("it has arrived", || async { blue.requests() == 1 }).await;
    upgraded(&proxy).await;
    assert_eq!(proxy.ended().await.code(), Some(1));
    assert!(stuck.is_closed().await && proxy.log().contains("were cut"), "{}", proxy.log());
    assert_eq!(pid(&proxy).await, proxy.pid());
}
