//! Limits: what is too much waits or is refused, and nothing stops for good.

mod bytes;
mod connections;
mod descriptors;
mod requests;

use crate::support::proxy::blue_green;
use crate::support::{Proxy, Upstream};

/// Blue and green behind a listener with these further keys.
async fn behind(listener: &str, blue: &Upstream, green: &Upstream, extra: &str) -> Proxy {
    Proxy::start(&limited(listener, blue, green, extra)).await
}

fn limited(listener: &str, blue: &Upstream, green: &Upstream, extra: &str) -> String {
    blue_green(blue, green, extra).replace("@web@\" }", &format!("@web@\", {listener} }}"))
}
