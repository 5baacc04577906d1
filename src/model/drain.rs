//! Drains: parts of a service that are being let go of, or have been.
//!
//! A drain is a part of desired state, because a group that was drained must not come back by a restart. It begins
//! because somebody asks for it or because a switch has replaced a group; it ends because everything has gone, because
//! its time is over, or because the group is wanted again. Pure: when anything has gone is for others to find out.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

use super::change::{ChangeError, Decision, Desired, Move, Numbered, ServiceState};
use super::names::{GroupName, ServiceName};
use super::split::Share;

/// What is drained: a group, or one of its upstreams.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Part {
    /// The group.
    pub group: GroupName,
    /// The upstream's URL; none: the group as a whole.
    pub upstream: Option<String>,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.upstream {
            None => write!(f, "group {}", self.group),
            Some(url) => write!(f, "upstream {url} of group {}", self.group),
        }
    }
}

/// How a drain has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything had gone by itself before the deadline.
    Drained,
    /// Something was left at the deadline.
    TimedOut,
    /// It was called off, or the group was wanted again.
    Cancelled,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Drained, Self::TimedOut, Self::Cancelled];

    /// Its name in the API.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Drained => "drained",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|o| o.label() == label)
    }
}

/// The end of a drain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// How.
    pub outcome: Outcome,
    /// When.
    pub at: Timestamp,
    /// Why, for people; empty where there is nothing to say.
    pub why: String,
}

/// A part that is being drained, or was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    /// When it began.
    pub began: Timestamp,
    /// What has not gone by then is told to.
    pub deadline: Timestamp,
    /// None while it is under way.
    pub end: Option<End>,
    /// How the last drain of this part has ended, where there was one.
    pub last: Option<Outcome>,
}

impl Drain {
    /// Whether it is under way.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        self.end.is_none()
    }

    /// Whether users are kept out: it is under way, or has ended and was not called off.
    #[must_use]
    pub fn keeps_out(&self) -> bool {
        !matches!(self.end, Some(End { outcome: Outcome::Cancelled, .. }))
    }

    /// Its state as the API says it.
    #[must_use]
    pub fn label(&self) -> &'static str {
        self.end.as_ref().map_or("draining", |end| end.outcome.label())
    }
}

/// The drains of a service, under way or ended, each part's last one.
pub type Drains = BTreeMap<Part, Drain>;

/// From when to when a drain takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// Its begin.
    pub began: Timestamp,
    /// Its deadline.
    pub deadline: Timestamp,
}

impl ServiceState {
    /// Begins a drain of `part`, whatever there was before.
    pub fn begin_drain(&mut self, part: Part, term: Term) {
        let last = self.drains.get(&part).and_then(|d| d.end.as_ref().map_or(d.last, |end| Some(end.outcome)));
        let Term { began, deadline } = term;
        self.drains.insert(part, Drain { began, deadline, end: None, last });
    }

    /// Ends the drain of `part` that began at `began`; nothing where it has ended already or is another one.
    pub fn end_drain(&mut self, part: &Part, began: Timestamp, end: End) {
        let under_way = self.drains.get_mut(part).filter(|d| d.is_under_way() && d.began == began);
        if let Some(drain) = under_way {
            (drain.last, drain.end) = (Some(end.outcome), Some(end));
        }
    }

    /// Calls off whatever keeps users away from `part`; says whether there was anything.
    pub fn reopen(&mut self, part: &Part, at: Timestamp, why: &str) -> bool {
        let Some(drain) = self.drains.get_mut(part).filter(|d| d.keeps_out()) else { return false };
        let outcome = Outcome::Cancelled;
        // Of a drain that had ended, the result stays readable: that it was lifted is no result.
        drain.last = if drain.is_under_way() { Some(outcome) } else { drain.last };
        drain.end = Some(End { outcome, at, why: why.to_owned() });
        true
    }

    /// Whether a drain keeps users away from the group as a whole.
    #[must_use]
    pub fn is_kept_out(&self, group: &GroupName) -> bool {
        let part = Part { group: group.clone(), upstream: None };
        self.drains.get(&part).is_some_and(Drain::keeps_out)
    }
}

/// Why a drain that was under way is over when traffic comes back.
const WANTED_AGAIN: &str = "the group was given traffic again";

impl Decision {
    /// Opens the groups that the decision gives traffic to.
    pub(super) fn reopen_wanted(&mut self, at: Timestamp, wanted: Wanted) {
        for moved in &mut self.moves {
            let Some(state) = self.desired.services.get_mut(moved.service.as_str()) else { continue };
            let is_wanted = |group: &GroupName| {
                let (before, after) = (moved.before.share(group), moved.after.share(group));
                after > before || (wanted == Wanted::EveryShare && after > Share::NONE)
            };
            let groups: Vec<_> = moved.after.iter().map(|(g, _)| g.clone()).filter(is_wanted).collect();
            for group in groups {
                moved.changed |= state.reopen(&Part { group, upstream: None }, at, WANTED_AGAIN);
            }
        }
    }

    /// Begins drains of the groups that have lost their share by this decision; where it moved nothing, of those that
    /// a rollback would go back to and that have no share now. Groups that are kept out already are left alone.
    pub fn drain_replaced(&mut self, term: impl Fn(&ServiceName) -> Term) {
        let numbered = if self.changed() { Numbered::Already } else { Numbered::NotYet };
        for moved in &mut self.moves {
            let Some(state) = self.desired.services.get_mut(moved.service.as_str()) else { continue };
            let before = if moved.before == moved.after { &moved.stable } else { &moved.before };
            let is_replaced = |group: &GroupName| {
                let lost = before.share(group) > Share::NONE && moved.after.share(group) == Share::NONE;
                lost && !state.is_kept_out(group)
            };
            let groups: Vec<_> = moved.after.iter().map(|(g, _)| g.clone()).filter(is_replaced).collect();
            moved.changed |= !groups.is_empty();
            for group in groups {
                state.begin_drain(Part { group, upstream: None }, term(&moved.service));
            }
        }
        self.number(numbered);
    }
}

/// Begins a drain of `part` of `service`; where it is under way already, nothing.
///
/// # Errors
/// [`ChangeError`] when there is no such service or group. Upstreams are known to others.
pub fn begin(desired: &Desired, service: &ServiceName, part: &Part, term: Term) -> Result<Decision, ChangeError> {
    decided(desired, service, part, |state| {
        let fresh = !state.drains.get(part).is_some_and(Drain::is_under_way);
        if fresh {
            state.begin_drain(part.clone(), term);
        }
        fresh
    })
}

/// Calls the drain of `part` off, or lifts it where it has ended.
///
/// # Errors
/// As for [`begin`].
pub fn call_off(
    desired: &Desired,
    service: &ServiceName,
    part: &Part,
    at: Timestamp,
    why: &str,
) -> Result<Decision, ChangeError> {
    decided(desired, service, part, |state| state.reopen(part, at, why))
}

fn decided(
    desired: &Desired,
    service: &ServiceName,
    part: &Part,
    change: impl FnOnce(&mut ServiceState) -> bool,
) -> Result<Decision, ChangeError> {
    if part.upstream.is_none() {
        desired.may_be_moved(service)?;
    }
    let mut next = desired.clone();
    let unknown = || super::change::unknown_service(desired, service);
    let state = next.services.get_mut(service.as_str()).ok_or_else(unknown)?;
    state.known(service, &part.group)?;
    let changed = change(state);
    let (split, stable) = (state.split.clone(), state.stable.clone());
    let moved = Move { service: service.clone(), before: split.clone(), after: split, stable, changed };
    let mut decision = Decision { desired: next, moves: vec![moved] };
    decision.number(Numbered::NotYet);
    Ok(decision)
}

/// Which groups a change wants to be open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Those whose share has grown.
    MoreShare,
    /// All that have one.
    EveryShare,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::change::decide;
    use crate::model::change::samples::*;

    fn second(n: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + n).unwrap()
    }

    fn term() -> Term {
        Term { began: second(1), deadline: second(31) }
    }

    fn whole(name: &str) -> Part {
        Part { group: group(name), upstream: None }
    }

    /// `shop` was switched to green, and blue is being drained.
    fn switched() -> Desired {
        let mut decision = decide(&started("blue 100 canary 0 green 0"), &switch("green"), second(1)).unwrap();
        decision.drain_replaced(|_| term());
        decision.desired
    }

    fn ended(desired: &Desired, outcome: Outcome) -> Desired {
        let mut next = desired.clone();
        let state = next.services.get_mut("shop").unwrap();
        state.end_drain(&whole("blue"), second(1), End { outcome, at: second(5), why: String::new() });
        next
    }

    #[test]
    fn a_switch_drains_what_it_has_replaced_and_nothing_else() {
        let desired = switched();
        let drains = &shop(&desired).drains;
        assert_eq!(drains.keys().collect::<Vec<_>>(), [&whole("blue")]);
        assert!(drains[&whole("blue")].is_under_way() && shop(&desired).is_kept_out(&group("blue")));
        assert_eq!((desired.version, shop(&desired).version), (2, 2));
    }

    #[test]
    fn a_switch_that_was_made_before_drains_what_it_had_replaced_then() {
        let before = after(&started("blue 100 canary 0 green 0"), &[switch("green")]);
        let mut again = decide(&before, &switch("green"), second(1)).unwrap();
        assert!(!again.changed());
        again.drain_replaced(|_| term());
        assert!(again.changed() && shop(&again.desired).is_kept_out(&group("blue")));
        assert_eq!(again.desired.version, before.version + 1);
        let mut third = decide(&again.desired, &switch("green"), second(2)).unwrap();
        third.drain_replaced(|_| term());
        assert!(!third.changed(), "it is being drained already");
    }

    #[test]
    fn whoever_gets_traffic_again_is_open_again_in_the_same_step() {
        for outcome in [None, Some(Outcome::Drained), Some(Outcome::TimedOut)] {
            let desired = outcome.map_or_else(switched, |o| ended(&switched(), o));
            for intent in [rollback(), switch("blue"), shift("blue", 10.0), set("blue 50 green 50")] {
                let next = decide(&desired, &intent, second(9)).unwrap().desired;
                let drain = &shop(&next).drains[&whole("blue")];
                assert!(!drain.keeps_out() && !shop(&next).is_kept_out(&group("blue")), "{intent:?}");
                assert_eq!(drain.last, Some(outcome.unwrap_or(Outcome::Cancelled)), "{intent:?}");
            }
            let next = decide(&desired, &shift("canary", 10.0), second(9)).unwrap().desired;
            assert!(shop(&next).is_kept_out(&group("blue")), "it still has no share");
        }
    }

    #[test]
    fn a_live_group_that_was_drained_by_force_is_opened_by_a_switch_to_it() {
        let mut desired = started("blue 100 green 0");
        desired.services.get_mut("shop").unwrap().begin_drain(whole("blue"), term());
        let decision = decide(&desired, &switch("blue"), second(2)).unwrap();
        assert!(decision.changed() && !shop(&decision.desired).is_kept_out(&group("blue")));
        assert_eq!(decision.desired.version, desired.version + 1);
    }

    #[test]
    fn a_drain_is_begun_once_and_called_off_once() {
        let (shop_name, part) =
            (service("shop"), Part { group: group("green"), upstream: Some("http://a:1".to_owned()) });
        let begun = begin(&started("blue 100 green 0"), &shop_name, &part, term()).unwrap();
        assert!(begun.changed() && begun.desired.version == 2);
        assert!(!begin(&begun.desired, &shop_name, &part, term()).unwrap().changed());
        let off = call_off(&begun.desired, &shop_name, &part, second(2), "later").unwrap();
        assert!(off.changed() && off.desired.version == 3);
        assert_eq!(shop(&off.desired).drains[&part].label(), "cancelled");
        assert!(!call_off(&off.desired, &shop_name, &part, second(3), "again").unwrap().changed());
        assert!(begin(&started("blue 100"), &service("api"), &part, term()).is_err());
        assert!(begin(&started("blue 100"), &shop_name, &part, term()).is_err(), "there is no group green");
    }

    #[test]
    fn the_end_of_an_older_drain_does_not_end_a_newer_one() {
        let mut desired = switched();
        let state = desired.services.get_mut("shop").unwrap();
        let newer = Term { began: second(2), deadline: second(40) };
        state.begin_drain(whole("blue"), newer);
        let end = End { outcome: Outcome::Drained, at: second(3), why: String::new() };
        state.end_drain(&whole("blue"), second(1), end.clone());
        assert!(state.drains[&whole("blue")].is_under_way());
        state.end_drain(&whole("blue"), second(2), end);
        assert_eq!(state.drains[&whole("blue")].label(), "drained");
        state.begin_drain(whole("blue"), newer);
        assert_eq!(state.drains[&whole("blue")].last, Some(Outcome::Drained), "the last result stays readable");
    }
}
