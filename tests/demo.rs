//! `pointsman demo`, as somebody tries it who has installed nothing else.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::ports::Port;
use crate::support::proxy::binary;
use crate::support::{Client, eventually, peers};

/// A demonstration under way, with a folder for temporary files of its own.
struct Demo {
    child: Child,
    dir: TempDir,
    port: Port,
    admin: Port,
}

impl Demo {
    /// Starts it and waits until visitors are answered.
    async fn start() -> Self {
        let (dir, port, admin) = (TempDir::new().unwrap(), Port::reserve(), Port::reserve());
        fs::create_dir(dir.path().join("tmp")).unwrap();
        let output = fs::File::create(dir.path().join("output")).unwrap();
        let mut command = binary();
        command.args(["demo", "--port", &port.number().to_string(), "--admin-port", &admin.number().to_string()]);
        command.env("TMPDIR", dir.path().join("tmp")).current_dir(dir.path());
        command.stdin(Stdio::null()).stderr(output.try_clone().unwrap()).stdout(output);
        let child = command.spawn().unwrap();
        let demo = Self { child, dir, port, admin };
        eventually("visitors are answered", || async {
            let said = demo.said();
            if said.contains("requests so far") { Ok(()) } else { Err(said) }
        })
        .await;
        demo
    }

    fn said(&self) -> String {
        fs::read_to_string(self.dir.path().join("output")).unwrap()
    }

    fn temporary(&self) -> Vec<PathBuf> {
        fs::read_dir(self.dir.path().join("tmp")).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    async fn whoami(&self) -> Value {
        Client::connect(self.port.address()).await.get("/whoami").await.expect(200).json()
    }

    async fn cli(&self, arguments: &[&str]) -> Output {
        let mut command = binary();
        command.args(["--admin", &format!("http://{}", self.admin.address())]).args(arguments);
        peers::run(command).await
    }

    /// Ctrl-C, and the exit code.
    async fn interrupt(&mut self) -> Option<i32> {
        let kill = format!("kill -INT {}", self.child.id());
        assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        let child = std::cell::RefCell::new(&mut self.child);
        let status = eventually("it ends", || async { child.borrow_mut().try_wait().unwrap() }).await;
        status.code()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the demonstration said\n{}\n---", self.said());
        }
    }
}

#[tokio::test]
async fn the_demonstration_runs_moves_to_green_with_no_failed_visit_and_leaves_nothing_behind() {
    let mut demo = Demo::start().await;
    assert_eq!(demo.whoami().await["group"], "blue");
    assert_eq!(demo.temporary().len(), 1, "one folder, with its state");
    let said = demo.said();
    let admin = format!("--admin http://{}", demo.admin.address());
    assert!(said.contains(&format!("http://{}", demo.port.address())), "{said}");
    assert!(said.contains(&format!("pointsman switch {admin} shop green")), "{said}");
    let switch = demo.cli(&["switch", "shop", "green"]).await;
    assert_eq!(switch.status.code(), Some(0), "{switch:?}");
    assert_eq!(demo.whoami().await["group"], "green");
    eventually("visitors are answered by green", || async { demo.said().contains("green 100 %") }).await;
    let upgrade = demo.cli(&["upgrade"]).await;
    assert_eq!(upgrade.status.code(), Some(1), "another process would have no applications: {upgrade:?}");
    let rollback = demo.cli(&["rollback", "shop"]).await;
    assert_eq!(rollback.status.code(), Some(0), "{rollback:?}");
    assert_eq!(demo.whoami().await["group"], "blue");
    assert_eq!(demo.interrupt().await, Some(0));
    let said = demo.said();
    assert!(said.contains(" visits, 0 failed. Stopping."), "{said}");
    assert!(!said.contains("ERROR") && !said.contains("panicked"), "{said}");
    assert!(demo.temporary().is_empty(), "its folder is still there: {:?}", demo.temporary());
    for port in [&demo.port, &demo.admin] {
        assert!(Client::try_connect(port.address()).await.is_err(), "something still listens");
    }
}

#[tokio::test]
async fn the_demonstrations_page_and_its_websocket_are_there_through_the_proxy() {
    let mut demo = Demo::start().await;
    let page = Client::connect(demo.port.address()).await.get("/").await.expect(200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.text().contains("blue answered"), "{}", page.text());
    assert!(
        !page.text().contains("http://") && !page.text().contains("https://"),
        "the page needs nothing from elsewhere"
    );
    let url = format!("ws://{}/ws", demo.port.address());
    let result = peers::python_client("ws_client.py", &[&url, "--messages", "14"]).await;
    assert_eq!((&result["echoed"], &result["group"]), (&14.into(), &"blue".into()), "{result}");
    let health = Client::connect(demo.port.address()).await.get("/health").await.expect(200).json();
    assert_eq!((&health["status"], &health["checks"]["database"]), (&"healthy".into(), &"healthy".into()));
    assert_eq!(demo.interrupt().await, Some(0));
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_what_to_type_instead() {
    for (option, purpose) in [("--port", "for visitors"), ("--admin-port", "for commands")] {
        let (taken, free) = (Port::reserve(), Port::reserve());
        let _program = taken.listen();
        let other = if option == "--port" { "--admin-port" } else { "--port" };
        let (number, dir) = (taken.number().to_string(), TempDir::new().unwrap());
        let mut command = binary();
        command.args(["demo", option, &number, other, &free.number().to_string()]).env("TMPDIR", dir.path());
        let output = peers::run(command).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let expected = format!(
            "port {number} ({purpose}) is taken by another program; choose another one: pointsman demo {option} "
        );
        assert!(said.contains(&expected), "{said}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "something was left behind");
    }
}
