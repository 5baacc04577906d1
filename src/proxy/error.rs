//! Everything that can go wrong with a request, and what the client is told: one table, no `_` arm.
//!
//! The error types are those of RFC 9209, section 2.3. gRPC statuses follow the mapping of HTTP codes in the gRPC
//! documentation ("HTTP to gRPC Status Code Mapping").

use http::StatusCode;

use super::http1::decoder::Broken;
use super::http1::head::Refusal;
use crate::model::outcome::Outcome;

/// Why the proxy itself answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProxyError {
    #[error("malformed request: {0}")]
    Malformed(&'static str),
    #[error("malformed request: its request line is too long")]
    LongTarget,
    #[error("malformed request: its header is too large")]
    LargeHeader,
    #[error("neither HTTP/1.1 nor HTTP/1.0")]
    UnknownVersion,
    #[error("the request's head did not arrive in time")]
    SlowHead,
    #[error("not allowed from this address")]
    NotAllowed,
    #[error("no_route: no route matches this host and path")]
    NoRoute,
    #[error("the request's body did not arrive in time")]
    SlowRequest,
    #[error("the request's body broke off")]
    RequestAborted,
    #[error("the request's body is larger than this service takes")]
    BodyTooLarge,
    #[error("the service has as many requests under way as it takes")]
    Overloaded,
    #[error("the service is held, and as many requests wait as may; come back in {seconds} s")]
    HoldFull { seconds: u16 },
    #[error("the service was held for longer than it should have been")]
    HeldTooLong,
    #[error("the proxy has no descriptor left for a connection to the upstream")]
    NoDescriptors,
    #[error("no healthy upstream")]
    NoHealthyUpstream,
    #[error("no group to validate: the service has no candidate, or it is not healthy")]
    NoCandidate,
    #[error("the upstream refused the connection")]
    ConnectionRefused,
    #[error("the upstream cannot be reached")]
    Unreachable,
    #[error("the upstream's name cannot be resolved")]
    NameNotFound,
    #[error("no connection to the upstream in time")]
    ConnectTimedOut,
    #[error("TLS to the upstream failed")]
    TlsFailed,
    #[error("the upstream's certificate is not accepted")]
    TlsCertificate,
    #[error("the upstream closed the connection before it answered")]
    ConnectionTerminated,
    #[error("the upstream refused the request unprocessed")]
    Refused,
    #[error("the upstream's answer is not valid HTTP")]
    ProtocolError,
    #[error("no answer from the upstream in time")]
    ResponseTimedOut,
    #[error("the upstream switched protocols without being asked")]
    UnexpectedUpgrade,
    #[error("the upstream did not open the WebSocket that was asked for")]
    NoUpgrade,
}

/// Why a body broke off. The receiver's connection is closed, or its stream reset, so that it notices.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the body broke off")]
    Http1(#[source] Broken),
    #[error("the body broke off")]
    Http2(#[source] hyper::Error),
    #[error("the body stalled")]
    Stalled,
    #[error("the body is larger than it may be")]
    TooLarge,
    #[error("nobody wants the rest of the body")]
    Stopped,
}

/// What the client is told.
pub(super) struct Told {
    pub(super) status: StatusCode,
    /// `error` parameter of `Proxy-Status`.
    pub(super) token: &'static str,
    /// For gRPC requests.
    pub(super) grpc_status: u8,
}

impl From<Refusal> for ProxyError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Malformed(what) => Self::Malformed(what),
            Refusal::LongTarget => Self::LongTarget,
            Refusal::LargeHeader => Self::LargeHeader,
            Refusal::Version => Self::UnknownVersion,
        }
    }
}

impl ProxyError {
    /// What the client is told.
    pub(super) fn told(self) -> Told {
        use StatusCode as S;
        let (status, token, grpc_status) = match self {
            Self::Malformed(_) => (S::BAD_REQUEST, "http_request_error", 13),
            Self::LongTarget => (S::URI_TOO_LONG, "http_request_error", 13),
            Self::LargeHeader => (S::REQUEST_HEADER_FIELDS_TOO_LARGE, "http_request_error", 13),
            Self::UnknownVersion => (S::HTTP_VERSION_NOT_SUPPORTED, "http_request_error", 13),
            Self::NotAllowed => (S::FORBIDDEN, "http_request_denied", 7),
            Self::NoRoute => (S::NOT_FOUND, "destination_not_found", 12),
            Self::SlowHead | Self::SlowRequest => (S::REQUEST_TIMEOUT, "http_request_error", 4),
            Self::RequestAborted => (S::BAD_REQUEST, "http_request_error", 1),
            Self::BodyTooLarge => (S::PAYLOAD_TOO_LARGE, "http_request_error", 8),
            Self::Overloaded | Self::HoldFull { .. } => (S::SERVICE_UNAVAILABLE, "connection_limit_reached", 14),
            Self::NoDescriptors => (S::SERVICE_UNAVAILABLE, "proxy_internal_error", 14),
            Self::HeldTooLong | Self::NoHealthyUpstream | Self::NoCandidate => {
                (S::SERVICE_UNAVAILABLE, "destination_unavailable", 14)
            }
            Self::ConnectionRefused => (S::BAD_GATEWAY, "connection_refused", 14),
            Self::Unreachable => (S::BAD_GATEWAY, "destination_ip_unroutable", 14),
            Self::NameNotFound => (S::BAD_GATEWAY, "dns_error", 14),
            Self::ConnectTimedOut => (S::GATEWAY_TIMEOUT, "connection_timeout", 14),
            Self::TlsFailed => (S::BAD_GATEWAY, "tls_protocol_error", 14),
            Self::TlsCertificate => (S::BAD_GATEWAY, "tls_certificate_error", 14),
            Self::ConnectionTerminated | Self::Refused => (S::BAD_GATEWAY, "connection_terminated", 14),
            Self::ProtocolError => (S::BAD_GATEWAY, "http_protocol_error", 13),
            Self::ResponseTimedOut => (S::GATEWAY_TIMEOUT, "http_response_timeout", 4),
            Self::UnexpectedUpgrade | Self::NoUpgrade => (S::BAD_GATEWAY, "http_upgrade_failed", 13),
        };
        Told { status, token, grpc_status }
    }

    /// `details` parameter of `Proxy-Status`, where the error type alone could mean something else.
    pub(super) fn details(self) -> Option<&'static str> {
        match self {
            Self::HoldFull { .. } => Some("too many requests are held"),
            Self::HeldTooLong => Some("held for too long"),
            _ => None,
        }
    }

    /// `Retry-After`, in seconds.
    pub(super) fn retry_after(self) -> Option<u16> {
        match self {
            Self::Overloaded | Self::HeldTooLong => Some(1),
            Self::HoldFull { seconds } => Some(seconds),
            _ => None,
        }
    }

    /// How the attempt ended, for an error that ended one: whose fault it was.
    pub(super) fn outcome(self) -> Outcome {
        match self {
            Self::ConnectionRefused
            | Self::Unreachable
            | Self::NameNotFound
            | Self::ConnectTimedOut
            | Self::TlsFailed
            | Self::TlsCertificate => Outcome::ConnectFailed,
            Self::ResponseTimedOut => Outcome::TimedOut,
            Self::ConnectionTerminated | Self::ProtocolError | Self::UnexpectedUpgrade | Self::NoUpgrade => {
                Outcome::Broken
            }
            Self::Refused => Outcome::Unprocessed,
            Self::Malformed(_)
            | Self::LongTarget
            | Self::LargeHeader
            | Self::UnknownVersion
            | Self::SlowHead
            | Self::NotAllowed
            | Self::NoRoute
            | Self::SlowRequest
            | Self::RequestAborted
            | Self::BodyTooLarge
            | Self::Overloaded
            | Self::HoldFull { .. }
            | Self::HeldTooLong
            | Self::NoDescriptors
            | Self::NoHealthyUpstream
            | Self::NoCandidate => Outcome::ClientGone,
        }
    }
}
