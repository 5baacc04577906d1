//! Which fields of interest a header has, found in one pass over its names.
//!
//! Looking up each of a dozen names in the map costs a hash and a probe each, for fields that most messages lack; one
//! pass that compares names costs a third of that.

use http::{HeaderMap, HeaderName};

/// The fields of interest that a header has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Glance(u16);

/// A field of interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Field {
    Connection = 1,
    KeepAlive = 1 << 1,
    ProxyConnection = 1 << 2,
    Te = 1 << 3,
    TransferEncoding = 1 << 4,
    Upgrade = 1 << 5,
    /// `Proxy-Authenticate` or `Proxy-Authorization`.
    ProxyAuth = 1 << 6,
    /// `Forwarded`; `X-Forwarded-*` are always written, so nobody needs to know whether they were there.
    Forwarded = 1 << 7,
    ContentType = 1 << 8,
}

/// Fields that belong to one connection.
const HOP_BY_HOP: u16 = (1 << 7) - 1;

impl Glance {
    /// Looks at the names of `headers`.
    pub(super) fn at(headers: &HeaderMap) -> Self {
        let mut glance = Self::default();
        headers.keys().for_each(|name| glance.note(name));
        glance
    }

    /// Notes that there is a field with this name.
    pub(super) fn note(&mut self, name: &HeaderName) {
        self.0 |= match name.as_str() {
            "connection" => Field::Connection as u16,
            "keep-alive" => Field::KeepAlive as u16,
            "proxy-connection" => Field::ProxyConnection as u16,
            "te" => Field::Te as u16,
            "transfer-encoding" => Field::TransferEncoding as u16,
            "upgrade" => Field::Upgrade as u16,
            "proxy-authenticate" | "proxy-authorization" => Field::ProxyAuth as u16,
            "forwarded" => Field::Forwarded as u16,
            "content-type" => Field::ContentType as u16,
            _ => 0,
        };
    }

    pub(super) fn has(self, field: Field) -> bool {
        self.0 & field as u16 != 0
    }

    /// Whether anything belongs to one connection only.
    pub(super) fn has_hop_by_hop(self) -> bool {
        self.0 & HOP_BY_HOP != 0
    }
}
