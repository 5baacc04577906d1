//! Desired state, and every rule by which it changes.
//!
//! Pure: an intent or a file meets a state, and out comes the next state or a refusal. Whether a group is healthy, who
//! asks, and how a state becomes durable are questions for others.
//!
//! The stable split is where a rollback goes. Whenever a change begins while one group has everything, that split
//! becomes the stable one; a rollback never changes it. So 10, 25, 50 by hand and a rollback lead to 0, a rollback
//! after a completed switch leads to the old group, and repeating it changes nothing.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::cohort::Salt;
use super::drain::{Drains, Wanted};
use super::names::{GroupName, ServiceName};
use super::rollout::{Rollout, RolloutId};
use super::split::{Share, Split};

/// Whether a split becomes the stable one on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Stable {
    /// By the usual rule: what had 100 when a change began.
    #[default]
    ByRule,
    /// This split is where rollbacks go from now on.
    Declared,
}

/// What is wanted of one service. Its splits name exactly the service's groups.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceState {
    /// Shares now.
    pub split: Split,
    /// Where a rollback goes.
    pub stable: Split,
    /// The file's split when it was last applied or found to be so.
    pub file_split: Split,
    /// Key of the cohort hash.
    pub salt: Salt,
    /// [`Desired::version`] when anybody last changed it.
    pub version: u64,
    /// Groups and upstreams that are being drained or were.
    pub drains: Drains,
}

/// What is wanted of all services.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    /// Rises by one with each change.
    pub version: u64,
    /// Services that the file names.
    pub services: BTreeMap<ServiceName, ServiceState>,
    /// Services that the file named once: taken up again when it names them again, so that a slip in the file does
    /// not throw users back to an old version.
    pub retired: BTreeMap<ServiceName, ServiceState>,
    /// Rollouts under way, and of each service the last one that has ended.
    pub rollouts: BTreeMap<RolloutId, Rollout>,
}

impl Desired {
    /// The rollout under way of `service`.
    #[must_use]
    pub fn rollout(&self, service: &str) -> Option<&Rollout> {
        self.rollouts.values().find(|r| !r.state.is_over() && r.moves(service))
    }

    /// Whether somebody else than a rollout may move `service`.
    ///
    /// # Errors
    /// [`ChangeError::RolloutInProgress`].
    pub fn may_be_moved(&self, service: &ServiceName) -> Result<(), ChangeError> {
        let Some(rollout) = self.rollout(service.as_str()) else { return Ok(()) };
        let (id, state) = (rollout.id, rollout.state.label());
        Err(ChangeError::RolloutInProgress { service: service.clone(), id, state })
    }
}

/// What somebody wants to be changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Intent {
    /// This split, for one service; groups not named get nothing.
    Split {
        /// Which service.
        service: ServiceName,
        /// Its new split.
        split: Split,
        /// Whether it becomes the stable one.
        stable: Stable,
    },
    /// This share for one group; the others keep their proportions.
    Shift {
        /// Which service.
        service: ServiceName,
        /// Which group.
        group: GroupName,
        /// Its new share.
        share: Share,
    },
    /// Everything to one group, in each of the services.
    Switch {
        /// Which services.
        services: Vec<ServiceName>,
        /// A group that each of them has.
        to: GroupName,
    },
    /// Back to the stable split, in each of the services.
    Rollback {
        /// Which services.
        services: Vec<ServiceName>,
    },
}

/// Why an intent cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// No such service.
    #[error("there is no service {name:?}; the services are {known}")]
    UnknownService {
        /// As asked.
        name: String,
        /// Comma-separated.
        known: String,
    },
    /// No such group.
    #[error("service {service} has no group {name:?}; its groups are {known}")]
    UnknownGroup {
        /// Which service.
        service: ServiceName,
        /// As asked.
        name: String,
        /// Comma-separated.
        known: String,
    },
    /// A rollout owns the split.
    #[error(
        "service {service} is in rollout {id} ({state}), which owns its split until it ends; abort it, or roll back"
    )]
    RolloutInProgress {
        /// Which service.
        service: ServiceName,
        /// Which rollout.
        id: RolloutId,
        /// Where it is.
        state: &'static str,
    },
    /// There is nothing to roll out.
    #[error("group {group} of service {service} has everything already")]
    AlreadyLive {
        /// Which service.
        service: ServiceName,
        /// Which group.
        group: GroupName,
    },
    /// Services that are to move in lockstep are not at one place.
    #[error("the services do not give group {group} the same share: {shares}")]
    UnevenShares {
        /// The candidate.
        group: GroupName,
        /// What each of them gives it.
        shares: String,
    },
    /// No such rollout is under way.
    #[error("there is no such rollout under way")]
    NoRollout,
    /// What was said to a rollout means nothing where it is.
    #[error("rollout {id} is {state}; this cannot be done then")]
    NotNow {
        /// Which rollout.
        id: RolloutId,
        /// Where it is.
        state: &'static str,
    },
}

/// The next state, and what is different in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The next state; the same as before, version included, when nothing moved.
    pub desired: Desired,
    /// Each service asked for, in the order of the intent, each once.
    pub moves: Vec<Move>,
}

/// What happened to one service.
#[derive(Clone, Debug, PartialEq)]
pub struct Move {
    /// Which.
    pub service: ServiceName,
    /// The split before.
    pub before: Split,
    /// The split now.
    pub after: Split,
    /// Where a rollback goes now.
    pub stable: Split,
    /// Whether its state is another one now. Declaring the current split stable changes the state, not the split.
    pub changed: bool,
}

impl Decision {
    /// Whether anything is different.
    #[must_use]
    pub fn changed(&self) -> bool {
        self.moves.iter().any(|m| m.changed)
    }
}

impl Intent {
    /// The services it is about, each once, in their order.
    #[must_use]
    pub fn services(&self) -> Vec<&ServiceName> {
        let named = match self {
            Intent::Split { service, .. } | Intent::Shift { service, .. } => std::slice::from_ref(service),
            Intent::Switch { services, .. } | Intent::Rollback { services } => services,
        };
        let mut once = Vec::with_capacity(named.len());
        for service in named {
            if !once.contains(&service) {
                once.push(service);
            }
        }
        once
    }
}

/// What `intent` makes of `desired` at `at`: all of it or nothing. Groups that get traffic by it are open again.
///
/// # Errors
/// [`ChangeError`] when it names what there is not.
pub fn decide(desired: &Desired, intent: &Intent, at: Timestamp) -> Result<Decision, ChangeError> {
    let mut next = desired.clone();
    let mut moves = Vec::new();
    for name in intent.services() {
        let state = next.services.get_mut(name.as_str()).ok_or_else(|| unknown_service(desired, name))?;
        if !matches!(intent, Intent::Rollback { .. }) {
            desired.may_be_moved(name)?;
        }
        let old = state.clone();
        state.follow(name, intent)?;
        let changed = *state != old;
        let (after, stable) = (state.split.clone(), state.stable.clone());
        moves.push(Move { service: name.clone(), before: old.split, after, stable, changed });
    }
    let mut decision = Decision { desired: next, moves };
    let wanted = match intent {
        Intent::Switch { .. } | Intent::Rollback { .. } => Wanted::EveryShare,
        Intent::Split { .. } | Intent::Shift { .. } => Wanted::MoreShare,
    };
    decision.reopen_wanted(at, wanted);
    decision.number(Numbered::NotYet);
    Ok(decision)
}

/// Whether a decision has its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbered {
    NotYet,
    Already,
}

impl Decision {
    /// Gives what has changed its version; a new one, unless it was changed and numbered before.
    pub(super) fn number(&mut self, numbered: Numbered) {
        if self.changed() && numbered == Numbered::NotYet {
            self.desired.version += 1;
        }
        for moved in self.moves.iter().filter(|m| m.changed) {
            if let Some(state) = self.desired.services.get_mut(moved.service.as_str()) {
                state.version = self.desired.version;
            }
        }
    }
}

pub(crate) fn unknown_service(desired: &Desired, name: &ServiceName) -> ChangeError {
    ChangeError::UnknownService { name: name.to_string(), known: listed(desired.services.keys()) }
}

/// Names for people: `blue, green`.
fn listed<T: ToString>(names: impl Iterator<Item = T>) -> String {
    names.map(|n| n.to_string()).collect::<Vec<_>>().join(", ")
}

impl ServiceState {
    /// The state of a service that the file names for the first time.
    #[must_use]
    pub fn first(split: Split, salt: Salt, version: u64) -> Self {
        Self { stable: split.clone(), file_split: split.clone(), split, salt, version, drains: Drains::new() }
    }

    /// The group that may come next: of two groups the one that is not live.
    #[must_use]
    pub fn candidate(&self) -> Option<&GroupName> {
        let live = self.split.live();
        let mut others = self.groups().filter(|g| *g != live);
        others.next().filter(|_| others.next().is_none())
    }

    fn groups(&self) -> impl Iterator<Item = &GroupName> {
        self.split.iter().map(|(g, _)| g)
    }

    /// Whether it has this group.
    ///
    /// # Errors
    /// [`ChangeError::UnknownGroup`] with those that it has.
    pub fn known(&self, service: &ServiceName, group: &GroupName) -> Result<(), ChangeError> {
        if self.groups().any(|g| g == group) {
            return Ok(());
        }
        let known = listed(self.groups());
        Err(ChangeError::UnknownGroup { service: service.clone(), name: group.to_string(), known })
    }

    fn follow(&mut self, service: &ServiceName, intent: &Intent) -> Result<(), ChangeError> {
        match intent {
            Intent::Split { split, stable, .. } => {
                split.iter().try_for_each(|(g, _)| self.known(service, g))?;
                let split = over(self.groups(), split).unwrap_or_else(|| split.clone());
                self.begin(split);
                if *stable == Stable::Declared {
                    self.stable = self.split.clone();
                }
            }
            Intent::Shift { group, share, .. } => {
                self.known(service, group)?;
                self.begin(self.split.with_share(group, *share, self.heir(group)));
            }
            Intent::Switch { to, .. } => {
                self.known(service, to)?;
                self.begin(Split::all_to(to, self.groups().cloned()));
            }
            Intent::Rollback { .. } => self.split = self.stable.clone(),
        }
        Ok(())
    }

    /// Moves to `split`; what has everything when a change begins is where a rollback goes.
    fn begin(&mut self, split: Split) {
        if split == self.split {
            return;
        }
        let before = std::mem::replace(&mut self.split, split);
        if before.is_whole() {
            self.stable = before;
        }
    }

    /// Who gets the rest when `group` gives up a part of everything: the group that was live before it.
    fn heir<'a>(&'a self, group: &'a GroupName) -> &'a GroupName {
        let stable = self.stable.live();
        if stable == group { self.groups().find(|g| *g != group).unwrap_or(group) } else { stable }
    }
}

/// `split` over exactly these groups. None when it gives a share to another one.
pub(super) fn over<'a>(groups: impl Iterator<Item = &'a GroupName>, split: &Split) -> Option<Split> {
    Split::new(groups.map(|g| (g.clone(), split.share(g)))).ok()
}

#[cfg(test)]
#[path = "change_samples.rs"]
pub(crate) mod samples;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::samples::*;
    use super::*;
    use crate::model::adoption::adopt;

    #[test]
    fn steps_by_hand_and_a_rollback_lead_to_nothing_on_the_new_group() {
        let at_50 =
            after(&started("blue 100 green 0"), &[shift("green", 10.0), shift("green", 25.0), set("green 50 blue 50")]);
        assert_eq!(shop(&at_50).split, split("blue 50 green 50"));
        assert_eq!(shop(&after(&at_50, &[rollback()])).split, split("blue 100 green 0"));
    }

    #[test]
    fn a_rollback_after_a_switch_leads_back_and_repeating_it_changes_nothing() {
        let switched = after(&started("blue 100 green 0"), &[switch("green")]);
        assert_eq!(shop(&switched).stable, split("blue 100 green 0"));
        let back = decide(&switched, &rollback(), now()).unwrap();
        assert!(back.changed());
        assert_eq!(shop(&back.desired).split, split("blue 100 green 0"));
        let again = decide(&back.desired, &rollback(), now()).unwrap();
        assert!(!again.changed());
        assert_eq!(again.desired, back.desired);
    }

    #[test]
    fn doing_what_is_already_so_keeps_the_version_and_the_way_back() {
        let switched = after(&started("blue 100 green 0"), &[switch("green")]);
        for intent in [switch("green"), set("green 100"), shift("green", 100.0), shift("blue", 0.0)] {
            let again = decide(&switched, &intent, now()).unwrap();
            assert!(!again.changed(), "{intent:?}");
            assert_eq!(again.desired, switched);
        }
    }

    #[test]
    fn a_split_that_is_declared_stable_is_where_a_rollback_goes() {
        let declared =
            Intent::Split { service: service("shop"), split: split("blue 50 green 50"), stable: Stable::Declared };
        let desired = after(&started("blue 100 green 0"), &[declared.clone(), shift("green", 80.0)]);
        assert_eq!(shop(&after(&desired, &[rollback()])).split, split("blue 50 green 50"));
        let at_50 = after(&started("blue 100 green 0"), &[set("blue 50 green 50")]);
        let declaring = decide(&at_50, &declared, now()).unwrap();
        assert!(declaring.changed() && declaring.desired.version == at_50.version + 1);
        assert!(!decide(&declaring.desired, &declared, now()).unwrap().changed());
    }

    #[test]
    fn what_is_not_there_is_refused_with_the_names_that_are() {
        let desired = started("blue 100 green 0");
        let unknown = decide(&desired, &switch("red"), now()).unwrap_err().to_string();
        assert_eq!(unknown, "service shop has no group \"red\"; its groups are blue, green");
        let unknown = decide(&desired, &Intent::Rollback { services: vec![service("shop"), service("api")] }, now());
        assert_eq!(unknown.unwrap_err().to_string(), "there is no service \"api\"; the services are shop");
        assert!(decide(&desired, &set("blue 50 red 50"), now()).is_err());
    }

    #[test]
    fn the_rest_of_a_shrinking_group_goes_to_the_one_that_was_live_before() {
        let three = started("blue 0 canary 0 green 100");
        let desired = after(&three, &[switch("blue"), shift("blue", 75.0)]);
        assert_eq!(shop(&desired).split, split("blue 75 canary 0 green 25"));
        assert_eq!(shop(&after(&three, &[shift("green", 60.0)])).split, split("blue 40 canary 0 green 60"));
    }

    #[test]
    fn of_two_groups_the_candidate_is_the_one_that_is_not_live() {
        assert_eq!(shop(&started("blue 100 green 0")).candidate(), Some(&group("green")));
        assert_eq!(shop(&started("blue 10 green 90")).candidate(), Some(&group("blue")));
        assert_eq!(shop(&started("blue 100")).candidate(), None);
        assert_eq!(shop(&started("blue 100 canary 0 green 0")).candidate(), None);
    }

    proptest! {
        #[test]
        fn whatever_is_asked_for_the_rules_hold(intents in proptest::collection::vec(any_intent(), 1..30)) {
            let mut api = file("blue 100 canary 0 green 0");
            api.name = service("api");
            let mut desired = adopt(&Desired::default(), &[file("blue 100 canary 0 green 0"), api], || Salt(1)).desired;
            for intent in &intents {
                let decision = decide(&desired, intent, now()).unwrap();
                let next = &decision.desired;
                prop_assert_eq!(next.version, desired.version + u64::from(decision.changed()));
                prop_assert_eq!(decision.changed(), *next != desired);
                for (name, state) in &next.services {
                    let old = &desired.services[name];
                    prop_assert_eq!(total(&state.split), 1_000_000);
                    prop_assert_eq!(total(&state.stable), 1_000_000);
                    prop_assert_eq!(state.split.iter().count(), 3);
                    prop_assert_eq!(&state.file_split, &old.file_split);
                    let touched = intent.services().contains(&name);
                    prop_assert!(touched || state == old);
                    let declared = matches!(intent, Intent::Split { stable: Stable::Declared, .. });
                    match intent {
                        Intent::Rollback { .. } if touched => {
                            prop_assert_eq!(&state.split, &state.stable);
                            prop_assert_eq!(&state.stable, &old.stable);
                        }
                        _ if state.split != old.split && old.split.is_whole() && !declared => {
                            prop_assert_eq!(&state.stable, &old.split);
                        }
                        _ if !declared => prop_assert_eq!(&state.stable, &old.stable),
                        _ => prop_assert_eq!(&state.stable, if touched { &state.split } else { &old.stable }),
                    }
                }
                let again = decide(next, intent, now()).unwrap();
                prop_assert!(!again.changed(), "repeating changed something: {:?}", intent);
                desired = decision.desired;
            }
        }
    }
}
