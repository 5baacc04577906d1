//! What makes a client come back to the same group: the id that a request carries.
//!
//! An id is only ever hashed, so any value will do, and a stranger's one is as good as ours; one that is missing,
//! empty or absurdly long counts as none. Giving out new ids is the data plane's business.

use std::net::IpAddr;

use crate::config::spec::Affinity;
use crate::model::cohort::{Position, Salt};
use crate::model::matching::{Facts, cookies};

/// Longest id that is looked at, in bytes.
const LONGEST: usize = 256;

/// The position of the client that sent a request, where the request carries its id.
#[must_use]
pub fn position(affinity: &Affinity, salt: Salt, facts: &Facts<'_>) -> Option<Position> {
    let of = |id: &[u8]| (!id.is_empty() && id.len() <= LONGEST).then(|| Position::of(salt, id));
    match affinity {
        Affinity::Cookie { name, .. } => of(cookies(facts.fields, name).next()?.as_bytes()),
        Affinity::Header(name) => of(facts.fields.all_named(name).next()?),
        Affinity::ClientIp => match facts.client?.to_canonical() {
            IpAddr::V4(ip) => of(&ip.octets()),
            IpAddr::V6(ip) => of(&ip.octets()),
        },
        Affinity::None => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::model::fields::Fields;

    #[test]
    fn an_id_is_found_where_the_affinity_says_and_an_unusable_one_is_none() {
        let mut headers = HeaderMap::new();
        headers.insert("cookie", "a=b; pointsman=\"x1\"; c=".parse().unwrap());
        headers.insert("x-user-id", "u7".parse().unwrap());
        headers.insert("x-long", "l".repeat(300).parse().unwrap());
        let fields = Fields::from(&headers);
        let facts = Facts { fields: &fields, query: None, client: Some("::ffff:10.0.0.1".parse().unwrap()) };
        let at = |affinity: Affinity| position(&affinity, Salt(3), &facts);
        let of = |id: &[u8]| Some(Position::of(Salt(3), id));
        let cookie = |name: &str| Affinity::Cookie { name: name.to_owned(), always: false };
        assert_eq!(at(cookie("pointsman")), of(b"x1"));
        assert_eq!((at(cookie("c")), at(cookie("none"))), (None, None));
        assert_eq!(at(Affinity::Header("x-user-id".parse().unwrap())), of(b"u7"));
        assert_eq!(at(Affinity::Header("x-long".parse().unwrap())), None);
        assert_eq!(at(Affinity::ClientIp), of(&[10, 0, 0, 1]));
        assert_eq!(at(Affinity::None), None);
    }
}
