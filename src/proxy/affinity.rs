//! Gives clients ids that make them come back to the same group, and sets the cookie.
//!
//! The id is random and says nothing; the group is computed from it on every request (see
//! [`crate::routing::affinity`]).

use crate::config::spec::{Affinity, Balance};
use crate::model::cohort::Position;
use crate::model::fields::{Fields, Known};
use crate::model::matching::Facts;
use crate::routing::affinity::position;
use crate::routing::table::Service;

/// How long a browser keeps the cookie, in seconds: 30 days.
const MAX_AGE: u32 = 30 * 24 * 3600;

/// Where a client stands, and the id to give it where it had none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) position: Position,
    /// A fresh id for the cookie.
    pub(super) assigned: Option<u64>,
}

/// Finds the client's place on the service's line of cohorts.
pub(super) fn place(service: &Service, facts: &Facts<'_>) -> Place {
    let drawn = || Place { position: Position::random(fastrand::u64(..)), assigned: None };
    let always = matches!(&service.affinity, Affinity::Cookie { always: true, .. });
    if !service.is_divided() && !always && service.balance != Balance::Hash {
        // Wherever it stands, it gets the same group: the id need not be looked for.
        return drawn();
    }
    if let Some(position) = position(&service.affinity, service.salt, facts) {
        return Place { position, assigned: None };
    }
    match &service.affinity {
        Affinity::Cookie { always, .. } if *always || service.is_divided() => {
            let id = fastrand::u64(..);
            Place { position: Position::of(service.salt, text(id).as_bytes()), assigned: Some(id) }
        }
        _ => drawn(),
    }
}

/// An id as the cookie holds it: 16 hexadecimal digits.
fn text(id: u64) -> String {
    format!("{id:016x}")
}

/// Gives the client its new id, unless the response says that a shared cache may keep it.
pub(super) fn set_cookie(response: &mut Fields, name: &str, id: u64, secure: bool) {
    if may_be_shared(response) {
        return;
    }
    let secure = if secure { "; Secure" } else { "" };
    let cookie = format!("{name}={}; Path=/; Max-Age={MAX_AGE}; HttpOnly; SameSite=Lax{secure}", text(id));
    response.add(Known::SetCookie, cookie.as_bytes());
}

/// Whether a shared cache may keep the response (RFC 9111, section 3): it says public, s-maxage, a max-age above 0 or
/// Expires, and neither private nor no-store.
fn may_be_shared(response: &Fields) -> bool {
    let mut keeps = response.has(Known::Expires);
    for line in response.all(Known::CacheControl) {
        let Ok(line) = std::str::from_utf8(line) else { continue };
        for directive in line.split(',') {
            let (name, value) = directive.trim().split_once('=').unwrap_or((directive.trim(), ""));
            match name.to_ascii_lowercase().as_str() {
                "private" | "no-store" => return false,
                "public" | "s-maxage" => keeps = true,
                "max-age" => keeps |= value.trim_matches('"').parse::<u64>().is_ok_and(|age| age > 0),
                _ => {}
            }
        }
    }
    keeps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cookie_is_set_on_what_a_shared_cache_may_keep() {
        for (cache_control, expires, expected) in [
            (None, false, true),
            (Some("public"), false, false),
            (Some("max-age=60"), false, false),
            (Some("max-age=0"), false, true),
            (Some("s-maxage=10, private"), false, true),
            (Some("Public, No-Store"), false, true),
            (None, true, false),
            (Some("private"), true, true),
            (Some("no-cache"), false, true),
        ] {
            let mut headers = Fields::new();
            if let Some(value) = cache_control {
                headers.add(Known::CacheControl, value.as_bytes());
            }
            if expires {
                headers.add(Known::Expires, b"Thu, 01 Dec 2044 16:00:00 GMT");
            }
            set_cookie(&mut headers, "pointsman", 7, true);
            assert_eq!(headers.has(Known::SetCookie), expected, "{cache_control:?} {expires}");
        }
    }
}
