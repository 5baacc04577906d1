//! `status`: how the services are.

use clap::Args;

use super::Output;
use super::client::{Client, segment};
use super::output::{Mood, duration, painted, plain, say, say_json, split, time};
use super::rollout::{begins, scheduled};
use super::table::Table;
use crate::admin::wire::{Group, Hold, Job, Readiness, Service, Services, Upstream};

/// Whose status.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Only this service.
    service: Option<String>,
}

pub(super) async fn run(args: &StatusArgs, client: &Client, output: Output) -> anyhow::Result<()> {
    if let Some(name) = &args.service {
        let service: Service = client.get(&format!("/api/v1/services/{}", segment(name))).await?;
        return match output {
            Output::Json => say_json(&service),
            Output::Text => Ok(say(&text(&[service], &scheduled(client).await?))?),
        };
    }
    let all: Services = client.get("/api/v1/services").await?;
    if output == Output::Json {
        return say_json(&all);
    }
    let readiness = client.readiness().await?;
    let scheduled = scheduled(client).await?;
    Ok(say(&format!("{}{}", text(&all.services, &scheduled), notes(&readiness)))?)
}

fn text(services: &[Service], scheduled: &[Job]) -> String {
    let mut table = Table::new(&[
        "SERVICE",
        "GROUP",
        ">SHARE",
        "HEALTHY",
        ">IN FLIGHT",
        ">TUNNELS",
        ">REQ/S",
        ">ERRORS",
        ">MEAN",
        ">P50",
        ">P95",
        ">P99",
    ]);
    let mut remarks = String::new();
    for service in services {
        for (i, (name, group)) in service.groups.iter().enumerate() {
            let shown = if i == 0 { service.name.clone() } else { String::new() };
            let share = service.split.get(name).map_or(0.0, |share| share.0);
            table.row(row(shown, name, share, group));
        }
        remarks += &remark(service);
        let later = begins(scheduled, &service.name);
        remarks.extend(later.into_iter().map(|line| format!("{}: {line}\n", service.name)));
    }
    format!("{}\n{remarks}", table.text())
}

fn row(service: String, name: &str, share: f64, group: &Group) -> Vec<String> {
    let window = &group.window;
    let errors = if window.requests == 0 { "-".to_owned() } else { format!("{:.2} %", window.error_rate.0 * 100.0) };
    vec![
        service,
        name.to_owned(),
        format!("{share} %"),
        healthy(&group.upstreams),
        group.in_flight.to_string(),
        group.tunnels.to_string(),
        format!("{:.1}", window.rps.0),
        errors,
        duration(window.mean_ms),
        duration(window.p50_ms),
        duration(window.p95_ms),
        duration(window.p99_ms),
    ]
}

/// `2 of 3`.
fn healthy(upstreams: &[Upstream]) -> String {
    let count = |health: &str| upstreams.iter().filter(|u| u.health == health).count();
    let mood = match (count("healthy"), count("unhealthy")) {
        (0, 0) => Mood::Unsure,
        (0, _) => Mood::Bad,
        (_, 0) => Mood::Good,
        (_, _) => Mood::Unsure,
    };
    painted(&format!("{} of {}", count("healthy"), upstreams.len()), mood)
}

/// What does not fit the table: where a rollback goes, what is not healthy and why, what the file wants.
fn remark(service: &Service) -> String {
    let name = &service.name;
    let back = split(&service.stable_split);
    let version = service.version;
    let first = format!("{name}: version {version}, live is {}, a rollback goes to {back}\n", service.live);
    let pending = service.pending_file_split.as_ref();
    let pending = pending.map(|kept| format!("{name}: the file's split is kept back: {}\n", split(kept)));
    let drains = service.groups.values().filter_map(|group| group.draining.as_ref());
    let drains =
        drains.chain(service.groups.values().flat_map(|g| g.upstreams.iter().filter_map(|u| u.draining.as_ref())));
    let drains = drains.map(|drain| format!("{}\n", super::drain::remark(drain)));
    let rollout = service.rollout.as_ref().map(|r| format!("{name}: {}\n", super::rollout::remark(r)));
    let held = service.hold.as_ref().map(|hold| held(name, hold));
    let upstreams = service.groups.iter().flat_map(|(name, group)| group.upstreams.iter().map(move |u| (name, u)));
    let unhealthy = upstreams.filter(|(_, upstream)| upstream.health != "healthy").map(|(group, upstream)| {
        format!("{name} {group} {} is {}: {}\n", upstream.url, upstream.health, why(upstream))
    });
    std::iter::once(first).chain(rollout).chain(held).chain(pending).chain(drains).chain(unhealthy).collect()
}

fn held(name: &str, hold: &Hold) -> String {
    let then = hold.switch_to.as_ref().map(|to| format!(", then a switch to {to}")).unwrap_or_default();
    let (waiting, until, by) = (hold.waiting, time(hold.until), plain(&hold.by));
    format!("{name}: held by {by}, {waiting} wait, until {until} at the most{then}\n")
}

fn why(upstream: &Upstream) -> String {
    match &upstream.last_check {
        None => "not checked yet".to_owned(),
        Some(check) if check.ok => format!("the last check passed, at {}", time(check.at)),
        Some(check) => format!("{} (at {})", plain(&check.why), time(check.at)),
    }
}

fn notes(readiness: &Readiness) -> String {
    let state = if readiness.ready { "" } else { "not ready to serve\n" };
    readiness.notes.iter().fold(state.to_owned(), |text, note| format!("{text}note: {}\n", plain(note)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_shares_and_the_remarks_say_why_something_is_unhealthy() {
        let service: Service = serde_json::from_value(serde_json::json!({
            "name": "shop", "version": 12, "split": {"blue": 75, "green": 25}, "stable_split": {"blue": 100, "green": 0},
            "live": "blue", "candidate": "green",
            "groups": {
                "blue": {"in_flight": 3, "tunnels": 2, "circuit": "closed", "draining": null,
                    "upstreams": [{"url": "http://127.0.0.1:9001", "health": "healthy", "ejected": false, "in_flight": 3, "last_check": null}],
                    "window": {"seconds": 60, "requests": 600, "errors": 1, "rps": 10.0, "error_rate": 0.0017,
                               "mean_ms": 8.1, "p50_ms": 6, "p95_ms": 20, "p99_ms": 41}},
                "green": {"in_flight": 0, "tunnels": 0, "circuit": "closed", "draining": null,
                    "upstreams": [{"url": "http://127.0.0.1:9002", "health": "unhealthy", "ejected": false, "in_flight": 0,
                        "last_check": {"at": "2026-11-05T10:00:00Z", "ok": false, "status": null, "ms": 1.2, "why": "connection refused"}}],
                    "window": {"seconds": 60, "requests": 0, "errors": 0, "rps": 0, "error_rate": 0,
                               "mean_ms": null, "p50_ms": null, "p95_ms": null, "p99_ms": null}}},
            "rollout": null, "pending_file_split": null,
            "hold": {"since": "2026-11-05T10:00:00Z", "until": "2026-11-05T10:00:10Z", "by": "ops", "switch_to": "green",
                     "waiting": 7, "most_waiting": 9, "bytes": 700, "refused": 0}
        })).unwrap();
        let text = text(&[service], &[]);
        for line in [
            "SERVICE  GROUP  SHARE  HEALTHY  IN FLIGHT  TUNNELS  REQ/S  ERRORS    MEAN     P50    P95    P99",
            "shop     blue    75 %  1 of 1           3        2   10.0  0.17 %  8.1 ms  6.0 ms  20 ms  41 ms",
            "         green   25 %  0 of 1           0        0    0.0       -       -       -      -      -",
            "shop: held by ops, 7 wait, until 2026-11-05 10:00:10Z at the most, then a switch to green",
            "shop: version 12, live is blue, a rollback goes to blue 100",
            "shop green http://127.0.0.1:9002 is unhealthy: connection refused (at 2026-11-05 10:00:00Z)",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\nis not in\n{text}");
        }
    }
}
