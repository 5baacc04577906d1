//! The request in the form in which it goes to an upstream, kept for a repeated attempt.

use std::rc::Rc;

use http::uri::{PathAndQuery, Scheme};
use http::{Method, Request, Uri, Version};

use super::connect::Speaks;
use super::connection::Client;
use super::error::ProxyError;
use super::exchange::Wants;
use super::headers;
use super::http1::framing::Length;
use super::http1::head::Call;
use super::http1::inbound::Inbound;
use super::http1::outbound::Sent;
use super::request::Asks;
use super::retry::{self, Repeatable};
use super::source::Source;
use super::target;
use super::upload::{OutgoingBody, Upload};
use crate::model::fields::{Fields, Known};
use crate::routing::table::{Route, Upstream};

/// A request as it goes to an upstream, kept for a repeated attempt.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) method: Method,
    pub(super) path: PathAndQuery,
    pub(super) fields: Fields,
    /// None where there is no body.
    pub(super) upload: Option<Rc<Upload>>,
    pub(super) speaks: Speaks,
    /// The client's connection, where it may be told something ahead of the answer.
    inbound: Option<Rc<Inbound>>,
    /// The client waits to be asked for the body.
    expects: bool,
}

impl Outgoing {
    /// Takes over the client's request, as the route wants it.
    pub(super) fn new(
        client: &Client,
        asks: &mut Asks<'_>,
        route: &Route,
        limit: Option<u64>,
    ) -> Result<Self, ProxyError> {
        let Asks { call, body, inbound, extended } = asks;
        let body = std::mem::replace(body, Source::Empty);
        let upgrade = call.fields.has(Known::Upgrade) && asks_for_websocket(call) && inbound.is_some();
        let websocket = (upgrade || extended.is_some()) && matches!(body, Source::Empty);
        let path = target::path(&call.path, route.strip_prefix.as_deref())?;
        let mut fields = std::mem::take(&mut call.fields);
        headers::remove_hop_by_hop(&mut fields);
        if call.version == Version::HTTP_2 {
            headers::join_cookies(&mut fields);
        }
        if let Some(host) = target::host_to_send(call) {
            fields.set(Known::Host, host.as_bytes());
        }
        client.peer.announce(&mut fields, &client.listener.trusted_proxies);
        headers::edit(&mut fields, &route.request_headers);
        let mut speaks = Speaks::Any;
        if websocket {
            headers::ask_for_websocket(&mut fields);
            if let Some(key) = extended {
                key.ask(&mut fields);
            }
            speaks = Speaks::Http1;
        }
        let expects = inbound.is_some_and(|i| i.waits_in_vain());
        let limit = limit.unwrap_or(u64::MAX);
        if matches!(body.length(), Length::Exact(length) if length > limit) {
            return Err(ProxyError::BodyTooLarge);
        }
        let upload = (!body.is_ended()).then(|| Upload::new(body, limit));
        let inbound = inbound.map(Rc::clone);
        Ok(Self { method: call.method.clone(), path, fields, upload, speaks, inbound, expects })
    }

    /// Whether the client has asked for a WebSocket.
    pub(super) fn is_upgrade(&self) -> bool {
        self.speaks == Speaks::Http1
    }

    pub(super) fn wants(&self) -> Wants {
        if self.is_upgrade() { Wants::WebSocket } else { Wants::Answer }
    }

    pub(super) fn repeatable(&self) -> Repeatable {
        Repeatable {
            idempotent: retry::is_idempotent(&self.method),
            body_held: self.upload.as_ref().is_none_or(|u| !u.has_begun()),
        }
    }

    fn body(&self) -> OutgoingBody {
        self.upload.as_ref().map_or(OutgoingBody::Empty, |u| OutgoingBody::Upload(Rc::clone(u)))
    }

    /// In the form of HTTP/1.1: origin-form target and `Host`.
    pub(super) fn http1(&mut self, upstream: &Upstream) -> Sent<'_> {
        // A client of HTTP/1.0 need not name a host, but HTTP/1.1 demands one (RFC 9112, section 3.2).
        if !self.fields.has(Known::Host) {
            self.fields.set(Known::Host, upstream.authority.as_bytes());
        }
        if let (Some(upload), true) = (&self.upload, self.expects) {
            // Where the client wants to know first whether its body is welcome, the upstream is who knows.
            upload.hold_back();
        }
        Sent {
            method: &self.method,
            path: self.path.as_str(),
            fields: &self.fields,
            upload: self.upload.as_ref(),
            client: self.inbound.as_ref(),
        }
    }

    /// In the form of HTTP/2: `:scheme` and `:authority` in place of `Host` (RFC 9113, section 8.3.1).
    pub(super) fn http2(&self, upstream: &Upstream) -> Request<OutgoingBody> {
        // Over HTTP/2 nothing is heard of a 100: the body goes as soon as the upstream takes it.
        if let Some(upload) = &self.upload {
            upload.let_go();
        }
        let mut headers = self.fields.to_map();
        headers.remove(http::header::HOST);
        let authority = self.fields.get(Known::Host).unwrap_or(upstream.authority.as_bytes());
        let scheme = if upstream.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
        let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(self.path.clone());
        let mut request = Request::new(self.body());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri.build().unwrap_or_else(|_| Uri::from(self.path.clone()));
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = headers;
        request
    }
}

/// Whether it asks for a WebSocket in the one form that HTTP/1.1 has for it (RFC 6455, section 4.1).
fn asks_for_websocket(call: &Call) -> bool {
    call.version == Version::HTTP_11 && call.method == Method::GET && headers::wants_websocket(&call.fields)
}
