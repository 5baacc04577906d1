//! Who is asking, and what they may do: bearer tokens and roles.
//!
//! Tokens are known by their SHA-256 only and compared in constant time, all of them on every request, so that an
//! answer's time tells nothing. It refuses to know which route needs which role.

use aws_lc_rs::digest;
use axum::http::{HeaderMap, header};
use subtle::ConstantTimeEq;

use super::problem::ApiError;
use crate::config::spec::{Role, Token};

/// Somebody who was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Name of the token, or `local` where none is asked for: the actor of events.
    pub name: String,
    /// What they may do.
    pub role: Role,
}

impl Caller {
    /// Whoever reaches a port that asks for no credentials.
    fn local() -> Self {
        Self { name: "local".to_owned(), role: Role::Admin }
    }

    /// Refuses whoever has less than `needed`.
    ///
    /// # Errors
    /// [`ApiError::Forbidden`], naming the role that would do.
    pub fn may(&self, needed: Role) -> Result<(), ApiError> {
        if self.role >= needed {
            return Ok(());
        }
        Err(ApiError::Forbidden { name: self.name.clone(), has: self.role, needed })
    }
}

/// Finds out who sends these headers. Without configured tokens, everybody is `local` with all rights.
///
/// # Errors
/// [`ApiError::Unauthorized`] when a token is needed and missing, malformed or unknown.
pub fn identify(tokens: &[Token], headers: &HeaderMap) -> Result<Caller, ApiError> {
    if tokens.is_empty() {
        return Ok(Caller::local());
    }
    let presented = sha256(bearer(headers)?.as_bytes());
    let mut found = None;
    for token in tokens {
        if bool::from(token.sha256.ct_eq(&presented)) {
            found = Some(token);
        }
    }
    let token = found.ok_or(ApiError::Unauthorized("the token is not known here"))?;
    Ok(Caller { name: token.name.clone(), role: token.role })
}

/// A role as in configuration and messages.
#[must_use]
pub fn label(role: Role) -> &'static str {
    match role {
        Role::Viewer => "viewer",
        Role::Monitor => "monitor",
        Role::Operator => "operator",
        Role::Admin => "admin",
    }
}

/// SHA-256 of a token: what the configuration keeps of it.
#[must_use]
pub fn sha256(token: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, token).as_ref());
    out
}

/// The token of the one `Authorization: Bearer` field (RFC 6750; the scheme in any case).
fn bearer(headers: &HeaderMap) -> Result<&str, ApiError> {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let field = fields.next().ok_or(ApiError::Unauthorized("this needs a token"))?;
    if fields.next().is_some() {
        return Err(ApiError::Unauthorized("there is more than one Authorization header"));
    }
    let malformed = ApiError::Unauthorized("the Authorization header is not of the form `Bearer TOKEN`");
    match field.to_str().ok().and_then(|text| text.split_once(' ')) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty() => Ok(token.trim()),
        _ => Err(malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Vec<Token> {
        [
            ("dash", Role::Viewer, "v"),
            ("pager", Role::Monitor, "m"),
            ("ops", Role::Operator, "o"),
            ("root", Role::Admin, "a"),
        ]
        .map(|(name, role, secret)| Token { name: name.into(), role, sha256: sha256(secret.as_bytes()) })
        .to_vec()
    }

    fn with(fields: &[&str]) -> HeaderMap {
        fields.iter().map(|f| (header::AUTHORIZATION, f.parse().unwrap())).collect()
    }

    #[test]
    fn a_known_token_gives_its_name_and_role() {
        for (field, name, role) in [
            ("Bearer v", "dash", Role::Viewer),
            ("bearer m", "pager", Role::Monitor),
            ("BEARER  o ", "ops", Role::Operator),
            ("Bearer a", "root", Role::Admin),
        ] {
            let caller = identify(&tokens(), &with(&[field])).unwrap();
            assert_eq!(caller, Caller { name: name.into(), role }, "{field}");
        }
    }

    #[test]
    fn a_missing_malformed_doubled_or_unknown_token_is_refused() {
        for fields in
            [&[][..], &["Bearer "], &["Bearer"], &["Basic dTpw"], &["v"], &["Bearer x"], &["Bearer v", "Bearer a"]]
        {
            let refused = identify(&tokens(), &with(fields));
            assert!(matches!(refused, Err(ApiError::Unauthorized(_))), "{fields:?}: {refused:?}");
        }
    }

    #[test]
    fn without_tokens_everybody_is_local_with_all_rights() {
        let caller = identify(&[], &with(&["Bearer whatever"])).unwrap();
        assert_eq!((caller.name.as_str(), caller.role), ("local", Role::Admin));
    }

    #[test]
    fn a_role_may_do_what_the_lesser_ones_may_and_no_more() {
        let all = [Role::Viewer, Role::Monitor, Role::Operator, Role::Admin];
        for (i, role) in all.into_iter().enumerate() {
            for (j, needed) in all.into_iter().enumerate() {
                let caller = Caller { name: "x".into(), role };
                assert_eq!(caller.may(needed).is_ok(), i >= j, "{role:?} for {needed:?}");
            }
        }
    }
}
