//! What verdicts are made of: the attempts that users made at a group.
//!
//! Not counted: validation traffic, attempts whose client left first, attempts that the upstream refused unprocessed,
//! and answers of our own. An attempt's time is its own, from its start to the head of its answer: what a request has
//! waited for in a hold, or lost at another group, says nothing about this one. It is counted with the head, the rest
//! when the attempt ends. Tunnels count by their handshake alone: how they end later is as often the client's network.

use super::Count;
use crate::model::histogram;
use crate::model::outcome::Outcome;
use crate::model::verdict::Figures;

/// One worker's counts of what users did at a group.
#[derive(Debug)]
pub struct TallySlot {
    ok: Count,
    failed: Count,
    /// WebSockets that were opened.
    accepted: Count,
    /// WebSockets that were asked for in vain.
    refused: Count,
    /// Not boxed: what is boxed may share a memory line with another worker's.
    durations: [Count; histogram::BUCKETS],
}

impl Default for TallySlot {
    fn default() -> Self {
        let [ok, failed, accepted, refused] = Default::default();
        Self { ok, failed, accepted, refused, durations: std::array::from_fn(|_| Count::default()) }
    }
}

impl TallySlot {
    /// An attempt has ended.
    pub fn ended(&self, outcome: Outcome) {
        match outcome {
            Outcome::Ok => self.ok.add(1),
            Outcome::ServerError | Outcome::ConnectFailed | Outcome::TimedOut | Outcome::Broken => self.failed.add(1),
            Outcome::Unprocessed | Outcome::ClientGone => {}
        }
    }

    /// The head of an answer has come, so many microseconds after its attempt began.
    pub fn answered(&self, micros: u64) {
        self.durations[histogram::bucket(micros)].add(1);
    }

    /// An attempt has opened a WebSocket.
    pub fn accepted_handshake(&self) {
        self.accepted.add(1);
    }

    /// An attempt has asked for a WebSocket, and it is held against the upstream that there is none (see
    /// [`Outcome::fails_handshake`]).
    pub fn failed_handshake(&self) {
        self.refused.add(1);
    }
}

/// What users did at a group since it exists, over all workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Attempts that ended well or badly.
    pub attempts: u64,
    /// Those that ended badly.
    pub failures: u64,
    /// WebSocket handshakes that ended well or badly.
    pub handshakes: u64,
    /// Those that ended badly.
    pub handshakes_failed: u64,
    /// Attempts that got an answer, by the time to its head, in the buckets of [`histogram`].
    pub durations: Vec<u64>,
}

impl Tally {
    pub(super) fn of<'s>(slots: impl Iterator<Item = &'s TallySlot>) -> Self {
        let mut all = Self { durations: vec![0; histogram::BUCKETS], ..Self::default() };
        for slot in slots {
            // Each count is read once: there are never more failures than attempts.
            let (failed, refused) = (slot.failed.get(), slot.refused.get());
            all.attempts += slot.ok.get() + failed;
            all.failures += failed;
            all.handshakes += slot.accepted.get() + refused;
            all.handshakes_failed += refused;
            all.durations.iter_mut().zip(&slot.durations).for_each(|(sum, count)| *sum += count.get());
        }
        all
    }

    /// What has happened since `earlier`, a tally of the same group. Of another one with its name (it was removed and
    /// has come back) nothing can be said: what would be negative is 0.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Figures {
        let before = earlier.durations.iter().copied().chain(std::iter::repeat(0));
        Figures {
            attempts: self.attempts.saturating_sub(earlier.attempts),
            failures: self.failures.saturating_sub(earlier.failures),
            durations: self.durations.iter().zip(before).map(|(now, before)| now.saturating_sub(before)).collect(),
            handshakes: self.handshakes.saturating_sub(earlier.handshakes),
            handshakes_failed: self.handshakes_failed.saturating_sub(earlier.handshakes_failed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_well_or_badly_is_counted_and_what_was_nobodys_fault_is_not() {
        let slots = [TallySlot::default(), TallySlot::default()];
        for (i, outcome) in Outcome::ALL.into_iter().enumerate() {
            slots[i % 2].ended(outcome);
        }
        let tally = Tally::of(slots.iter());
        assert_eq!((tally.attempts, tally.failures), (5, 4));
    }

    #[test]
    fn the_difference_of_two_tallies_is_what_happened_between_them() {
        let slots = [TallySlot::default(), TallySlot::default()];
        let tally = || Tally::of(slots.iter());
        slots[0].ended(Outcome::Broken);
        slots[0].answered(50);
        slots[0].failed_handshake();
        let first = tally();
        assert_eq!(first.since(&Tally::default()).failures, 1);
        slots[0].ended(Outcome::Ok);
        slots[1].ended(Outcome::TimedOut);
        slots[1].answered(50);
        slots[1].answered(7_000);
        slots[1].accepted_handshake();
        slots[0].failed_handshake();
        let between = tally().since(&first);
        let counts = (between.attempts, between.failures, between.handshakes, between.handshakes_failed);
        assert_eq!(counts, (2, 1, 2, 1));
        assert_eq!(between.durations.len(), histogram::BUCKETS);
        let seen = |micros| between.durations[histogram::bucket(micros)];
        assert_eq!((seen(50), seen(7_000), between.durations.iter().sum()), (1, 1, 2_u64));
        assert_eq!(first.since(&tally()).attempts, 0, "a group that has begun anew");
    }
}
