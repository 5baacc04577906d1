//! `health`: how upstreams are probed.

use std::time::Duration;

use super::check::{Check, all, or};
use super::text;
use crate::config::file::{self, Kind, Maybe, Period};
use crate::config::spec::{Check as Probe, Expect, Health};
use crate::config::yaml::{Named, quote};

const INTERVAL: Period = Period(Duration::from_secs(5));
const TIMEOUT: Period = Period(Duration::from_secs(2));
const COUNT: u32 = 2;

/// The service's health check; a connection every 5 s where the file says nothing.
pub(super) fn health(check: &Check<'_>, field: &Maybe<file::Health>) -> Option<Health> {
    let absent = file::Health::default();
    let health = match field {
        None => &absent,
        Some(at) => at.value.as_ref()?,
    };
    let probe = probe(check, health);
    let interval = positive(check, "interval", &health.interval, INTERVAL);
    let timeout = positive(check, "timeout", &health.timeout, TIMEOUT);
    let healthy_after = count(check, "healthy_after", &health.healthy_after);
    let unhealthy_after = count(check, "unhealthy_after", &health.unhealthy_after);
    Some(Health {
        check: probe?,
        interval: interval?,
        timeout: timeout?,
        healthy_after: healthy_after?,
        unhealthy_after: unhealthy_after?,
    })
}

/// A time that must be longer than nothing.
pub(super) fn positive(check: &Check<'_>, key: &str, field: &Maybe<Period>, default: Period) -> Option<Duration> {
    match (field, or(field, default)?.0) {
        (Some(at), Duration::ZERO) => check.add(at.place, format!("`{key}` is 0; it must be longer, like 1s")),
        (_, time) => Some(time),
    }
}

fn count(check: &Check<'_>, key: &str, field: &Maybe<u32>) -> Option<u32> {
    match (field, or(field, COUNT)?) {
        (Some(at), 0) => check.add(at.place, format!("`{key}` is 0; it must be 1 or more")),
        (_, count) => Some(count),
    }
}

fn probe(check: &Check<'_>, health: &file::Health) -> Option<Probe> {
    let looks_http = health.path.is_some() || health.host.is_some() || health.expect.is_some();
    let kind = or(&health.kind, if looks_http { Kind::Http } else { Kind::Tcp })?;
    foreign_keys(check, health, kind);
    let path = || check.maybe(&health.path, text::path_and_query).map(|p| p.unwrap_or_else(|| "/".to_owned()));
    let host = || check.maybe(&health.host, authority);
    match kind {
        Kind::Tcp => Some(Probe::Tcp),
        Kind::Grpc => {
            let service = check.maybe(&health.service, |text| Ok(text.to_owned()))?;
            Some(Probe::Grpc { service: service.unwrap_or_default() })
        }
        Kind::Http => {
            let (path, host, expect) = (path(), host(), expect(check, &health.expect));
            Some(Probe::Http { path: path?, host: host?, expect: expect? })
        }
        Kind::Websocket => {
            let (path, host) = (path(), host());
            Some(Probe::WebSocket { path: path?, host: host? })
        }
    }
}

/// Reports keys that the kind does not look at.
fn foreign_keys(check: &Check<'_>, health: &file::Health, kind: Kind) {
    let path = health.path.as_ref().map(|at| at.place);
    let host = health.host.as_ref().map(|at| at.place);
    let expect = health.expect.as_ref().map(|at| at.place);
    let service = health.service.as_ref().map(|at| at.place);
    let keys: [(&str, Option<_>, &[Kind]); 4] = [
        ("path", path, &[Kind::Http, Kind::Websocket]),
        ("host", host, &[Kind::Http, Kind::Websocket]),
        ("expect", expect, &[Kind::Http]),
        ("service", service, &[Kind::Grpc]),
    ];
    for (key, place, kinds) in keys {
        if let Some(place) = place.filter(|_| !kinds.contains(&kind)) {
            let right: Vec<_> = kinds.iter().map(|k| label(*k)).collect();
            let kind = label(kind);
            let message = format!(
                "`{key}` means nothing to a {kind} check; remove it, or write `kind: {}`",
                right.join("` or `kind: ")
            );
            check.faults.add(place, message);
        }
    }
}

fn label(kind: Kind) -> &'static str {
    match kind {
        Kind::Http => "http",
        Kind::Tcp => "tcp",
        Kind::Grpc => "grpc",
        Kind::Websocket => "websocket",
    }
}

/// A `Host`: a host, perhaps with a port.
fn authority(text: &str) -> Result<String, String> {
    let wrong = || format!("{} is not a Host; write it like shop.example.com", quote(text));
    let sound = text.parse::<http::uri::Authority>().is_ok() && !text.contains('@');
    if sound { Ok(text.to_owned()) } else { Err(wrong()) }
}

fn expect(check: &Check<'_>, field: &Maybe<file::Expect>) -> Option<Expect> {
    let absent = file::Expect::default();
    let expect = match field {
        None => &absent,
        Some(at) => at.value.as_ref()?,
    };
    let statuses = check.maybe(&expect.status, text::statuses).map(|s| s.unwrap_or_else(|| vec![(200, 299)]));
    let json = match &expect.json {
        None => Some(Vec::new()),
        Some(at) => at.value.as_ref().and_then(|json| expected_json(check, json)),
    };
    let body_contains = check.maybe(&expect.body_contains, |text| Ok(text.to_owned()));
    Some(Expect { statuses: statuses?, json: json?, body_contains: body_contains? })
}

/// Dotted paths into a JSON body and the values that must be there.
pub(super) fn expected_json(
    check: &Check<'_>,
    json: &Named<serde_json::Value>,
) -> Option<Vec<(String, serde_json::Value)>> {
    let sound = |path: &str| {
        if path.split('.').any(str::is_empty) {
            return Err(format!("{} is not a path into JSON; write it like checks.database", quote(path)));
        }
        Ok(path.to_owned())
    };
    all(json.0.iter().map(|(path, value)| Some((check.parse(path, sound)?, value.value.clone()?))))
}
