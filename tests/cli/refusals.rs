//! What goes wrong, said so that one knows what to do.

use super::{complaint, json_of, said, start, stderr, stdout};
use crate::support::ports::Port;
use crate::support::proxy::{binary, blue_green};
use crate::support::{Answer, Proxy, Upstream};

#[tokio::test]
async fn a_proxy_that_is_not_running_is_said_to_be_so_with_what_to_type() {
    let port = Port::reserve();
    let url = format!("http://{}", port.address());
    for verb in [&["status"][..], &["switch", "shop", "green"], &["events", "--follow"], &["rollback", "--all"]] {
        let output = binary().args(["--admin", &url]).args(verb).output().unwrap();
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(1), ""), "{verb:?}");
        let errors = stderr(&output);
        for part in [&format!("cannot reach pointsman at {url}"), "refused", "pointsman run --config FILE", "--admin"] {
            assert!(errors.contains(part), "{part} is not in {errors}");
        }
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
}

#[tokio::test]
async fn something_else_at_the_port_is_told_apart() {
    let other = Upstream::start("other");
    other.answer(Answer::text("hello"));
    for path in ["status", "drift"] {
        let url = other.url();
        let arguments = ["--admin".to_owned(), url, path.to_owned()];
        let output = tokio::task::spawn_blocking(|| binary().args(arguments).output().unwrap()).await.unwrap();
        let errors = stderr(&output);
        assert!(
            output.status.code() == Some(1) && errors.contains("does not answer like pointsman's admin port"),
            "{errors}"
        );
    }
}

#[tokio::test]
async fn a_missing_a_wrong_and_a_weak_token_are_told_apart() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let tokens =
        "  tokens:\n    - { name: pager, role: monitor, env: PAGER }\n    - { name: ops, role: operator, env: OPS }\n";
    let config = format!("admin:\n  listen: 127.0.0.1:@admin@\n{tokens}{}", blue_green(&blue, &green, ""));
    let proxy = Proxy::start_with(&config, &[("PAGER", "pager-secret"), ("OPS", "ops-secret")]).await;
    let missing = complaint(&proxy, &["status"], 1).await;
    assert!(
        missing.contains("needs a token") && missing.contains("--token") && missing.contains("POINTSMAN_TOKEN"),
        "{missing}"
    );
    let wrong = complaint(&proxy, &["status", "--token", "guess"], 1).await;
    assert!(wrong.contains("not known here") && !wrong.contains("guess"), "{wrong}");
    let weak = complaint(&proxy, &["switch", "shop", "green", "--token", "pager-secret"], 1).await;
    assert!(weak.contains("pager") && weak.contains("monitor") && weak.contains("operator"), "{weak}");
    said(&proxy, &["--token", "ops-secret", "switch", "shop", "green"]).await;
    said(&proxy, &["rollback", "shop", "--token", "pager-secret"]).await;
}

#[tokio::test]
async fn what_is_not_there_is_named_with_what_there_is() {
    let (_blue, _green, proxy) = start().await;
    let group = complaint(&proxy, &["switch", "shop", "red"], 1).await;
    assert!(group.contains("no group \"red\"") && group.contains("blue, green"), "{group}");
    for arguments in
        [&["switch", "shpo", "green"][..], &["status", "shpo"], &["rollback", "shpo"], &["explain", "shpo"]]
    {
        let service = complaint(&proxy, arguments, 1).await;
        assert!(service.contains("no service \"shpo\"") && service.contains("services are shop"), "{service}");
    }
    let share = complaint(&proxy, &["shift", "shop", "green", "--to", "101"], 1).await;
    assert!(share.contains("0 to 100") && share.contains("101"), "{share}");
}

#[tokio::test]
async fn a_switch_to_a_group_that_is_down_fails_with_the_reason_and_with_force_it_does_not() {
    let (_blue, green, proxy) = start().await;
    green.health(Answer::Plain(500, "migrations pending".to_owned()));
    proxy.health_is("shop", "green", "unhealthy").await;
    let errors = complaint(&proxy, &["switch", "shop", "green"], 1).await;
    for part in ["green", "500", "migrations pending", "--force"] {
        assert!(errors.contains(part), "{part} is not in {errors}");
    }
    let json = complaint(&proxy, &["switch", "shop", "green", "--output", "json"], 1).await;
    let problem: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(problem["code"], "no_healthy_upstream");
    assert_eq!(json_of(&proxy, &["switch", "shop", "green", "--force"]).await["changed"], true);
}

#[tokio::test]
async fn wrong_usage_is_64_and_help_is_not() {
    let (_blue, _green, proxy) = start().await;
    for arguments in [
        &[][..],
        &["flip", "shop"],
        &["switch", "shop"],
        &["switch", "shop", "green", "--all"],
        &["shift", "shop", "green"],
        &["shift", "shop", "green", "--to", "many"],
        &["rollback"],
        &["status", "--output", "xml"],
        &["token", "new", "--name", "x", "--role", "king"],
        &["events", "--limit", "0"],
        &["run", "--konfig", "x"],
    ] {
        let errors = complaint(&proxy, arguments, 64).await;
        assert!(errors.contains("Usage") || errors.contains("--help"), "{arguments:?}: {errors}");
    }
    for arguments in [&["--help"][..], &["switch", "--help"], &["--version"], &["help"]] {
        assert!(!said(&proxy, arguments).await.is_empty());
    }
    assert!(said(&proxy, &["--version"]).await.contains(env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn an_admin_port_that_cannot_be_one_is_refused_before_anything_is_sent() {
    for admin in ["ftp://localhost", "http://localhost/path", "", "unix:"] {
        let output = binary().args(["--admin", admin, "status"]).output().unwrap();
        assert!(
            matches!(output.status.code(), Some(1 | 64)) && stderr(&output).contains("--admin"),
            "{admin}: {output:?}"
        );
    }
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_failure() {
    let (_blue, _green, proxy) = start().await;
    let program = binary().get_program().to_owned();
    let admin = format!("http://{}", proxy.address("admin"));
    let mut command = std::process::Command::new("bash");
    let script = "set -o pipefail; \"$0\" --admin \"$1\" status | true; \"$0\" schema | head -1";
    command.args(["-c", script]).arg(program).arg(admin);
    let output = crate::support::peers::run(command).await;
    assert!(output.status.success() && stderr(&output).is_empty(), "{output:?}");
}
