//! Whom the admin port listens to at all: the peer's address, the Host it is addressed by, the page that asks.
//!
//! A browser on the operator's own machine reaches loopback ports for whatever page it shows. So, on loopback too and
//! for reads too, a request must name us as its host (else a foreign name was made to point here: DNS rebinding), and
//! must not come from a foreign page. On a unix socket there are no hosts. It refuses to know tokens and routes.

use std::net::{IpAddr, SocketAddr};

use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, header};

use super::problem::ApiError;
use crate::config::spec::{Admin, Bind};
use crate::routing::table::allowed;

/// How a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Over TCP.
    Tcp {
        /// From.
        peer: SocketAddr,
        /// To which of our addresses.
        local: SocketAddr,
    },
    /// Over a unix socket.
    Unix,
}

/// Lets a request pass to authentication.
///
/// # Errors
/// [`ApiError::PeerNotAllowed`], [`ApiError::BadHost`], [`ApiError::BadOrigin`].
pub fn check(admin: &Admin, link: Link, parts: &Parts) -> Result<(), ApiError> {
    match link {
        Link::Unix => Ok(()),
        Link::Tcp { peer, local } => {
            if !allowed(&admin.allow, Some(peer.ip())) {
                return Err(ApiError::PeerNotAllowed(peer.ip().to_canonical()));
            }
            let host = own_host(admin, local.ip(), parts)?;
            own_page(admin, &host, &parts.headers)
        }
    }
}

/// The host that the request is addressed to, when it is one of ours.
fn own_host(admin: &Admin, local: IpAddr, parts: &Parts) -> Result<Authority, ApiError> {
    let mut named = parts.headers.get_all(header::HOST).iter();
    let field = named.next().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let text = field.unwrap_or_default();
    let refused = || ApiError::BadHost(text.chars().take(100).collect());
    let host: Authority = text.parse().map_err(|_| refused())?;
    // An absolute-form target says the host a second time; both must be ours.
    let targets = std::iter::once(host.host()).chain(parts.uri.host());
    let ours = named.next().is_none() && !text.contains('@') && targets.into_iter().all(|h| is_ours(admin, local, h));
    if ours { Ok(host) } else { Err(refused()) }
}

fn is_ours(admin: &Admin, local: IpAddr, host: &str) -> bool {
    let name = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = name.parse::<IpAddr>() {
        let ip = ip.to_canonical();
        let bound = matches!(&admin.listen, Bind::Tcp(address) if address.ip().to_canonical() == ip);
        return ip.is_loopback() || bound || ip == local.to_canonical() || listed(admin, name);
    }
    let name = name.trim_end_matches('.');
    name.eq_ignore_ascii_case("localhost") || listed(admin, name)
}

fn listed(admin: &Admin, host: &str) -> bool {
    admin.hosts.iter().any(|h| h.eq_ignore_ascii_case(host))
}

/// A page may ask when it is of the same host and port, or of a listed host. What is no page sends no `Origin`.
fn own_page(admin: &Admin, host: &Authority, headers: &HeaderMap) -> Result<(), ApiError> {
    let mut fields = headers.get_all(header::ORIGIN).iter();
    let Some(field) = fields.next() else { return Ok(()) };
    let text = String::from_utf8_lossy(field.as_bytes());
    let page = origin(&text).filter(|_| fields.next().is_none());
    let same = page.as_ref().is_some_and(|(page, default)| {
        let same_host = page.host().eq_ignore_ascii_case(host.host());
        same_host && page.port_u16().unwrap_or(*default) == host.port_u16().unwrap_or(*default)
    });
    if same || page.is_some_and(|(page, _)| listed(admin, page.host())) {
        return Ok(());
    }
    Err(ApiError::BadOrigin(text.chars().take(100).collect()))
}

/// Host and port of a serialised origin (RFC 6454), and the port that its scheme stands for.
fn origin(text: &str) -> Option<(Authority, u16)> {
    let (scheme, authority) = text.split_once("://")?;
    let default = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    Some((authority.parse().ok()?, default))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    fn admin(listen: &str) -> Admin {
        Admin {
            listen: Bind::Tcp(listen.parse().unwrap()),
            allow: Vec::new(),
            hosts: vec!["ops.example.com".into()],
            tls: None,
            tokens: Vec::new(),
        }
    }

    fn verdict(admin: &Admin, target: &str, headers: &[(&str, &str)]) -> Result<(), ApiError> {
        let mut request = Request::get(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        let link = Link::Tcp { peer: "127.0.0.1:999".parse().unwrap(), local: "10.2.3.4:7070".parse().unwrap() };
        check(admin, link, &parts)
    }

    #[test]
    fn own_names_and_addresses_are_answered_to_with_any_port() {
        let admin = admin("0.0.0.0:7070");
        for host in [
            "localhost",
            "LocalHost:7070",
            "localhost.:1",
            "127.0.0.1:9999",
            "127.8.9.1",
            "[::1]:7070",
            "10.2.3.4:7070",
            "[::ffff:10.2.3.4]",
            "ops.example.com",
            "OPS.example.com:443",
        ] {
            verdict(&admin, "/", &[("host", host)]).unwrap_or_else(|e| panic!("{host}: {e}"));
        }
    }

    #[test]
    fn a_foreign_missing_doubled_or_malformed_host_is_refused() {
        let admin = admin("127.0.0.1:7070");
        for hosts in [
            &[][..],
            &[("host", "evil.example")],
            &[("host", "localhost.evil.example")],
            &[("host", "10.2.3.5")],
            &[("host", "")],
            &[("host", "a b")],
            &[("host", "localhost"), ("host", "localhost")],
            &[("host", "x@localhost")],
            &[("host", "127.0.0.1.evil.example:7070")],
            &[("host", "2130706433")],
        ] {
            let refused = verdict(&admin, "/", hosts);
            assert!(matches!(refused, Err(ApiError::BadHost(_))), "{hosts:?}: {refused:?}");
        }
        let absolute = verdict(&admin, "http://evil.example/", &[("host", "localhost")]);
        assert!(matches!(absolute, Err(ApiError::BadHost(_))), "{absolute:?}");
    }

    #[test]
    fn pages_of_the_same_origin_or_a_listed_host_may_ask_and_no_others() {
        let admin = admin("127.0.0.1:7070");
        for (host, origin, fine) in [
            ("localhost:7070", "http://localhost:7070", true),
            ("localhost:7070", "https://localhost:7070", true),
            ("localhost", "http://localhost", true),
            ("localhost:443", "https://localhost", true),
            ("localhost:7070", "https://ops.example.com", true),
            ("localhost:7070", "http://localhost:3000", false),
            ("localhost:7070", "http://localhost", false),
            ("localhost:7070", "http://127.0.0.1:7070", false),
            ("localhost:7070", "https://evil.example", false),
            ("localhost:7070", "null", false),
            ("localhost:7070", "file://", false),
            ("localhost:7070", "chrome-extension://abc", false),
        ] {
            let found = verdict(&admin, "/", &[("host", host), ("origin", origin)]);
            assert_eq!(found.is_ok(), fine, "{origin} at {host}: {found:?}");
        }
    }

    #[test]
    fn a_peer_outside_the_allowed_networks_is_refused_and_a_unix_socket_has_no_hosts() {
        let admin = Admin { allow: vec!["10.0.0.0/8".parse().unwrap()], ..admin("127.0.0.1:7070") };
        let refused = verdict(&admin, "/", &[("host", "localhost")]);
        assert!(matches!(refused, Err(ApiError::PeerNotAllowed(_))), "{refused:?}");
        let parts = Request::get("/").header("host", "whatever").body(()).unwrap().into_parts().0;
        assert!(check(&admin, Link::Unix, &parts).is_ok());
    }
}
