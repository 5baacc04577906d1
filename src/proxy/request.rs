//! The life of a request, from its head to the head of its answer. Start reading here.
//!
//! snapshot → route → access → choose group (rule, cohort, split, health) and claim → choose upstream → pooled or new
//! connection → send → stream back → record the attempt → release.

use std::rc::Rc;
use std::time::Instant;

use http::header::RETRY_AFTER;
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::affinity::{self, Place};
use super::body::{Grpc, ResponseBody, grpc_outcome};
use super::choose::{Asked, Chosen, choose};
use super::connection::Client;
use super::error::ProxyError;
use super::exchange::Exchange;
use super::forward::{Answer, forward};
use super::glance::{Field, Glance};
use super::outgoing::Outgoing;
use super::{headers, pool, respond, target, tunnel};
use crate::config::spec::Affinity;
use crate::model::outcome::Outcome;
use crate::routing::admission::Full;
use crate::routing::table::{Action, Route, Target};
use crate::telemetry::access_log::Record;

/// Serves one request.
pub(super) async fn serve(client: Rc<Client>, request: Request<Incoming>) -> Response<ResponseBody> {
    let (mut parts, body) = request.into_parts();
    let glance = Glance::at(&parts.headers);
    let grpc = if glance.has(Field::ContentType) { respond::is_grpc(&parts.headers) } else { Grpc::No };
    let mut visit = Visit { client, started: Instant::now(), glance, grpc, record: None, exchange: None };
    match visit.go(&mut parts, body).await {
        Ok(response) => response,
        Err(error) => visit.refuse(error),
    }
}

/// A request under way.
struct Visit {
    client: Rc<Client>,
    started: Instant,
    glance: Glance,
    grpc: Grpc,
    /// The access log's line, until the exchange takes it over.
    record: Option<Box<Record>>,
    /// There is one from the claim of a group until the answer takes it over.
    exchange: Option<Exchange>,
}

impl Visit {
    async fn go(&mut self, parts: &mut Parts, body: Incoming) -> Result<Response<ResponseBody>, ProxyError> {
        let client = Rc::clone(&self.client);
        let address = client.peer.client(&parts.headers, &client.listener.trusted_proxies);
        self.record = client.worker.access_log.as_ref().and_then(|log| {
            log.begin(&parts.method, target::host(parts), parts.uri.path(), address, client.listener.name.as_str())
        });
        target::check(parts)?;
        let target = Target {
            host: target::host(parts),
            path: parts.uri.path(),
            method: &parts.method,
            listener: Some(&client.listener.name),
        };
        let query = parts.uri.query();
        let asked = Asked { target, headers: &parts.headers, query, client: address, listener: &client.listener };
        let mut admitted = None;
        let chosen = loop {
            match choose(&client.worker, &asked, admitted.take())? {
                // Boxed: waiting is rare, and its state would make every request's future larger.
                Chosen::Full { admission, patience } => match Box::pin(admission.wait(patience)).await {
                    Ok(place) => admitted = Some(place),
                    Err(Full) => return Err(ProxyError::Overloaded),
                },
                chosen => break chosen,
            }
        };
        match chosen {
            Chosen::Answer { snapshot, route } => Ok(self.answer(&snapshot.routes.all()[route], parts)),
            Chosen::Full { .. } => Err(ProxyError::Overloaded),
            Chosen::Forward { claim, route, place, admitted } => {
                self.exchange = Some(Exchange::new(&client, claim, admitted, self.started, self.record.take()));
                self.forward(parts, body, route, place).await
            }
        }
    }

    /// To the claimed group, and its answer back.
    async fn forward(
        &mut self,
        parts: &mut Parts,
        body: Incoming,
        route: usize,
        place: Place,
    ) -> Result<Response<ResponseBody>, ProxyError> {
        let mut exchange = self.exchange.take().ok_or(ProxyError::NoHealthyUpstream)?;
        let snapshot = Rc::clone(&exchange.claim.snapshot);
        let route = &snapshot.routes.all()[route];
        // Only a cookie asks for it.
        let trusted = &self.client.listener.trusted_proxies;
        let secure = place.assigned.is_some() && self.client.peer.is_secure(&parts.headers, trusted);
        let sent = async {
            let (mut outgoing, upgrade) = Outgoing::new(&self.client, parts, body, self.glance, route)?;
            Ok((forward(&mut exchange, &mut outgoing, place).await?, upgrade))
        };
        let (answer, upgrade) = match sent.await {
            Ok(sent) => sent,
            Err(error) => {
                self.exchange = Some(exchange);
                return Err(error);
            }
        };
        let mut response = match upgrade {
            Some(upgrade) if answer.response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                tunnel::open(exchange, answer, upgrade)
            }
            _ => stream_back(exchange, answer, place, secure, self.grpc),
        };
        headers::edit(response.headers_mut(), &route.response_headers);
        Ok(response)
    }

    /// The route's own answer.
    fn answer(&mut self, route: &Route, parts: &Parts) -> Response<ResponseBody> {
        let mut response = match &route.action {
            Action::Redirect { to, status } => {
                respond::redirect(to, *status, target::host_with_port(parts), &parts.uri)
            }
            Action::Respond { status, body, content_type } => {
                respond::fixed(*status, content_type.clone(), body.clone())
            }
            Action::Forward(_) => respond::error(ProxyError::NoRoute, self.grpc),
        };
        headers::edit(response.headers_mut(), &route.response_headers);
        self.log_own(response.status(), None);
        response
    }

    /// The answer to a request that failed.
    fn refuse(&mut self, error: ProxyError) -> Response<ResponseBody> {
        let told = error.told();
        match self.exchange.take() {
            Some(exchange) => exchange.refuse(told.status.as_u16(), told.token),
            None => self.log_own(told.status, Some(told.token)),
        }
        let mut response = respond::error(error, self.grpc);
        if error == ProxyError::Overloaded {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }

    /// Writes the access log's line for an answer without a group.
    fn log_own(&mut self, status: StatusCode, error: Option<&'static str>) {
        if let (Some(mut record), Some(log)) = (self.record.take(), &self.client.worker.access_log) {
            record.status = status.as_u16();
            record.error = error;
            record.ms = self.started.elapsed().as_secs_f64() * 1e3;
            log.write(record);
        }
    }
}

/// The upstream's answer on its way to the client.
fn stream_back(
    mut exchange: Exchange,
    mut answer: Answer,
    place: Place,
    secure: bool,
    grpc: Grpc,
) -> Response<ResponseBody> {
    let (mut head, incoming) = answer.response.into_parts();
    let glance = Glance::at(&head.headers);
    if glance.has(Field::KeepAlive) {
        answer.lease.keeps = pool::keeps(&head.headers);
    }
    headers::remove_hop_by_hop(&mut head.headers, glance);
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        exchange.finish_attempt(ProxyError::UnexpectedUpgrade.outcome());
        exchange.refuse(StatusCode::BAD_GATEWAY.as_u16(), "http_upgrade_failed");
        return respond::error(ProxyError::UnexpectedUpgrade, grpc);
    }
    exchange.answer(head.status.as_u16());
    let service = exchange.claim.service();
    if let (Some(id), Affinity::Cookie { name, .. }) = (place.assigned, &service.affinity) {
        affinity::set_cookie(&mut head.headers, name, id, secure);
    }
    if let Some(name) = &service.expose {
        head.headers.insert(name.clone(), exchange.claim.group().name_value.clone());
    }
    let outcome = outcome(&head, grpc);
    head.version = http::Version::HTTP_11;
    head.extensions = http::Extensions::new();
    Response::from_parts(head, ResponseBody::upstream(incoming, exchange, answer.lease, outcome, grpc))
}

/// How the attempt stands by the head of the answer alone; gRPC's Trailers-Only form has its status there.
fn outcome(head: &http::response::Parts, grpc: Grpc) -> Outcome {
    if head.status.is_server_error() {
        return Outcome::ServerError;
    }
    if grpc == Grpc::Yes { grpc_outcome(&head.headers) } else { Outcome::Ok }
}
