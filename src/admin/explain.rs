//! Where a request that looks like this would go, and why.

use std::net::IpAddr;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use super::Desk;
use super::extract::{Params, Segments};
use super::problem::ApiError;
use super::wire::{Explanation, Problem};
use crate::control::view::Question;

/// The affinity cookie that a bare value is taken for: the default name.
const DEFAULT_COOKIE: &str = "pointsman";

/// Which group such a request gets, and why.
#[utoipa::path(get, path = "/api/v1/services/{service}/explain", tag = "services",
    params(("service" = String, Path, description = "Its name"),
           ("cookie" = Option<Vec<String>>, Query, description = "NAME=VALUE, repeatable; a bare value is that of the cookie `pointsman`"),
           ("header" = Option<Vec<String>>, Query, description = "NAME:VALUE, repeatable"),
           ("query" = Option<String>, Query, description = "The request's query, without the question mark"),
           ("client" = Option<String>, Query, description = "The client's IP address")),
    responses((status = 200, description = "The group, and why", body = Explanation), (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn explain(
    State(desk): State<Desk>,
    Segments(service): Segments<String>,
    Params(pairs): Params<Vec<(String, String)>>,
) -> Result<Json<Explanation>, ApiError> {
    let found = desk.handle.explain(&service, &question(&pairs)?).await?;
    Ok(Json(Explanation::of(service, found)))
}

fn question(pairs: &[(String, String)]) -> Result<Question, ApiError> {
    let mut question = Question::default();
    let mut cookies = Vec::new();
    for (key, value) in pairs {
        match key.as_str() {
            "cookie" if value.contains('=') => cookies.push(value.clone()),
            "cookie" => cookies.push(format!("{DEFAULT_COOKIE}={value}")),
            "header" => add_header(&mut question.headers, value)?,
            "query" => question.query = Some(value.trim_start_matches('?').to_owned()),
            "client" => question.client = Some(address(value)?),
            _ => return Err(wrong(format!("{key:?} is not known; use cookie, header, query and client"))),
        }
    }
    if !cookies.is_empty() {
        let line = HeaderValue::try_from(cookies.join("; "));
        question
            .headers
            .append(header::COOKIE, line.map_err(|_| wrong("a cookie has characters that none may have".into()))?);
    }
    Ok(question)
}

fn add_header(headers: &mut HeaderMap, text: &str) -> Result<(), ApiError> {
    let field = text.split_once(':').and_then(|(name, value)| {
        Some((HeaderName::try_from(name.trim()).ok()?, HeaderValue::try_from(value.trim()).ok()?))
    });
    let (name, value) = field.ok_or_else(|| wrong(format!("{text:?} is not a header; write NAME:VALUE")))?;
    headers.append(name, value);
    Ok(())
}

fn address(text: &str) -> Result<IpAddr, ApiError> {
    text.parse().map_err(|_| wrong(format!("{text:?} is not an IP address")))
}

fn wrong(detail: String) -> ApiError {
    ApiError::BadRequest(detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(pairs: &[(&str, &str)]) -> Result<Question, ApiError> {
        question(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<Vec<_>>())
    }

    #[test]
    fn cookies_headers_query_and_client_make_up_the_request() {
        let question = asked(&[
            ("cookie", "beta=1"),
            ("cookie", "abc"),
            ("header", "x-user-id: 7"),
            ("header", "Host:a:80"),
            ("query", "?v=2"),
            ("client", "10.1.2.3"),
        ])
        .unwrap();
        assert_eq!(question.headers["cookie"], "beta=1; pointsman=abc");
        assert_eq!(
            (&question.headers["x-user-id"], &question.headers["host"]),
            (&"7".parse().unwrap(), &"a:80".parse().unwrap())
        );
        assert_eq!((question.query.as_deref(), question.client), (Some("v=2"), Some([10, 1, 2, 3].into())));
    }

    #[test]
    fn what_makes_no_request_is_refused_with_what_would() {
        for (pair, said) in [
            (("header", "x"), "NAME:VALUE"),
            (("client", "x"), "IP"),
            (("cooky", "a=b"), "use cookie"),
            (("cookie", "a=\n"), "cookie"),
        ] {
            let error = asked(&[pair]).unwrap_err().to_string();
            assert!(error.contains(said), "{pair:?}: {error}");
        }
    }
}
