//! Who the client is: the peer, or, behind a trusted proxy, whom that proxy names.
//!
//! `X-Forwarded-For`, `-Proto`, `-Host` and `Forwarded` (RFC 7239) are believed only from trusted peers, where the
//! right-most untrusted address counts; from anyone else they are replaced.

use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::fields::{Fields, Known};
use crate::model::matching::contains;

/// The other end of a client's connection; made once per connection.
#[derive(Debug)]
pub(super) struct Peer {
    /// None for a unix socket.
    pub(super) address: Option<IpAddr>,
    /// Its address as a header value.
    text: String,
    /// `https` or `http`.
    proto: &'static str,
}

impl Peer {
    pub(super) fn new(address: Option<IpAddr>, tls: bool) -> Self {
        let address = address.map(|ip| ip.to_canonical());
        let text = address.map_or_else(|| "unix:".to_owned(), |ip| ip.to_string());
        Self { address, text, proto: if tls { "https" } else { "http" } }
    }

    /// Whether this peer's forwarding fields are believed.
    fn is_trusted(&self, trusted: &[IpNet]) -> bool {
        !trusted.is_empty() && self.address.is_some_and(|ip| contains(trusted, ip))
    }

    /// The client's address: the right-most address of `X-Forwarded-For` that is not a trusted proxy's.
    pub(super) fn client(&self, fields: &Fields, trusted: &[IpNet]) -> Option<IpAddr> {
        if !self.is_trusted(trusted) {
            return self.address;
        }
        let mut client = self.address;
        for ip in forwarded_for(fields) {
            let Some(ip) = ip else { break };
            client = Some(ip);
            if !contains(trusted, ip) {
                break;
            }
        }
        client
    }

    /// Whether the client came by TLS, as far as it can be known.
    pub(super) fn is_secure(&self, fields: &Fields, trusted: &[IpNet]) -> bool {
        match fields.get(Known::ForwardedProto) {
            Some(proto) if self.is_trusted(trusted) => proto.eq_ignore_ascii_case(b"https"),
            _ => self.proto == "https",
        }
    }

    /// Writes the forwarding fields for the upstream.
    pub(super) fn announce(&self, fields: &mut Fields, trusted: &[IpNet]) {
        if self.is_trusted(trusted) {
            return self.announce_chain(fields);
        }
        if fields.has(Known::Forwarded) {
            let element = self.forwarded(fields.get(Known::Host));
            fields.set(Known::Forwarded, element.as_bytes());
        }
        fields.set(Known::ForwardedFor, self.text.as_bytes());
        fields.set(Known::ForwardedProto, self.proto.as_bytes());
        fields.set_from(Known::ForwardedHost, Known::Host);
    }

    /// Behind a trusted proxy: what it says stays, the peer itself is added to the chain.
    fn announce_chain(&self, fields: &mut Fields) {
        let mut chain = fields.all(Known::ForwardedFor).collect::<Vec<_>>();
        chain.push(self.text.as_bytes());
        let chain = chain.join(&b", "[..]);
        fields.set(Known::ForwardedFor, &chain);
        if !fields.has(Known::ForwardedProto) {
            fields.add(Known::ForwardedProto, self.proto.as_bytes());
        }
        if !fields.has(Known::ForwardedHost) {
            fields.set_from(Known::ForwardedHost, Known::Host);
        }
        if fields.has(Known::Forwarded) {
            let element = self.forwarded(None);
            fields.add(Known::Forwarded, element.as_bytes());
        }
    }

    /// One element of `Forwarded` (RFC 7239, section 4): an IPv6 address is quoted and in brackets.
    fn forwarded(&self, host: Option<&[u8]>) -> String {
        let node = match self.address {
            Some(IpAddr::V6(ip)) => format!("\"[{ip}]\""),
            Some(IpAddr::V4(ip)) => ip.to_string(),
            None => "unknown".to_owned(),
        };
        let mut element = format!("for={node};proto={}", self.proto);
        if let Some(host) = host.and_then(|h| std::str::from_utf8(h).ok()).filter(|h| !h.contains(['"', '\\'])) {
            let _ = write!(element, ";host=\"{host}\"");
        }
        element
    }
}

/// The addresses of `X-Forwarded-For` from the right; `None` for what is no address.
fn forwarded_for(fields: &Fields) -> impl Iterator<Item = Option<IpAddr>> {
    let lines = fields.all(Known::ForwardedFor).rev();
    lines.flat_map(|line| std::str::from_utf8(line).unwrap_or_default().rsplit(',').map(|part| address(part.trim())))
}

/// `1.2.3.4`, `1.2.3.4:5`, `::1`, `[::1]:5`.
fn address(text: &str) -> Option<IpAddr> {
    let ip = text.parse().ok().or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|a| a.ip()));
    ip.or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()).map(|ip: IpAddr| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> Fields {
        let mut fields = Fields::new();
        for (name, value) in lines {
            fields.add_named(&HeaderName::from_static(name), &HeaderValue::from_static(value));
        }
        fields
    }

    #[test]
    fn the_right_most_untrusted_address_is_the_client() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        let proxy = Peer::new("10.0.0.1".parse().ok(), false);
        let stranger = Peer::new("203.0.113.9".parse().ok(), false);
        for (peer, chain, client) in [
            (&proxy, "198.51.100.1", "198.51.100.1"),
            (&proxy, "6.6.6.6, 198.51.100.1, 10.2.2.2", "198.51.100.1"),
            (&proxy, "10.3.3.3,10.2.2.2", "10.3.3.3"),
            (&proxy, "nonsense, 10.2.2.2", "10.2.2.2"),
            (&proxy, "[2001:db8::1]:99", "2001:db8::1"),
            (&stranger, "198.51.100.1", "203.0.113.9"),
        ] {
            let headers = headers(&[("x-forwarded-for", chain)]);
            assert_eq!(peer.client(&headers, &trusted), client.parse().ok(), "{chain}");
        }
    }

    #[test]
    fn a_stranger_cannot_forge_any_forwarding_field() {
        let mut sent = headers(&[
            ("host", "shop.example.com"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil"),
            ("forwarded", "for=6.6.6.6"),
        ]);
        Peer::new("2001:db8::7".parse().ok(), false).announce(&mut sent, &[]);
        let sent = sent.to_map();
        assert_eq!(sent["x-forwarded-for"], "2001:db8::7");
        assert_eq!(sent["x-forwarded-proto"], "http");
        assert_eq!(sent["x-forwarded-host"], "shop.example.com");
        assert_eq!(sent["forwarded"], "for=\"[2001:db8::7]\";proto=http;host=\"shop.example.com\"");
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_added_to_the_chain() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        let peer = Peer::new("10.0.0.1".parse().ok(), false);
        let mut sent = headers(&[("x-forwarded-for", "198.51.100.1"), ("x-forwarded-proto", "https")]);
        assert!(peer.is_secure(&sent, &trusted));
        peer.announce(&mut sent, &trusted);
        let sent = sent.to_map();
        assert_eq!(sent["x-forwarded-for"], "198.51.100.1, 10.0.0.1");
        assert_eq!(sent["x-forwarded-proto"], "https");
    }
}
