//! The route that is found is the one that a slow and simple reading of the rules finds.
//!
//! The input is text. Its first line is a request: method, host, path. Each further line is a route: host, path and
//! methods with commas; `-` stands for none.

use http::Method;
use pointsman::config::spec::{HeaderEdits, RouteMatch};
use pointsman::routing::table::{Action, Route, Routes, Target};

/// Panics where it is not.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut lines = text.lines();
    let mut asked = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(host), Some(path)) = (asked.next(), asked.next(), asked.next()) else { return };
    let Ok(method) = Method::from_bytes(method.as_bytes()) else { return };
    let host = if host == "-" { "" } else { host };
    let matches: Vec<RouteMatch> = lines.take(32).filter_map(route).collect();
    let routes = Routes::new(matches.iter().enumerate().map(|(n, m)| compiled(m.clone(), n)).collect());
    let found = routes.find(&Target { host, path, method: &method, listener: None }).map(|(at, route)| {
        assert!(std::ptr::eq(route, &raw const routes.all()[at]), "another route than its index says");
        match route.action {
            Action::Forward(n) => n,
            _ => unreachable!("no other was made"),
        }
    });
    assert_eq!(found, naive(&matches, &method, host, path), "{method} {host:?} {path:?} among {matches:?}");
}

/// A route as the configuration would have let it through.
fn route(line: &str) -> Option<RouteMatch> {
    let mut words = line.split(' ');
    let (host, path, methods) = (words.next()?, words.next()?, words.next().unwrap_or("-"));
    let good = |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    let host = match host {
        "-" => None,
        host if host.strip_prefix("*.").unwrap_or(host).split('.').all(good) => Some(host.to_owned()),
        _ => return None,
    };
    let methods: Result<Vec<Method>, _> = match methods {
        "-" => Ok(Vec::new()),
        methods => methods.split(',').map(|m| Method::from_bytes(m.as_bytes())).collect(),
    };
    path.starts_with('/').then_some(())?;
    Some(RouteMatch { host, path: path.to_owned(), methods: methods.ok()?, listener: None })
}

fn compiled(matches: RouteMatch, n: usize) -> Route {
    Route {
        matches,
        action: Action::Forward(n),
        strip_prefix: None,
        request_headers: HeaderEdits::default(),
        response_headers: HeaderEdits::default(),
        allow: Vec::new(),
    }
}

/// By the words of the contract: exact host, then wildcards from the longest, then any; the longest path; the most
/// conditions; the first of those that are left.
fn naive(routes: &[RouteMatch], method: &Method, host: &str, path: &str) -> Option<usize> {
    let mut best: Option<((usize, usize, usize), usize)> = None;
    for (n, route) in routes.iter().enumerate() {
        let Some(exactness) = host_rank(route.host.as_deref(), host) else { continue };
        if !covers(&route.path, path) || !(route.methods.is_empty() || route.methods.iter().any(|m| m == method)) {
            continue;
        }
        let rank = (exactness, route.path.len(), usize::from(!route.methods.is_empty()));
        if best.is_none_or(|(before, _)| rank > before) {
            best = Some((rank, n));
        }
    }
    best.map(|(_, n)| n)
}

fn host_rank(pattern: Option<&str>, host: &str) -> Option<usize> {
    let host = host.to_ascii_lowercase();
    match pattern {
        None => Some(0),
        Some(pattern) => match pattern.strip_prefix("*.") {
            None => (pattern == host).then_some(usize::MAX),
            // Something, a dot, and the rest.
            Some(rest) => {
                let above = host.strip_suffix(rest)?.strip_suffix('.')?;
                (!above.is_empty()).then_some(pattern.len())
            }
        },
    }
}

/// Segment by segment.
fn covers(prefix: &str, path: &str) -> bool {
    let below = prefix.trim_end_matches('/').len() < prefix.len();
    let prefix: Vec<&str> = prefix.split('/').collect();
    let path: Vec<&str> = path.split('/').collect();
    // `/api/` covers what has a segment behind it, be it empty; `/api` covers itself as well.
    let wanted = if below { &prefix[..prefix.len() - 1] } else { &prefix[..] };
    path.len() >= prefix.len() && path[..wanted.len()] == *wanted
}
