//! Whatever a client and an upstream speak, the message arrives as it was sent.

mod bodies;
mod bodiless;
mod clients;
mod early;
mod edges;
mod fields;
mod interim;
mod leaving;
mod requests;
mod streaming;
mod targets;
mod trailers;
mod upstreams;

use crate::support::{Proxy, Upstream};

/// A service with one group and one upstream that is probed once, by TCP; `extra` holds further keys of the service.
pub(crate) fn config(url: &str, extra: &str) -> String {
    format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:@web@\" }} }}
services:
  shop: {{ groups: {{ blue: {{ upstreams: [{url}] }} }}, health: {{ kind: tcp, interval: 1h }}{extra} }}
routes: [ {{ match: {{ path: / }}, service: shop }} ]
"
    )
}

/// The proxy in front of one upstream.
pub(crate) async fn in_front_of(upstream: &Upstream) -> Proxy {
    Proxy::start(&config(&format!("\"{}\"", upstream.url()), "")).await
}

/// As [`in_front_of`], for an upstream known by its URL.
pub(crate) async fn in_front_of_url(url: &str) -> Proxy {
    Proxy::start(&config(&format!("\"{url}\""), "")).await
}

/// The values of a field in what an upstream mirrors.
fn mirrored<'a>(seen: &'a serde_json::Value, name: &str) -> Vec<&'a str> {
    let fields = seen["fields"].as_array().unwrap();
    fields.iter().filter(|f| f[0] == name).map(|f| f[1].as_str().unwrap()).collect()
}

/// Bytes without a pattern that a lost or doubled block would keep.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}
