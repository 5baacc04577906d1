//! The addresses of a group.

use http::uri::Authority;
use rustls::pki_types::ServerName;

use super::check::{Check, all, or};
use super::files;
use crate::config::file;
use crate::config::problem::Place;
use crate::config::spec::{Address, Endpoint, Protocol, Upstream};
use crate::config::yaml::{At, quote};

/// A group's upstreams; each address once.
pub(super) fn upstreams(check: &Check<'_>, owner: Place, group: &file::Group) -> Option<Vec<Upstream>> {
    let right = "a list like [\"http://127.0.0.1:9001\"]";
    check.need(owner, "upstreams", right, &group.upstreams)?;
    let right = "add an address like http://127.0.0.1:9001";
    let upstreams = check.list(&group.upstreams, right, |at| Some((at.place, one(check, at)?)))?;
    all(upstreams.iter().enumerate().map(|(i, (place, upstream))| {
        if upstreams[..i].iter().any(|(_, u)| u.endpoint == upstream.endpoint) {
            let url = quote(&upstream.endpoint.url);
            return check.add(*place, format!("{url} is already in this group; name it once, with a `weight`"));
        }
        Some(upstream.clone())
    }))
}

fn one(check: &Check<'_>, at: &At<file::Upstream>) -> Option<Upstream> {
    match at.value.as_ref()? {
        file::Upstream::Url(url) => {
            let url = At { place: at.place, value: Some(url.clone()) };
            Some(Upstream { endpoint: check.parse(&url, |text| endpoint(check, text))?, weight: 1 })
        }
        file::Upstream::Map(map) => from_map(check, at.place, map),
    }
}

fn from_map(check: &Check<'_>, place: Place, map: &file::UpstreamMap) -> Option<Upstream> {
    let endpoint = check
        .need(place, "url", "an address like http://127.0.0.1:9001", &map.url)
        .and_then(|at| check.parse(at, |text| endpoint(check, text)));
    let weight = match (&map.weight, or(&map.weight, 1)) {
        (Some(at), Some(0)) => {
            check.add(at.place, "a weight of 0 sends nothing; write 1 or more, or remove the upstream")
        }
        (_, weight) => weight,
    };
    let ca = files::authority(check, &map.ca);
    let server_name = check.maybe(&map.server_name, server_name);
    let in_clear = endpoint.as_ref().is_some_and(|e| e.protocol != Protocol::Https);
    for (key, at) in [("ca", &map.ca), ("server_name", &map.server_name)] {
        if let Some(at) = at.as_ref().filter(|_| in_clear) {
            check
                .faults
                .add(at.place, format!("`{key}` is for TLS, and the URL is not https; remove it, or write https://"));
        }
    }
    Some(Upstream { endpoint: Endpoint { ca: ca?, server_name: server_name?, ..endpoint? }, weight: weight? })
}

fn server_name(text: &str) -> Result<String, String> {
    let wrong = |_| format!("{} is not a server's name; write it like shop.example.com", quote(text));
    ServerName::try_from(text.to_owned()).map(|_| text.to_owned()).map_err(wrong)
}

/// Where and how an upstream is reached, by its URL.
fn endpoint(check: &Check<'_>, url: &str) -> Result<Endpoint, String> {
    let build =
        |protocol, address| Ok(Endpoint { url: url.to_owned(), protocol, address, ca: None, server_name: None });
    let unix = |path: &str| match path.trim_start_matches("//") {
        "" => Err(format!("{} names no socket; write it like unix:/run/app.sock", quote(url))),
        _ => Ok(Address::Unix(check.path(path))),
    };
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    let rest = &url[(scheme.len() + 1).min(url.len())..];
    match (scheme, rest.strip_prefix("//")) {
        ("unix", _) => build(Protocol::Http1, unix(rest)?),
        ("unix+h2c", _) => build(Protocol::H2c, unix(rest)?),
        ("http", Some(rest)) => build(Protocol::Http1, tcp(url, rest, 80)?),
        ("h2c", Some(rest)) => build(Protocol::H2c, tcp(url, rest, 80)?),
        ("https", Some(rest)) => {
            let address = tcp(url, rest, 443)?;
            if let Address::Tcp { host, .. } = &address {
                server_name(host)?;
            }
            build(Protocol::Https, address)
        }
        _ => Err(format!(
            "{} is not an upstream's URL; write it like http://127.0.0.1:9001, https://…, h2c://… or unix:/path",
            quote(url)
        )),
    }
    .map(|endpoint| Endpoint { url: endpoint.url.trim_end_matches('/').to_owned(), ..endpoint })
}

fn tcp(url: &str, rest: &str, default_port: u16) -> Result<Address, String> {
    let wrong = || format!("{} has no sound host and port; write it like http://127.0.0.1:9001", quote(url));
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#']) {
        return Err(format!(
            "{} has a path; an upstream is a host and a port, see `strip_prefix` of routes",
            quote(url)
        ));
    }
    if authority.contains('@') {
        return Err(format!("{} has a user in it; set an authorization header in `headers` instead", quote(url)));
    }
    let authority: Authority = authority.parse().map_err(|_| wrong())?;
    let port = match authority.as_str()[authority.host().len()..].strip_prefix(':') {
        Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?,
        None => default_port,
    };
    let host = super::text::host(authority.host()).map_err(|_| wrong())?;
    Ok(Address::Tcp { host: host.trim_matches(['[', ']']).to_owned(), port })
}
