//! The same port over a unix socket and over TLS.

use std::os::unix::fs::FileTypeExt;

use tokio::net::UnixStream;

use super::config;
use crate::support::certs::Authority;
use crate::support::proxy::blue_green;
use crate::support::{Client, Proxy, Upstream, eventually};

/// Runs the command line with this admin port.
async fn cli(proxy: &Proxy, admin: &str, arguments: &[&str]) -> std::process::Output {
    proxy.cli(&[&["--admin", admin][..], arguments].concat()).await
}

#[tokio::test]
async fn over_a_unix_socket_there_is_no_host_to_forge_and_the_command_line_reaches_it() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let text = format!("admin: {{ listen: \"unix:@dir@/admin.sock\" }}\n{}", blue_green(&blue, &green, ""));
    let mut proxy = Proxy::launch(&text, &[]);
    let path = proxy.dir().join("admin.sock");
    let ready = |path: std::path::PathBuf| async move {
        eventually("it is ready", || async {
            let stream = UnixStream::connect(&path).await.map_err(|e| e.to_string())?;
            let answer = Client::over(stream, "whatever.example").get("/readyz").await;
            if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
        })
        .await;
    };
    ready(path.clone()).await;
    assert!(std::fs::metadata(&path).unwrap().file_type().is_socket());
    let admin = format!("unix:{}", path.display());
    let switched = cli(&proxy, &admin, &["switch", "shop", "green"]).await;
    assert!(switched.status.success(), "{switched:?}");
    assert_eq!(proxy.client().await.get("/").await.group(), Some("green"));
    // What a crash leaves behind does not keep the next one from starting, and a proper end leaves nothing.
    proxy.kill().await;
    assert!(path.exists());
    let mut again =
        Proxy::launch(&text.replace("@dir@", &proxy.dir().display().to_string()).replace("@web@", "0"), &[]);
    ready(path.clone()).await;
    assert!(again.terminate().await.success());
    assert!(!path.exists(), "the socket was left behind");
}

#[tokio::test]
async fn tokens_count_over_a_unix_socket_as_well() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let admin = "listen: \"unix:@dir@/admin.sock\"\ntokens: [ { name: ops, role: viewer, env: TOKEN } ]";
    let proxy = Proxy::launch(&config(&blue, &green, admin), &[("TOKEN", "secret")]);
    let path = proxy.dir().join("admin.sock");
    let mut client = eventually("it listens", || async {
        UnixStream::connect(&path).await.map(|stream| Client::over(stream, "localhost"))
    })
    .await;
    client.get("/api/v1/services").await.expect(401);
    client.get_with("/api/v1/services", &[("authorization", "Bearer secret")]).await.expect(200);
    let fields = [("authorization", "Bearer secret")];
    client.request("POST", "/api/v1/services/shop/rollback", &fields, Some(b"{}")).await.expect(403);
}

#[tokio::test]
async fn over_tls_the_command_line_trusts_the_authority_it_is_told_to_and_no_other() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = authority.issue("server", &["127.0.0.1"]);
    let admin = format!(
        "tls: {{ cert: {}, key: {} }}\ntokens: [ {{ name: ops, role: admin, env: TOKEN }} ]",
        server.cert.display(),
        server.key.display()
    );
    let proxy = Proxy::launch(&config(&blue, &green, &admin), &[("TOKEN", "secret"), ("POINTSMAN_TOKEN", "secret")]);
    let url = format!("https://{}", proxy.address("admin"));
    let ca = authority.ca().display().to_string();
    eventually("it is ready", || async {
        let output = cli(&proxy, &url, &["--ca", &ca, "status"]).await;
        if output.status.success() { Ok(()) } else { Err(format!("{output:?}")) }
    })
    .await;
    let switched = cli(&proxy, &url, &["--ca", &ca, "switch", "shop", "green"]).await;
    assert!(switched.status.success(), "{switched:?}");
    for trusted in [&["--ca", stranger.ca().to_str().unwrap()][..], &[]] {
        let refused = cli(&proxy, &url, &[trusted, &["status"]].concat()).await;
        let errors = String::from_utf8_lossy(&refused.stderr);
        assert!(refused.status.code() == Some(1) && errors.contains("TLS failed"), "{errors}");
    }
    // Nobody speaks in clear there.
    let plain = cli(&proxy, &url.replace("https", "http"), &["status"]).await;
    assert_eq!(plain.status.code(), Some(1));
}
