//! `drain`: how a group is let go of.

use std::time::Duration;

use http::Method;

use super::check::{Check, or};
use super::health::{expected_json, positive};
use super::{headers, text};
use crate::config::file::{self, Maybe, Period};
use crate::config::problem::Place;
use crate::config::spec::{Drain, DrainHook, HookCall, HookPoll, TunnelClose};
use crate::config::yaml::{Named, Text, quote};

const TIMEOUT: Period = Period(Duration::from_secs(30));
const EVERY: Period = Period(Duration::from_secs(1));
/// The longest time for a drain: what has not ended within a day does not end.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// How the service's groups are let go of.
pub(super) fn drain(check: &Check<'_>, field: &Maybe<file::Drain>) -> Option<Drain> {
    let absent = file::Drain::default();
    let drain = match field {
        None => &absent,
        Some(at) => at.value.as_ref()?,
    };
    let timeout = within_a_day(check, "timeout", &drain.timeout, TIMEOUT);
    let tunnels = tunnels(check, &drain.tunnels);
    let hook = match &drain.hook {
        None => Some(None),
        Some(at) => at.value.as_ref().and_then(|hook| self::hook(check, at.place, hook)).map(Some),
    };
    Some(Drain { timeout: timeout?, tunnels: tunnels?, hook: hook? })
}

/// A time that is neither none at all nor longer than a day.
pub(super) fn within_a_day(check: &Check<'_>, key: &str, field: &Maybe<Period>, default: Period) -> Option<Duration> {
    let time = positive(check, key, field, default)?;
    match field {
        Some(at) if time > LONGEST => check.add(at.place, format!("`{key}` is longer than a day; write less")),
        _ => Some(time),
    }
}

fn tunnels(check: &Check<'_>, field: &Maybe<file::DrainTunnels>) -> Option<TunnelClose> {
    let default = TunnelClose::default();
    let Some(at) = field else { return Some(default) };
    let tunnels = at.value.as_ref()?;
    let code = match (&tunnels.close_code, or(&tunnels.close_code, default.code)?) {
        // What an endpoint may send (RFC 6455, section 7.4, and the registry of close codes).
        (_, code @ (1000 | 1001 | 1008 | 1011..=1014 | 3000..=4999)) => Some(code),
        (Some(at), code) => {
            check.add(at.place, format!("{code} is no code to close with; write 1000, 1001, 1012 or 3000 to 4999"))
        }
        (None, _) => None,
    };
    let spread = match &tunnels.spread {
        None => Some(default.spread),
        // All at once is allowed here.
        Some(at) if at.value?.0.is_zero() => Some(Duration::ZERO),
        Some(_) => within_a_day(check, "spread", &tunnels.spread, Period(default.spread)),
    };
    Some(TunnelClose { code: code?, spread: spread? })
}

fn hook(check: &Check<'_>, place: Place, hook: &file::DrainHook) -> Option<DrainHook> {
    if hook.start.is_none() && hook.poll.is_none() {
        return check.add(place, "the hook says nothing; add start: { path: /drain } or poll: { path: /state }");
    }
    let call = |field: &Maybe<file::HookCall>| match field {
        None => Some(None),
        Some(at) => at.value.as_ref().and_then(|call| self::call(check, at.place, call)).map(Some),
    };
    let (start, mut cancel) = (call(&hook.start), call(&hook.cancel));
    let inherited = start.as_ref().and_then(Option::as_ref).map(|s| s.headers.clone()).unwrap_or_default();
    if let (Some(Some(cancel)), Some(written)) = (&mut cancel, hook.cancel.as_ref().and_then(|at| at.value.as_ref()))
        && written.headers.is_none()
    {
        cancel.headers.clone_from(&inherited);
    }
    let poll = match &hook.poll {
        None => Some(None),
        Some(at) => at.value.as_ref().and_then(|poll| self::poll(check, at.place, poll, inherited)).map(Some),
    };
    Some(DrainHook { start: start?, poll: poll?, cancel: cancel? })
}

fn call(check: &Check<'_>, place: Place, call: &file::HookCall) -> Option<HookCall> {
    let method = method(check, &call.method, Method::POST);
    let path = path(check, place, &call.path);
    let headers = headers::set(check, &call.headers);
    let json = match &call.json {
        None => Some(None),
        Some(at) => at.value.as_ref().and_then(members).map(Some),
    };
    Some(HookCall { method: method?, path: path?, headers: headers?, json: json? })
}

/// The members of an object, as written.
fn members(named: &Named<serde_json::Value>) -> Option<serde_json::Value> {
    let members = named.0.iter().map(|(key, value)| Some((key.value.as_ref()?.to_string(), value.value.clone()?)));
    members.collect::<Option<serde_json::Map<_, _>>>().map(serde_json::Value::Object)
}

fn poll(
    check: &Check<'_>,
    place: Place,
    poll: &file::HookPoll,
    inherited: Vec<(http::HeaderName, http::HeaderValue)>,
) -> Option<HookPoll> {
    let method = method(check, &poll.method, Method::GET);
    let path = path(check, place, &poll.path);
    let headers = if poll.headers.is_some() { headers::set(check, &poll.headers) } else { Some(inherited) };
    let every = positive(check, "every", &poll.every, EVERY);
    let until = match &poll.until {
        None => Some(Vec::new()),
        Some(at) => at.value.as_ref().and_then(|until| {
            let json = check.need(at.place, "json", "what must hold: { queueDepth: 0 }", &until.json)?;
            expected_json(check, json.value.as_ref()?)
        }),
    };
    let call = HookCall { method: method?, path: path?, headers: headers?, json: None };
    Some(HookPoll { call, every: every?, until: until? })
}

fn method(check: &Check<'_>, field: &Maybe<Text>, default: Method) -> Option<Method> {
    let known = |text: &str| match text {
        "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" => {
            Method::from_bytes(text.as_bytes()).map_err(|e| e.to_string())
        }
        _ => Err(format!("{} is no method for a hook; write GET, POST, PUT, PATCH or DELETE", quote(text))),
    };
    check.maybe(field, known).map(|method| method.unwrap_or(default))
}

fn path(check: &Check<'_>, owner: Place, field: &Maybe<String>) -> Option<String> {
    check.parse(check.need(owner, "path", "path and query: /drain", field)?, text::path_and_query)
}
