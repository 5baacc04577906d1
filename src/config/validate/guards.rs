//! `guards` of a rollout: what a candidate is judged by.

use std::time::Duration;

use super::check::{Check, all, or};
use super::drain::within_a_day;
use super::text;
use crate::config::file::{self, List, Maybe, Number, Percentage, Period};
use crate::config::problem::Place;
use crate::config::yaml::At;
use crate::model::names::ServiceName;
use crate::model::split::Share;
use crate::model::verdict::plan::{Bound, Guards, HttpGuard, PrometheusGuard, QuantileLimit, Threshold};

const EVERY: Period = Period(Duration::from_secs(15));
const TIMEOUT: Period = Period(Duration::from_secs(5));
/// Oftener would be no test of a candidate but one of who is asked.
const LEAST_EVERY: Duration = Duration::from_millis(100);
/// Who takes longer says nothing of how the candidate is now.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Names that verdicts give to guards of our own.
const OWN: [&str; 9] = [
    "error_rate",
    "latency_p50",
    "latency_p90",
    "latency_p95",
    "latency_p99",
    "latency_mean",
    "websocket_success",
    "unhealthy_for",
    "connect_failures",
];

/// What a candidate is judged by: what is written, and the hard guards.
pub(super) fn guards(check: &Check<'_>, written: &file::Guards) -> Option<Guards> {
    let hard = Guards::default();
    let error_rate = part(&written.error_rate, |at, error| fraction(check, at.place, "above", &error.above));
    let latency_quantiles = quantiles(check, written);
    let latency_mean = part(&written.latency_mean, |at, latency| bound(check, at.place, latency));
    let websocket_success =
        part(&written.websocket_success, |at, success| fraction(check, at.place, "below", &success.below));
    let unhealthy_for = match &written.unhealthy_for {
        None => Some(hard.unhealthy_for),
        Some(_) => within_a_day(check, "unhealthy_for", &written.unhealthy_for, EVERY).map(Some),
    };
    let connect_failures = match (&written.connect_failures, or(&written.connect_failures, hard.connect_failures)) {
        (Some(at), Some(0)) => check.add(at.place, "`connect_failures` is 0; it must be 1 or more"),
        (_, failures) => failures,
    };
    let prometheus = outside(check, &written.prometheus, prometheus);
    let http = outside(check, &written.http, http);
    let (prometheus, http) = (prometheus?, http?);
    let names = prometheus.iter().map(|(place, guard)| (*place, guard.name.as_str()));
    distinct(check, names.chain(http.iter().map(|(place, guard)| (*place, guard.name.as_str()))))?;
    Some(Guards {
        error_rate: error_rate?,
        latency_quantiles: latency_quantiles?,
        latency_mean: latency_mean?,
        websocket_success: websocket_success?,
        unhealthy_for: unhealthy_for?,
        connect_failures: connect_failures?,
        prometheus: prometheus.into_iter().map(|(_, guard)| guard).collect(),
        http: http.into_iter().map(|(_, guard)| guard).collect(),
    })
}

/// A guard that may be left out.
fn part<S, T>(field: &Maybe<S>, read: impl FnOnce(&At<S>, &S) -> Option<T>) -> Option<Option<T>> {
    match field {
        None => Some(None),
        Some(at) => read(at, at.value.as_ref()?).map(Some),
    }
}

fn quantiles(check: &Check<'_>, written: &file::Guards) -> Option<Vec<QuantileLimit>> {
    let fields = [
        (50, &written.latency_p50),
        (90, &written.latency_p90),
        (95, &written.latency_p95),
        (99, &written.latency_p99),
    ];
    let limits = fields.map(|(percent, field)| {
        let bound = part(field, |at, latency| bound(check, at.place, latency))?;
        Some(bound.map(|bound| QuantileLimit { percent, bound }))
    });
    Some(all(limits)?.into_iter().flatten().collect())
}

/// A share that something can be above or below of.
fn fraction(check: &Check<'_>, owner: Place, key: &str, field: &Maybe<Percentage>) -> Option<Share> {
    let at = check.need(owner, key, &format!("a limit like {key}: 5%"), field)?;
    match at.value?.0 {
        share @ (Share::NONE | Share::ALL) => check.add(
            at.place,
            format!("{key} {share}% says nothing about a candidate; write more than 0 and less than 100"),
        ),
        share => Some(share),
    }
}

/// Exactly one limit of a time.
fn bound(check: &Check<'_>, owner: Place, latency: &file::Latency) -> Option<Bound> {
    match (&latency.above, &latency.above_baseline) {
        (Some(_), None) => within_a_day(check, "above", &latency.above, EVERY).map(Bound::Above),
        (None, Some(at)) => at.value.map(|increase| Bound::AboveBaseline(increase.0)),
        (None, None) => check.add(owner, "the guard has no limit; add above: 800ms or above_baseline: 50%"),
        _ => check.add(owner, "the guard has two limits; keep one of above, above_baseline"),
    }
}

/// Guards outside, each with the place of its name.
fn outside<S, T>(
    check: &Check<'_>,
    field: &List<S>,
    read: impl Fn(&Check<'_>, Place, &S) -> Option<(Place, T)>,
) -> Option<Vec<(Place, T)>> {
    check.list(field, "add a guard, or remove the key", |at| read(check, at.place, at.value.as_ref()?))
}

/// A name of its own for each: a verdict has a row by that name.
fn distinct<'a>(check: &Check<'_>, names: impl Iterator<Item = (Place, &'a str)>) -> Option<()> {
    let mut seen: Vec<&str> = OWN.to_vec();
    let each = names.map(|(place, name)| {
        if seen.contains(&name) {
            return check.add(place, format!("there is already a guard called `{name}`; choose another name"));
        }
        seen.push(name);
        Some(())
    });
    all(each).map(|_| ())
}

fn name(check: &Check<'_>, owner: Place, field: &Maybe<String>) -> Option<(Place, String)> {
    let at = check.need(owner, "name", "a name for verdicts", field)?;
    Some((at.place, check.parse(at, text::name(ServiceName::new))?.to_string()))
}

fn url(check: &Check<'_>, owner: Place, field: &Maybe<String>, example: &str) -> Option<String> {
    check.parse(check.need(owner, "url", &format!("a URL like {example}"), field)?, text::shown_url)
}

fn prometheus(check: &Check<'_>, place: Place, guard: &file::PrometheusGuard) -> Option<(Place, PrometheusGuard)> {
    let name = name(check, place, &guard.name);
    let url =
        url(check, place, &guard.url, "http://127.0.0.1:9090").and_then(|url| match (url.contains('?'), &guard.url) {
            (true, Some(at)) => {
                check.add(at.place, "the URL has a query; write the server's alone, like http://127.0.0.1:9090")
            }
            _ => Some(url.trim_end_matches('/').to_owned()),
        });
    let query = check.need(place, "query", "a query whose answer is one number", &guard.query).and_then(|at| {
        check.parse(at, |text| match text.trim() {
            "" => Err("the query is empty; write one whose answer is one number".to_owned()),
            query => Ok(query.to_owned()),
        })
    });
    let threshold = threshold(check, place, guard);
    let every = every(check, &guard.every);
    let (at, name) = name?;
    Some((at, PrometheusGuard { name, url: url?, query: query?, threshold: threshold?, every: every? }))
}

/// Exactly one limit of a figure.
fn threshold(check: &Check<'_>, place: Place, guard: &file::PrometheusGuard) -> Option<Threshold> {
    let number = |at: &At<Number>| at.value.map(|number| number.0);
    match (&guard.above, &guard.below) {
        (Some(above), None) => number(above).map(Threshold::Above),
        (None, Some(below)) => number(below).map(Threshold::Below),
        (None, None) => check.add(place, "the guard has no limit; add above: 0.01 or below: 0.99"),
        _ => check.add(place, "the guard has two limits; keep one of above, below"),
    }
}

fn every(check: &Check<'_>, field: &Maybe<Period>) -> Option<Duration> {
    match (within_a_day(check, "every", field, EVERY)?, field) {
        (every, Some(at)) if every < LEAST_EVERY => {
            check.add(at.place, "`every` is shorter than 100ms; write more, like 15s")
        }
        (every, _) => Some(every),
    }
}

fn timeout(check: &Check<'_>, field: &Maybe<Period>) -> Option<Duration> {
    match (within_a_day(check, "timeout", field, TIMEOUT)?, field) {
        (timeout, Some(at)) if timeout > LONGEST_TIMEOUT => {
            check.add(at.place, "`timeout` is longer than 60s; write less, like 5s")
        }
        (timeout, _) => Some(timeout),
    }
}

fn http(check: &Check<'_>, place: Place, guard: &file::HttpGuard) -> Option<(Place, HttpGuard)> {
    let name = name(check, place, &guard.name);
    let url = url(check, place, &guard.url, "http://127.0.0.1:9100/verdict");
    let every = every(check, &guard.every);
    let timeout = timeout(check, &guard.timeout);
    let (at, name) = name?;
    Some((at, HttpGuard { name, url: url?, every: every?, timeout: timeout? }))
}
