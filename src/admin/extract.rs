//! From a request's path, query and body to values; whatever does not fit becomes one clear [`ApiError`].
//!
//! A body is JSON whatever its `Content-Type` says, at most 1 MiB, there within ten seconds; none at all counts as
//! `{}`. It refuses to know what the values mean.

use std::error::Error;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::problem::ApiError;

/// Largest body in bytes.
const MAX_BODY: usize = 1 << 20;
/// Time for a body to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// The variable segments of the path.
#[derive(Debug)]
pub(super) struct Segments<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Segments<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<T>::from_request_parts(parts, state).await;
        path.map(|Path(value)| Self(value)).map_err(|e| ApiError::BadRequest(format!("the path is wrong: {e}")))
    }
}

/// The query.
#[derive(Debug)]
pub(super) struct Params<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = Query::<T>::try_from_uri(&parts.uri);
        query
            .map(|Query(value)| Self(value))
            .map_err(|e| ApiError::BadRequest(format!("the query is wrong: {}", innermost(&e))))
    }
}

/// The JSON body.
#[derive(Debug)]
pub(super) struct Payload<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Payload<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let bytes = tokio::time::timeout(BODY_WITHIN, read(request.into_body()))
            .await
            .map_err(|_| ApiError::BodyTooSlow(BODY_WITHIN.as_secs()))??;
        parse(&bytes).map(Self)
    }
}

async fn read(body: Body) -> Result<bytes::Bytes, ApiError> {
    let collected = Limited::new(body, MAX_BODY).collect().await;
    collected.map(http_body_util::Collected::to_bytes).map_err(|e| match e.downcast_ref::<LengthLimitError>() {
        Some(_) => ApiError::BodyTooLarge(MAX_BODY),
        None => ApiError::BadRequest(format!("the body broke off: {e}")),
    })
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let bytes = if bytes.iter().all(u8::is_ascii_whitespace) { b"{}" } else { bytes };
    // A list of values would do as well for serde.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(ApiError::BadRequest("the body is not the JSON that this takes: an object".to_owned()));
    }
    match Json::from_bytes(bytes) {
        Ok(Json(value)) => Ok(value),
        Err(e) => Err(ApiError::BadRequest(format!("the body is not the JSON that this takes: {}", innermost(&e)))),
    }
}

/// The last cause: the ones around it only say which part of the request was read.
fn innermost(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        // The path into the document (`weights.blue: …`) is on the cause that still has one below it.
        if next.source().is_none() && cause.to_string().contains(&next.to_string()) {
            break;
        }
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[derive(Debug, serde::Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Wanted {
        to: Option<String>,
        #[serde(default)]
        weights: BTreeMap<String, f64>,
    }

    async fn payload(content_type: &str, body: impl Into<Body>) -> Result<Wanted, ApiError> {
        let request = Request::post("/").header("content-type", content_type).body(body.into()).unwrap();
        Payload::from_request(request, &()).await.map(|Payload(value)| value)
    }

    #[tokio::test]
    async fn a_body_is_json_whatever_its_content_type_and_none_is_an_empty_object() {
        for content_type in ["application/json", "text/plain", "application/x-www-form-urlencoded"] {
            assert_eq!(payload(content_type, r#"{"to":"green"}"#).await.unwrap().to.as_deref(), Some("green"));
        }
        assert_eq!(payload("application/json", " \n").await.unwrap().to, None);
    }

    #[tokio::test]
    async fn a_body_that_does_not_fit_is_told_where_and_what_would() {
        for (body, said) in [
            (r#"{"too":1}"#, "unknown field `too`, expected `to` or `weights`"),
            (r#"{"weights":{"blue":"x"}}"#, "weights.blue"),
            (r#"{"to":5}"#, "expected a string"),
            ("to=green", "line 1 column"),
            ("[]x", "body"),
        ] {
            let error = payload("application/json", body).await.unwrap_err();
            assert!(matches!(error, ApiError::BadRequest(_)) && error.to_string().contains(said), "{body}: {error}");
        }
    }

    #[tokio::test]
    async fn a_body_beyond_the_limit_is_refused_as_too_large() {
        let error = payload("application/json", vec![b' '; MAX_BODY + 1]).await.unwrap_err();
        assert!(matches!(error, ApiError::BodyTooLarge(_)), "{error:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_arrive_is_given_up() {
        let (_kept, receiver) = tokio::sync::mpsc::channel(1);
        let body = Body::new(super::super::follow::Lines::new(receiver, None));
        let error = payload("application/json", body).await.unwrap_err();
        assert!(matches!(error, ApiError::BodyTooSlow(_)), "{error:?}");
    }
}
