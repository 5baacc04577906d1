//! What the proxy tells about its work: the access log, the log, the metrics.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::metrics::Scrape;
use crate::support::proxy::{self, Signal, blue_green};
use crate::support::{Answer, Proxy, Upstream, eventually};

fn with_telemetry(blue: &Upstream, green: &Upstream, telemetry: &str) -> String {
    format!("{}telemetry: {{ {telemetry} }}\n", blue_green(blue, green, ""))
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line:?}"))).collect()
}

/// The lines of a log file once there are so many whole ones.
async fn written(path: &Path, count: usize) -> Vec<Value> {
    eventually(&format!("{count} lines in {}", path.display()), || async {
        let text = fs::read_to_string(path).unwrap_or_default();
        let whole = text.matches('\n').count();
        if whole >= count { Ok(lines(&text)) } else { Err(format!("{whole} lines")) }
    })
    .await
}

#[tokio::test]
async fn the_access_log_has_a_line_of_json_for_each_request_with_who_answered_and_how() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let config = with_telemetry(&blue, &green, "access_log: { to: \"@dir@/access.log\" }");
    let config = config.replace("match: { path: / }", "match: { path: /, methods: [GET, POST] }");
    let proxy = Proxy::start(&config).await;
    let log = proxy.dir().join("access.log");
    let mut client = proxy.client().await;
    client.get_with("/a/b?secret=1", &[("host", "shop.test")]).await.expect(200);
    let answered = written(&log, 1).await.remove(0);
    let upstream = blue.url();
    for (field, expected) in [
        ("listener", json!("web")),
        ("client", json!("127.0.0.1")),
        ("method", json!("GET")),
        ("host", json!("shop.test")),
        ("path", json!("/a/b")),
        ("status", json!(200)),
        ("bytes", json!(4)),
        ("service", json!("shop")),
        ("group", json!("blue")),
        ("upstream", json!(upstream)),
        ("attempts", json!(1)),
    ] {
        assert_eq!(answered[field], expected, "{field}: {answered}");
    }
    assert!(answered.get("error").is_none(), "{answered}");
    assert!(answered["ms"].as_f64().unwrap() > 0.0, "{answered}");
    answered["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();

    client.request("DELETE", "/gone", &[], None).await.expect(404);
    let unrouted = written(&log, 2).await.remove(1);
    let expected = (&json!(404), &Value::Null, &json!(0), &json!("destination_not_found"));
    assert_eq!((&unrouted["status"], &unrouted["service"], &unrouted["attempts"], &unrouted["error"]), expected);

    blue.answer(Answer::Garbage(b"nonsense\r\n\r\n".to_vec()));
    client.post("/broken", b"x").await.expect(502);
    let broken = written(&log, 3).await.remove(2);
    let expected = (&json!(502), &json!("blue"), &json!("http_protocol_error"), &json!("POST"));
    assert_eq!((&broken["status"], &broken["group"], &broken["error"], &broken["method"]), expected);

    blue.answer(Answer::text("back"));
    let h2 = crate::support::client::H2Client::connect(proxy.address("web")).await;
    h2.get("/over-h2").await.expect(200);
    let line = written(&log, 4).await.remove(3);
    assert_eq!((&line["path"], &line["status"], &line["bytes"]), (&json!("/over-h2"), &json!(200), &json!(4)));
}

#[tokio::test]
async fn a_client_that_left_is_logged_as_499_and_a_retry_with_who_answered_in_the_end() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    // Only a group with a share may stand in for another.
    let once = "health: { kind: http, path: /health, interval: 1h }\nsplit: { blue: 99.9999, green: 0.0001 }";
    let telemetry = "telemetry: { access_log: { to: \"@dir@/access.log\" } }\n";
    let proxy = Proxy::start(&format!("{}{telemetry}", blue_green(&blue, &green, once))).await;
    let log = proxy.dir().join("access.log");
    blue.answer(Answer::Hang);
    let mut client = proxy.client().await;
    client.send(b"GET /left HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    eventually("the request has arrived", || async { blue.requests() == 1 }).await;
    drop(client);
    let left = written(&log, 1).await.remove(0);
    assert_eq!((&left["path"], &left["status"], &left["group"]), (&json!("/left"), &json!(499), &json!("blue")));
    blue.refuse().await;
    proxy.client().await.get("/retried").await.expect(200);
    let retried = written(&log, 2).await.remove(1);
    let seen = (&retried["status"], &retried["group"], &retried["attempts"], &retried["upstream"]);
    assert_eq!(seen, (&json!(200), &json!("green"), &json!(2), &json!(green.url())), "{retried}");
}

#[tokio::test]
async fn a_line_cannot_be_forged_by_what_a_client_sends() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let config = with_telemetry(&blue, &green, "access_log: { to: \"@dir@/access.log\" }");
    let proxy = Proxy::start(&config).await;
    let mut client = proxy.client().await;
    client.get_with("/%0a\"},{\"status\":200", &[("host", "a\"b")]).await;
    proxy.client().await.get("/last").await.expect(200);
    let log = proxy.dir().join("access.log");
    eventually("the last line is there", || async { fs::read_to_string(&log).unwrap_or_default().contains("/last") })
        .await;
    let lines = written(&log, 1).await;
    assert!(lines.len() <= 2 && lines.iter().all(|l| l["method"] == "GET" && l["listener"] == "web"), "{lines:?}");
}

#[tokio::test]
async fn the_access_log_goes_to_standard_output_where_it_is_told_to_and_nowhere_unless_told() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let loud = Proxy::start(&with_telemetry(&blue, &green, "access_log: { to: stdout, format: json }")).await;
    loud.client().await.get("/loud").await.expect(200);
    let line = written(&loud.dir().join("stdout"), 1).await.remove(0);
    assert_eq!(line["path"], "/loud");
    assert!(!loud.log().contains("/loud"));
    let mut quiet = Proxy::blue_green(&blue, &green, "").await;
    quiet.client().await.get("/quiet").await.expect(200);
    assert!(quiet.terminate().await.success());
    assert_eq!((quiet.stdout().as_str(), quiet.log().contains("/quiet")), ("", false));
}

#[tokio::test]
async fn what_was_logged_last_is_written_before_the_process_ends() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let mut proxy = Proxy::start(&with_telemetry(&blue, &green, "access_log: { to: stdout }")).await;
    let mut client = proxy.client().await;
    for _ in 0..300 {
        client.get("/").await.expect(200);
    }
    assert!(proxy.terminate().await.success());
    assert_eq!(lines(&proxy.stdout()).len(), 300);
}

#[tokio::test]
async fn the_access_log_is_opened_anew_by_a_hangup_after_it_was_moved_and_no_line_is_lost() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let config = with_telemetry(&blue, &green, "access_log: { to: \"@dir@/access.log\" }");
    let proxy = Proxy::start(&config).await;
    let (log, moved) = (proxy.dir().join("access.log"), proxy.dir().join("access.log.1"));
    let mut client = proxy.client().await;
    client.get("/before").await.expect(200);
    written(&log, 1).await;
    fs::rename(&log, &moved).unwrap();
    client.get("/between").await.expect(200);
    written(&moved, 2).await;
    proxy.signal(Signal::Hup);
    eventually("there is a new file", || async { log.exists() }).await;
    client.get("/after").await.expect(200);
    let new = written(&log, 1).await;
    assert_eq!((new.len(), &new[0]["path"]), (1, &json!("/after")));
    let old: Vec<_> = written(&moved, 2).await.iter().map(|l| l["path"].clone()).collect();
    assert_eq!(old, ["/before", "/between"]);
}

#[tokio::test]
async fn a_share_of_the_requests_is_logged_where_that_is_asked_for() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let telemetry = "access_log: { to: stdout, share: 25 }";
    let mut proxy = Proxy::start(&with_telemetry(&blue, &green, telemetry)).await;
    let mut client = proxy.client().await;
    for _ in 0..400 {
        client.get("/").await.expect(200);
    }
    assert!(proxy.terminate().await.success());
    // 100 expected; 8.7 is the standard deviation. Beyond six of them is one test run in a billion.
    let logged = lines(&proxy.stdout()).len();
    assert!((48..=152).contains(&logged), "{logged} of 400");
}

#[tokio::test]
async fn the_log_says_as_much_as_it_is_told_to() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    green.healthy(false);
    let mut sizes = Vec::new();
    for level in ["error", "info", "trace"] {
        let mut proxy = Proxy::start(&with_telemetry(&blue, &green, &format!("log: {level}"))).await;
        proxy.client().await.get("/").await.expect(200);
        assert!(proxy.terminate().await.success());
        let log = proxy.log();
        assert_eq!(log.contains("INFO"), level != "error", "{level}: {log}");
        assert_eq!(log.contains("upstream is unhealthy"), level != "error", "{level}: {log}");
        sizes.push(log.lines().count());
    }
    assert!(sizes[0] == 0 && sizes[1] > 0 && sizes[2] > sizes[1], "{sizes:?}");
    let check = proxy::check(&with_telemetry(&blue, &green, "log: chatty"));
    let said = String::from_utf8_lossy(&check.stderr);
    assert!(!check.status.success() && said.contains("\"chatty\" is no filter; write error, warn, info"), "{said}");
}

#[tokio::test]
async fn counts_are_right_after_a_known_number_of_requests() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = Proxy::blue_green(&blue, &green, "retries: { across_groups: false }").await;
    let mut client = proxy.client().await;
    blue.script(|head| match head.path() {
        "/missing" => Answer::Plain(404, String::new()),
        "/failing" => Answer::Plain(500, String::new()),
        _ => Answer::text("blue"),
    });
    for (path, times) in [("/", 30), ("/missing", 7), ("/failing", 3)] {
        for _ in 0..times {
            client.get(path).await;
        }
    }
    proxy.switch("shop", "green").await;
    for _ in 0..5 {
        client.get("/").await.expect(200);
    }
    proxy.is_idle("shop", "blue").await;
    proxy.is_idle("shop", "green").await;
    let scrape = Scrape::of(&proxy).await;
    let (blue_url, green_url) = (blue.url(), green.url());
    for (sample, expected) in [
        (r#"pointsman_requests_total{service="shop",group="blue",code="200"}"#.to_owned(), 30.0),
        (r#"pointsman_requests_total{service="shop",group="blue",code="404"}"#.to_owned(), 7.0),
        (r#"pointsman_requests_total{service="shop",group="blue",code="500"}"#.to_owned(), 3.0),
        (r#"pointsman_requests_total{service="shop",group="green",code="200"}"#.to_owned(), 5.0),
        (r#"pointsman_request_duration_seconds_count{service="shop",group="blue"}"#.to_owned(), 40.0),
        (r#"pointsman_request_duration_seconds_bucket{le="+Inf",service="shop",group="green"}"#.to_owned(), 5.0),
        (
            format!(
                r#"pointsman_upstream_attempts_total{{service="shop",group="green",upstream="{green_url}",outcome="ok"}}"#
            ),
            5.0,
        ),
        (r#"pointsman_retries_total{service="shop",group="blue"}"#.to_owned(), 0.0),
        (r#"pointsman_in_flight{service="shop",group="blue"}"#.to_owned(), 0.0),
        (r#"pointsman_in_flight{service="shop",group="green"}"#.to_owned(), 0.0),
        (r#"pointsman_tunnels{service="shop",group="blue"}"#.to_owned(), 0.0),
        (r#"pointsman_connections{listener="web"}"#.to_owned(), 1.0),
        (r#"pointsman_split_share{service="shop",group="blue"}"#.to_owned(), 0.0),
        (r#"pointsman_split_share{service="shop",group="green"}"#.to_owned(), 100.0),
        (format!(r#"pointsman_upstream_healthy{{service="shop",group="blue",upstream="{blue_url}"}}"#), 1.0),
        ("pointsman_switch_seconds_count".to_owned(), 1.0),
        ("pointsman_config_last_reload_successful".to_owned(), 1.0),
        (format!(r#"pointsman_build_info{{version="{}"}}"#, env!("CARGO_PKG_VERSION")), 1.0),
    ] {
        assert_eq!(scrape.value(&sample), Some(expected), "{sample} in {scrape:#?}");
    }
    let attempts = format!(r#"pointsman_upstream_attempts_total{{service="shop",group="blue",upstream="{blue_url}","#);
    assert!((scrape.sum(&attempts) - 40.0).abs() < 0.1, "{scrape:#?}");
    proxy.post("/api/v1/services/shop/rollback", json!({})).await.expect(200);
    let scrape = Scrape::of(&proxy).await;
    assert!((scrape.sum(r#"pointsman_rollbacks_total{service="shop","#) - 1.0).abs() < 0.1, "{scrape:#?}");
}

#[tokio::test]
async fn what_is_under_way_is_seen_and_gone_when_it_is_over_even_where_the_client_left() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    blue.answer(Answer::Hang);
    let proxy = Proxy::blue_green(&blue, &green, "").await;
    let in_flight = r#"pointsman_in_flight{service="shop",group="blue"}"#;
    let connections = r#"pointsman_connections{listener="web"}"#;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let mut client = proxy.client().await;
        client.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        waiting.push(client);
    }
    let becomes = |expected: f64| {
        let proxy = &proxy;
        eventually("so many requests and connections are seen", move || async move {
            let scrape = Scrape::of(proxy).await;
            let seen = (scrape.value(in_flight), scrape.value(connections));
            if seen == (Some(expected), Some(expected)) { Ok(()) } else { Err(format!("{seen:?}")) }
        })
    };
    becomes(3.0).await;
    waiting.pop();
    becomes(2.0).await;
    waiting.clear();
    becomes(0.0).await;
    eventually("the upstream's connections are given up", || async { blue.open_connections() == 0 }).await;
}

#[tokio::test]
async fn no_label_takes_a_value_from_a_client() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let proxy = Proxy::blue_green(&blue, &green, "").await;
    let mut client = proxy.client().await;
    client.get("/").await.expect(200);
    proxy.is_idle("shop", "blue").await;
    let before = Scrape::of(&proxy).await;
    for i in 0..20 {
        let (host, agent) = (format!("h{i}.test"), format!("agent-{i}"));
        let path = format!("/path-{i}?query={i}");
        let method = ["GET", "POST", "PATCH", "BREW"][i % 4];
        client.request(method, &path, &[("host", &host), ("user-agent", &agent)], None).await.expect(200);
    }
    proxy.is_idle("shop", "blue").await;
    assert_eq!(Scrape::of(&proxy).await.names(), before.names());
}
