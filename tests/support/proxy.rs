//! The proxy as users run it: the real binary, a configuration file, ports of its own.
//!
//! A configuration is written with placeholders: `@NAME@` is a port that belongs to this proxy, one and the same for
//! each name, also over restarts; `@dir@` is its directory. The keys `admin` and `state` are added where missing.
//! Dropping the proxy kills it; where the test fails its log is shown, and where it panicked the test fails.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::client::{Client, Response};
use super::eventually::{PATIENCE, eventually, eventually_within};
use super::ports::Port;
use super::upstream::Upstream;

/// The port that clients use, in configurations written here.
pub const WEB: &str = "web";
const ADMIN: &str = "admin";
/// How much of the log is shown where a test fails.
const SHOWN_LINES: usize = 120;

/// A signal that a test sends.
#[derive(Clone, Copy, Debug)]
pub enum Signal {
    /// The configuration has changed.
    Hup,
    /// Leave in good order.
    Term,
    /// As Ctrl-C.
    Int,
    /// Die at once.
    Kill,
    /// Freeze.
    Stop,
    /// Thaw.
    Cont,
}

/// A running proxy.
pub struct Proxy {
    dir: TempDir,
    ports: RefCell<BTreeMap<String, Port>>,
    environment: Vec<(String, String)>,
    /// Shell commands that run first in the proxy's process.
    prelude: String,
    child: Child,
    /// The process that has taken over; none while it is the one that was started.
    successor: Cell<Option<u32>>,
}

impl Proxy {
    /// Starts it and waits until it is ready.
    pub async fn start(config: &str) -> Self {
        Self::start_with(config, &[]).await
    }

    /// As [`Proxy::start`], with further environment variables.
    pub async fn start_with(config: &str, environment: &[(&str, &str)]) -> Self {
        let mut proxy = Self::launch(config, environment);
        proxy.ready().await;
        proxy
    }

    /// As [`Proxy::start`], behind shell commands that limit what its process may do (`ulimit -f 64`).
    pub async fn start_behind(prelude: &str, config: &str) -> Self {
        let mut proxy = Self::launch_behind(prelude, config, &[]);
        proxy.ready().await;
        proxy
    }

    /// Starts it and does not wait.
    pub fn launch(config: &str, environment: &[(&str, &str)]) -> Self {
        Self::launch_behind("", config, environment)
    }

    /// As systemd starts it for a socket: `listener` is its descriptor 3. Waits until it is ready.
    pub async fn start_activated(listener: TcpListener, name: &str, config: &str) -> Self {
        let passed = "exec 3<&0 0</dev/null; LISTEN_FDS=1; LISTEN_PID=$$; export LISTEN_FDS LISTEN_PID LISTEN_FDNAMES";
        let prelude = format!("LISTEN_FDNAMES={name}; {passed}");
        let mut proxy = Self::launch_over(Stdio::from(OwnedFd::from(listener)), &prelude, config, &[]);
        proxy.ready().await;
        proxy
    }

    fn launch_behind(prelude: &str, config: &str, environment: &[(&str, &str)]) -> Self {
        Self::launch_over(Stdio::null(), prelude, config, environment)
    }

    fn launch_over(stdin: Stdio, prelude: &str, config: &str, environment: &[(&str, &str)]) -> Self {
        let dir = TempDir::new().unwrap();
        let ports = RefCell::default();
        fs::write(dir.path().join("pointsman.yaml"), rendered(config, dir.path(), &ports)).unwrap();
        let environment: Vec<_> = environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let child = spawn(dir.path(), &environment, prelude, stdin);
        Self { dir, ports, environment, prelude: prelude.to_owned(), child, successor: Cell::new(None) }
    }

    /// Service `shop` with one upstream in each of blue and green, all to blue, on the listener `web`; both are probed
    /// at `/health` ten times a second. `extra` holds further keys of the service, a line each, from the first column.
    pub async fn blue_green(blue: &Upstream, green: &Upstream, extra: &str) -> Self {
        Self::start(&blue_green(blue, green, extra)).await
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.dir().join("pointsman.yaml")
    }

    /// Where the port of this name is.
    pub fn address(&self, name: &str) -> SocketAddr {
        address(&self.ports, name)
    }

    /// Its process: the last one, after an upgrade.
    pub fn pid(&self) -> u32 {
        self.successor.get().unwrap_or(self.child.id())
    }

    /// Wishes an upgrade. Where it succeeds, signals go to the new process from then on.
    pub async fn upgrade(&self, body: Value) -> Response {
        let response = self.post("/api/v1/upgrade", body).await;
        if response.status == 200 {
            self.taken_over_by(response.json()["pid"].as_u64().unwrap());
        }
        response
    }

    /// Another process has taken over.
    pub fn taken_over_by(&self, pid: u64) {
        self.successor.set(Some(u32::try_from(pid).unwrap()));
    }

    /// The processes that belong to it: whoever names its directory on the command line.
    pub fn processes(&self) -> Vec<u32> {
        processes(self.dir())
    }

    /// Waits until none of its processes is left, whichever of them was started here.
    pub async fn is_gone(&self) {
        eventually("no process is left", || async {
            let left = self.processes();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        })
        .await;
    }

    /// A connection to the listener `web`.
    pub async fn client(&self) -> Client {
        Client::connect(self.address(WEB)).await
    }

    /// Replaces the configuration file as editors do: a new file, renamed over the old one. Placeholders are filled in.
    pub fn rewrite(&self, config: &str) {
        let new = self.dir().join(".pointsman.yaml.new");
        fs::write(&new, rendered(config, self.dir(), &self.ports)).unwrap();
        fs::rename(new, self.config_path()).unwrap();
    }

    /// Waits until `/readyz` says 200; panics with the log where the process ends instead.
    pub async fn ready(&mut self) {
        let admin = self.address(ADMIN);
        let log = self.log_path();
        let child = RefCell::new(&mut self.child);
        eventually("the proxy is ready", || {
            let ended = child.borrow_mut().try_wait().unwrap();
            assert!(ended.is_none(), "the proxy ended with {}:\n{}", ended.unwrap(), last_lines(&log));
            async move {
                let mut client = Client::try_connect(admin).await.map_err(|e| e.to_string())?;
                let answer = client.try_request("GET", "/readyz", &[], None).await.map_err(|e| e.to_string())?;
                if answer.status == 200 { Ok(()) } else { Err(format!("{} {}", answer.status, answer.text())) }
            }
        })
        .await;
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let name = format!("{signal:?}").to_uppercase();
        // The shell's own `kill` is there on every system; the program of that name is not.
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.pid())]).status().unwrap();
        assert!(sent.success(), "the proxy is gone:\n{}", self.log());
    }

    /// Waits until the process has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        self.ended_within(PATIENCE).await
    }

    /// As [`Proxy::ended`], with a bound of its own.
    pub async fn ended_within(&mut self, within: Duration) -> ExitStatus {
        let child = RefCell::new(&mut self.child);
        eventually_within(within, "the proxy ends", || {
            let status = child.borrow_mut().try_wait().unwrap();
            async move { status }
        })
        .await
    }

    /// SIGTERM, and waits for the end.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::Term);
        self.ended().await
    }

    /// `kill -9`, and waits for the end.
    pub async fn kill(&mut self) {
        self.signal(Signal::Kill);
        self.ended().await;
    }

    /// Starts it again with the same ports, configuration file and state; call after its end. Waits until it is ready.
    pub async fn restart(&mut self) {
        self.respawn();
        self.ready().await;
    }

    /// As [`Proxy::restart`], and does not wait.
    pub fn respawn(&mut self) {
        assert!(self.child.try_wait().unwrap().is_some(), "it is still running");
        self.child = spawn(self.dir.path(), &self.environment, &self.prelude, Stdio::null());
        self.successor.set(None);
    }

    /// The log so far, of all its processes one after another.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Standard output so far: the access log where it goes there.
    pub fn stdout(&self) -> String {
        fs::read_to_string(self.dir().join("stdout")).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.dir().join("stderr")
    }

    /// Runs the command line against this proxy, in its directory.
    pub async fn cli(&self, arguments: &[&str]) -> Output {
        let mut command = binary();
        command.args(arguments).current_dir(self.dir());
        command.env("POINTSMAN_ADMIN", format!("http://{}", self.address(ADMIN)));
        command.envs(self.environment.iter().map(|(n, v)| (n, v)));
        tokio::task::spawn_blocking(move || command.stdin(Stdio::null()).output().unwrap()).await.unwrap()
    }

    /// GET on the admin port.
    pub async fn get(&self, path: &str) -> Response {
        self.admin("GET", path, &[], None).await
    }

    /// PUT on the admin port.
    pub async fn put(&self, path: &str, body: Value) -> Response {
        self.admin("PUT", path, &[], Some(body)).await
    }

    /// POST on the admin port.
    pub async fn post(&self, path: &str, body: Value) -> Response {
        self.admin("POST", path, &[], Some(body)).await
    }

    /// Any request on the admin port, over a connection of its own.
    pub async fn admin(&self, method: &str, path: &str, fields: &[(&str, &str)], body: Option<Value>) -> Response {
        let mut client = Client::connect(self.address(ADMIN)).await;
        let body = body.map(|b| b.to_string().into_bytes());
        let json = body.iter().map(|_| ("content-type", "application/json"));
        let fields: Vec<_> = json.chain([("connection", "close")]).chain(fields.iter().copied()).collect();
        client.request(method, path, &fields, body.as_deref()).await
    }

    /// What the API says about a service.
    pub async fn service(&self, name: &str) -> Value {
        self.get(&format!("/api/v1/services/{name}")).await.expect(200).json()
    }

    /// The whole audit log so far.
    pub async fn events(&self) -> Vec<Value> {
        let (mut all, mut next) = (Vec::new(), Value::from(0));
        loop {
            let page = self.get(&format!("/api/v1/events?since={next}")).await.expect(200).json();
            let events = page["events"].as_array().unwrap();
            if events.is_empty() {
                return all;
            }
            all.extend(events.iter().cloned());
            next = page["next"].clone();
        }
    }

    /// Switches everything to `group`; panics unless that is done.
    pub async fn switch(&self, service: &str, group: &str) -> Value {
        let body = serde_json::json!({ "to": group });
        self.post(&format!("/api/v1/services/{service}/switch"), body).await.expect(200).json()
    }

    /// Waits until the API calls the first upstream of `group` this.
    pub async fn health_is(&self, service: &str, group: &str, health: &str) {
        eventually(&format!("{service}/{group} is {health}"), || async {
            let seen = self.service(service).await["groups"][group]["upstreams"][0].clone();
            if seen["health"] == health { Ok(()) } else { Err(seen.to_string()) }
        })
        .await;
    }

    /// Waits until no request is under way at `group`.
    pub async fn is_idle(&self, service: &str, group: &str) {
        eventually(&format!("{service}/{group} has nothing in flight"), || async {
            let seen = self.service(service).await["groups"][group]["in_flight"].clone();
            if seen == 0 { Ok(()) } else { Err(seen.to_string()) }
        })
        .await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Those that have taken over are nobody's children here.
        while let left @ [_, ..] = &self.processes()[..] {
            let pids: Vec<_> = left.iter().map(ToString::to_string).collect();
            let _ = Command::new("sh").args(["-c", &format!("kill -KILL {}", pids.join(" "))]).status();
        }
        let log = self.log();
        if std::thread::panicking() {
            eprintln!("--- the proxy's log\n{}\n---", last_lines(&self.log_path()));
        } else {
            assert!(!log.contains("panicked at"), "the proxy panicked:\n{log}");
        }
    }
}

/// The configuration that [`Proxy::blue_green`] starts with.
pub fn blue_green(blue: &Upstream, green: &Upstream, extra: &str) -> String {
    let (blue, green) = (blue.url(), green.url());
    let extra = extra.lines().fold(String::new(), |mut all, line| {
        let _ = writeln!(all, "    {line}");
        all
    });
    let health = if extra.lines().any(|line| line.starts_with("    health:")) {
        ""
    } else {
        "    health: { kind: http, path: /health, interval: 100ms, timeout: 1s }\n"
    };
    format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:@web@\" }} }}
services:
  shop:
    groups: {{ blue: {{ upstreams: [\"{blue}\"] }}, green: {{ upstreams: [\"{green}\"] }} }}
{health}{extra}routes: [ {{ match: {{ path: / }}, service: shop }} ]
"
    )
}

/// The program under test.
pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("POINTSMAN_")) {
        command.env_remove(name);
    }
    command
}

/// Runs `check` over a configuration (placeholders filled in) that need not be startable.
pub fn check(config: &str) -> Output {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("pointsman.yaml");
    fs::write(&path, rendered(config, dir.path(), &RefCell::default())).unwrap();
    binary().args(["check", "--config"]).arg(path).output().unwrap()
}

/// The program under test, in a process that has run these shell commands first.
fn binary_behind(prelude: &str) -> Command {
    let binary = binary();
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{prelude}; exec \"$0\" \"$@\"")]).arg(binary.get_program());
    for (name, _) in binary.get_envs() {
        command.env_remove(name);
    }
    command
}

/// Processes with this directory on their command line. One that has ended has none.
fn processes(dir: &Path) -> Vec<u32> {
    let dir = dir.as_os_str().as_encoded_bytes();
    let names = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.windows(dir.len()).any(|part| part == dir)
    };
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    all.filter(names).collect()
}

fn spawn(dir: &Path, environment: &[(String, String)], prelude: &str, stdin: Stdio) -> Child {
    let append = |name| File::options().create(true).append(true).open(dir.join(name)).unwrap();
    let mut command = if prelude.is_empty() { binary() } else { binary_behind(prelude) };
    command.args(["run", "--config"]).arg(dir.join("pointsman.yaml")).current_dir(dir);
    command.envs(environment.iter().map(|(n, v)| (n, v))).env("RUST_BACKTRACE", "1");
    command.stdin(stdin).stdout(append("stdout")).stderr(append("stderr")).spawn().unwrap()
}

fn address(ports: &RefCell<BTreeMap<String, Port>>, name: &str) -> SocketAddr {
    ports.borrow_mut().entry(name.to_owned()).or_insert_with(Port::reserve).address()
}

fn rendered(config: &str, dir: &Path, ports: &RefCell<BTreeMap<String, Port>>) -> String {
    let has = |key: &str| config.lines().any(|line| line.strip_prefix(key).is_some_and(|rest| rest.starts_with(':')));
    let mut text = String::new();
    if !has("admin") {
        text += "admin: { listen: 127.0.0.1:@admin@ }\n";
    }
    if !has("state") {
        text += "state: { path: \"@dir@/state.db\" }\n";
    }
    if !has("workers") {
        text += "workers: 2\n";
    }
    text += config;
    let placeholder = regex::Regex::new("@([a-z][a-z0-9_]*)@").unwrap();
    let filled = placeholder.replace_all(&text, |found: &regex::Captures<'_>| match &found[1] {
        "dir" => dir.display().to_string(),
        name => address(ports, name).port().to_string(),
    });
    filled.into_owned()
}

fn last_lines(log: &Path) -> String {
    let log = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}
