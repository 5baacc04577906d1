//! What is taken from and put onto a header on its way: hop-by-hop fields and the route's edits.
//!
//! RFC 9110, section 7.6.1: first everything that `Connection` names and the standard set are removed, then our own
//! fields are added. `TE: trailers` stays; `Upgrade` stays for WebSockets only.

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, HOST, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue};

use super::glance::{Field, Glance};
use crate::config::spec::HeaderEdits;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// What belongs to one connection (RFC 9110, section 7.6.1, and what older clients and servers send).
static HOP_BY_HOP: [(Field, HeaderName); 8] = [
    (Field::Connection, CONNECTION),
    (Field::KeepAlive, KEEP_ALIVE),
    (Field::ProxyConnection, PROXY_CONNECTION),
    (Field::Te, TE),
    (Field::TransferEncoding, TRANSFER_ENCODING),
    (Field::Upgrade, UPGRADE),
    (Field::ProxyAuth, PROXY_AUTHENTICATE),
    (Field::ProxyAuth, PROXY_AUTHORIZATION),
];

/// Whether the header asks for a WebSocket (RFC 6455, section 4.1).
pub(super) fn wants_websocket(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && tokens(headers, &CONNECTION).any(|t| t.eq_ignore_ascii_case("upgrade"))
}

/// Removes the fields that belong to one connection.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap, glance: Glance) {
    if !glance.has_hop_by_hop() {
        return;
    }
    // Chunks count, whatever length is named beside them (RFC 9112, section 6.3): sent on alone, it would cut the body.
    if glance.has(Field::TransferEncoding) {
        headers.remove(CONTENT_LENGTH);
    }
    let trailers = glance.has(Field::Te) && tokens(headers, &TE).any(|t| t.eq_ignore_ascii_case("trailers"));
    if glance.has(Field::Connection) {
        remove_named(headers);
    }
    for (field, name) in &HOP_BY_HOP {
        if glance.has(*field) {
            headers.remove(name);
        }
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Removes what `Connection` names, but for the fields that make the message what it is: a client must not be able
/// to have `Host` or our own fields dropped.
fn remove_named(headers: &mut HeaderMap) {
    let plain = |v: &HeaderValue| {
        v.as_bytes().eq_ignore_ascii_case(b"keep-alive") || v.as_bytes().eq_ignore_ascii_case(b"close")
    };
    if headers.get_all(CONNECTION).iter().all(plain) {
        return;
    }
    let named: Vec<HeaderName> = tokens(headers, &CONNECTION).filter_map(|t| t.parse().ok()).collect();
    for name in named {
        if name != HOST && name != CONTENT_LENGTH && name != http::header::CONTENT_TYPE {
            headers.remove(name);
        }
    }
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).map(str::trim)
}

/// Asks for a WebSocket on the next connection.
pub(super) fn ask_for_websocket(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, WEBSOCKET);
}

/// The route's edits: first removed, then set.
pub(super) fn edit(headers: &mut HeaderMap, edits: &HeaderEdits) {
    for name in &edits.remove {
        headers.remove(name);
    }
    for (name, value) in &edits.set {
        headers.insert(name, value.clone());
    }
}

/// HTTP/2 clients may cut `Cookie` into several lines; HTTP/1.1 wants one (RFC 9113, section 8.2.3).
pub(super) fn join_cookies(headers: &mut HeaderMap) {
    let lines = headers.get_all(COOKIE);
    if lines.iter().count() < 2 {
        return;
    }
    let joined = lines.iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b"; "[..]);
    if let Ok(value) = HeaderValue::from_maybe_shared(bytes::Bytes::from(joined)) {
        headers.insert(COOKIE, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn what_belongs_to_one_connection_is_removed_and_te_trailers_stays() {
        let mut headers = map(&[
            ("host", "a"),
            ("connection", "close, X-Secret"),
            ("connection", "host"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("te", "gzip, trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("accept", "*/*"),
        ]);
        let glance = Glance::at(&headers);
        remove_hop_by_hop(&mut headers, glance);
        assert_eq!(headers, map(&[("host", "a"), ("te", "trailers"), ("accept", "*/*")]));
    }

    #[test]
    fn a_length_beside_chunks_goes_with_them() {
        let mut headers = map(&[("content-length", "3"), ("transfer-encoding", "chunked"), ("accept", "*/*")]);
        let glance = Glance::at(&headers);
        remove_hop_by_hop(&mut headers, glance);
        assert_eq!(headers, map(&[("accept", "*/*")]));
        let mut headers = map(&[("content-length", "3"), ("connection", "close")]);
        let glance = Glance::at(&headers);
        remove_hop_by_hop(&mut headers, glance);
        assert_eq!(headers, map(&[("content-length", "3")]));
    }

    #[test]
    fn only_a_websocket_is_an_upgrade() {
        assert!(wants_websocket(&map(&[("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")])));
        assert!(!wants_websocket(&map(&[("connection", "upgrade"), ("upgrade", "h2c")])));
        assert!(!wants_websocket(&map(&[("upgrade", "websocket")])));
    }

    #[test]
    fn cut_cookies_are_joined() {
        let mut headers = map(&[("cookie", "a=1"), ("cookie", "b=2")]);
        join_cookies(&mut headers);
        assert_eq!(headers, map(&[("cookie", "a=1; b=2")]));
    }
}
