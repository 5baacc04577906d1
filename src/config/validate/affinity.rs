//! `affinity`: what makes a client come back to the same group.

use super::check::{Check, or};
use super::headers::header_name;
use super::text::cookie_name;
use crate::config::file::{self, AffinityBy, Maybe};
use crate::config::problem::Place;
use crate::config::spec::Affinity;
use crate::config::yaml::quote;

const RIGHT: &str = "write none, { cookie: NAME }, { header: NAME } or { client_ip: true }";

/// The service's affinity.
pub(super) fn affinity(check: &Check<'_>, field: &Maybe<file::Affinity>) -> Option<Affinity> {
    let Some(at) = field else { return Some(Affinity::Cookie { name: "pointsman".to_owned(), always: false }) };
    match at.value.as_ref()? {
        file::Affinity::Word(word) if word == "none" => Some(Affinity::None),
        file::Affinity::Word(word) => check.add(at.place, format!("{} is no affinity; {RIGHT}", quote(word))),
        file::Affinity::By(by) => by_one(check, at.place, by),
    }
}

fn by_one(check: &Check<'_>, place: Place, by: &AffinityBy) -> Option<Affinity> {
    if let (Some(always), None) = (&by.always, &by.cookie) {
        check.faults.add(always.place, "`always` is about the cookie; add `cookie: pointsman`, or remove it");
    }
    match (&by.cookie, &by.header, &by.client_ip) {
        (Some(cookie), None, None) => {
            let always = or(&by.always, false);
            Some(Affinity::Cookie { name: check.parse(cookie, cookie_name)?, always: always? })
        }
        (None, Some(header), None) => check.parse(header, header_name).map(Affinity::Header),
        (None, None, Some(on)) => {
            if on.value? {
                return Some(Affinity::ClientIp);
            }
            check.add(on.place, "`client_ip: false` says nothing; write `affinity: none`")
        }
        (None, None, None) => check.add(place, format!("the affinity is by nothing; {RIGHT}")),
        _ => check.add(place, format!("the affinity is by more than one thing; {RIGHT}")),
    }
}
