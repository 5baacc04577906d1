//! What ties the demonstration together: the proxy's configuration, the check of its ports, what to type next.
//!
//! Pure text and one look at the ports; starting and stopping is left to whoever composes the process.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

/// The service's name, as commands call it.
pub const SERVICE: &str = "shop";
/// The port that visitors use unless told otherwise.
pub const DEFAULT_PORT: u16 = 8080;
/// The admin port unless told otherwise; the command line talks to it by itself.
pub const DEFAULT_ADMIN_PORT: u16 = 7070;
/// The response header that names the group.
pub const GROUP_HEADER: &str = "x-served-by";

/// Where the parts of the demonstration are.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The proxy's port, on loopback.
    pub port: u16,
    /// The admin port, on loopback.
    pub admin_port: u16,
    /// The blue application.
    pub blue: SocketAddr,
    /// The green application.
    pub green: SocketAddr,
    /// What to type to run this program: `pointsman`, `target/release/pointsman`.
    pub program: String,
    /// Where desired state is kept, in a directory that goes away with the demonstration.
    pub state: PathBuf,
}

/// A port that the demonstration needs cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("port {port} ({purpose}) {}; choose another one: pointsman demo {option} {}", reason(.source), suggestion(*.port))]
pub struct PortTaken {
    /// Which.
    pub port: u16,
    /// What for.
    pub purpose: &'static str,
    /// The option that names another.
    pub option: &'static str,
    /// What the system says.
    pub source: io::Error,
}

fn reason(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => "is taken by another program",
        io::ErrorKind::PermissionDenied => "needs more rights than this user has",
        _ => "cannot be listened on",
    }
}

/// A port nearby that is free as of now; 0, which lets the system choose, where none of the next few is.
fn suggestion(port: u16) -> u16 {
    (port.saturating_add(1).max(1024)..=port.saturating_add(100).max(1124))
        .find(|&p| TcpListener::bind((Ipv4Addr::LOCALHOST, p)).is_ok())
        .unwrap_or(0)
}

/// Makes sure that the proxy's two ports can be listened on, before anything is started.
///
/// # Errors
/// [`PortTaken`] names the first that cannot, and the option that chooses another.
pub fn check_ports(port: u16, admin_port: u16) -> Result<(), PortTaken> {
    for (port, purpose, option) in [(port, "for visitors", "--port"), (admin_port, "for commands", "--admin-port")] {
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|source| PortTaken { port, purpose, option, source })?;
    }
    Ok(())
}

/// The proxy's configuration, as it would stand in a file.
#[must_use]
pub fn config(setup: &Setup) -> String {
    let Setup { port, admin_port, blue, green, state, .. } = setup;
    // A JSON string is a YAML string, whatever characters the path has.
    let state = serde_json::Value::from(state.to_string_lossy());
    format!(
        "admin: {{ listen: 127.0.0.1:{admin_port} }}
state: {{ path: {state} }}
listeners:
  web: {{ bind: \"127.0.0.1:{port}\" }}
services:
  {SERVICE}:
    groups:
      blue: {{ upstreams: [\"http://{blue}\"] }}
      green: {{ upstreams: [\"http://{green}\"] }}
    split: {{ blue: 100, green: 0 }}
    expose: {{ response_header: {GROUP_HEADER} }}
    health:
      kind: http
      path: /health
      interval: 1s
      timeout: 1s
      expect: {{ json: {{ status: healthy }} }}
routes:
  - {{ match: {{ path: / }}, service: {SERVICE} }}
telemetry: {{ log: warn }}
"
    )
}

/// What to look at and what to type next.
#[must_use]
pub fn banner(setup: &Setup) -> String {
    let Setup { port, admin_port, program, .. } = setup;
    let admin = if *admin_port == DEFAULT_ADMIN_PORT {
        String::new()
    } else {
        format!(" --admin http://127.0.0.1:{admin_port}")
    };
    let line = |command: &str, what: &str| format!("  {command:<58} {what}\n");
    let verb = |verb: &str, rest: &str, what: &str| line(&format!("{program} {verb}{admin}{rest}"), what);
    [
        format!("\nBlue and green run behind http://127.0.0.1:{port} — open it in a browser.\n"),
        "In another terminal:\n\n".to_owned(),
        line(&format!("curl -i http://127.0.0.1:{port}/whoami"), "who answers"),
        verb("status", "", "shares, health, latencies"),
        verb("switch", &format!(" {SERVICE} green"), "everything to green, at once"),
        verb("rollback", &format!(" {SERVICE}"), "and back"),
        verb("shift", &format!(" {SERVICE} green --to 25"), "a quarter of the visitors"),
        verb("history", &format!(" {SERVICE}"), "who did what, and when"),
        line(&format!("curl -X POST http://{}/toggle-health", setup.green), "makes green ill, then try to switch"),
        "\nBelow: who answered fifty visitors a second. Ctrl-C ends it.\n".to_owned(),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(admin_port: u16) -> Setup {
        Setup {
            port: 8080,
            admin_port,
            blue: ([127, 0, 0, 1], 41001).into(),
            green: ([127, 0, 0, 1], 41002).into(),
            program: "pointsman".into(),
            state: "/tmp/a \"b\"/state.db".into(),
        }
    }

    #[test]
    fn a_taken_port_is_named_with_the_option_that_chooses_another() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = check_ports(port, 0).unwrap_err().to_string();
        assert!(error.starts_with(&format!("port {port} (for visitors) is taken by another program")), "{error}");
        assert!(error.contains("pointsman demo --port "), "{error}");
        let error = check_ports(0, port).unwrap_err().to_string();
        assert!(error.contains("--admin-port"), "{error}");
        drop(taken);
        check_ports(port, 0).unwrap();
    }

    #[test]
    fn the_banner_names_the_admin_port_only_where_commands_would_not_find_it() {
        assert!(banner(&setup(DEFAULT_ADMIN_PORT)).contains("pointsman switch shop green "));
        let elsewhere = banner(&setup(7171));
        assert!(elsewhere.contains("pointsman switch --admin http://127.0.0.1:7171 shop green "), "{elsewhere}");
    }

    #[test]
    fn the_configuration_names_both_applications_and_quotes_the_path() {
        let config = config(&setup(7070));
        for part in ["http://127.0.0.1:41001", "http://127.0.0.1:41002", r#""/tmp/a \"b\"/state.db""#] {
            assert!(config.contains(part), "{part} in {config}");
        }
    }
}
