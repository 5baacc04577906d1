//! What systemd is told (sd_notify(3)).

use std::os::unix::net::UnixDatagram;

use super::upgraded;
use crate::support::proxy::{Signal, blue_green};
use crate::support::{Proxy, Upstream, eventually};

/// systemd's end.
struct Manager {
    socket: UnixDatagram,
    _dir: tempfile::TempDir,
    path: String,
}

impl Manager {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify").display().to_string();
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, _dir: dir, path }
    }

    /// Waits for the next message with this line; earlier ones are passed over. Gives all its lines.
    async fn hears(&self, line: &str) -> Vec<String> {
        let mut heard = Vec::new();
        let heard = std::cell::RefCell::new(&mut heard);
        eventually(&format!("systemd hears {line}"), || async {
            let mut text = [0; 4096];
            let Ok(length) = self.socket.recv(&mut text) else { return Err(format!("{:?}", heard.borrow())) };
            let lines: Vec<_> = String::from_utf8_lossy(&text[..length]).lines().map(ToOwned::to_owned).collect();
            heard.borrow_mut().push(lines.clone());
            if lines.iter().any(|l| l == line) { Ok(lines) } else { Err(format!("{:?}", heard.borrow())) }
        })
        .await
    }
}

#[tokio::test]
async fn systemd_is_told_of_readiness_reloads_the_new_main_process_and_the_end() {
    let (blue, green) = (Upstream::start("blue"), Upstream::start("green"));
    let manager = Manager::new();
    let config = blue_green(&blue, &green, "");
    let mut proxy = Proxy::start_with(&config, &[("NOTIFY_SOCKET", &manager.path)]).await;
    let ready = manager.hears("READY=1").await;
    assert!(ready.contains(&format!("MAINPID={}", proxy.pid())), "{ready:?}");
    proxy.signal(Signal::Hup);
    let reloading = manager.hears("RELOADING=1").await;
    assert!(reloading.iter().any(|line| line.starts_with("MONOTONIC_USEC=")), "{reloading:?}");
    manager.hears("READY=1").await;
    upgraded(&proxy).await;
    manager.hears(&format!("MAINPID={}", proxy.pid())).await;
    assert_eq!(proxy.ended().await.code(), Some(0));
    let mut text = [0; 4096];
    while let Ok(length) = manager.socket.recv(&mut text) {
        let said = String::from_utf8_lossy(&text[..length]).into_owned();
        assert!(!said.contains("STOPPING"), "the service does not stop: {said}");
    }
    proxy.signal(Signal::Term);
    manager.hears("STOPPING=1").await;
    proxy.is_gone().await;
}
