//! WebSockets that clients open over HTTP/2 (RFC 8441): an extended CONNECT becomes a handshake of HTTP/1.1 with the
//! upstream, and the stream a tunnel.
//!
//! Over HTTP/2 there is no key and no 101: the proxy makes the key, checks its answer, and says 200.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY};
use http::{HeaderValue, Method, Request, StatusCode};
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::Tunnel;
use crate::model::fields::Fields;
use crate::model::outcome::Outcome;
use crate::model::websocket;
use crate::proxy::body::Grpc;
use crate::proxy::error::ProxyError;
use crate::proxy::exchange::Exchange;
use crate::proxy::request::Reply;
use crate::proxy::respond;

/// The key of a handshake that the proxy makes itself.
#[derive(Debug)]
pub(in crate::proxy) struct Key(HeaderValue);

impl Key {
    pub(in crate::proxy) fn new() -> Self {
        let key = STANDARD.encode(fastrand::u128(..).to_be_bytes());
        // Base64 has no characters that do not fit.
        Self(HeaderValue::try_from(key).unwrap_or(HeaderValue::from_static("AAAAAAAAAAAAAAAAAAAAAA==")))
    }

    /// Puts it into a request.
    pub(in crate::proxy) fn ask(&self, fields: &mut Fields) {
        fields.set_named(&SEC_WEBSOCKET_KEY, &self.0);
    }

    /// Whether this is the answer to it (RFC 6455, section 4.1).
    pub(super) fn is_answered_by(&self, fields: &Fields) -> bool {
        let expected = websocket::accept(self.0.to_str().unwrap_or_default());
        let mut answers = fields.all_named(&SEC_WEBSOCKET_ACCEPT);
        answers.next() == Some(expected.as_bytes()) && answers.next().is_none()
    }
}

/// Where the request asks for a WebSocket: what becomes of its stream after the answer. The request then reads like
/// that of HTTP/1.1, so that the same routes and rules hold for it.
pub(in crate::proxy) fn asked<B>(request: &mut Request<B>) -> Option<OnUpgrade> {
    let protocol = request.extensions().get::<Protocol>()?;
    let websocket = request.method() == Method::CONNECT && protocol.as_str().eq_ignore_ascii_case("websocket");
    websocket.then(|| {
        *request.method_mut() = Method::GET;
        hyper::upgrade::on(request)
    })
}

/// The answer of an upstream that has agreed, as it is over HTTP/2.
pub(super) fn accept(fields: &mut Fields) -> StatusCode {
    fields.remove_named(SEC_WEBSOCKET_ACCEPT.as_str().as_bytes());
    StatusCode::OK
}

/// The upstream has answered with success, but not by switching: over HTTP/2 that would say that it has.
pub(in crate::proxy) fn refuse(mut exchange: Exchange) -> Reply {
    let error = ProxyError::NoUpgrade;
    exchange.finish_attempt(Outcome::Ok);
    exchange.refuse(error.told().status.as_u16(), error.told().token);
    Reply::Answer(respond::error(error, Grpc::No))
}

/// Joins the stream, once the client has its answer, with the upstream. In a task of its own, which ends with the
/// stream: a connection that ends takes its streams along.
pub(in crate::proxy) fn spawn(tunnel: Box<Tunnel>, stream: OnUpgrade) {
    tokio::task::spawn_local(async move {
        // Resolves with the answer, or with the end of the connection.
        if let Ok(stream) = stream.await {
            tunnel.join(TokioIo::new(stream), BytesMut::new()).await;
        }
    });
}
