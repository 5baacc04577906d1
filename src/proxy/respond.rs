//! Answers that the proxy makes itself: errors, redirects, fixed answers.
//!
//! Errors carry `Proxy-Status` (RFC 9209), and a gRPC request gets a Trailers-Only answer.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, LOCATION};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::body::{Grpc, ResponseBody};
use super::error::{ProxyError, Told};

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// The answer to a request that could not be served.
pub(super) fn error(error: ProxyError, grpc: Grpc) -> Response<ResponseBody> {
    let told = error.told();
    let mut response = match grpc {
        Grpc::Yes => trailers_only(&told, error),
        Grpc::No => plain(&told, error),
    };
    response.headers_mut().insert(PROXY_STATUS, proxy_status(told.token));
    response
}

fn plain(told: &Told, error: ProxyError) -> Response<ResponseBody> {
    fixed(told.status, TEXT, Bytes::from(format!("{}: {error}\n", told.status)))
}

/// gRPC over HTTP/2, "Responses": a single HEADERS frame with the status.
fn trailers_only(told: &Told, error: ProxyError) -> Response<ResponseBody> {
    let mut response = fixed(StatusCode::OK, HeaderValue::from_static("application/grpc"), Bytes::new());
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from(u16::from(told.grpc_status)));
    if let Ok(message) = HeaderValue::from_str(&error.to_string()) {
        headers.insert(HeaderName::from_static("grpc-message"), message);
    }
    response
}

/// Whether it is a gRPC request by its content type.
pub(super) fn is_grpc(headers: &HeaderMap) -> Grpc {
    let grpc = headers.get(CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"application/grpc"));
    if grpc { Grpc::Yes } else { Grpc::No }
}

fn proxy_status(token: &'static str) -> HeaderValue {
    HeaderValue::from_str(&format!("pointsman; error={token}")).expect("tokens of RFC 9209 are visible ASCII")
}

/// A fixed answer.
pub(super) fn fixed(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::own(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// A redirect; `{host}`, `{path}` and `{query}` in `to` stand for the request's.
pub(super) fn redirect(to: &str, status: StatusCode, host: &str, uri: &http::Uri) -> Response<ResponseBody> {
    let query = uri.query().map(|q| format!("?{q}")).unwrap_or_default();
    let Ok(location) = HeaderValue::from_str(&filled(to, host, uri.path(), &query)) else {
        return error(ProxyError::Malformed("its host cannot stand in a Location"), Grpc::No);
    };
    let mut response = fixed(status, TEXT, Bytes::from(format!("{status}\n")));
    response.headers_mut().insert(LOCATION, location);
    response
}

/// `to` with its placeholders filled in, in one pass: braces in what the client sent stay what they are.
fn filled(to: &str, host: &str, path: &str, query: &str) -> String {
    let mut parts = to.split('{');
    let mut location = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, behind) = part.split_once('}').unwrap_or((part, ""));
        location.push_str(match name {
            "host" => host,
            "path" => path,
            "query" => query,
            // There are no others: the configuration was checked.
            _ => "",
        });
        location.push_str(behind);
    }
    location
}
