//! Requests of the control plane's own: to webhooks, to Prometheus, to whoever tests a candidate.
//!
//! One request on a connection of its own, HTTP/1.1, with TLS by the system's authorities; redirects are not followed.
//! A URL may carry credentials, in front of the host or in its path: neither is part of anything that is said here.

mod place;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use self::place::Place;
use super::prober::call::{self, Stream, Version};
use super::{resolver, tls};
use crate::routing::addresses;
use crate::routing::table::UpstreamTls;

pub(super) use super::prober::call::Wanted;

/// How long a request may take where nobody has said so.
const PATIENCE: Duration = Duration::from_secs(10);

/// Nor longer for a connection, whatever the answer may take: who tests a candidate may take his time to answer.
const CONNECTED: Duration = Duration::from_secs(10);

/// Names us where nobody else has.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("pointsman/", env!("CARGO_PKG_VERSION")));

/// A request.
pub(super) struct Ask {
    pub(super) method: Method,
    /// http or https. A user in it is sent as basic credentials.
    pub(super) url: String,
    /// Beside `host` and `connection`, which are ours.
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Bytes>,
    /// From the first look for the name to the last byte that is wanted.
    pub(super) timeout: Duration,
    /// How much of the answer's body is read.
    pub(super) wanted: Wanted,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// As much of it as was wanted: 64 KiB at the most.
    pub(super) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    /// The URL leads nowhere.
    #[error("the URL is wrong: {0}")]
    BadUrl(&'static str),
    /// There is no connection.
    #[error("cannot connect to {place}: {why}")]
    Unreachable {
        /// Host and port.
        place: String,
        why: String,
    },
    /// It is not to be trusted, or does not speak TLS.
    #[error("TLS with {place} {why}")]
    Untrusted {
        /// Host and port.
        place: String,
        why: String,
    },
    /// It has heard the question, perhaps.
    #[error("{place} {why}")]
    Unanswered {
        /// Host and port.
        place: String,
        why: String,
    },
}

/// Asks. One for the whole control plane, however often it is cloned.
#[derive(Clone, Debug)]
pub(super) struct Client {
    /// Name servers; empty: the system's.
    servers: Arc<[SocketAddr]>,
    /// The system's authorities; read when they are needed first.
    tls: Arc<OnceLock<Arc<ClientConfig>>>,
}

impl Ask {
    /// A request without a body, for the whole answer.
    pub(super) fn new(method: Method, url: &str) -> Self {
        let (headers, timeout, wanted) = (HeaderMap::new(), PATIENCE, Wanted::Body);
        Self { method, url: url.to_owned(), headers, body: None, timeout, wanted }
    }

    /// POST of a JSON document, for the whole answer.
    pub(super) fn post(url: &str, json: &Value) -> Self {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        Self { headers, body: Some(json.to_string().into()), ..Self::new(Method::POST, url) }
    }
}

impl Client {
    /// Asks these name servers for addresses; the system's where there are none.
    pub(super) fn new(servers: &[SocketAddr]) -> Self {
        Self { servers: servers.into(), tls: Arc::default() }
    }

    /// Sends a request and reads the answer, whatever its status is.
    ///
    /// # Errors
    /// [`Trouble`], in words without secrets.
    pub(super) async fn ask(&self, ask: Ask) -> Result<Answered, Trouble> {
        let deadline = Instant::now() + ask.timeout;
        let place: Place = ask.url.parse()?;
        let stream = Box::pin(self.connected(&place, deadline.min(Instant::now() + CONNECTED))).await?;
        let (shown, wanted) = (place.shown(), ask.wanted);
        let request = request(place, ask)?;
        match Box::pin(call::exchange(stream, Version::Http1, request, |_| wanted, deadline)).await {
            Ok(answer) => Ok(Answered { status: answer.head.status, headers: answer.head.headers, body: answer.body }),
            Err(why) => Err(Trouble::Unanswered { place: shown, why }),
        }
    }

    async fn connected(&self, place: &Place, deadline: Instant) -> Result<Box<dyn Stream>, Trouble> {
        let unreachable = |why: String| Trouble::Unreachable { place: place.shown(), why };
        let untrusted = |why: String| Trouble::Untrusted { place: place.shown(), why };
        let list = self.addresses(&place.host, deadline).await.map_err(unreachable)?;
        let stream =
            addresses::dial_one_of(&list, place.port, deadline).await.map_err(|e| unreachable(e.to_string()))?;
        if !place.secure {
            return Ok(Box::new(stream));
        }
        let config = self.authorities().await.map_err(|why| untrusted(format!("cannot be set up: {why}")))?;
        let name =
            ServerName::try_from(place.host.clone()).map_err(|_| Trouble::BadUrl("its host has no certificate"))?;
        let tls = UpstreamTls { config, name };
        let secured = call::secured(Box::new(stream), &tls, &[b"http/1.1"], deadline).await;
        secured.map(|(stream, _)| stream).map_err(untrusted)
    }

    async fn addresses(&self, host: &str, deadline: Instant) -> Result<Vec<IpAddr>, String> {
        if let Ok(ip) = host.parse() {
            return Ok(vec![ip]);
        }
        let found = timeout_at(deadline, resolver::look_up(host, &self.servers)).await;
        found.map_err(|_| "its name was not resolved in time".to_owned())?.map(|(list, _)| list)
    }

    async fn authorities(&self) -> Result<Arc<ClientConfig>, String> {
        if let Some(known) = self.tls.get() {
            return Ok(Arc::clone(known));
        }
        let read = tokio::task::spawn_blocking(|| tls::client_config(None)).await.map_err(|e| e.to_string())??;
        Ok(Arc::clone(self.tls.get_or_init(|| read)))
    }
}

fn request(place: Place, ask: Ask) -> Result<Request<Full<Bytes>>, Trouble> {
    let mut request = Request::new(Full::from(ask.body.unwrap_or_default()));
    *request.method_mut() = ask.method;
    *request.uri_mut() = place.path.parse().map_err(|_| Trouble::BadUrl("its path cannot be sent"))?;
    let headers = request.headers_mut();
    *headers = ask.headers;
    headers.entry(USER_AGENT).or_insert(AGENT);
    headers.insert(HOST, place.authority);
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    if let Some(credentials) = place.credentials {
        headers.insert(AUTHORIZATION, credentials);
    }
    Ok(request)
}

#[cfg(test)]
mod tests;
