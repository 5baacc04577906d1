//! `services`: groups, the split among them, and how they are used.

use std::sync::Arc;
use std::time::Duration;

use super::check::{Check, all, or};
use super::drain::drain;
use super::health::{health, positive};
use super::hold::hold;
use super::limits::limits;
use super::rollout::rollout;
use super::rules::{group, rules};
use super::upstreams::upstreams;
use super::{TOP, affinity, headers, text};
use crate::config::file::{self, File, Maybe, Percentage, Period};
use crate::config::spec::{Balance, Group, Retries, Service, Timeouts};
use crate::config::yaml::{At, Text};
use crate::model::names::{GroupName, ServiceName};
use crate::model::split::{Share, Split, SplitError};

/// Services in the order of the file.
pub(super) fn services(check: &Check<'_>, file: &File) -> Option<Vec<Arc<Service>>> {
    let right = "what users call: services: { shop: { groups: … } }";
    let at = check.need(TOP, "services", right, &file.services)?;
    let services = at.value.as_ref()?;
    if services.0.is_empty() {
        return check.add(at.place, "there is no service; add one like shop: { groups: … }");
    }
    all(services.0.iter().map(|(name, service)| one(check, name, service).map(Arc::new)))
}

fn one(check: &Check<'_>, key: &At<Text>, at: &At<file::Service>) -> Option<Service> {
    let name = check.parse(key, text::name(ServiceName::new));
    let service = at.value.as_ref()?;
    let names: Option<Vec<&str>> =
        service.groups.as_ref().and_then(|at| at.value.as_ref()).map(|groups| groups.names().collect());
    let known = names.as_deref();
    let groups = groups(check, key, service);
    let split = split(check, service, known);
    let emergency = match &service.emergency {
        None => Some(None),
        Some(at) => at.value.as_deref().and_then(|name| group(check, at.place, name, known)).map(Some),
    };
    let balance = balance(&service.balance);
    let slow_start = slow_start(check, &service.slow_start);
    let rules = rules(check, service, known);
    let affinity = affinity::affinity(check, &service.affinity);
    let expose = expose(check, &service.expose);
    let health = health(check, &service.health);
    let timeouts = timeouts(check, &service.timeouts);
    let retries = retries(&service.retries);
    let limits = limits(check, &service.limits);
    let drain = drain(check, &service.drain);
    let hold = hold(check, &service.hold);
    let rollout = rollout(check, &service.rollout);
    Some(Service {
        name: name?,
        groups: groups?,
        split: split?,
        emergency: emergency?,
        balance: balance?,
        slow_start: slow_start?,
        rules: rules?,
        affinity: affinity?,
        expose: expose?,
        health: health?,
        timeouts: timeouts?,
        retries: retries?,
        limits: limits?,
        drain: drain?,
        hold: hold?,
        rollout: rollout?,
    })
}

/// Groups in the order of their names.
fn groups(check: &Check<'_>, key: &At<Text>, service: &file::Service) -> Option<Vec<Group>> {
    const RIGHT: &str = "blue: { upstreams: [\"http://127.0.0.1:9001\"] }";
    let at = check.need(key.place, "groups", &format!("groups: {{ {RIGHT} }}"), &service.groups)?;
    let named = at.value.as_ref()?;
    if named.0.is_empty() {
        return check.add(at.place, format!("the service has no group; add one like {RIGHT}"));
    }
    let mut groups = all(named.0.iter().map(|(key, at)| {
        let name = check.parse(key, text::name(GroupName::new));
        let group = at.value.as_ref()?;
        let upstreams = upstreams(check, key.place, group);
        let headers = headers::set(check, &group.headers);
        Some(Group { name: name?, upstreams: upstreams?, headers: headers? })
    }))?;
    groups.sort_by(|a, b| a.name.cmp(&b.name));
    Some(groups)
}

/// The split of the file; where it says none, everything to its first group. Every group is in it.
fn split(check: &Check<'_>, service: &file::Service, known: Option<&[&str]>) -> Option<Split> {
    let names = || known?.iter().map(|name| GroupName::new(name).ok()).collect::<Option<Vec<_>>>();
    let Some(at) = &service.split else {
        let names = names()?;
        return Some(Split::all_to(names.first()?, names.clone()));
    };
    let shares = all(at.value.as_ref()?.0.iter().map(|(key, share)| {
        let name = key.value.as_deref()?;
        let known = check.known(key.place, "group", name, known);
        Some((known, GroupName::new(name).ok()?, share.value?.0))
    }))?;
    let none = names().into_iter().flatten().map(|name| (name, Share::NONE));
    match Split::new(none.chain(shares.iter().map(|(_, name, share)| (name.clone(), *share)))) {
        Ok(split) => shares.iter().all(|(known, ..)| known.is_some()).then_some(split),
        Err(SplitError::Sum(sum)) => check.add(at.place, format!("the shares sum to {sum}; they must sum to 100")),
        Err(error) => check.add(at.place, format!("{error}; write it like {{ blue: 90, green: 10 }}")),
    }
}

fn balance(field: &Maybe<file::Balance>) -> Option<Balance> {
    let Some(at) = field else { return Some(Balance::LeastRequests) };
    at.value.map(|balance| match balance {
        file::Balance::LeastRequests => Balance::LeastRequests,
        file::Balance::RoundRobin => Balance::RoundRobin,
        file::Balance::Hash => Balance::Hash,
    })
}

fn slow_start(check: &Check<'_>, field: &Maybe<Period>) -> Option<Option<Duration>> {
    let Some(at) = field else { return Some(None) };
    positive(check, "slow_start", field, at.value?).map(Some)
}

fn expose(check: &Check<'_>, field: &Maybe<file::Expose>) -> Option<Option<http::HeaderName>> {
    let Some(at) = field else { return Some(None) };
    let header = &at.value.as_ref()?.response_header;
    let header = check.need(at.place, "response_header", "a name like x-served-by", header)?;
    check.parse(header, headers::changeable).map(Some)
}

fn timeouts(check: &Check<'_>, field: &Maybe<file::Timeouts>) -> Option<Timeouts> {
    let absent = file::Timeouts::default();
    let timeouts = match field {
        None => &absent,
        Some(at) => at.value.as_ref()?,
    };
    let time = |key, field, secs| positive(check, key, field, Period(Duration::from_secs(secs)));
    let connect = time("connect", &timeouts.connect, 1);
    let response = time("response", &timeouts.response, 30);
    let idle = time("idle", &timeouts.idle, 60);
    let tunnel_idle = time("tunnel_idle", &timeouts.tunnel_idle, 3600);
    Some(Timeouts { connect: connect?, response: response?, idle: idle?, tunnel_idle: tunnel_idle? })
}

fn retries(field: &Maybe<file::Retries>) -> Option<Retries> {
    let absent = file::Retries::default();
    let retries = match field {
        None => &absent,
        Some(at) => at.value.as_ref()?,
    };
    let budget = Percentage(Share::from_percent(20.0).ok()?);
    Some(Retries {
        attempts: or(&retries.attempts, 2)?,
        budget: or(&retries.budget, budget)?.0,
        across_groups: or(&retries.across_groups, true)?,
    })
}
