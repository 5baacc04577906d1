//! Texts that must have a form: names, networks, hosts, paths, statuses. Pure; errors say what would be right.

use std::net::{IpAddr, Ipv6Addr};

use http::uri::PathAndQuery;
use http::{Method, Uri};
use ipnet::IpNet;

use crate::config::yaml::quote;
use crate::model::names::InvalidName;

/// A name in backticks, cut to a length that fits a line.
pub(super) fn tick(name: &str) -> String {
    let quoted = quote(name);
    format!("`{}`", &quoted[1..quoted.len() - 1])
}

/// A name of the lexicon, by its constructor.
pub(super) fn name<T>(new: fn(&str) -> Result<T, InvalidName>) -> impl Fn(&str) -> Result<T, String> {
    move |text| {
        new(text).map_err(|_| {
            let right = "use 1 to 63 of a-z A-Z 0-9 . _ -, beginning with a letter or digit";
            format!("{} is not a name; {right}", quote(text))
        })
    }
}

/// A network (`10.0.0.0/8`) or a single address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let wrong = |_| format!("{} is not a network; write it like 10.0.0.0/8, ::1/128 or 127.0.0.1", quote(text));
    let network = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse().map_err(wrong)?,
    };
    Ok(network.trunc())
}

/// A host without a port, in lower case.
pub(super) fn host(text: &str) -> Result<String, String> {
    let host = text.to_ascii_lowercase();
    let is_name = |s: &str| {
        !s.is_empty()
            && s.len() <= 253
            && s.split('.').all(|label| !label.is_empty() && label.len() <= 63)
            && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    let is_v6 = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).is_some_and(|h| h.parse::<Ipv6Addr>().is_ok());
    if is_name(&host) || is_v6 {
        return Ok(host);
    }
    Err(format!("{} is not a host; write a name without scheme and port, like shop.example.com", quote(text)))
}

/// A host, or `*.` and a host.
pub(super) fn host_pattern(text: &str) -> Result<String, String> {
    if text == "*" {
        return Err("`*` is not a host; leave `host` out to match any".to_owned());
    }
    match text.strip_prefix("*.") {
        Some(rest) => host(rest).map(|rest| format!("*.{rest}")).map_err(|_| {
            format!("{} is not a host pattern; write it like *.example.com, without scheme and port", quote(text))
        }),
        None => host(text),
    }
}

/// A path without a query.
pub(super) fn path(text: &str) -> Result<String, String> {
    if text.contains('?') {
        return Err(format!("{} has a query; write the path alone, like /api/", quote(text)));
    }
    path_and_query(text)
}

/// A path, perhaps with a query.
pub(super) fn path_and_query(text: &str) -> Result<String, String> {
    let sound = text.starts_with('/') && !text.contains('#') && text.parse::<PathAndQuery>().is_ok();
    if sound { Ok(text.to_owned()) } else { Err(format!("{} is not a path; write it like /health", quote(text))) }
}

/// A prefix to take off: no slash at its end.
pub(super) fn prefix(text: &str) -> Result<String, String> {
    let prefix = path(text)?.trim_end_matches('/').to_owned();
    if prefix.is_empty() { Err("`/` strips nothing; leave `strip_prefix` out".to_owned()) } else { Ok(prefix) }
}

/// A URL of http or https. What is wrong does not repeat it.
pub(super) fn url(text: &str) -> Result<String, &'static str> {
    const RIGHT: &str = "is not one of http or https; write it like http://127.0.0.1:9100/path";
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).ok_or(RIGHT)?;
    if text.contains('#') {
        return Err("has a fragment, which is never sent; remove what begins with #");
    }
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("has a user in it, which would be shown wherever the URL is; remove it");
    }
    let uri: Uri = text.parse().map_err(|_| RIGHT)?;
    let port = authority.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.ends_with(']'));
    let has_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    if uri.host().is_some_and(|name| host(name).is_ok()) && has_port { Ok(text.to_owned()) } else { Err(RIGHT) }
}

/// A URL of http or https that may be shown.
pub(super) fn shown_url(text: &str) -> Result<String, String> {
    url(text).map_err(|wrong| format!("{} {wrong}", quote(text)))
}

/// A method, in capitals.
pub(super) fn method(text: &str) -> Result<Method, String> {
    let upper = text.to_ascii_uppercase();
    match Method::from_bytes(text.as_bytes()) {
        Ok(method) if text == upper => Ok(method),
        Ok(_) => Err(format!("{} is not a method; methods are in capitals, write {upper}", quote(text))),
        Err(_) => Err(format!("{} is not a method; write it like GET", quote(text))),
    }
}

/// Statuses: `200`, `200-299`, `200,204,300-399`.
pub(super) fn statuses(text: &str) -> Result<Vec<(u16, u16)>, String> {
    let status = |s: &str| s.trim().parse().ok().filter(|n| (100..=599).contains(n));
    let range = |part: &str| match part.split_once('-') {
        Some((low, high)) => Some((status(low)?, status(high)?)).filter(|(low, high)| low <= high),
        None => status(part).map(|n| (n, n)),
    };
    let ranges: Option<Vec<_>> = text.split(',').map(range).collect();
    ranges.ok_or_else(|| format!("{} is no status; write it like 200, \"200-299\" or \"200,204\"", quote(text)))
}

/// The name of a cookie (RFC 6265: a token).
pub(super) fn cookie_name(text: &str) -> Result<String, String> {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if !text.is_empty() && text.bytes().all(is_token) {
        return Ok(text.to_owned());
    }
    Err(format!("{} is not a cookie's name; use letters, digits, - and _", quote(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_address_is_a_network_and_host_bits_do_not_matter() {
        let network = |text| network(text).map(|n| n.to_string());
        assert_eq!(network("10.1.2.3/8"), Ok("10.0.0.0/8".to_owned()));
        assert_eq!(network("127.0.0.1"), Ok("127.0.0.1/32".to_owned()));
        assert_eq!(network("::1"), Ok("::1/128".to_owned()));
        let wrong = "\"10.0.0.0/33\" is not a network; write it like 10.0.0.0/8, ::1/128 or 127.0.0.1";
        assert_eq!(network("10.0.0.0/33"), Err(wrong.to_owned()));
    }

    #[test]
    fn hosts_are_lower_case_and_have_no_port() {
        assert_eq!(host_pattern("Shop.Example.com"), Ok("shop.example.com".to_owned()));
        assert_eq!(host_pattern("*.Example.com"), Ok("*.example.com".to_owned()));
        assert_eq!(host_pattern("[::1]"), Ok("[::1]".to_owned()));
        for bad in ["", "*", "*.", "shop:80", "http://shop", "a..b", "shop/", "*.*.x", "sh op", "ä"] {
            assert!(host_pattern(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_begin_with_a_slash_and_prefixes_do_not_end_with_one() {
        assert_eq!(path("/api/"), Ok("/api/".to_owned()));
        assert_eq!(path_and_query("/h?x=1"), Ok("/h?x=1".to_owned()));
        assert_eq!(prefix("/api/"), Ok("/api".to_owned()));
        assert!(prefix("/").is_err());
        for bad in ["", "api", "/a?b", "/a#b", "/a b", "http://x/"] {
            assert!(path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn statuses_are_numbers_and_ranges() {
        assert_eq!(statuses("200"), Ok(vec![(200, 200)]));
        assert_eq!(statuses("200-299, 404"), Ok(vec![(200, 299), (404, 404)]));
        for bad in ["", "2xx", "99", "600", "299-200", "200-", "200,,204"] {
            assert!(statuses(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn methods_are_in_capitals() {
        assert_eq!(method("PURGE").map(|m| m.to_string()), Ok("PURGE".to_owned()));
        assert_eq!(method("get"), Err("\"get\" is not a method; methods are in capitals, write GET".to_owned()));
        assert!(method("G T").is_err());
    }
}
