//! `listeners`: ports for clients, each at an address of its own.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::check::{Check, all, or};
use super::health::positive;
use super::limits::at_least_one;
use super::{TOP, admin, files, text};
use crate::config::file::{self, File, Period};
use crate::config::problem::Place;
use crate::config::spec::{Admin, Bind, Listener, SendsTo, Tls};
use crate::config::yaml::{At, Text, quote};
use crate::model::names::ListenerName;

/// Longest path of a unix socket, in bytes: the size of `sun_path` without its end.
const MAX_SOCKET_PATH: usize = 107;

/// An address to listen at.
pub(super) fn bind(check: &Check<'_>, text: &str) -> Result<Bind, String> {
    let wrong = || format!("{} is not an address; write it like 127.0.0.1:8080, [::]:8080 or unix:/path", quote(text));
    if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
        let path = check.path(path);
        if path.as_os_str().len() > MAX_SOCKET_PATH {
            return Err(format!("the socket's path is longer than {MAX_SOCKET_PATH} bytes; choose a shorter one"));
        }
        return Ok(Bind::Unix(path));
    }
    if let Some(port) = text.strip_prefix("localhost:").filter(|port| port.parse::<u16>().is_ok()) {
        return Err(format!("{} is a name, not an address; write 127.0.0.1:{port}", quote(text)));
    }
    text.parse::<SocketAddr>().map(Bind::Tcp).map_err(|_| wrong())
}

/// Ports in the order of the file.
pub(super) fn listeners(check: &Check<'_>, file: &File) -> Option<Vec<Listener>> {
    let at = check.need(
        TOP,
        "listeners",
        "a port for clients: listeners: { web: { bind: \"127.0.0.1:8080\" } }",
        &file.listeners,
    )?;
    let listeners = at.value.as_ref()?;
    if listeners.0.is_empty() {
        return check.add(at.place, "there is no listener; add one like web: { bind: \"127.0.0.1:8080\" }");
    }
    all(listeners.0.iter().map(|(name, listener)| one(check, name, listener)))
}

fn one(check: &Check<'_>, key: &At<Text>, at: &At<file::Listener>) -> Option<Listener> {
    let name = check.parse(key, text::name(ListenerName::new));
    let listener = at.value.as_ref()?;
    let right = "an address like 127.0.0.1:8080";
    let bind = check.need(key.place, "bind", right, &listener.bind).and_then(|at| check.parse(at, |t| bind(check, t)));
    let tls = listener.tls.as_ref().map_or(Some(None), |at| tls(check, at).map(Some));
    let sends_to = match &listener.sends_to {
        None => Some(SendsTo::Split),
        Some(at) => at.value.map(|to| match to {
            file::SendsTo::Split => SendsTo::Split,
            file::SendsTo::Candidate => SendsTo::Candidate,
        }),
    };
    let network = |at: &At<String>| check.parse(at, text::network);
    let allow = check.list(&listener.allow, "name a network that may connect, or remove the key to let all", network);
    let trusted = check.list(&listener.trusted_proxies, "name a network, or remove the key to trust none", network);
    let proxy_protocol = or(&listener.proxy_protocol, false);
    let max_connections = at_least_one(check, "max_connections", &listener.max_connections);
    let time = |key, field, secs| positive(check, key, field, Period(Duration::from_secs(secs)));
    let head_timeout = time("head_timeout", &listener.head_timeout, 30);
    let idle_timeout = time("idle_timeout", &listener.idle_timeout, 75);
    Some(Listener {
        name: name?,
        bind: bind?,
        tls: tls?,
        sends_to: sends_to?,
        allow: allow?,
        trusted_proxies: trusted?,
        proxy_protocol: proxy_protocol?,
        max_connections: max_connections?,
        head_timeout: head_timeout?,
        idle_timeout: idle_timeout?,
    })
}

fn tls(check: &Check<'_>, at: &At<file::ListenerTls>) -> Option<Tls> {
    let tls = at.value.as_ref()?;
    let right = "a list like [{ cert: certs/dev.crt, key: certs/dev.key }]";
    let certificates = check.need(at.place, "certificates", right, &tls.certificates).and_then(|_| {
        check.list(&tls.certificates, "add { cert: …, key: … }", |at| {
            let certificate = at.value.as_ref()?;
            files::pair(check, at.place, &certificate.cert, &certificate.key)
        })
    });
    let client_ca = files::authority(check, &tls.client_ca);
    Some(Tls { certificates: certificates?, client_ca: client_ca? })
}

/// Reports every address that two ports would share, the admin port among them.
pub(super) fn distinct_addresses(check: &Check<'_>, file: &File, admin: Option<&Admin>) {
    let admin_place = file.admin.as_ref().and_then(|a| a.value.as_ref()?.listen.as_ref()).map(|at| at.place);
    let default = file.admin.is_none().then(admin::default_listen);
    let admin_bind = admin.map(|a| a.listen.clone()).or(default).or_else(|| admin_address(check, file));
    let mut taken: Vec<(Option<Place>, String, Bind)> =
        admin_bind.into_iter().map(|bind| (admin_place, "the admin port".to_owned(), bind)).collect();
    let listeners = file.listeners.as_ref().and_then(|at| at.value.as_ref());
    for (name, listener) in listeners.into_iter().flat_map(|l| &l.0) {
        let Some(at) = listener.value.as_ref().and_then(|l| l.bind.as_ref()) else { continue };
        let Some(address) = at.value.as_ref().and_then(|text| bind(check, text).ok()) else { continue };
        let name = format!("listener {}", text::tick(name.value.as_deref().unwrap_or_default()));
        taken.push((Some(at.place), name, address));
    }
    taken.sort_by_key(|(place, ..)| *place);
    for (i, (place, _, address)) in taken.iter().enumerate() {
        let Some(place) = place else { continue };
        if let Some((first, name, _)) = taken[..i].iter().find(|(.., other)| collide(address, other)) {
            let line = first.map_or(String::new(), |place| format!(" (line {})", place.line));
            let message = format!("{} is already taken by {name}{line}; choose another address", show(address));
            check.faults.add(*place, message);
        }
    }
}

/// The admin port's address where something else about it is wrong.
fn admin_address(check: &Check<'_>, file: &File) -> Option<Bind> {
    match &file.admin.as_ref()?.value.as_ref()?.listen {
        None => Some(admin::default_listen()),
        Some(at) => bind(check, at.value.as_ref()?).ok(),
    }
}

/// Whether the two cannot be bound at once: the same address, or one stands for all addresses of the other's kind
/// (IPv6 sockets take no IPv4).
fn collide(a: &Bind, b: &Bind) -> bool {
    let covers = |a: IpAddr, b: IpAddr| a.is_unspecified() && a.is_ipv4() == b.is_ipv4();
    match (a, b) {
        (Bind::Tcp(a), Bind::Tcp(b)) => {
            let (port, a, b) = (a.port() == b.port() && a.port() != 0, a.ip(), b.ip());
            port && (a == b || covers(a, b) || covers(b, a))
        }
        (Bind::Unix(a), Bind::Unix(b)) => a == b,
        _ => false,
    }
}

fn show(bind: &Bind) -> String {
    match bind {
        Bind::Tcp(address) => address.to_string(),
        Bind::Unix(path) => format!("unix:{}", path.display()),
    }
}
