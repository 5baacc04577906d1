//! Answers that the proxy makes itself: errors, redirects, fixed answers.
//!
//! Errors carry `Proxy-Status` (RFC 9209), and a gRPC request gets a Trailers-Only answer.

use bytes::Bytes;
use http::StatusCode;
use http::uri::PathAndQuery;

use super::body::{Grpc, ResponseBody};
use super::error::{ProxyError, Told};
use crate::model::fields::{Fields, Known};

const TEXT: &str = "text/plain; charset=utf-8";

/// An answer on its way to a client.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: StatusCode,
    pub(super) fields: Fields,
    pub(super) body: ResponseBody,
}

/// The answer to a request that could not be served.
pub(super) fn error(error: ProxyError, grpc: Grpc) -> Response {
    let told = error.told();
    let mut response = match grpc {
        Grpc::Yes => trailers_only(&told, error),
        Grpc::No => plain(&told, error),
    };
    let details = error.details().map(|text| format!("; details=\"{text}\"")).unwrap_or_default();
    response.fields.set(Known::ProxyStatus, format!("pointsman; error={}{details}", told.token).as_bytes());
    if let Some(seconds) = error.retry_after() {
        response.fields.set(Known::RetryAfter, seconds.to_string().as_bytes());
    }
    response
}

fn plain(told: &Told, error: ProxyError) -> Response {
    fixed(told.status, TEXT.as_bytes(), Bytes::from(format!("{}: {error}\n", told.status)))
}

/// gRPC over HTTP/2, "Responses": a single HEADERS frame with the status.
fn trailers_only(told: &Told, error: ProxyError) -> Response {
    let mut response = fixed(StatusCode::OK, b"application/grpc", Bytes::new());
    response.fields.set(Known::GrpcStatus, told.grpc_status.to_string().as_bytes());
    response.fields.set(Known::GrpcMessage, error.to_string().as_bytes());
    response
}

/// The answer to whoever asks from outside for the health of a service that is held.
pub(super) fn well() -> Response {
    let mut response = fixed(StatusCode::OK, TEXT.as_bytes(), Bytes::from_static(b"ok\n"));
    response.fields.add(Known::CacheControl, b"no-store");
    response
}

/// Whether it is a gRPC request by its content type.
pub(super) fn is_grpc(fields: &Fields) -> Grpc {
    let grpc = fields.get(Known::ContentType).is_some_and(|v| v.starts_with(b"application/grpc"));
    if grpc { Grpc::Yes } else { Grpc::No }
}

/// A fixed answer.
pub(super) fn fixed(status: StatusCode, content_type: &[u8], body: Bytes) -> Response {
    let mut fields = Fields::new();
    fields.add(Known::ContentType, content_type);
    Response { status, fields, body: ResponseBody::own(body) }
}

/// A redirect; `{host}`, `{path}` and `{query}` in `to` stand for the request's.
pub(super) fn redirect(to: &str, status: StatusCode, host: &str, path: &PathAndQuery) -> Response {
    let query = path.query().map(|q| format!("?{q}")).unwrap_or_default();
    let mut response = fixed(status, TEXT.as_bytes(), Bytes::from(format!("{status}\n")));
    response.fields.add(Known::Location, filled(to, host, path.path(), &query).as_bytes());
    if !response.fields.has(Known::Location) {
        return error(ProxyError::Malformed("its host cannot stand in a Location"), Grpc::No);
    }
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
