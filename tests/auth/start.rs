//! Beyond loopback it does not start without credentials.

use super::config;
use crate::support::certs::Authority;
use crate::support::proxy::check;
use crate::support::{Proxy, Upstream};

#[tokio::test]
async fn beyond_loopback_it_refuses_to_start_without_credentials() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    for listen in ["0.0.0.0:@admin@", "\"[::]:@admin@\"", "192.0.2.1:@admin@"] {
        let config = config(&blue, &green, &format!("listen: {listen}"));
        let output = check(&config);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1));
        assert!(errors.contains("beyond loopback") && errors.contains("tokens"), "{errors}");
        let mut proxy = Proxy::launch(&config, &[]);
        assert_eq!(proxy.ended().await.code(), Some(1));
        assert!(proxy.log().contains("beyond loopback"), "{}", proxy.log());
    }
}

#[tokio::test]
async fn an_empty_or_missing_token_is_no_credential() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let listen = "listen: 0.0.0.0:@admin@\n";
    for (tokens, environment, said) in [
        ("tokens: []", None, "add a token"),
        ("tokens: [ { name: ops, role: admin, env: TOKEN } ]", None, "not set"),
        ("tokens: [ { name: ops, role: admin, env: TOKEN } ]", Some(("TOKEN", "")), "empty"),
        ("tokens: [ { name: ops, role: admin, sha256: abc } ]", None, "64 hexadecimal digits"),
        ("tokens: [ { name: ops, role: admin } ]", None, "one of env, file, sha256"),
        ("tokens: [ { name: ops, role: king, env: TOKEN } ]", Some(("TOKEN", "x")), "viewer"),
    ] {
        let environment: Vec<_> = environment.into_iter().collect();
        let mut proxy = Proxy::launch(&config(&blue, &green, &format!("{listen}{tokens}")), &environment);
        assert_eq!(proxy.ended().await.code(), Some(1), "{tokens}");
        assert!(proxy.log().contains(said), "{said} is not in {}", proxy.log());
    }
}

#[tokio::test]
async fn with_tokens_it_listens_anywhere() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let admin = "listen: 0.0.0.0:@admin@\ntokens: [ { name: ops, role: admin, env: TOKEN } ]";
    let proxy = Proxy::start_with(&config(&blue, &green, admin), &[("TOKEN", "secret")]).await;
    super::ask(&proxy, "", "GET", "/api/v1/services", None).await.expect(401);
    super::ask(&proxy, "secret", "GET", "/api/v1/services", None).await.expect(200);
}

#[tokio::test]
async fn with_an_authority_for_clients_it_listens_anywhere() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let authority = Authority::new();
    let (server, client) = (authority.issue("server", &["127.0.0.1"]), authority.issue("client", &["ops"]));
    let admin = format!(
        "listen: 0.0.0.0:@admin@\ntls: {{ cert: {}, key: {}, client_ca: {} }}",
        server.cert.display(),
        server.key.display(),
        authority.ca().display()
    );
    let proxy = Proxy::launch(&config(&blue, &green, &admin), &[]);
    let url = format!("https://{}/api/v1/services", proxy.address("admin"));
    crate::support::eventually("the port answers a client with a certificate", || async {
        let mut command = std::process::Command::new(crate::support::peers::tool("curl"));
        command.args(["--silent", "--show-error", "--fail", "--cacert"]).arg(authority.ca());
        command.arg("--cert").arg(&client.cert).arg("--key").arg(&client.key).arg(&url);
        let output = crate::support::peers::run(command).await;
        if output.status.success() { Ok(()) } else { Err(format!("{output:?}\n{}", proxy.log())) }
    })
    .await;
    let mut stranger = std::process::Command::new(crate::support::peers::tool("curl"));
    stranger.args(["--silent", "--show-error", "--cacert"]).arg(authority.ca()).arg(&url);
    let output = crate::support::peers::run(stranger).await;
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
}
