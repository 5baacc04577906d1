//! Wrong input is refused with what is wrong and what would be right, and changes nothing.

use std::net::TcpListener;
use std::process::Output;

use serde_json::{Value, json};

use crate::support::ports::Port;
use crate::support::proxy::{self, binary, blue_green};
use crate::support::{Proxy, Upstream, eventually, peers};

const SOUND: &str = "listeners: { web: { bind: \"127.0.0.1:@web@\" } }
services:
  shop:
    groups: { blue: { upstreams: [\"http://127.0.0.1:1\"] }, green: { upstreams: [\"http://127.0.0.1:2\"] } }
    split: { blue: 100, green: 0 }
routes: [ { match: { path: / }, service: shop } ]
";

/// What is exchanged in the sound file, for what, and all that is said; places count the three lines put in front.
const MISTAKES: [(&str, &str, &[&str]); 12] = [
    ("routes: [ {", "routes: [ {{", &["9:11: this is not YAML (mismatched bracket"]),
    ("services:", "services", &["5:1: this is not YAML ("]),
    ("split: {", "split: [", &["8:12: this is not YAML (mismatched bracket"]),
    (
        "http://127.0.0.1:1",
        "http://${NOWHERE_SET}:1",
        &["7:35: the environment variable NOWHERE_SET is not set; set it"],
    ),
    ("split:", "splitt:", &["8:5: the key `splitt` is not known here; did you mean `split`?"]),
    ("blue: 100, green: 0", "blue: 99.9, green: 0", &["8:12: the shares sum to 99.9; they must sum to 100"]),
    ("blue: 100, green: 0", "blue: a lot, green: 0", &["8:20: `blue`: \"a lot\" is not a percentage from 0 to 100"]),
    ("blue: 100, green: 0", "blue: 100, gren: 0", &["8:25: there is no group `gren`; did you mean `green`?"]),
    ("service: shop }", "service: shoe }", &["9:42: there is no service `shoe`; did you mean `shop`?"]),
    ("bind:", "bind: \"127.0.0.1:80\", bind:", &["4:43: the key `bind` is already in line 4; remove one of them"]),
    (
        "http://127.0.0.1:2",
        "gopher://127.0.0.1:2",
        &["7:81: \"gopher://127.0.0.1:2\" is not an upstream's URL; write it"],
    ),
    (
        "bind:",
        "tls: { certificates: [{ cert: no.crt, key: no.key }] }, bind:",
        &[
            "4:51: the file \"no.crt\" cannot be read (No such file",
            "4:64: the file \"no.key\" cannot be read (No such file",
        ],
    ),
];

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs the program to its end, in the way a shell would.
async fn pointsman(arguments: &[&str]) -> Output {
    let mut command = binary();
    command.args(arguments);
    peers::run(command).await
}

#[test]
fn every_mistake_in_a_file_is_named_with_its_place_and_is_exit_code_1() {
    assert!(proxy::check(SOUND).status.success(), "{}", said(&proxy::check(SOUND)));
    for (right, wrong, expected) in MISTAKES {
        assert!(SOUND.contains(right), "{right}");
        let check = proxy::check(&SOUND.replacen(right, wrong, 1));
        let said = said(&check);
        let lines: Vec<_> = said.trim().lines().collect();
        assert_eq!((check.status.code(), lines.len()), (Some(1), expected.len()), "{wrong}: {said}");
        for (line, message) in lines.iter().zip(expected) {
            assert!(line.contains(&format!("pointsman.yaml:{message}")), "{wrong}, {message}: {said}");
        }
    }
}

#[test]
fn several_mistakes_are_named_in_one_run_in_the_order_of_the_file() {
    let broken = SOUND
        .replace("blue: 100, green: 0", "blue: 99.9, green: 0")
        .replace("service: shop }", "service: shoe }")
        .replace("http://127.0.0.1:2", "gopher://127.0.0.1:2");
    let check = proxy::check(&format!("{broken}quotas: {{}}\n"));
    let said = said(&check);
    let lines: Vec<_> = said.lines().collect();
    assert_eq!((check.status.code(), lines.len()), (Some(1), 4), "{said}");
    for (line, (place, word)) in
        lines.iter().zip([(":7:", "gopher"), (":8:", "99.9"), (":9:", "shoe"), (":10:1: ", "quotas")])
    {
        assert!(line.contains(place) && line.contains(word), "{place} {word}: {said}");
    }
}

#[tokio::test]
async fn a_broken_file_does_not_start_and_leaves_no_state_behind() {
    let mut proxy = Proxy::launch(&SOUND.replace("99.9", "100").replacen("split:", "splitt:", 1), &[]);
    assert_eq!(proxy.ended().await.code(), Some(1));
    assert!(proxy.log().contains(":8:5: the key `splitt` is not known here"), "{}", proxy.log());
    assert!(!proxy.dir().join("state.db").exists());
    let missing = pointsman(&["run", "--config", "/nowhere/pointsman.yaml"]).await;
    assert_eq!(missing.status.code(), Some(1));
    assert!(
        said(&missing).contains("/nowhere/pointsman.yaml") && said(&missing).contains("No such file"),
        "{missing:?}"
    );
}

#[tokio::test]
async fn a_port_that_is_taken_at_the_start_is_named_and_nothing_is_served() {
    for name in ["web", "admin"] {
        let taken = Port::reserve();
        let _program = taken.listen();
        let port = taken.number().to_string();
        let config = format!("admin: {{ listen: 127.0.0.1:@admin@ }}\n{SOUND}").replace(&format!("@{name}@"), &port);
        let mut proxy = Proxy::launch(&config, &[]);
        assert_eq!(proxy.ended().await.code(), Some(1), "{name}");
        let log = proxy.log();
        let address = taken.address().to_string();
        assert!(log.contains(&address) && log.contains("in use"), "{name}: {log}");
        assert!(name == "admin" || log.contains("listeners.web: cannot listen on"), "{log}");
        let other = proxy.address(if name == "web" { "admin" } else { "web" });
        TcpListener::bind(other).expect("its other port is free");
    }
}

#[tokio::test]
async fn an_upstream_out_of_reach_is_502_then_503_and_the_status_says_why() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    blue.close_after_requests(1);
    // Nobody looks again for a long time, so that the request itself finds out.
    let once = "health: { kind: http, path: /health, interval: 1h }\nretries: { across_groups: false }";
    let proxy = Proxy::blue_green(&blue, &green, once).await;
    blue.refuse().await;
    let failed = proxy.client().await.get("/").await.expect(502);
    assert_eq!(failed.header("proxy-status"), Some("pointsman; error=connection_refused"));
    let (config, soon) = (blue_green(&blue, &green, ""), "interval: 50ms");
    proxy.rewrite(&config.replace("interval: 100ms", soon));
    proxy.health_is("shop", "blue", "unhealthy").await;
    green.refuse().await;
    proxy.health_is("shop", "green", "unhealthy").await;
    let none = proxy.client().await.get("/").await.expect(503);
    assert_eq!(none.header("proxy-status"), Some("pointsman; error=destination_unavailable"));
    let why = format!("cannot connect to {}: Connection refused", blue.address());
    let check = proxy.service("shop").await["groups"]["blue"]["upstreams"][0]["last_check"].clone();
    assert!(check["why"].as_str().unwrap().starts_with(&why), "{check}");
    let status = proxy.cli(&["status", "shop"]).await;
    assert!(String::from_utf8_lossy(&status.stdout).contains(&why), "{status:?}");
}

/// A proxy that asks for a token, and what must not change.
async fn guarded() -> (Upstream, Upstream, Proxy, Value) {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let admin = "admin: { listen: 127.0.0.1:@admin@, tokens: [ { name: ops, role: operator, env: OPS } ] }\n";
    let config = format!("{admin}{}", blue_green(&blue, &green, ""));
    let proxy = Proxy::start_with(&config, &[("OPS", "open-sesame"), ("POINTSMAN_TOKEN", "open-sesame")]).await;
    let before = seen(&proxy).await;
    (blue, green, proxy, before)
}

async fn seen(proxy: &Proxy) -> Value {
    let token = [("authorization", "Bearer open-sesame")];
    let service = proxy.admin("GET", "/api/v1/services/shop", &token, None).await.expect(200).json();
    json!([service["version"], service["split"], service["stable_split"]])
}

#[tokio::test]
async fn what_the_admin_port_is_asked_wrongly_is_refused_by_a_stable_code_and_changes_nothing() {
    let (_blue, _green, proxy, before) = guarded().await;
    let split = "/api/v1/services/shop/split";
    let switch = "/api/v1/services/shop/switch";
    let half = json!({ "weights": { "blue": 99.9, "green": 0 } });
    let ask = |method: &'static str, path: &'static str, fields: &'static [(&str, &str)], body: Value| {
        let proxy = &proxy;
        async move {
            let token = ("authorization", "Bearer open-sesame");
            let fields: Vec<_> = fields.iter().copied().chain([token]).collect();
            let answer = proxy.admin(method, path, &fields, Some(body)).await;
            assert_eq!(answer.header("content-type"), Some("application/problem+json"));
            (answer.status, answer.json()["code"].as_str().unwrap().to_owned(), answer.json()["detail"].to_string())
        }
    };
    let to = |group: &str| json!({ "to": group });
    let table = [
        (ask("PUT", split, &[], half).await, 422, "invalid_split", "99.9"),
        (ask("POST", switch, &[], to("gren")).await, 404, "no_such_group", "gren"),
        (ask("POST", "/api/v1/services/shoe/switch", &[], to("green")).await, 404, "no_such_service", "shoe"),
        (ask("POST", switch, &[("if-match", "\"0\"")], to("green")).await, 412, "stale_version", "0"),
        (ask("POST", switch, &[], json!({ "too": "green" })).await, 400, "bad_request", "too"),
        (ask("POST", switch, &[], json!({ "to": 7 })).await, 400, "bad_request", "7"),
        (ask("POST", switch, &[], json!("green")).await, 400, "bad_request", ""),
    ];
    for ((status, code, detail), expected_status, expected_code, word) in table {
        assert_eq!((status, code.as_str()), (expected_status, expected_code), "{detail}");
        assert!(detail.contains(word), "{word}: {detail}");
    }
    let mut client = crate::support::Client::connect(proxy.address("admin")).await;
    let fields = [("authorization", "Bearer open-sesame"), ("content-type", "application/json")];
    let no_json = client.request("POST", switch, &fields, Some(b"to=green")).await.expect(400).json();
    assert_eq!(no_json["code"], "bad_request", "{no_json}");
    let wrong = [("authorization", "Bearer open-sesamy")];
    let refused = proxy.admin("POST", switch, &wrong, Some(to("green"))).await.expect(401);
    assert_eq!(refused.json()["code"], "unauthorized");
    assert!(refused.header("www-authenticate").unwrap().starts_with("Bearer"), "{refused:?}");
    assert_eq!(seen(&proxy).await, before);
    assert_eq!(proxy.client().await.get("/").await.expect(200).group(), Some("blue"));
}

#[tokio::test]
async fn the_command_line_tells_failure_from_wrong_usage_by_its_exit_code() {
    let (_blue, green, proxy, before) = guarded().await;
    green.healthy(false);
    eventually("green is not healthy", || async {
        String::from_utf8_lossy(&proxy.cli(&["status", "shop"]).await.stdout).contains("503")
    })
    .await;
    let failures: [(&[&str], &str); 5] = [
        (&["switch", "shop", "gren"], "gren"),
        (&["switch", "shoe", "green"], "shoe"),
        (&["switch", "shop", "green"], "--force"),
        (&["shift", "shop", "green", "--to", "101"], "101"),
        (&["--token", "open-sesamy", "switch", "shop", "green"], "token"),
    ];
    for (arguments, word) in failures {
        let output = proxy.cli(arguments).await;
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.starts_with("error: ") && said.contains(word), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty(), "{output:?}");
    }
    let misuses: [&[&str]; 5] =
        [&["switch", "shop"], &["swich", "shop", "green"], &["shift", "shop", "green"], &["run", "--confg", "x"], &[]];
    for arguments in misuses {
        let output = proxy.cli(arguments).await;
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {output:?}");
        assert!(said(&output).contains("Usage"), "{output:?}");
    }
    assert_eq!(seen(&proxy).await, before);
    let nobody = Port::reserve();
    let url = format!("http://{}", nobody.address());
    let output = pointsman(&["--admin", &url, "status"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains(&format!("cannot reach pointsman at {url}")), "{output:?}");
}
