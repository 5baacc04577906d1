//! Sends a request to upstreams until one answers: the loop of attempts.
//!
//! Each attempt is recorded with its group; what may be repeated, and where, is decided in [`super::retry`].

use std::sync::Arc;

use http::StatusCode;
use smallvec::SmallVec;

use super::affinity::Place;
use super::balance;
use super::choose;
use super::error::ProxyError;
use super::exchange::Exchange;
use super::outgoing::Outgoing;
use super::pool::Lease;
use super::retry::{self, Again, Reached};
use super::send;
use super::source::Source;
use crate::model::fields::Fields;

/// An upstream's answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) fields: Fields,
    pub(super) body: Source,
    pub(super) lease: Lease,
}

/// Why an attempt failed, and how far it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failed {
    pub(super) error: ProxyError,
    pub(super) reached: Reached,
}

impl Failed {
    /// Before anything was written.
    pub(super) fn unsent(error: ProxyError) -> Self {
        Self { error, reached: Reached::Nothing }
    }
}

/// What has been tried for a request.
#[derive(Debug, Default)]
struct Tried {
    /// Upstreams of the present group, by index.
    upstreams: SmallVec<[usize; 4]>,
    /// Groups before the present one, by index.
    groups: SmallVec<[usize; 4]>,
}

/// Sends the request to the claimed group, and where that is allowed again or elsewhere, until an upstream answers.
pub(super) async fn forward(
    exchange: &mut Exchange,
    outgoing: &mut Outgoing,
    place: Place,
) -> Result<Answer, ProxyError> {
    let mut tried = Tried::default();
    let mut connection = send::Use::Pooled;
    let mut upstream = next_upstream(exchange, place, &tried).ok_or(ProxyError::NoHealthyUpstream)?;
    for retries in 0.. {
        exchange.begin_attempt(upstream, outgoing.wants());
        let failed = match send::attempt(exchange, upstream, outgoing, connection).await {
            Ok(answer) => return Ok(answer),
            Err(failed) => failed,
        };
        exchange.finish_attempt(failed.error.outcome());
        let again = retry::again(failed.reached, outgoing.repeatable());
        if again == Again::No || retries == exchange.claim.service().retries.attempts {
            return Err(failed.error);
        }
        // Paid by the group whose failure it was, whoever takes the request over.
        let payer = Arc::clone(&exchange.claim.group().live);
        // Whoever leaves a group that users are kept away from is no load that would not be there without it.
        let leaves = exchange.is_kept_away();
        // Not to one that is closed by now: it may count as drained as soon as the attempt before has ended.
        if again == Again::FreshConnection && !leaves && may_enter(exchange, upstream) {
            connection = send::Use::Fresh;
        } else {
            connection = send::Use::Pooled;
            tried.upstreams.push(upstream);
            upstream = elsewhere(exchange, outgoing, place, &mut tried).ok_or(failed.error)?;
        }
        let payer = payer.slot(exchange.worker.index);
        if !leaves && !payer.retry_tokens.withdraw() {
            return Err(failed.error);
        }
        payer.retries.add(1);
    }
    Err(ProxyError::NoHealthyUpstream)
}

fn may_enter(exchange: &Exchange, upstream: usize) -> bool {
    exchange.comer().may_enter(exchange.claim.group().upstreams[upstream].live.entrance())
}

fn next_upstream(exchange: &Exchange, place: Place, tried: &Tried) -> Option<usize> {
    let claim = &exchange.claim;
    let (group, balance) = (claim.group(), claim.service().balance);
    balance::upstream(group, balance, place, claim.slot(), exchange.worker.index, &tried.upstreams, exchange.comer())
}

/// Another upstream of the group, else one of another group, which is then claimed instead.
fn elsewhere(exchange: &mut Exchange, outgoing: &mut Outgoing, place: Place, tried: &mut Tried) -> Option<usize> {
    if !exchange.is_kept_away()
        && let Some(upstream) = next_upstream(exchange, place, tried)
    {
        return Some(upstream);
    }
    if !exchange.may_change_group() {
        return None;
    }
    tried.groups.push(exchange.claim.group);
    tried.upstreams.clear();
    let claim = choose::another_group(&exchange.worker, &exchange.claim, &tried.groups, place)?;
    for (name, _) in &exchange.claim.group().headers {
        outgoing.fields.remove_named(name.as_str().as_bytes());
    }
    exchange.claim = claim;
    next_upstream(exchange, place, tried)
}
