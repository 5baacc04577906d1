//! A request under way: what it holds and what is written down about it, from the choice of its group to the last
//! byte of its answer.
//!
//! Whatever way a request ends (answered, failed, its client gone), dropping its [`Exchange`] gives back what it held
//! and counts what happened. What users did counts at the group of each attempt, for verdicts (see
//! [`crate::routing::live::Tally`]).

use std::rc::Rc;
use std::time::Instant;

use super::balance::Comer;
use super::choose::Claim;
use super::connection::Client;
use super::tunnels::{Berth, Enrolled};
use super::worker::Worker;
use crate::config::spec::SendsTo;
use crate::model::outcome::Outcome;
use crate::routing::admission::Admitted;
use crate::routing::live::{GroupSlot, UpstreamLive};
use crate::routing::publish::Snapshot;
use crate::routing::table::Group;
use crate::telemetry::access_log::Record;

/// The code that is counted for a request whose client left before the answer's head (nginx's 499).
const CLIENT_GONE: u16 = 499;

/// An answer that has been on its way for more seconds than this counts as a stream.
const BEFORE_STREAM: u64 = 10;

/// A request under way at a group.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) worker: Rc<Worker>,
    pub(super) claim: Claim,
    /// Its place among the requests of the service, where their number is limited.
    admitted: Option<Admitted>,
    bound: Bound,
    began: Began,
    attempt: Option<Attempt>,
    answered: Option<u16>,
    /// The worker's second in which that was.
    answered_at: u64,
    kind: Kind,
    pub(super) record: Option<Box<Record>>,
}

/// When a request began, read once: clocks are read as little as possible.
#[derive(Clone, Copy, Debug)]
pub(super) struct Began {
    pub(super) request: Instant,
    /// Its first attempt: the same, unless the request had to wait before it got its group. None once there was one.
    pub(super) attempt: Option<Instant>,
}

/// What an attempt asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    Answer,
    WebSocket,
}

/// Whether a request must stay at its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    No,
    /// It validates this group; an answer of another one would prove nothing.
    ToGroup,
}

/// Whether an answer is one that a drain may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Brief,
    /// It is counted among the streams of its group.
    Stream,
}

/// One try at one upstream; ends as "client gone" unless somebody says otherwise.
#[derive(Debug)]
struct Attempt {
    snapshot: Snapshot,
    service: usize,
    group: usize,
    upstream: usize,
    began: Instant,
    wants: Wants,
}

impl Exchange {
    pub(super) fn new(
        client: &Client,
        claim: Claim,
        admitted: Option<Admitted>,
        began: Began,
        record: Option<Box<Record>>,
    ) -> Self {
        let budget = claim.service().retries.budget.ppm();
        claim.slot().retry_tokens.deposit(budget);
        claim.slot().last.set(client.worker.unix());
        let bound = if client.listener.sends_to == SendsTo::Candidate { Bound::ToGroup } else { Bound::No };
        Self {
            worker: Rc::clone(&client.worker),
            claim,
            admitted,
            bound,
            began,
            attempt: None,
            answered: None,
            answered_at: 0,
            kind: Kind::Brief,
            record,
        }
    }

    /// Whether another group may stand in: the service says so, and nobody asked for this very group.
    pub(super) fn may_change_group(&self) -> bool {
        self.claim.service().retries.across_groups && self.bound == Bound::No
    }

    /// Whether its group has been cut off from users since it was chosen.
    pub(super) fn is_kept_away(&self) -> bool {
        self.is_of_user() && self.claim.group().has_blown()
    }

    /// On whose behalf it comes to upstreams.
    pub(super) fn comer(&self) -> Comer {
        match self.bound {
            Bound::No => Comer::User,
            Bound::ToGroup => Comer::Validation,
        }
    }

    /// An attempt at the upstream with this index begins.
    pub(super) fn begin_attempt(&mut self, upstream: usize, wants: Wants) {
        let Claim { snapshot, service, group, .. } = &self.claim;
        let (snapshot, service, group) = (Rc::clone(snapshot), *service, *group);
        let began = self.began.attempt.take().unwrap_or_else(Instant::now);
        let attempt = Attempt { snapshot, service, group, upstream, began, wants };
        let slot = attempt.live().slot(self.worker.index);
        slot.in_flight.enter();
        slot.last.set(self.worker.unix());
        if let Some(record) = &mut self.record {
            record.upstream = Some(attempt.live().endpoint.url.clone());
            record.attempts += 1;
        }
        self.attempt = Some(attempt);
    }

    /// The attempt under way has ended; nothing when none is.
    pub(super) fn finish_attempt(&mut self, outcome: Outcome) {
        let Some(attempt) = self.attempt.take() else { return };
        self.count(&attempt, outcome);
        if attempt.wants == Wants::WebSocket && self.is_of_user() && outcome.fails_handshake(self.answered) {
            self.slot_of(&attempt).tally.failed_handshake();
        }
    }

    /// An attempt that is over.
    fn count(&self, attempt: &Attempt, outcome: Outcome) {
        let slot = attempt.live().slot(self.worker.index);
        slot.in_flight.leave();
        slot.attempts[outcome as usize].add(1);
        if self.is_of_user() {
            self.slot_of(attempt).tally.ended(outcome);
            if outcome.is_failure() {
                let group = attempt.group();
                group.live.note_failure(outcome, group.fuse);
            }
        }
    }

    /// The attempt under way has a connection: an attempt of a user that reaches the claimed group.
    pub(super) fn note_connection(&self) {
        if self.is_of_user() {
            self.claim.group().live.fuse().reached();
        }
    }

    /// The head of the answer to the attempt under way has come; nothing when none is.
    fn note_head(&self, now: Instant) {
        let Some(attempt) = self.attempt.as_ref().filter(|_| self.is_of_user()) else { return };
        self.slot_of(attempt).tally.answered(micros(attempt.began, now));
        attempt.group().live.fuse().reached();
    }

    /// What others do is no matter of verdicts.
    fn is_of_user(&self) -> bool {
        self.comer() == Comer::User
    }

    /// This worker's counts for the attempt's group.
    fn slot_of<'a>(&self, attempt: &'a Attempt) -> &'a GroupSlot {
        attempt.group().live.slot(self.worker.index)
    }

    /// The head of the answer is on its way to the client. It is the upstream's where an attempt is under way.
    pub(super) fn answer(&mut self, status: u16) {
        let now = Instant::now();
        self.note_head(now);
        self.claim.slot().answered(status, micros(self.began.request, now));
        self.answered = Some(status);
        self.answered_at = self.worker.now();
    }

    /// The proxy answers itself, because of this error.
    pub(super) fn refuse(mut self, status: u16, error: &'static str) {
        if let Some(record) = &mut self.record {
            record.error = Some(error);
        }
        self.answer(status);
    }

    /// The request has become a tunnel, and is counted as one until this is dropped. None where there is no attempt
    /// that it could have come of.
    pub(super) fn become_tunnel(&mut self) -> Option<Enrolled> {
        self.note_head(Instant::now());
        let attempt = self.attempt.take()?;
        let Attempt { service, group, upstream, .. } = attempt;
        let berth = Berth { snapshot: Rc::clone(&attempt.snapshot), service, group, upstream };
        // First in, then out: the sum of both never misses it.
        let enrolled = self.worker.tunnels.add(berth);
        self.count(&attempt, Outcome::Ok);
        if self.is_of_user() {
            self.slot_of(&attempt).tally.accepted_handshake();
        }
        self.claim.hold_as_tunnel();
        self.admitted = None;
        Some(enrolled)
    }

    /// The answer is a stream: events that go on for as long as somebody listens.
    pub(super) fn become_stream(&mut self) {
        if self.kind == Kind::Brief {
            self.kind = Kind::Stream;
            self.claim.slot().streams.enter();
        }
    }

    /// A piece of the answer passes. One that has been on its way for long is a stream, whatever it calls itself.
    pub(super) fn note_piece(&mut self) {
        if self.kind == Kind::Brief && self.worker.now().saturating_sub(self.answered_at) > BEFORE_STREAM {
            self.become_stream();
        }
    }

    fn write_record(&mut self) {
        let (Some(mut record), Some(log)) = (self.record.take(), &self.worker.access_log) else { return };
        record.status = self.answered.unwrap_or(CLIENT_GONE);
        record.service = Some(self.claim.service().name.clone());
        record.group = Some(self.claim.group().name.clone());
        record.ms = self.began.request.elapsed().as_secs_f64() * 1e3;
        log.write(record);
    }
}

impl Attempt {
    fn group(&self) -> &Group {
        &self.snapshot.services[self.service].groups[self.group]
    }

    fn live(&self) -> &UpstreamLive {
        &self.group().upstreams[self.upstream].live
    }
}

fn micros(from: Instant, to: Instant) -> u64 {
    to.saturating_duration_since(from).as_micros() as u64
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.finish_attempt(Outcome::ClientGone);
        if self.answered.is_none() {
            self.answer(CLIENT_GONE);
        }
        if self.kind == Kind::Stream {
            self.claim.slot().streams.leave();
        }
        self.write_record();
    }
}
