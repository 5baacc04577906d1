//! The request in the form in which it goes to an upstream, kept for a repeated attempt.

use std::rc::Rc;

use http::header::{EXPECT, HOST};
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, StatusCode, Uri, Version};
use hyper::body::{Body, Incoming};
use hyper::upgrade::OnUpgrade;

use super::body::{OutgoingBody, Upload};
use super::connect::Speaks;
use super::connection::Client;
use super::error::ProxyError;
use super::glance::{Field, Glance};
use super::headers;
use super::retry::{self, Repeatable};
use super::target;
use crate::routing::table::{Route, Upstream};

/// A request as it goes to an upstream, kept for a repeated attempt.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) method: Method,
    pub(super) path: PathAndQuery,
    pub(super) headers: HeaderMap,
    /// None where there is no body.
    pub(super) upload: Option<Rc<Upload>>,
    pub(super) speaks: Speaks,
}

impl Outgoing {
    /// Takes over the client's request, as the route wants it. The client's side of an upgrade comes along where the
    /// request asks for a WebSocket.
    pub(super) fn new(
        client: &Client,
        parts: &mut Parts,
        body: Incoming,
        glance: Glance,
        route: &Route,
    ) -> Result<(Self, Option<OnUpgrade>), ProxyError> {
        let websocket =
            parts.version == Version::HTTP_11 && glance.has(Field::Upgrade) && headers::wants_websocket(&parts.headers);
        let upgrade = if websocket { parts.extensions.remove::<OnUpgrade>() } else { None };
        let host = target::host_to_send(parts);
        let path = target::path(&parts.uri, route.strip_prefix.as_deref())?;
        let mut fields = std::mem::take(&mut parts.headers);
        headers::remove_hop_by_hop(&mut fields, glance);
        if parts.version == Version::HTTP_2 {
            headers::join_cookies(&mut fields);
        }
        if let Some(host) = host {
            fields.insert(HOST, host);
        }
        // Room for the forwarding fields at once, instead of growing step by step.
        fields.reserve(4);
        client.peer.announce(&mut fields, &client.listener.trusted_proxies, glance);
        headers::edit(&mut fields, &route.request_headers);
        let mut speaks = Speaks::Any;
        if upgrade.is_some() {
            headers::ask_for_websocket(&mut fields);
            speaks = Speaks::Http1;
        }
        let upload = (!body.is_end_stream()).then(|| Upload::new(body));
        Ok((Self { method: parts.method.clone(), path, headers: fields, upload, speaks }, upgrade))
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

    /// In the form of HTTP/1.1: origin-form target and `Host`. The header is moved out.
    pub(super) fn http1(&mut self, upstream: &Upstream) -> Request<OutgoingBody> {
        let mut request = Request::new(self.body());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = Uri::from(self.path.clone());
        *request.headers_mut() = std::mem::take(&mut self.headers);
        // A client of HTTP/1.0 need not name a host, but HTTP/1.1 demands one (RFC 9112, section 3.2).
        request.headers_mut().entry(HOST).or_insert_with(|| upstream.authority.clone());
        self.wait_to_be_asked(&mut request);
        request
    }

    /// Where the client wants to know first whether its body is welcome, the upstream is who knows.
    fn wait_to_be_asked(&self, request: &mut Request<OutgoingBody>) {
        let Some(upload) = &self.upload else { return };
        if !request.headers().get(EXPECT).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
            return;
        }
        let asked = upload.hold_back();
        hyper::ext::on_informational(request, move |told| {
            if told.status() == StatusCode::CONTINUE {
                asked.close();
            }
        });
    }

    /// In the form of HTTP/2: `:scheme` and `:authority` in place of `Host` (RFC 9113, section 8.3.1).
    /// The header is moved out.
    pub(super) fn http2(&mut self, upstream: &Upstream) -> Request<OutgoingBody> {
        // Over HTTP/2 nothing is heard of a 100: the body goes as soon as the upstream takes it.
        if let Some(upload) = &self.upload {
            upload.let_go();
        }
        let mut headers = std::mem::take(&mut self.headers);
        let host = headers.remove(HOST);
        let authority = host.as_ref().unwrap_or(&upstream.authority);
        let scheme = if upstream.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
        let uri = Uri::builder().scheme(scheme).authority(authority.as_bytes()).path_and_query(self.path.clone());
        let mut request = Request::new(self.body());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri.build().unwrap_or_else(|_| Uri::from(self.path.clone()));
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = headers;
        request
    }
}
