//! Every refusal is a problem with a stable code, and says what would be right.

use serde_json::json;

use super::{problem, start};
use crate::support::Client;

/// Method, path, body, then the status, the code, and words that the detail holds.
type Case = (&'static str, &'static str, &'static str, u16, &'static str, &'static [&'static str]);

const CASES: &[Case] = &[
    ("GET", "/api/v1/services/nobody", "", 404, "no_such_service", &["nobody", "shop"]),
    ("POST", "/api/v1/services/nobody/switch", r#"{"to":"green"}"#, 404, "no_such_service", &["nobody", "shop"]),
    ("POST", "/api/v1/services/a%20b/rollback", "{}", 404, "no_such_service", &["a b", "shop"]),
    ("GET", "/api/v1/services/nobody/explain", "", 404, "no_such_service", &["shop"]),
    ("POST", "/api/v1/services/shop/switch", r#"{"to":"red"}"#, 404, "no_such_group", &["red", "blue, green"]),
    ("POST", "/api/v1/services/shop/switch", r#"{"to":"a b"}"#, 404, "no_such_group", &["a b", "blue, green"]),
    ("POST", "/api/v1/services/shop/shift", r#"{"group":"red","to":5}"#, 404, "no_such_group", &["blue, green"]),
    ("PUT", "/api/v1/services/shop/split", r#"{"weights":{"red":100}}"#, 404, "no_such_group", &["blue, green"]),
    ("PUT", "/api/v1/services/shop/split", r#"{"weights":{"blue":99.9}}"#, 422, "invalid_split", &["99.9", "100"]),
    (
        "PUT",
        "/api/v1/services/shop/split",
        r#"{"weights":{"blue":60,"green":60}}"#,
        422,
        "invalid_split",
        &["120", "100"],
    ),
    ("PUT", "/api/v1/services/shop/split", r#"{"weights":{"blue":-1,"green":101}}"#, 422, "invalid_split", &["-1"]),
    ("PUT", "/api/v1/services/shop/split", r#"{"weights":{}}"#, 422, "invalid_split", &["100"]),
    ("PUT", "/api/v1/services/shop/split", r#"{"weights":{"blue":"all"}}"#, 400, "bad_request", &["weights.blue"]),
    ("POST", "/api/v1/services/shop/shift", r#"{"group":"green","to":100.5}"#, 422, "invalid_split", &["100.5"]),
    ("POST", "/api/v1/services/shop/switch", "to=green", 400, "bad_request", &["JSON"]),
    ("POST", "/api/v1/services/shop/switch", "", 400, "bad_request", &["`to`"]),
    ("POST", "/api/v1/services/shop/switch", r#"{"to":"green","tox":1}"#, 400, "bad_request", &["tox"]),
    ("POST", "/api/v1/services/shop/switch", r#"{"to":"green"} {}"#, 400, "bad_request", &["JSON"]),
    ("POST", "/api/v1/services/shop/switch", r#"{"to":7}"#, 400, "bad_request", &["string"]),
    ("POST", "/api/v1/switch", r#"{"services":[],"to":"green"}"#, 400, "bad_request", &["services"]),
    ("POST", "/api/v1/services/shop/groups/blue/drain", "{}", 409, "live_group", &["blue", "force"]),
    ("GET", "/api/v1/services/shop/groups/blue/drain", "", 404, "no_drain", &["blue"]),
    ("POST", "/api/v1/services/shop/switch", r#"{"to":"green","hold":"8"}"#, 422, "invalid_duration", &["8", "5s"]),
    ("POST", "/api/v1/services/shop/switch", r#"{"to":"green","hold":"0s"}"#, 422, "invalid_duration", &["0s", "10s"]),
    ("POST", "/api/v1/switch", r#"{"services":["shop"],"to":"green","hold":"11m"}"#, 422, "invalid_duration", &["10m"]),
    ("POST", "/api/v1/services/shop/switch", r#"{"to":"red","hold":"8s"}"#, 404, "no_such_group", &["blue, green"]),
    ("POST", "/api/v1/services/shop/hold", r#"{"for":"soon"}"#, 422, "invalid_duration", &["soon", "250ms"]),
    ("POST", "/api/v1/services/shop/hold", r#"{"for":"0ms"}"#, 422, "invalid_duration", &["0s"]),
    ("POST", "/api/v1/services/shop/hold", r#"{"for":"10m1ms"}"#, 422, "invalid_duration", &["10m1ms", "10m"]),
    ("POST", "/api/v1/services/shop/hold", r#"{"until":"8s"}"#, 400, "bad_request", &["until", "for"]),
    ("POST", "/api/v1/services/nobody/hold", "{}", 404, "no_such_service", &["nobody", "shop"]),
    ("DELETE", "/api/v1/services/nobody/hold", "", 404, "no_such_service", &["nobody", "shop"]),
    ("GET", "/api/v1/events?since=x", "", 400, "bad_request", &["since"]),
    ("GET", "/api/v1/events?from=1", "", 400, "bad_request", &["from", "since"]),
    ("GET", "/api/v1/services/shop/explain?cooky=a", "", 400, "bad_request", &["cooky", "cookie"]),
    ("GET", "/api/v1/services/shop/explain?client=here", "", 400, "bad_request", &["here"]),
    ("GET", "/api/v1/nothing", "", 404, "no_such_path", &["/api/v1/nothing", "openapi.json"]),
    ("GET", "/favicon.ico", "", 404, "no_such_path", &["/favicon.ico"]),
    ("DELETE", "/api/v1/services/shop", "", 405, "method_not_allowed", &["DELETE"]),
    ("GET", "/api/v1/services/shop/switch", "", 405, "method_not_allowed", &["GET"]),
];

#[tokio::test]
async fn every_refusal_has_its_code_and_changes_nothing() {
    let (_blue, _green, proxy) = start().await;
    let before = proxy.service("shop").await;
    let mut client = Client::connect(proxy.address("admin")).await;
    for (method, path, body, status, code, words) in CASES {
        let answer = client.request(method, path, &[], Some(body.as_bytes())).await;
        let allow = answer.header("allow").map(ToOwned::to_owned);
        let problem = problem(answer, *status, code);
        for word in *words {
            assert!(problem["detail"].as_str().unwrap().contains(word), "{method} {path} {body}: {problem}");
        }
        assert_eq!(allow.is_some(), *status == 405, "{path}: {allow:?}");
    }
    let after = proxy.service("shop").await;
    assert_eq!((&after["version"], &after["split"]), (&before["version"], &before["split"]));
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_without_being_read_whole() {
    let (_blue, _green, proxy) = start().await;
    let mut client = Client::connect(proxy.address("admin")).await;
    let body = format!(r#"{{"to":"green","reason":"{}"}}"#, "x".repeat(2 << 20));
    // The port may close while it is still being sent: the answer counts.
    let _ = client
        .send(
            format!(
                "POST /api/v1/services/shop/switch HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
                body.len()
            )
            .as_bytes(),
        )
        .await;
    let _ = client.send(&body.as_bytes()[..=1 << 20]).await;
    problem(client.response_to("POST").await.unwrap(), 413, "body_too_large");
    assert_eq!(proxy.service("shop").await["live"], "blue");
}

#[tokio::test]
async fn a_body_counts_as_json_whatever_its_type_says() {
    let (_blue, _green, proxy) = start().await;
    let mut client = Client::connect(proxy.address("admin")).await;
    for (kind, to) in [("text/plain", "green"), ("application/x-www-form-urlencoded", "blue")] {
        let body = json!({ "to": to }).to_string();
        let fields = [("content-type", kind)];
        let answer = client.request("POST", super::SWITCH, &fields, Some(body.as_bytes())).await.expect(200);
        assert_eq!(answer.json()["split"][to], 100);
    }
}

#[tokio::test]
async fn a_change_that_the_store_does_not_take_is_refused_and_a_rollback_works_all_the_same() {
    let (_blue, _green, proxy) = start().await;
    proxy.switch("shop", "green").await;
    // Another process that holds the database for itself stands in for a disk that does not answer.
    let held = rusqlite::Connection::open(proxy.dir().join("state.db")).unwrap();
    held.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let (refused, back) = tokio::join!(proxy.put(super::SPLIT, json!({"weights": {"blue": 50, "green": 50}})), async {
        let back = proxy.post("/api/v1/services/shop/rollback", json!({})).await.expect(200).json();
        assert_eq!(proxy.client().await.get("/").await.expect(200).group(), Some("blue"));
        back
    });
    assert_eq!(back["split"], json!({"blue": 100, "green": 0}));
    problem(refused, 503, "store_unavailable");
    assert!(proxy.get("/readyz").await.expect(200).text().contains("the state cannot be written"));
    held.execute_batch("ROLLBACK").unwrap();
    drop(held);
    crate::support::eventually("the store is well again", || async {
        let notes = proxy.get("/readyz").await.json()["notes"].clone();
        if notes == json!([]) { Ok(()) } else { Err(notes.to_string()) }
    })
    .await;
}
