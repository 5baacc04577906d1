//! What a request asks for: its host and its path, in the forms that HTTP/1.1 and HTTP/2 know.
//!
//! RFC 9112, section 3.2: an absolute-form target's authority wins over `Host`; HTTP/2 has `:authority`.

use http::uri::PathAndQuery;
use http::{Method, Version};

use super::error::ProxyError;
use super::http1::head::Call;
use super::octets;
use crate::model::fields::Known;

/// Refuses what cannot be served at all.
pub(super) fn check(call: &Call) -> Result<(), ProxyError> {
    if call.method == Method::CONNECT {
        return Err(ProxyError::Malformed("CONNECT is for forward proxies"));
    }
    let mut hosts = call.fields.all(Known::Host);
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(ProxyError::Malformed("more than one Host"));
    }
    if call.authority.is_some() && !is_host(host_with_port(call).as_bytes()) {
        return Err(ProxyError::Malformed("its target's host is not a host"));
    }
    if host.is_some_and(|h| !is_host(h)) {
        return Err(ProxyError::Malformed("Host is not a host"));
    }
    if call.version == Version::HTTP_11 && host.is_none() {
        return Err(ProxyError::Malformed("no Host"));
    }
    Ok(())
}

/// `host [ ":" port ]` (RFC 9110, section 7.2; RFC 3986, section 3.2.2); it may be empty. What others would read
/// differently, such as `user@host` or a path, is no host.
fn is_host(value: &[u8]) -> bool {
    if value.iter().all(|b| PLAIN[usize::from(*b)]) {
        return true;
    }
    let name_end = value.iter().rposition(|&b| b == b']').map_or(0, |bracket| bracket + 1);
    let (name, port) = match value[name_end..].iter().position(|&b| b == b':') {
        Some(colon) => (&value[..name_end + colon], &value[name_end + colon + 1..]),
        None => (value, &[][..]),
    };
    let literal = name.first() == Some(&b'[');
    name.iter().enumerate().all(|(at, &b)| match b {
        b'[' => at == 0,
        b']' => literal && at + 1 == name.len(),
        b':' => literal,
        _ => PLAIN[usize::from(b)],
    }) && port.iter().all(u8::is_ascii_digit)
}

/// What a registered name may consist of.
const PLAIN: [bool; 256] = octets::alphanumeric_and(b"-._~!$&'()*+,;=%");

/// The host without its port; empty where there is none.
pub(super) fn host(call: &Call) -> &str {
    let host = host_with_port(call);
    let name_end = host.bytes().rposition(|b| b == b']').map_or(0, |bracket| bracket + 1);
    match host.as_bytes()[name_end..].iter().position(|&b| b == b':') {
        Some(colon) => &host[..name_end + colon],
        None => host,
    }
}

/// The host as the client wrote it; empty where there is none.
pub(super) fn host_with_port(call: &Call) -> &str {
    match &call.authority {
        Some(authority) => authority.as_str().rsplit('@').next().unwrap_or_default(),
        None => call.fields.get(Known::Host).and_then(|h| std::str::from_utf8(h).ok()).unwrap_or_default(),
    }
}

/// The `Host` to send on, where the target names one; else the client's stays as it is.
pub(super) fn host_to_send(call: &Call) -> Option<&str> {
    call.authority.as_ref().map(|_| host_with_port(call))
}

/// A path (without a query) without `prefix`, where it begins with it and something is left.
pub(super) fn without<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    match path.strip_prefix(prefix) {
        Some("") => Some("/"),
        rest => rest.filter(|rest| rest.starts_with('/')),
    }
}

/// Path and query for the upstream, without `prefix`.
pub(super) fn path(whole: &PathAndQuery, prefix: Option<&str>) -> Result<PathAndQuery, ProxyError> {
    let Some(rest) = prefix.and_then(|p| whole.as_str().strip_prefix(p)) else { return Ok(whole.clone()) };
    if rest.starts_with('/') {
        return rest.parse().map_err(|_| ProxyError::Malformed("its path cannot be sent on"));
    }
    if rest.is_empty() || rest.starts_with('?') {
        return format!("/{rest}").parse().map_err(|_| ProxyError::Malformed("its path cannot be sent on"));
    }
    Ok(whole.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fields::Fields;

    fn call(uri: &str, host: Option<&'static str>) -> Call {
        let uri = uri.parse::<http::Uri>().unwrap().into_parts();
        let mut fields = Fields::new();
        if let Some(host) = host {
            fields.add(Known::Host, host.as_bytes());
        }
        let (path, authority) = (uri.path_and_query.unwrap(), uri.authority);
        Call { method: Method::GET, path, authority, version: Version::HTTP_11, fields }
    }

    #[test]
    fn the_host_is_taken_from_the_target_or_the_field_without_its_port() {
        for (uri, field, expected) in [
            ("/x", Some("shop.example.com:8080"), "shop.example.com"),
            ("/x", Some("[::1]:8080"), "[::1]"),
            ("/x", Some("[::1]"), "[::1]"),
            ("http://a.example/x", Some("b.example"), "a.example"),
            ("http://user@a.example:1/x", None, "a.example"),
            ("/x", None, ""),
        ] {
            assert_eq!(host(&call(uri, field)), expected, "{uri} {field:?}");
        }
    }

    #[test]
    fn only_a_host_with_or_without_a_port_is_one() {
        for good in ["a", "shop.example.com:8080", "[::1]:80", "[::1]", "127.0.0.1", "", "a:", "xn--bcher-kva.example"]
        {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in
            ["a b", "a/b", "user@a", "a:port", "a:1:2", "::1", "[::1", "::1]", "[::1]x", "a[b]", "a?b", "a#b", "\u{e4}"]
        {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn a_prefix_is_taken_off_at_a_segment_border() {
        for (uri, expected) in
            [("/api/x?a=1", "/x?a=1"), ("/api", "/"), ("/api?a=1", "/?a=1"), ("/apix", "/apix"), ("/other", "/other")]
        {
            let uri: PathAndQuery = uri.parse().unwrap();
            let sent = path(&uri, Some("/api")).unwrap();
            assert_eq!(sent.as_str(), expected);
            let changed = (sent.path() != uri.path()).then(|| sent.path());
            assert_eq!(without(uri.path(), "/api"), changed, "the two must not differ");
        }
    }
}
