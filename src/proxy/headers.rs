//! What is taken from and put onto a header on its way: hop-by-hop fields and the route's edits.
//!
//! RFC 9110, section 7.6.1: first everything that `Connection` names and the standard set are removed, then our own
//! fields are added. `TE: trailers` stays; `Upgrade` stays for WebSockets only.

use crate::config::spec::HeaderEdits;
use crate::model::fields::{Fields, Known};

/// What belongs to one connection (RFC 9110, section 7.6.1, and what older clients and servers send).
const HOP_BY_HOP: [Known; 8] = [
    Known::Connection,
    Known::KeepAlive,
    Known::ProxyConnection,
    Known::Te,
    Known::TransferEncoding,
    Known::Upgrade,
    Known::ProxyAuthenticate,
    Known::ProxyAuthorization,
];

/// Whether the header asks for a WebSocket (RFC 6455, section 4.1).
pub(super) fn wants_websocket(fields: &Fields) -> bool {
    fields.get(Known::Upgrade).is_some_and(|v| v.eq_ignore_ascii_case(b"websocket"))
        && tokens(fields, Known::Connection).any(|t| t.eq_ignore_ascii_case(b"upgrade"))
}

/// Whether the body is a stream of Server-Sent Events.
pub(super) fn is_event_stream(fields: &Fields) -> bool {
    const EVENTS: &[u8] = b"text/event-stream";
    let kind = fields.get(Known::ContentType).and_then(|v| v.split_at_checked(EVENTS.len()));
    kind.is_some_and(|(kind, rest)| kind.eq_ignore_ascii_case(EVENTS) && matches!(rest, [] | [b';' | b' ' | b'\t', ..]))
}

/// Removes the fields that belong to one connection.
pub(super) fn remove_hop_by_hop(fields: &mut Fields) {
    if !fields.has_any(&HOP_BY_HOP) {
        return;
    }
    let trailers = tokens(fields, Known::Te).any(|t| t.eq_ignore_ascii_case(b"trailers"));
    remove_named(fields);
    for known in HOP_BY_HOP {
        fields.remove(known);
    }
    if trailers {
        fields.add(Known::Te, b"trailers");
    }
}

/// Removes what `Connection` names, but for the fields that make the message what it is: a client must not be able
/// to have `Host` or our own fields dropped.
fn remove_named(fields: &mut Fields) {
    let plain = |t: &[u8]| t.eq_ignore_ascii_case(b"keep-alive") || t.eq_ignore_ascii_case(b"close");
    if tokens(fields, Known::Connection).all(plain) {
        return;
    }
    let named: Vec<Vec<u8>> = tokens(fields, Known::Connection).map(<[u8]>::to_vec).collect();
    for name in named {
        if !matches!(Known::of(&name), Some(Known::Host | Known::ContentLength | Known::ContentType)) {
            fields.remove_named(&name);
        }
    }
}

fn tokens(fields: &Fields, known: Known) -> impl Iterator<Item = &[u8]> {
    fields.all(known).flat_map(|v| v.split(|b| *b == b',')).map(<[u8]>::trim_ascii)
}

/// Asks for a WebSocket on the next connection.
pub(super) fn ask_for_websocket(fields: &mut Fields) {
    fields.set(Known::Connection, b"upgrade");
    fields.set(Known::Upgrade, b"websocket");
}

/// The route's edits: first removed, then set.
pub(super) fn edit(fields: &mut Fields, edits: &HeaderEdits) {
    for name in &edits.remove {
        fields.remove_named(name.as_str().as_bytes());
    }
    for (name, value) in &edits.set {
        fields.set_named(name, value);
    }
}

/// HTTP/2 clients may cut `Cookie` into several lines; HTTP/1.1 wants one (RFC 9113, section 8.2.3).
pub(super) fn join_cookies(fields: &mut Fields) {
    if fields.all(Known::Cookie).nth(1).is_some() {
        let joined = fields.all(Known::Cookie).collect::<Vec<_>>().join(&b"; "[..]);
        fields.set(Known::Cookie, &joined);
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    fn fields(lines: &[(&'static str, &'static str)]) -> Fields {
        let mut fields = Fields::new();
        for (name, value) in lines {
            fields.add_named(&HeaderName::from_static(name), &HeaderValue::from_static(value));
        }
        fields
    }

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        fields(lines).to_map()
    }

    #[test]
    fn what_belongs_to_one_connection_is_removed_and_te_trailers_stays() {
        let mut sent = fields(&[
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
        remove_hop_by_hop(&mut sent);
        assert_eq!(sent.to_map(), map(&[("host", "a"), ("te", "trailers"), ("accept", "*/*")]));
    }

    #[test]
    fn only_a_websocket_is_an_upgrade() {
        assert!(wants_websocket(&fields(&[("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")])));
        assert!(!wants_websocket(&fields(&[("connection", "upgrade"), ("upgrade", "h2c")])));
        assert!(!wants_websocket(&fields(&[("upgrade", "websocket")])));
    }

    #[test]
    fn events_are_known_by_their_type_whatever_its_parameters() {
        for (kind, expected) in [
            ("text/event-stream", true),
            ("Text/Event-Stream; charset=utf-8", true),
            ("text/event-stream2", false),
            ("text/event", false),
            ("application/json", false),
        ] {
            assert_eq!(is_event_stream(&fields(&[("content-type", kind)])), expected, "{kind}");
        }
        assert!(!is_event_stream(&fields(&[])));
    }

    #[test]
    fn cut_cookies_are_joined() {
        let mut sent = fields(&[("cookie", "a=1"), ("cookie", "b=2")]);
        join_cookies(&mut sent);
        assert_eq!(sent.to_map(), map(&[("cookie", "a=1; b=2")]));
    }
}
