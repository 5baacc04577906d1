//! Real programs of other makers, as clients and as upstreams. `tests/run` installs them.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::eventually::eventually;
use super::ports::Port;

/// How long a peer may take to say that it is ready.
const PATIENCE: Duration = Duration::from_secs(20);

/// The full path of a program; panics where it is not installed.
pub fn tool(name: &str) -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let mut found = std::env::split_paths(&path).map(|dir| dir.join(name)).filter(|file| file.is_file());
    found.next().unwrap_or_else(|| panic!("{name} is missing: run tests/run, which installs it"))
}

/// The Python that has the peers' libraries; panics where it is not installed.
pub fn python() -> PathBuf {
    let venv = std::env::var_os("POINTSMAN_TEST_VENV").map(PathBuf::from);
    let python = venv.map(|venv| venv.join("bin/python")).filter(|python| python.is_file());
    python.unwrap_or_else(|| panic!("the Python peers are missing: run tests/run, which installs them"))
}

fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(name)
}

/// Runs a program to its end without blocking the test's runtime.
pub async fn run(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.stdin(Stdio::null()).output().unwrap()).await.unwrap()
}

/// Runs curl; gives standard output, or panics with what curl says.
pub async fn curl(arguments: &[&str]) -> String {
    let mut command = Command::new(tool("curl"));
    command.args(["--silent", "--show-error", "--max-time", "20"]).args(arguments);
    let output = run(command).await;
    assert!(output.status.success(), "curl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a Python client to its end and gives the line of JSON it prints; panics where it fails.
pub async fn python_client(name: &str, arguments: &[&str]) -> Value {
    let mut command = Command::new(python());
    command.arg(script(name)).args(arguments);
    let output = run(command).await;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name} {arguments:?} failed with {}: {stdout}{stderr}", output.status);
    serde_json::from_str(stdout.trim()).unwrap_or_else(|e| panic!("{name}: {e} in {stdout:?}"))
}

/// A program that runs until it is dropped.
pub struct Peer {
    child: Child,
    lines: mpsc::Receiver<String>,
    name: String,
}

impl Peer {
    /// Starts a Python peer that prints a line of JSON when it is ready, and gives that line with it.
    pub fn python(name: &str, arguments: &[&str]) -> (Self, Value) {
        let mut command = Command::new(python());
        command.arg("-u").arg(script(name)).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::sync_channel(256);
        // Ends with the peer, whose end closes the pipe; or when nobody listens.
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let peer = Self { child, lines, name: name.to_owned() };
        let ready = peer.line();
        (peer, ready)
    }

    /// The next line of JSON that it prints; panics where none comes.
    pub fn line(&self) -> Value {
        self.line_within(PATIENCE)
    }

    /// As [`Peer::line`], with a bound of its own.
    pub fn line_within(&self, within: Duration) -> Value {
        let line = self.lines.recv_timeout(within).unwrap_or_else(|e| panic!("{} says nothing: {e}", self.name));
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{}: {e} in {line:?}", self.name))
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// nginx with one worker, as an upstream.
pub struct Nginx {
    child: Child,
    dir: TempDir,
    port: Port,
}

impl Nginx {
    /// Starts it with these lines in its only `server` block, and waits until it accepts.
    pub async fn start(server: &str) -> Self {
        let (dir, port) = (TempDir::new().unwrap(), Port::reserve());
        let path = dir.path().display();
        let mut config = format!("daemon off; worker_processes 1; pid {path}/pid; error_log {path}/error.log;\n");
        let _ = writeln!(config, "events {{ worker_connections 1024; }}\nhttp {{ access_log off;");
        for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
            let _ = writeln!(config, "  {kind}_temp_path {path}/{kind};");
        }
        // nginx sets SO_REUSEADDR by itself, which is what a kept port asks for.
        let _ = writeln!(config, "  server {{ listen {}; {server} }}\n}}", port.address());
        fs::write(dir.path().join("nginx.conf"), config).unwrap();
        let mut command = Command::new(tool("nginx"));
        command.arg("-p").arg(dir.path()).args(["-e", "error.log", "-c", "nginx.conf"]);
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        let nginx = Self { child, dir, port };
        eventually("nginx accepts", || async {
            let log = || fs::read_to_string(nginx.dir.path().join("error.log")).unwrap_or_default();
            tokio::net::TcpStream::connect(nginx.address()).await.map_err(|e| format!("{e}: {}", log()))
        })
        .await;
        nginx
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// As a configuration names it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM, so that the master takes its worker along.
        let _ = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.child.id())]).status();
        let _ = self.child.wait();
    }
}
