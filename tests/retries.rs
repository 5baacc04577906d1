//! A request is sent again exactly where that cannot hurt, and every attempt is accounted for.

mod budget;
mod cuts;
mod dying;
mod elsewhere;
mod idle;
mod reused;

use std::fmt::Write as _;

use crate::support::{Proxy, Upstream, eventually};

/// One worker, so that pools are foreseeable; upstreams are probed once, at the start.
fn config(groups: &[(&str, &[String])], extra: &[&str]) -> String {
    let mut text =
        "workers: 1\nlisteners: { web: { bind: \"127.0.0.1:@web@\" } }\nservices:\n  shop:\n    groups:\n".to_owned();
    for (group, urls) in groups {
        let _ = writeln!(text, "      {group}: {{ upstreams: [{}] }}", urls.join(", "));
    }
    for line in [&["health: { kind: tcp, interval: 1h }", "affinity: none"], extra].concat() {
        let _ = writeln!(text, "    {line}");
    }
    text + "routes: [ { match: { path: / }, service: shop } ]\n"
}

fn quoted(url: &str) -> String {
    format!("\"{url}\"")
}

/// Ends an upstream without the proxy being told by a probe.
async fn down(upstream: &Upstream) {
    upstream.refuse().await;
    eventually("the upstream refuses", || async { tokio::net::TcpStream::connect(upstream.address()).await.is_err() })
        .await;
}

/// What the metrics say: the sum over lines of this family with all of these labels.
async fn counted(proxy: &Proxy, family: &str, labels: &[&str]) -> u64 {
    let text = proxy.get("/metrics").await.text();
    let lines = text.lines().filter(|l| l.starts_with(family) && labels.iter().all(|label| l.contains(label)));
    lines.map(|l| l.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64).sum()
}

async fn attempts(proxy: &Proxy, group: &str, outcome: &str) -> u64 {
    let labels = [format!("group=\"{group}\""), format!("outcome=\"{outcome}\"")];
    counted(proxy, "pointsman_upstream_attempts_total", &[&labels[0], &labels[1]]).await
}
