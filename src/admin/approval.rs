//! The page behind an approval link: it shows what somebody is asked to agree to, with one button.
//!
//! Looking never agrees: mail programs and chats fetch links ahead of people. Only the button does, which sends the
//! same link by POST. It refuses to know what makes a link good; that is [`crate::control::handle::Link`]'s business.

use std::fmt::Write;

use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::Html;
use serde::Deserialize;

use super::Desk;
use super::extract::{Params, Segments};
use super::problem::ApiError;
use super::rollout::rollout_id;
use super::wire::{Guard, Rollout, ahead_of};
use crate::control::command::Rejected;
use crate::control::handle::Link;
use crate::control::view::RolloutView;

/// Nothing is loaded, nobody may frame it, and the button leads nowhere but here.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:3rem auto;padding:0 1rem;color:#1b1f24;background:#fff}\
h1{font-size:1.5rem}table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #d5dae0}\
dt{font-weight:600}dd{margin:0 0 .6rem}button{font:inherit;font-weight:600;padding:.7rem 1.6rem;border:0;border-radius:.4rem;background:#0a6b3d;color:#fff;cursor:pointer}\
@media(prefers-color-scheme:dark){body{color:#e6e9ec;background:#14181d}td,th{border-color:#39424c}}";

type Page = (StatusCode, [(HeaderName, &'static str); 2], Html<String>);

/// What an approval link has.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Signed {
    #[serde(default)]
    token: String,
}

/// Shows what a link would approve, with a button that does. Looking changes nothing.
#[utoipa::path(get, path = "/rollouts/{id}/approve", operation_id = "show_approval", tag = "rollouts", security(()),
    params(("id" = String, Path, description = "Its number, `r12`"), ("token" = String, Query, description = "What the link was signed with")),
    responses((status = 200, description = "A page with a button", content_type = "text/html"),
              (status = 403, description = "A page: the link is none of ours", content_type = "text/html"),
              (status = 410, description = "A page: the link was used, or is too old", content_type = "text/html")))]
pub(super) async fn show(
    State(desk): State<Desk>,
    Segments(id): Segments<String>,
    Params(Signed { token }): Params<Signed>,
) -> Page {
    match seen(&desk, &id, token).await {
        Ok(view) => page(StatusCode::OK, "Approve a rollout", &question(view)),
        Err(error) => refused(&error),
    }
}

/// Approves by a link, once.
#[utoipa::path(post, path = "/rollouts/{id}/approve", operation_id = "approve_by_link", tag = "rollouts", security(()),
    params(("id" = String, Path, description = "Its number, `r12`"), ("token" = String, Query, description = "What the link was signed with")),
    responses((status = 200, description = "A page: it was approved", content_type = "text/html"),
              (status = 403, description = "A page: the link is none of ours", content_type = "text/html"),
              (status = 410, description = "A page: the link was used, or is too old", content_type = "text/html")))]
pub(super) async fn agree(
    State(desk): State<Desk>,
    Segments(id): Segments<String>,
    Params(Signed { token }): Params<Signed>,
) -> Page {
    match agreed(&desk, &id, token).await {
        Ok(text) => page(StatusCode::OK, "Approved", &text),
        Err(error) => refused(&error),
    }
}

async fn seen(desk: &Desk, id: &str, token: String) -> Result<RolloutView, ApiError> {
    Ok(desk.handle.verify_link(&Link { id: rollout_id(id)?, token }).await?)
}

async fn agreed(desk: &Desk, id: &str, token: String) -> Result<String, ApiError> {
    let receipt = desk.handle.approve_by_link(&Link { id: rollout_id(id)?, token }).await?;
    let rollout = Rollout::new(desk.handle.rollout(receipt.id).await?, receipt.version);
    Ok(format!(
        "<p>Rollout {} of {} to {} goes on. It is {} now, with {} %.</p><p>You can close this page.</p>",
        escaped(&rollout.id),
        escaped(&rollout.services.join(", ")),
        escaped(&rollout.to),
        escaped(&rollout.state.replace('_', " ")),
        rollout.share.0,
    ))
}

fn refused(error: &ApiError) -> Page {
    let status = match error {
        ApiError::Rejected(Rejected::NotNow { .. } | Rejected::LinkExpired) => StatusCode::GONE,
        // Whether there is such a rollout is nobody's business without a link.
        ApiError::Rejected(Rejected::NoRollout(_)) => StatusCode::FORBIDDEN,
        other => other.row().0,
    };
    let why = match error {
        ApiError::Rejected(Rejected::NoRollout(_)) => "the link cannot be used: it is none of ours".to_owned(),
        other => other.to_string(),
    };
    let text = format!(
        "<p>{}.</p><p>Nothing was changed. Where somebody still has to agree, <code>pointsman rollout approve</code> does it.</p>",
        escaped(&why)
    );
    page(status, "This link does not approve anything", &text)
}

/// What somebody has to know who is asked.
fn question(view: RolloutView) -> String {
    let ahead = match view.rollout.state.phase() {
        Some(crate::model::rollout::Phase::AwaitingApproval(stop)) => ahead_of(&view, stop),
        _ => "what comes next".to_owned(),
    };
    let rollout = Rollout::new(view, 0);
    let mut out = String::from("<dl>");
    let mut entry = |name: &str, text: &str| {
        let _ = write!(out, "<dt>{name}</dt><dd>{}</dd>", escaped(text));
    };
    entry("Rollout", &format!("{}: {}, {} → {}", rollout.id, rollout.services.join(", "), rollout.from, rollout.to));
    entry("Started", &format!("{} by {}", shown(rollout.started_at), rollout.started_by));
    if let Some(why) = &rollout.reason {
        entry("Why", why);
    }
    entry("Share of the candidate now", &format!("{} %", rollout.share.0));
    entry("You are asked to agree to", &ahead);
    out += "</dl>";
    if let Some(verdict) = &rollout.verdict {
        out += &guards(&verdict.guards);
    }
    out + "<form method=\"post\"><p><button>Approve</button></p></form>"
}

fn guards(guards: &[Guard]) -> String {
    let mut out = String::from("<table><tr><th>Guard</th><th>Says</th><th>Why</th></tr>");
    for guard in guards {
        let name = format!("{} {}", guard.service, guard.guard);
        let cells = [&name, &guard.status, &guard.why].map(|text| format!("<td>{}</td>", escaped(text)));
        let _ = write!(out, "<tr>{}</tr>", cells.concat());
    }
    out + "</table>"
}

fn page(status: StatusCode, title: &str, body: &str) -> Page {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <meta name=\"robots\" content=\"noindex\"><title>{title} · pointsman</title><style>{STYLE}</style></head>\
         <body><main><h1>{title}</h1>{body}</main></body></html>\n"
    );
    // The button's request must say where it comes from, and nobody else may learn the link.
    let fields = [(header::CONTENT_SECURITY_POLICY, POLICY), (header::REFERRER_POLICY, "same-origin")];
    (status, fields, Html(html))
}

fn shown(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Text within an HTML element.
fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c => out.push(c),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_users_have_written_is_text_on_the_page() {
        assert_eq!(escaped("<b> & \"it's\""), "&lt;b&gt; &amp; &quot;it&#39;s&quot;");
    }
}
