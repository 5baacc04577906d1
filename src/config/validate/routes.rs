//! `routes`: which requests go where.

use http::{HeaderValue, StatusCode};

use super::check::{Check, all, or};
use super::headers::{self, header_value};
use super::{Names, TOP, text};
use crate::config::file::{self, File, Maybe, Route as Written};
use crate::config::spec::{Action, HeaderEdits, Route, RouteMatch};
use crate::config::yaml::{At, quote};
use crate::model::names::{ListenerName, ServiceName};

/// Routes in the order of the file.
pub(super) fn routes(check: &Check<'_>, file: &File, names: &Names<'_>) -> Option<Vec<Route>> {
    let right = "which requests go where: routes: [{ match: { path: / }, service: shop }]";
    let at = check.need(TOP, "routes", right, &file.routes)?;
    all(at.value.as_ref()?.iter().map(|at| route(check, at, names)))
}

fn route(check: &Check<'_>, at: &At<Written>, names: &Names<'_>) -> Option<Route> {
    let route = at.value.as_ref()?;
    let matches = matches(check, &route.matches, names);
    let action = action(check, at, names);
    let strip_prefix = check.maybe(&route.strip_prefix, text::prefix);
    if let (Some(at), None) = (&route.strip_prefix, &route.service) {
        check.faults.add(at.place, "`strip_prefix` changes what is sent to a service; remove it, or add `service`");
    }
    let headers = edits(check, &route.headers);
    let right = "name a network that may use the route, or remove the key to let all";
    let allow = check.list(&route.allow, right, |at| check.parse(at, text::network));
    let (request_headers, response_headers) = headers?;
    Some(Route {
        matches: matches?,
        action: action?,
        strip_prefix: strip_prefix?,
        request_headers,
        response_headers,
        allow: allow?,
    })
}

fn matches(check: &Check<'_>, field: &Maybe<file::RouteMatch>, names: &Names<'_>) -> Option<RouteMatch> {
    let absent = file::RouteMatch::default();
    let matches = match field {
        None => &absent,
        Some(at) => at.value.as_ref()?,
    };
    let host = check.maybe(&matches.host, text::host_pattern);
    let path = check.maybe(&matches.path, text::path).map(|path| path.unwrap_or_else(|| "/".to_owned()));
    let right = "name a method, or remove the key to match all";
    let methods = check.list(&matches.methods, right, |at| check.parse(at, text::method));
    let listener = match &matches.listener {
        None => Some(None),
        Some(at) => at.value.as_deref().and_then(|name| {
            check.known(at.place, "listener", name, names.listeners.as_deref())?;
            ListenerName::new(name).ok().map(Some)
        }),
    };
    Some(RouteMatch { host: host?, path: path?, methods: methods?, listener: listener? })
}

/// Exactly one of service, redirect, respond.
fn action(check: &Check<'_>, at: &At<Written>, names: &Names<'_>) -> Option<Action> {
    let route = at.value.as_ref()?;
    let service = route.service.as_ref().map(|at| service(check, at.place, at.value.as_deref()?, names));
    let redirect = route.redirect.as_ref().map(|at| redirect(check, at));
    let respond = route.respond.as_ref().map(|at| respond(check, at));
    match (service, redirect, respond) {
        (Some(action), None, None) | (None, Some(action), None) | (None, None, Some(action)) => action,
        (None, None, None) => check.add(at.place, "the route leads nowhere; add one of service, redirect, respond"),
        _ => check.add(at.place, "the route leads to more than one place; keep one of service, redirect, respond"),
    }
}

fn service(check: &Check<'_>, place: crate::config::problem::Place, name: &str, names: &Names<'_>) -> Option<Action> {
    check.known(place, "service", name, names.services.as_deref())?;
    ServiceName::new(name).ok().map(Action::Forward)
}

fn redirect(check: &Check<'_>, at: &At<file::Redirect>) -> Option<Action> {
    let redirect = at.value.as_ref()?;
    let to = check.need(at.place, "to", "where to: https://{host}{path}{query}", &redirect.to);
    let to = to.and_then(|at| check.parse(at, location));
    let status = match (&redirect.status, or(&redirect.status, 308)) {
        (_, Some(status @ (301 | 302 | 303 | 307 | 308))) => StatusCode::from_u16(status).ok(),
        (Some(at), Some(status)) => {
            check.add(at.place, format!("{status} is no redirect; write 301, 302, 303, 307 or 308"))
        }
        _ => None,
    };
    Some(Action::Redirect { to: to?, status: status? })
}

/// Where a redirect goes: a URL or a path, with known placeholders only.
fn location(text: &str) -> Result<String, String> {
    let sound = ["http://", "https://", "/"].iter().any(|start| text.starts_with(start));
    if !sound || text.contains(char::is_whitespace) {
        return Err(format!(
            "{} is not a redirect's target; write it like https://{{host}}{{path}}{{query}}",
            quote(text)
        ));
    }
    header_value(text)?;
    for part in text.split('{').skip(1) {
        let name = part.split_once('}').map_or(part, |(name, _)| name);
        if !part.contains('}') || !["host", "path", "query"].contains(&name) {
            let placeholder = quote(&format!("{{{name}}}"));
            return Err(format!("{placeholder} is no placeholder; use {{host}}, {{path}}, {{query}}"));
        }
    }
    Ok(text.to_owned())
}

fn respond(check: &Check<'_>, at: &At<file::Respond>) -> Option<Action> {
    let respond = at.value.as_ref()?;
    let status = match (&respond.status, or(&respond.status, 200)) {
        (_, Some(status @ 200..=599)) => StatusCode::from_u16(status).ok(),
        (Some(at), Some(status)) => check.add(at.place, format!("{status} is no answer's status; write 200 to 599")),
        _ => None,
    };
    let body = check.maybe(&respond.body, |text| Ok(text.to_owned()));
    let content_type = check.maybe(&respond.content_type, header_value);
    let content_type = content_type.map(|t| t.unwrap_or(HeaderValue::from_static("text/plain; charset=utf-8")));
    Some(Action::Respond { status: status?, body: body?.unwrap_or_default(), content_type: content_type? })
}

fn edits(check: &Check<'_>, field: &Maybe<file::Headers>) -> Option<(HeaderEdits, HeaderEdits)> {
    let Some(at) = field else { return Some(Default::default()) };
    let edits = at.value.as_ref()?;
    let request = headers::edits(check, &edits.request);
    let response = headers::edits(check, &edits.response);
    Some((request?, response?))
}
