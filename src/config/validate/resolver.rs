//! `resolver`: name servers.

use std::net::{IpAddr, SocketAddr};

use super::check::Check;
use crate::config::file::{self, Maybe};
use crate::config::spec::Resolver;
use crate::config::yaml::quote;

/// The port of name servers.
const DNS: u16 = 53;

/// Who says where names lead.
pub(super) fn resolver(check: &Check<'_>, field: &Maybe<file::Resolver>) -> Option<Resolver> {
    let Some(at) = field else { return Some(Resolver::default()) };
    let right = "name a server like 10.0.0.2, or remove the key to ask the system's";
    let servers = check.list(&at.value.as_ref()?.servers, right, |at| check.parse(at, server));
    servers.map(|servers| Resolver { servers })
}

fn server(text: &str) -> Result<SocketAddr, String> {
    let alone = |_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DNS));
    let wrong = |_| format!("{} is not a name server's address; write it like 10.0.0.2 or 127.0.0.1:5353", quote(text));
    text.parse().or_else(alone).map_err(wrong)
}
