//! Tokens and roles.

use serde_json::{Value, json};

use super::{ask, config, start};
use crate::support::{Proxy, Upstream};

/// `printf %s SECRET-of-root | sha256sum`.
fn sha256(secret: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, secret.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn four_roles() -> String {
    let token =
        |role: &str| format!("- {{ name: {role}-1, role: {role}, sha256: \"{}\" }}", sha256(&format!("{role}!")));
    let lines = ["viewer", "monitor", "operator", "admin"].map(|role| format!("  {}", token(role)));
    format!("tokens:\n{}", lines.join("\n"))
}

#[tokio::test]
async fn a_token_comes_from_the_environment_from_a_file_or_as_its_digest() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let dir = tempfile::TempDir::new().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "from-file\n").unwrap();
    let tokens = format!(
        "tokens:\n  - {{ name: e, role: admin, env: OPS_TOKEN }}\n  - {{ name: f, role: viewer, file: {} }}\n  \
         - {{ name: s, role: operator, sha256: \"{}\" }}",
        file.display(),
        sha256("from-digest").to_uppercase()
    );
    let environment = [("OPS_TOKEN", "from-env")];
    let proxy = Proxy::start_with(&config(&blue, &green, &tokens), &environment).await;
    for (token, status) in [
        ("from-env", 200),
        ("from-file", 200),
        ("from-digest", 200),
        ("", 401),
        ("from-nowhere", 401),
        ("from-en", 401),
        ("from-envy", 401),
        ("FROM-ENV", 401),
        (&sha256("from-digest"), 401),
        ("OPS_TOKEN", 401),
    ] {
        let answer = ask(&proxy, token, "GET", "/api/v1/services", None).await.expect(status);
        if status == 401 {
            assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"pointsman\""));
            let problem = answer.json();
            assert_eq!(problem["code"], "unauthorized");
            assert!(problem["detail"].as_str().unwrap().contains("POINTSMAN_TOKEN"), "{problem}");
        }
    }
}

#[tokio::test]
async fn each_role_may_do_what_the_one_below_may_and_its_own() {
    let (_blue, _green, proxy) = start(&four_roles(), &[]).await;
    let switch = || Some(json!({"to": "green"}));
    // Reads, then what takes a monitor, an operator, an administrator.
    let verbs: [(&str, &str, Option<Value>, usize); 14] = [
        ("GET", "/api/v1/services", None, 0),
        ("GET", "/api/v1/services/shop", None, 0),
        ("GET", "/api/v1/services/shop/explain", None, 0),
        ("GET", "/api/v1/events", None, 0),
        ("GET", "/api/v1/config", None, 0),
        ("GET", "/api/v1/config/drift", None, 0),
        ("GET", "/metrics", None, 0),
        ("POST", "/api/v1/services/shop/rollback", Some(json!({})), 1),
        ("POST", "/api/v1/rollback", Some(json!({"services": ["shop"]})), 1),
        ("POST", "/api/v1/services/shop/switch", switch(), 2),
        ("POST", "/api/v1/switch", Some(json!({"services": ["shop"], "to": "blue"})), 2),
        ("PUT", "/api/v1/services/shop/split", Some(json!({"weights": {"blue": 100}})), 2),
        ("POST", "/api/v1/services/shop/shift", Some(json!({"group": "green", "to": 0})), 2),
        ("POST", "/api/v1/config/reload", None, 3),
    ];
    let roles = ["viewer", "monitor", "operator", "admin"];
    for (method, path, body, needed) in verbs {
        ask(&proxy, "", method, path, body.clone()).await.expect(401);
        for (has, role) in roles.iter().enumerate() {
            let answer = ask(&proxy, &format!("{role}!"), method, path, body.clone()).await;
            let answer = answer.expect(if has >= needed { 200 } else { 403 });
            if has < needed {
                let problem = answer.json();
                let detail = problem["detail"].as_str().unwrap();
                assert_eq!(problem["code"], "forbidden");
                assert!(detail.contains(role) && detail.contains(roles[needed]), "{detail}");
            }
        }
    }
}

#[tokio::test]
async fn a_monitor_may_roll_back_and_nothing_else_is_moved_by_those_who_may_not() {
    let (_blue, _green, proxy) = start(&four_roles(), &[]).await;
    let services = || async { ask(&proxy, "viewer!", "GET", "/api/v1/services/shop", None).await.expect(200).json() };
    let switch =
        |token: &'static str| ask(&proxy, token, "POST", "/api/v1/services/shop/switch", Some(json!({"to": "green"})));
    switch("monitor!").await.expect(403);
    assert_eq!(services().await["live"], "blue");
    switch("operator!").await.expect(200);
    assert_eq!(services().await["live"], "green");
    ask(&proxy, "monitor!", "POST", "/api/v1/services/shop/rollback", Some(json!({}))).await.expect(200);
    assert_eq!(services().await["live"], "blue");
}

#[tokio::test]
async fn whether_it_lives_and_is_ready_anyone_may_ask_and_what_there_is_only_those_with_a_token() {
    let (_blue, _green, proxy) = start(&four_roles(), &[]).await;
    for path in ["/", "/healthz", "/readyz"] {
        ask(&proxy, "", "GET", path, None).await.expect(200);
        // A wrong token does no harm where none is asked for.
        ask(&proxy, "wrong", "GET", path, None).await.expect(200);
    }
    for path in ["/metrics", "/api/v1/openapi.json", "/api/v1/nothing", "/nothing", "/api/v1/services/nobody"] {
        ask(&proxy, "", "GET", path, None).await.expect(401);
    }
    ask(&proxy, "viewer!", "GET", "/api/v1/nothing", None).await.expect(404);
}

#[tokio::test]
async fn a_token_is_taken_from_one_well_formed_field_only() {
    let (_blue, _green, proxy) = start(&four_roles(), &[]).await;
    for (fields, status) in [
        (&["Bearer viewer!"][..], 200),
        (&["bearer viewer!"], 200),
        (&["BEARER   viewer! "], 200),
        (&["Basic dmlld2VyIQ=="], 401),
        (&["viewer!"], 401),
        (&["Bearer"], 401),
        (&["Bearer viewer! admin!"], 401),
        (&["Bearer viewer!", "Bearer admin!"], 401),
        (&["Bearer wrong", "Bearer viewer!"], 401),
    ] {
        let fields: Vec<_> = fields.iter().map(|field| ("authorization", *field)).collect();
        proxy.admin("GET", "/api/v1/services", &fields, None).await.expect(status);
    }
    proxy.admin("GET", "/api/v1/services?token=admin!&access_token=admin!", &[], None).await.expect(401);
}

#[tokio::test]
async fn the_log_names_the_token_and_never_holds_it() {
    let (_blue, _green, proxy) = start(&four_roles(), &[("RUST_LOG", "trace")]).await;
    let switch =
        |token: &'static str| ask(&proxy, token, "POST", "/api/v1/services/shop/switch", Some(json!({"to": "green"})));
    let event = switch("operator!").await.expect(200).json()["event"].as_u64().unwrap();
    switch("guessed-secret").await.expect(401);
    let page = ask(&proxy, "viewer!", "GET", &format!("/api/v1/events?since={}", event - 1), None).await.json();
    assert_eq!(page["events"][0]["actor"], "operator-1");
    let export = ask(&proxy, "viewer!", "GET", "/api/v1/config?format=yaml", None).await.expect(200).text();
    let state = String::from_utf8_lossy(&std::fs::read(proxy.dir().join("state.db")).unwrap()).into_owned();
    for (place, text) in [("log", proxy.log()), ("events", page.to_string()), ("export", export), ("state", state)] {
        for secret in ["operator!", "viewer!", "guessed-secret"] {
            assert!(!text.contains(secret), "{secret} is in the {place}: {text}");
        }
    }
}

#[tokio::test]
async fn two_callers_may_choose_the_same_idempotency_key() {
    let (_blue, _green, proxy) = start(&four_roles(), &[]).await;
    let with_key = |token: &'static str, to: &'static str| {
        let proxy = &proxy;
        async move {
            let bearer = format!("Bearer {token}");
            let fields = [("authorization", bearer.as_str()), ("idempotency-key", "1")];
            let path = "/api/v1/services/shop/switch";
            proxy.admin("POST", path, &fields, Some(json!({ "to": to }))).await.expect(200).json()
        }
    };
    let first = with_key("operator!", "green").await;
    let other = with_key("admin!", "blue").await;
    assert_eq!((&first["changed"], &other["changed"]), (&json!(true), &json!(true)));
    assert_eq!(with_key("operator!", "green").await["version"], first["version"]);
}
