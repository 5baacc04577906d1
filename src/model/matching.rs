//! What a request must look like: conditions of routes and rules.
//!
//! Compiled once; matching allocates nothing. It sees a request through [`Facts`], so that the data plane and
//! `explain` answer from the same code.

use std::net::IpAddr;

use http::HeaderName;
use ipnet::IpNet;

use super::fields::{Fields, Known};

/// A regular expression that can be compared by its text.
#[derive(Clone, Debug)]
pub struct Pattern(regex::Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Pattern {
    /// Compiles `text` (the syntax of the `regex` crate; finds anywhere in the value unless anchored).
    ///
    /// # Errors
    /// The regex crate's explanation.
    pub fn new(text: &str) -> Result<Self, regex::Error> {
        regex::Regex::new(text).map(Self)
    }

    /// The text it was compiled from.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// What a single value must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    /// Equal to one of these.
    OneOf(Vec<String>),
    /// Found by this regular expression.
    Regex(Pattern),
}

impl Expected {
    /// Whether `value` is as expected.
    #[must_use]
    pub fn accepts(&self, value: &str) -> bool {
        match self {
            Expected::OneOf(values) => values.iter().any(|v| v == value),
            Expected::Regex(pattern) => pattern.0.is_match(value),
        }
    }
}

/// What conditions can look at. Borrowed from the request.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The header fields as the client sent them.
    pub fields: &'a Fields,
    /// The query, without the question mark.
    pub query: Option<&'a str>,
    /// The client's address, after trusted proxies were taken off; none where unknown (unix socket, `explain`).
    pub client: Option<IpAddr>,
}

/// All of these must hold. Empty: holds always.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conditions {
    /// Header fields by name; any of a repeated field's lines may fit.
    pub headers: Vec<(HeaderName, Expected)>,
    /// Cookies by name.
    pub cookies: Vec<(String, Expected)>,
    /// Query parameters by name (compared as sent, percent-decoded).
    pub query: Vec<(String, Expected)>,
    /// The client's address lies in one of these networks; empty: anywhere.
    pub client: Vec<IpNet>,
}

impl Conditions {
    /// Whether every condition holds for the request.
    #[must_use]
    pub fn hold(&self, facts: &Facts<'_>) -> bool {
        self.headers
            .iter()
            .all(|(name, expected)| facts.fields.all_named(name).filter_map(text).any(|v| expected.accepts(v)))
            && self.cookies.iter().all(|(name, expected)| cookies(facts.fields, name).any(|v| expected.accepts(v)))
            && self
                .query
                .iter()
                .all(|(name, expected)| parameter(facts.query, name).is_some_and(|v| expected.accepts(&v)))
            && (self.client.is_empty() || facts.client.is_some_and(|ip| contains(&self.client, ip)))
    }
}

/// Whether `ip` lies in one of the networks; an IPv4 address mapped into IPv6 counts as IPv4.
#[must_use]
pub fn contains(networks: &[IpNet], ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    networks.iter().any(|net| net.contains(&ip))
}

/// Values may hold any bytes; applications send UTF-8, not only ASCII. What is neither is not compared.
fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// The values of the cookie `name` (RFC 6265, section 5.4: pairs separated by `;`), surrounding quotes removed.
pub fn cookies<'a>(fields: &'a Fields, name: &'a str) -> impl Iterator<Item = &'a str> {
    fields
        .all(Known::Cookie)
        // Pair by pair: what an application puts into its own cookies must not hide ours.
        .flat_map(|line| line.split(|b| *b == b';'))
        .filter_map(move |pair| {
            let pair = pair.trim_ascii();
            let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            text(value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value))
        })
}

/// The first value of the query parameter `name`, percent-decoded, `+` as a space.
fn parameter<'a>(query: Option<&'a str>, name: &str) -> Option<std::borrow::Cow<'a, str>> {
    query?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(key) == name).then(|| decoded(value))
    })
}

pub(crate) fn decoded(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return text.into();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = |at: usize| bytes.get(at).and_then(|b| (*b as char).to_digit(16));
        match (bytes[i], hex(i + 1), hex(i + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                i += 2;
            }
            (b'+', ..) => out.push(b' '),
            (byte, ..) => out.push(byte),
        }
        i += 1;
    }
    String::from_utf8_lossy(&out).into_owned().into()
}
