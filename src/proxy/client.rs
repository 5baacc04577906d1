//! Who the client is: the peer, or, behind a trusted proxy, whom that proxy names.
//!
//! `X-Forwarded-For`, `-Proto`, `-Host` and `Forwarded` (RFC 7239) are believed only from trusted peers, where the
//! right-most untrusted address counts; from anyone else they are replaced.

use std::fmt::Write as _;
use std::net::IpAddr;

use http::header::{FORWARDED, HOST, HeaderName};
use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

use super::glance::{Field, Glance};
use crate::model::matching::contains;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The other end of a client's connection; made once per connection.
#[derive(Debug)]
pub(super) struct Peer {
    /// None for a unix socket.
    pub(super) address: Option<IpAddr>,
    /// Its address as a header value.
    text: HeaderValue,
    /// `https` or `http`.
    proto: HeaderValue,
}

impl Peer {
    pub(super) fn new(address: Option<IpAddr>, tls: bool) -> Self {
        let address = address.map(|ip| ip.to_canonical());
        let text = address.map_or_else(|| "unix:".to_owned(), |ip| ip.to_string());
        Self {
            address,
            text: HeaderValue::try_from(text).expect("addresses are visible ASCII"),
            proto: HeaderValue::from_static(if tls { "https" } else { "http" }),
        }
    }

    /// Whether this peer's forwarding fields are believed.
    fn is_trusted(&self, trusted: &[IpNet]) -> bool {
        !trusted.is_empty() && self.address.is_some_and(|ip| contains(trusted, ip))
    }

    /// The client's address: the right-most address of `X-Forwarded-For` that is not a trusted proxy's.
    pub(super) fn client(&self, headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
        if !self.is_trusted(trusted) {
            return self.address;
        }
        let mut client = self.address;
        for ip in forwarded_for(headers) {
            let Some(ip) = ip else { break };
            client = Some(ip);
            if !contains(trusted, ip) {
                break;
            }
        }
        client
    }

    /// Whether the client came by TLS, as far as it can be known.
    pub(super) fn is_secure(&self, headers: &HeaderMap, trusted: &[IpNet]) -> bool {
        match headers.get(X_FORWARDED_PROTO) {
            Some(proto) if self.is_trusted(trusted) => proto.as_bytes().eq_ignore_ascii_case(b"https"),
            _ => self.proto == "https",
        }
    }

    /// Writes the forwarding fields for the upstream.
    pub(super) fn announce(&self, headers: &mut HeaderMap, trusted: &[IpNet], glance: Glance) {
        let host = headers.get(HOST).cloned();
        if self.is_trusted(trusted) {
            return self.announce_chain(headers, host);
        }
        if glance.has(Field::Forwarded) {
            headers.insert(FORWARDED, self.forwarded(host.as_ref()));
        }
        headers.insert(X_FORWARDED_FOR, self.text.clone());
        headers.insert(X_FORWARDED_PROTO, self.proto.clone());
        if let Some(host) = host {
            headers.insert(X_FORWARDED_HOST, host);
        } else {
            headers.remove(X_FORWARDED_HOST);
        }
    }

    /// Behind a trusted proxy: what it says stays, the peer itself is added to the chain.
    fn announce_chain(&self, headers: &mut HeaderMap, host: Option<HeaderValue>) {
        let mut chain = String::new();
        for line in headers.get_all(X_FORWARDED_FOR) {
            let _ = write!(chain, "{}, ", String::from_utf8_lossy(line.as_bytes()));
        }
        chain.push_str(self.text.to_str().unwrap_or_default());
        headers.insert(X_FORWARDED_FOR, HeaderValue::try_from(chain).unwrap_or_else(|_| self.text.clone()));
        headers.entry(X_FORWARDED_PROTO).or_insert_with(|| self.proto.clone());
        if let Some(host) = host {
            headers.entry(X_FORWARDED_HOST).or_insert(host);
        }
        if headers.contains_key(FORWARDED) {
            headers.append(FORWARDED, self.forwarded(None));
        }
    }

    /// One element of `Forwarded` (RFC 7239, section 4): an IPv6 address is quoted and in brackets.
    fn forwarded(&self, host: Option<&HeaderValue>) -> HeaderValue {
        let node = match self.address {
            Some(IpAddr::V6(ip)) => format!("\"[{ip}]\""),
            Some(IpAddr::V4(ip)) => ip.to_string(),
            None => "unknown".to_owned(),
        };
        let mut element = format!("for={node};proto={}", self.proto.to_str().unwrap_or_default());
        if let Some(host) = host.and_then(|h| h.to_str().ok()).filter(|h| !h.contains(['"', '\\'])) {
            let _ = write!(element, ";host=\"{host}\"");
        }
        HeaderValue::try_from(element).unwrap_or_else(|_| HeaderValue::from_static("for=unknown"))
    }
}

/// The addresses of `X-Forwarded-For` from the right; `None` for what is no address.
fn forwarded_for(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
    lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(',').map(|part| address(part.trim())))
}

/// `1.2.3.4`, `1.2.3.4:5`, `::1`, `[::1]:5`.
fn address(text: &str) -> Option<IpAddr> {
    let ip = text.parse().ok().or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|a| a.ip()));
    ip.or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()).map(|ip: IpAddr| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_static(v))).collect()
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
        let glance = Glance::at(&sent);
        Peer::new("2001:db8::7".parse().ok(), false).announce(&mut sent, &[], glance);
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
        let glance = Glance::at(&sent);
        peer.announce(&mut sent, &trusted, glance);
        assert_eq!(sent["x-forwarded-for"], "198.51.100.1, 10.0.0.1");
        assert_eq!(sent["x-forwarded-proto"], "https");
    }
}
