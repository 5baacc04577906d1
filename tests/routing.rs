//! A request finds its way: which route, what is changed on the way, what the proxy answers itself.

mod answers;
mod precedence;
mod validation;

use crate::support::client::Response;
use crate::support::{Client, Proxy, Upstream};

/// A service `shop` of one group, and these listeners and routes, a line each. Placeholders as in [`Proxy`].
fn config(upstream: &Upstream, listeners: &[&str], routes: &[&str]) -> String {
    let indented =
        |lines: &[&str], indent: &str| lines.iter().map(|line| format!("{indent}{line}\n")).collect::<String>();
    format!(
        "listeners:\n  web: {{ bind: \"127.0.0.1:@web@\" }}\n{}services:\n  shop: {{ groups: {{ blue: {{ upstreams: [\"{}\"] }} }} }}\nroutes:\n{}",
        indented(listeners, "  "),
        upstream.url(),
        indented(routes, "  - "),
    )
}

/// GET of `target` at `host`, over a connection of its own.
async fn get_at(proxy: &Proxy, listener: &str, host: &str, target: &str) -> Response {
    Client::connect(proxy.address(listener)).await.get_with(target, &[("host", host)]).await
}

/// The member `error` of the field that says that the proxy itself answered.
pub(crate) fn proxy_error(response: &Response) -> Option<&str> {
    response.header("proxy-status")?.strip_prefix("pointsman; error=")
}
