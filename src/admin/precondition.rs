//! Under which conditions a change is asked for: who asks, `If-Match`, `Idempotency-Key`.
//!
//! It reads header fields and makes an [`Origin`] of them; whether a version is stale or a key was used before is the
//! controller's business.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

use super::Desk;
use super::auth::Caller;
use super::problem::ApiError;
use crate::config::spec::Role;
use crate::control::command::{Cause, Origin};

/// Longest accepted `Idempotency-Key`, in bytes.
const MAX_KEY: usize = 255;
/// Longest reason that is kept, in characters.
const MAX_REASON: usize = 500;

/// What the header fields of a change say.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asked {
    actor: String,
    cause: Cause,
    /// Versions that `If-Match` accepts; empty: any.
    versions: Vec<u64>,
    idempotency_key: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for Asked {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let caller = parts.extensions.get::<Caller>().ok_or(ApiError::Unauthorized("this needs a token"))?;
        Ok(Self {
            actor: caller.name.clone(),
            cause: if caller.role == Role::Monitor { Cause::Monitor } else { Cause::Operator },
            versions: if_match(&parts.headers)?,
            idempotency_key: idempotency_key(&parts.headers)?,
        })
    }
}

impl Asked {
    /// The origin of a change to `service`, or to several where none is named.
    pub(super) async fn origin(
        self,
        desk: &Desk,
        service: Option<&str>,
        reason: Option<String>,
    ) -> Result<Origin, ApiError> {
        let expected_version = match (&self.versions[..], service) {
            ([] | [_], _) => self.versions.first().copied(),
            (several, Some(name)) => Some(accepted(several, desk.handle.service(name).await?.version)),
            (several, None) => Some(accepted(several, desk.handle.version())),
        };
        let reason = reason.map(|text| plain(&text)).filter(|text| !text.is_empty());
        Ok(Origin {
            actor: self.actor,
            expected_version,
            idempotency_key: self.idempotency_key,
            reason,
            cause: self.cause,
        })
    }
}

/// Of several accepted versions the current one, else the newest: the controller compares again, under its own order.
fn accepted(several: &[u64], current: u64) -> u64 {
    if several.contains(&current) { current } else { several.iter().copied().max().unwrap_or(current) }
}

/// Text for the audit log: one line, no control characters, bounded.
fn plain(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_REASON).collect();
    line.trim().to_owned()
}

/// The versions in `If-Match`; empty for `*` and where the field is missing. Weak and bare forms are taken as meant.
fn if_match(headers: &HeaderMap) -> Result<Vec<u64>, ApiError> {
    let mut versions = Vec::new();
    for field in headers.get_all(header::IF_MATCH) {
        for tag in String::from_utf8_lossy(field.as_bytes()).split(',').map(str::trim).filter(|t| !t.is_empty()) {
            if tag == "*" {
                return Ok(Vec::new());
            }
            let strong = tag.strip_prefix("W/").unwrap_or(tag);
            let number = strong.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(strong);
            let not_ours = || {
                let tag: String = tag.chars().take(50).collect();
                ApiError::BadRequest(format!("If-Match takes a version like \"12\" or *, not {tag}"))
            };
            let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
            versions.push(number.parse().ok().filter(|_| digits).ok_or_else(not_ours)?);
        }
    }
    if versions.is_empty() && headers.contains_key(header::IF_MATCH) {
        return Err(ApiError::BadRequest("If-Match is empty; it takes a version like \"12\" or *".to_owned()));
    }
    Ok(versions)
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut fields = headers.get_all("idempotency-key").iter();
    let Some(field) = fields.next() else { return Ok(None) };
    let good = |key: &&str| (1..=MAX_KEY).contains(&key.len());
    match (field.to_str().ok().filter(good), fields.next()) {
        (Some(key), None) => Ok(Some(key.to_owned())),
        _ => Err(ApiError::BadRequest(format!("Idempotency-Key takes one key of 1 to {MAX_KEY} ASCII characters"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(name: &'static str, values: &[&str]) -> HeaderMap {
        values.iter().map(|v| (name.parse().unwrap(), v.parse().unwrap())).collect()
    }

    #[test]
    fn if_match_takes_versions_weak_ones_lists_and_the_star() {
        for (values, expected) in [
            (&[][..], &[][..]),
            (&["\"12\""], &[12]),
            (&["12"], &[12]),
            (&["W/\"12\""], &[12]),
            (&["\"12\", \"13\""], &[12, 13]),
            (&["\"12\"", "\"14\""], &[12, 14]),
            (&["*"], &[]),
            (&["\"12\", *"], &[]),
        ] {
            assert_eq!(if_match(&fields("if-match", values)).unwrap(), expected, "{values:?}");
        }
        for bad in ["\"abc\"", "", "\"\"", "-1", "+1", "\"12", "1.5", "99999999999999999999999"] {
            assert!(if_match(&fields("if-match", &[bad])).is_err(), "{bad}");
        }
    }

    #[test]
    fn of_several_versions_the_current_one_counts_and_a_stale_list_stays_stale() {
        assert_eq!(accepted(&[12, 13], 12), 12);
        assert_eq!(accepted(&[12, 13], 20), 13);
    }

    #[test]
    fn an_idempotency_key_is_one_short_line_of_text() {
        let key = |values: &[&str]| idempotency_key(&fields("idempotency-key", values));
        assert_eq!(key(&[]).unwrap(), None);
        assert_eq!(key(&["a-1"]).unwrap().as_deref(), Some("a-1"));
        for bad in [&[""][..], &["a", "b"], &["ä"], &[&"x".repeat(256)]] {
            assert!(key(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_reason_becomes_one_bounded_line_without_control_characters() {
        assert_eq!(plain(" a\nb\u{1b}[31mc "), "a b [31mc");
        assert_eq!(plain(&"x".repeat(1000)).len(), MAX_REASON);
    }
}
