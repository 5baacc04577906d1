//! What is different between two configurations, for people: by place, without values that might be secret.

use std::collections::BTreeMap;

use crate::config::spec::{Endpoint, Group, Listener, Service, Spec, Webhook};

/// A place where two configurations differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// Dotted path: `services.shop.health`.
    pub(super) what: String,
    /// In the old one; `(other)` for what is too long or too secret to show, `(none)` for what is not there.
    pub(super) old: String,
    /// In the new one.
    pub(super) new: String,
}

const OTHER: &str = "(other)";
const NONE: &str = "(none)";

impl Difference {
    fn shown(what: String, old: String, new: String) -> Self {
        Self { what, old, new }
    }

    fn hidden(what: String) -> Self {
        Self::shown(what, OTHER.to_owned(), OTHER.to_owned())
    }

    fn is_there(what: String) -> Self {
        Self::shown(what, NONE.to_owned(), "(there)".to_owned())
    }

    fn was_there(what: String) -> Self {
        Self::shown(what, "(there)".to_owned(), NONE.to_owned())
    }

    /// `services.shop.health: changed`, `listeners.web: added`.
    pub(super) fn change(&self) -> String {
        match (self.old.as_str(), self.new.as_str()) {
            (NONE, _) => format!("{}: added", self.what),
            (_, NONE) => format!("{}: removed", self.what),
            (OTHER, _) => format!("{}: changed", self.what),
            (old, new) => format!("{}: {old} -> {new}", self.what),
        }
    }
}

/// Differences that take effect with a reload. Splits are not among them: those follow a rule of their own.
pub(super) fn reloadable(old: &Spec, new: &Spec) -> Vec<Difference> {
    let mut found = Vec::new();
    compare("listeners", &old.listeners, &new.listeners, |l| l.name.as_str(), &mut found, listener);
    compare(
        "services",
        &old.services,
        &new.services,
        |s| s.name.as_str(),
        &mut found,
        |at, old, new, found| {
            service(at, old, new, found);
        },
    );
    compare("webhooks", &old.webhooks, &new.webhooks, |w| w.name.as_str(), &mut found, webhook);
    if old.shutdown != new.shutdown {
        found.push(Difference::hidden("shutdown".to_owned()));
    }
    if old.routes != new.routes {
        let (old, new) = (old.routes.len(), new.routes.len());
        let hidden = Difference::hidden("routes".to_owned());
        let counted = || Difference::shown("routes".to_owned(), format!("{old} routes"), format!("{new} routes"));
        found.push(if old == new { hidden } else { counted() });
    }
    found
}

/// Differences that a reload leaves as they were.
pub(super) fn needs_restart(old: &Spec, new: &Spec) -> Vec<Difference> {
    let mut found = Vec::new();
    if old.workers != new.workers {
        found.push(Difference::shown("workers".to_owned(), old.workers.to_string(), new.workers.to_string()));
    }
    if old.state != new.state {
        let shown = |spec: &Spec| spec.state.path.display().to_string();
        found.push(Difference::shown("state".to_owned(), shown(old), shown(new)));
    }
    if old.resolver != new.resolver {
        found.push(Difference::hidden("resolver".to_owned()));
    }
    if old.admin != new.admin {
        found.push(Difference::hidden("admin".to_owned()));
    }
    if old.telemetry != new.telemetry {
        found.push(Difference::hidden("telemetry".to_owned()));
    }
    found
}

/// `new`, with what needs a restart as it is in `old`.
pub(super) fn until_restart(old: &Spec, new: Spec) -> Spec {
    Spec {
        workers: old.workers,
        resolver: old.resolver.clone(),
        state: old.state.clone(),
        admin: old.admin.clone(),
        telemetry: old.telemetry.clone(),
        ..new
    }
}

fn compare<T: PartialEq>(
    place: &str,
    old: &[T],
    new: &[T],
    name: impl Fn(&T) -> &str,
    found: &mut Vec<Difference>,
    within: impl Fn(&str, &T, &T, &mut Vec<Difference>),
) {
    let named = |all| -> BTreeMap<String, _> { Iterator::map(<[T]>::iter(all), |t| (name(t).to_owned(), t)).collect() };
    let (old, new) = (named(old), named(new));
    found.extend(old.keys().filter(|n| !new.contains_key(*n)).map(|n| Difference::was_there(format!("{place}.{n}"))));
    for (name, new) in &new {
        let at = format!("{place}.{name}");
        match old.get(name) {
            None => found.push(Difference::is_there(at)),
            Some(old) if old != new => within(&at, old, new, found),
            Some(_) => {}
        }
    }
}

macro_rules! fields {
    ($at:expr, $old:expr, $new:expr, $found:expr, $($field:ident),*) => {
        $(if $old.$field != $new.$field {
            $found.push(Difference::hidden(format!("{}.{}", $at, stringify!($field))));
        })*
    };
}

fn listener(at: &str, old: &Listener, new: &Listener, found: &mut Vec<Difference>) {
    fields!(at, old, new, found, bind, tls, sends_to, allow, trusted_proxies, proxy_protocol);
    fields!(at, old, new, found, max_connections, head_timeout, idle_timeout);
}

fn webhook(at: &str, old: &Webhook, new: &Webhook, found: &mut Vec<Difference>) {
    fields!(at, old, new, found, url, events, secret, format);
}

fn service(at: &str, old: &Service, new: &Service, found: &mut Vec<Difference>) {
    compare(&format!("{at}.groups"), &old.groups, &new.groups, |g| g.name.as_str(), found, group);
    fields!(
        at, old, new, found, emergency, balance, slow_start, rules, affinity, expose, health, timeouts, retries,
        limits, drain
    );
    fields!(at, old, new, found, hold, rollout);
}

fn group(at: &str, old: &Group, new: &Group, found: &mut Vec<Difference>) {
    let endpoints = |group: &Group| group.upstreams.iter().map(|u| u.endpoint.clone()).collect::<Vec<_>>();
    let urls = |all: &[Endpoint]| all.iter().map(|e| e.url.clone()).collect::<Vec<_>>().join(", ");
    let (before, after) = (urls(&endpoints(old)), urls(&endpoints(new)));
    if before != after {
        found.push(Difference::shown(format!("{at}.upstreams"), before, after));
    } else if old.upstreams != new.upstreams {
        found.push(Difference::hidden(format!("{at}.upstreams")));
    }
    fields!(at, old, new, found, headers);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::spec::{Balance, EventPattern, Secret, WebhookFormat};
    use crate::control::samples;

    #[test]
    fn differences_are_named_by_their_place_and_secrets_are_not_shown() {
        let old = samples::spec(&["http://127.0.0.1:1", "http://127.0.0.1:2"]);
        assert_eq!(reloadable(&old, &old), []);
        let mut new = samples::spec(&["http://127.0.0.1:1", "http://127.0.0.1:3"]);
        new.listeners.push(samples::listener("second", "127.0.0.1:0"));
        new.routes.clear();
        let mut shop = (*new.services[0]).clone();
        shop.balance = Balance::Hash;
        shop.groups[0].headers.push(("x-secret".parse().unwrap(), "s3cr3t".parse().unwrap()));
        shop.rollout.min_requests += 1;
        let webhook = |name: &str, secret: &str| Webhook {
            name: name.to_owned(),
            url: "http://127.0.0.1:9".to_owned(),
            events: vec![EventPattern::All],
            secret: Some(Secret::new(secret)),
            format: WebhookFormat::Json,
        };
        let mut old = old;
        old.webhooks = vec![webhook("ops", "s3cr3t"), webhook("chat", "s3cr3t")];
        new.webhooks = vec![webhook("ops", "0ther")];
        new.services = vec![Arc::new(shop), Arc::new(samples::service("api", &["http://127.0.0.1:9"]))];
        let changes: Vec<_> = reloadable(&old, &new).iter().map(Difference::change).collect();
        assert_eq!(
            changes,
            [
                "listeners.second: added",
                "services.api: added",
                "services.shop.groups.blue.headers: changed",
                "services.shop.groups.green.upstreams: http://127.0.0.1:2 -> http://127.0.0.1:3",
                "services.shop.balance: changed",
                "services.shop.rollout: changed",
                "webhooks.chat: removed",
                "webhooks.ops.secret: changed",
                "routes: 1 routes -> 0 routes",
            ]
        );
    }

    #[test]
    fn what_needs_a_restart_is_named_and_stays_as_it_was() {
        let old = samples::spec(&["http://127.0.0.1:1"]);
        let mut new = old.clone();
        new.workers = 4;
        new.telemetry.log = "debug".to_owned();
        new.routes.clear();
        let named: Vec<_> = needs_restart(&old, &new).iter().map(Difference::change).collect();
        assert_eq!(named, ["workers: 1 -> 4", "telemetry: changed"]);
        let kept = until_restart(&old, new);
        assert_eq!((kept.workers, &kept.telemetry, kept.routes.len()), (1, &old.telemetry, 0));
    }
}
