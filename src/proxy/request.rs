//! The life of a request, from its head to the head of its answer. Start reading here.
//!
//! snapshot → route → access → hold → choose group (rule, cohort, split, health) and claim → choose upstream → pooled or new
//! connection → send → stream back → record the attempt → release.

use std::rc::Rc;
use std::time::Instant;

use http::StatusCode;

use super::affinity::{self, Place};
use super::body::{Grpc, ResponseBody, grpc_outcome};
use super::choose::{Asked, Chosen, NoChoice, choose};
use super::connection::Client;
use super::error::ProxyError;
use super::exchange::{Began, Exchange};
use super::forward::{Answer, forward};
use super::http1::head::Call;
use super::http1::inbound::Inbound;
use super::outgoing::Outgoing;
use super::respond::Response;
use super::source::Source;
use super::tunnel::extended::Key;
use super::tunnel::{self, Tunnel};
use super::upload::StopsUpload;
use super::{headers, hold, pool, respond, target};
use crate::config::spec::Affinity;
use crate::model::fields::{Fields, Known};
use crate::model::outcome::Outcome;
use crate::routing::admission::Full;
use crate::routing::table::{Action, Route, Target};
use crate::telemetry::access_log::Record;

/// A request as it came.
#[derive(Debug)]
pub(super) struct Asks<'a> {
    pub(super) call: Call,
    pub(super) body: Source,
    /// The connection that it came on; none for HTTP/2.
    pub(super) inbound: Option<&'a Rc<Inbound>>,
    /// It asks for a WebSocket over HTTP/2: the key of the handshake with the upstream.
    pub(super) extended: Option<Key>,
}

/// What is sent back.
#[derive(Debug)]
pub(super) enum Reply {
    Answer(Response),
    /// The head of an answer, after which the connection becomes a tunnel.
    Tunnel(Response, Box<Tunnel>),
}

/// Serves one request.
pub(super) async fn serve(client: &Rc<Client>, mut asks: Asks<'_>) -> Reply {
    let grpc = respond::is_grpc(&asks.call.fields);
    let mut visit = Visit { client, started: Instant::now(), grpc, record: None, exchange: None };
    match visit.go(&mut asks).await {
        Ok(reply) => reply,
        Err(error) => Reply::Answer(visit.refuse(error)),
    }
}

/// A request under way.
struct Visit<'c> {
    client: &'c Rc<Client>,
    started: Instant,
    grpc: Grpc,
    /// The access log's line, until the exchange takes it over.
    record: Option<Box<Record>>,
    /// There is one from the claim of a group until the answer takes it over.
    exchange: Option<Exchange>,
}

impl Visit<'_> {
    async fn go(&mut self, asks: &mut Asks<'_>) -> Result<Reply, ProxyError> {
        let (client, call) = (self.client, &asks.call);
        let address = client.peer.client(&call.fields, &client.listener.trusted_proxies);
        self.record = client.worker.access_log.as_ref().and_then(|log| {
            log.begin(&call.method, target::host(call), call.path.path(), address, client.listener.name.as_str())
        });
        target::check(call)?;
        let target = Target {
            host: target::host(call),
            path: call.path.path(),
            method: &call.method,
            listener: Some(&client.listener.name),
        };
        let query = call.path.query();
        let asked = Asked { target, fields: &call.fields, query, client: address, listener: &client.listener };
        let (chosen, attempt) = match choose(&client.worker, &asked, None) {
            Ok(chosen) => (chosen, self.started),
            Err(NoChoice::Error(error)) => return Err(error),
            // Boxed: waiting is rare, and its state would make every request's future larger.
            Err(why) => (Box::pin(patiently(client, &asked, call, asks.inbound, why)).await?, Instant::now()),
        };
        match chosen {
            Chosen::Answer { snapshot, route } => Ok(Reply::Answer(self.answer(&snapshot.routes.all()[route], call))),
            Chosen::Well { snapshot, route } => {
                self.log_own(StatusCode::OK, None);
                let mut response = respond::well();
                headers::edit(&mut response.fields, &snapshot.routes.all()[route].response_headers);
                Ok(Reply::Answer(response))
            }
            Chosen::Forward { claim, route, place, admitted } => {
                let began = Began { request: self.started, attempt: Some(attempt) };
                self.exchange = Some(Exchange::new(client, claim, admitted, began, self.record.take()));
                self.forward(asks, route, place).await
            }
        }
    }

    /// To the claimed group, and its answer back.
    async fn forward(&mut self, asks: &mut Asks<'_>, route: usize, place: Place) -> Result<Reply, ProxyError> {
        let mut exchange = self.exchange.take().ok_or(ProxyError::NoHealthyUpstream)?;
        let snapshot = Rc::clone(&exchange.claim.snapshot);
        let route = &snapshot.routes.all()[route];
        // Only a cookie asks for it.
        let trusted = &self.client.listener.trusted_proxies;
        let secure = place.assigned.is_some() && self.client.peer.is_secure(&asks.call.fields, trusted);
        let sent = async {
            let limit = snapshot.services[exchange.claim.service].limits.body;
            let mut outgoing = Outgoing::new(self.client, asks, route, limit)?;
            let upload = outgoing.upload.clone().map(StopsUpload);
            let mut answer = forward(&mut exchange, &mut outgoing, place).await?;
            answer.lease.upload = upload;
            Ok((answer, outgoing.is_upgrade()))
        };
        let (answer, upgrade) = match sent.await {
            Ok(sent) => sent,
            Err(error) => {
                self.exchange = Some(exchange);
                return Err(error);
            }
        };
        let mut reply = match answer.body {
            Source::Upstream(outbound) if upgrade && answer.status == StatusCode::SWITCHING_PROTOCOLS => {
                tunnel::open(self.client, exchange, answer.fields, outbound.into_io(), asks.extended.as_ref())
            }
            _ if asks.extended.is_some() && answer.status.is_success() => tunnel::extended::refuse(exchange),
            body => Reply::Answer(stream_back(exchange, Answer { body, ..answer }, place, secure, self.grpc)),
        };
        let (Reply::Answer(response) | Reply::Tunnel(response, _)) = &mut reply;
        headers::edit(&mut response.fields, &route.response_headers);
        Ok(reply)
    }

    /// The route's own answer.
    fn answer(&mut self, route: &Route, call: &Call) -> Response {
        let mut response = match &route.action {
            Action::Redirect { to, status } => respond::redirect(to, *status, target::host_with_port(call), &call.path),
            Action::Respond { status, body, content_type } => {
                respond::fixed(*status, content_type.as_bytes(), body.clone())
            }
            Action::Forward(_) => respond::error(ProxyError::NoRoute, self.grpc),
        };
        headers::edit(&mut response.fields, &route.response_headers);
        self.log_own(response.status, None);
        response
    }

    /// The answer to a request that failed.
    fn refuse(&mut self, error: ProxyError) -> Response {
        let told = error.told();
        match self.exchange.take() {
            Some(exchange) => exchange.refuse(told.status.as_u16(), told.token),
            None => self.log_own(told.status, Some(told.token)),
        }
        respond::error(error, self.grpc)
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

/// Chooses again and again, each time by the table of the moment, after what a choice has to wait for.
async fn patiently(
    client: &Client,
    asked: &Asked<'_>,
    call: &Call,
    inbound: Option<&Rc<Inbound>>,
    mut why: NoChoice,
) -> Result<Chosen, ProxyError> {
    let mut was_held = false;
    loop {
        let admitted = match why {
            NoChoice::Error(error) => return Err(error),
            NoChoice::Held(hold) => {
                hold::wait(&hold, call, inbound).await?;
                was_held = true;
                None
            }
            NoChoice::Full { admission, patience } if was_held => Some(admission.wait_after_hold(patience).await),
            NoChoice::Full { admission, patience } => Some(admission.wait(patience).await),
        };
        let admitted = admitted.transpose().map_err(|Full| ProxyError::Overloaded)?;
        match choose(&client.worker, asked, admitted) {
            Ok(chosen) => return Ok(chosen),
            Err(again) => why = again,
        }
    }
}

/// The upstream's answer on its way to the client.
fn stream_back(mut exchange: Exchange, answer: Answer, place: Place, secure: bool, grpc: Grpc) -> Response {
    let Answer { status, mut fields, body, mut lease } = answer;
    lease.keeps = pool::keeps(&fields);
    headers::remove_hop_by_hop(&mut fields);
    if status == StatusCode::SWITCHING_PROTOCOLS {
        exchange.finish_attempt(ProxyError::UnexpectedUpgrade.outcome());
        exchange.refuse(StatusCode::BAD_GATEWAY.as_u16(), "http_upgrade_failed");
        return respond::error(ProxyError::UnexpectedUpgrade, grpc);
    }
    exchange.answer(status.as_u16());
    let service = exchange.claim.service();
    if let (Some(id), Affinity::Cookie { name, .. }) = (place.assigned, &service.affinity) {
        affinity::set_cookie(&mut fields, name, id, secure);
    }
    if let Some(name) = &service.expose {
        fields.set_named(name, &exchange.claim.group().name_value);
    }
    if headers::is_event_stream(&fields) {
        exchange.become_stream();
    }
    let outcome = outcome(status, &fields, grpc);
    Response { status, fields, body: ResponseBody::upstream(body, exchange, lease, outcome, grpc) }
}

/// How the attempt stands by the head of the answer alone; gRPC's Trailers-Only form has its status there.
fn outcome(status: StatusCode, fields: &Fields, grpc: Grpc) -> Outcome {
    if status.is_server_error() {
        return Outcome::ServerError;
    }
    if grpc == Grpc::Yes { grpc_outcome(fields.get(Known::GrpcStatus)) } else { Outcome::Ok }
}
