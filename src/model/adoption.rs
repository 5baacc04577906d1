//! The file against run time: what becomes of desired state when the file is read, at the start and by a reload.
//!
//! What changed last wins: a service's split in the file counts only where it differs from the one that was last
//! applied, or where the split of run time has become impossible. Pure; reading files is not its business.

use std::collections::BTreeMap;

use super::change::{Desired, ServiceState, over};
use super::cohort::Salt;
use super::drain::Part;
use super::names::{GroupName, ServiceName};
use super::split::Split;

/// A service as the file has it.
#[derive(Clone, Debug, PartialEq)]
pub struct FileService {
    /// Its name.
    pub name: ServiceName,
    /// All its groups.
    pub groups: Vec<GroupName>,
    /// The URLs of each group's upstreams.
    pub upstreams: Vec<(GroupName, String)>,
    /// Its split; gives shares to these groups only.
    pub split: Split,
}

/// Why a file has moved a service's split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileReason {
    /// The file's split was changed since it was last applied.
    Edited,
    /// The split of run time gave a share to a group that the file does not have any more.
    GroupGone,
    /// The service was named once, and is again: it goes on where it was left, not with the file's split.
    Returned,
}

/// A service whose split the file has moved, or that came back with another split than the file's.
#[derive(Clone, Debug, PartialEq)]
pub struct FileMove {
    /// Which.
    pub service: ServiceName,
    /// The split before.
    pub before: Split,
    /// The split now.
    pub after: Split,
    /// Why.
    pub reason: FileReason,
}

/// The state after a file was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Adoption {
    /// The next state.
    pub desired: Desired,
    /// Moved splits, in the order of the file.
    pub moves: Vec<FileMove>,
}

/// What the file makes of `desired`, by the rule that what changed last wins: a service's split in the file counts
/// only where it differs from the one last applied, or where the split of run time has become impossible.
#[must_use]
pub fn adopt(desired: &Desired, file: &[FileService], mut fresh_salt: impl FnMut() -> Salt) -> Adoption {
    let version = desired.version + 1;
    let (services, retired, rollouts) = (BTreeMap::new(), desired.retired.clone(), desired.rollouts.clone());
    let mut next = Desired { version, services, retired, rollouts };
    next.retired.extend(desired.services.clone());
    let mut moves = Vec::new();
    for service in file {
        let state = match next.retired.remove(service.name.as_str()) {
            None => {
                let split = over(service.groups.iter(), &service.split).unwrap_or_else(|| service.split.clone());
                ServiceState::first(split, fresh_salt(), version)
            }
            Some(old) => {
                let returned = !desired.services.contains_key(service.name.as_str());
                let owned = desired.rollout(service.name.as_str()).map_or(Owner::Anybody, |_| Owner::Rollout);
                let (state, reason) = adopted(&old, service, version, owned);
                let returned = (returned && !state.split.same_traffic(&service.split)).then_some(FileReason::Returned);
                if let Some(reason) = reason.or(returned) {
                    let (service, after) = (service.name.clone(), state.split.clone());
                    moves.push(FileMove { service, before: old.split, after, reason });
                }
                state
            }
        };
        next.services.insert(service.name.clone(), state);
    }
    if !next.services.values().any(|s| s.version == version) && next.services.keys().eq(desired.services.keys()) {
        next.version = desired.version;
    }
    Adoption { desired: next, moves }
}

/// Who moves a service's traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Anybody,
    /// What the file says of the split is kept back until the rollout ends.
    Rollout,
}

/// One service's next state, and why its traffic moved, where it did.
fn adopted(old: &ServiceState, file: &FileService, version: u64, owner: Owner) -> (ServiceState, Option<FileReason>) {
    let fit = |split: &Split| over(file.groups.iter(), split);
    let file_split = fit(&file.split).unwrap_or_else(|| file.split.clone());
    let edited = owner == Owner::Anybody && !file_split.same_traffic(&old.file_split);
    let (split, reason) = match fit(&old.split) {
        _ if edited => (file_split.clone(), FileReason::Edited),
        Some(kept) => (kept, FileReason::Edited),
        None => (file_split.clone(), FileReason::GroupGone),
    };
    let moved = !split.same_traffic(&old.split);
    let began_whole = if moved && old.split.is_whole() { fit(&old.split) } else { None };
    let stable = began_whole.or_else(|| fit(&old.stable)).unwrap_or_else(|| split.clone());
    let version = if split == old.split && stable == old.stable { old.version } else { version };
    // Who is given traffic is open again; what is not in the file any more cannot be drained.
    let has_grown = |group: &GroupName| split.share(group) > old.split.share(group);
    let kept = |p: &Part| match &p.upstream {
        None => file.groups.contains(&p.group) && !has_grown(&p.group),
        // One that comes back later is somebody else.
        Some(url) => file.upstreams.iter().any(|(group, known)| *group == p.group && known == url),
    };
    let drains = old.drains.iter().filter(|(part, _)| kept(part)).map(|(p, d)| (p.clone(), d.clone())).collect();
    let kept_back = owner == Owner::Rollout && reason != FileReason::GroupGone;
    let file_split = if kept_back { fit(&old.file_split).unwrap_or(file_split) } else { file_split };
    (ServiceState { split, stable, file_split, salt: old.salt, version, drains }, moved.then_some(reason))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::change::samples::*;

    #[test]
    fn reading_the_same_file_again_keeps_the_split_of_run_time() {
        let desired = after(&started("blue 100 green 0"), &[shift("green", 25.0)]);
        let adoption = adopt(&desired, &[file("blue 100 green 0")], || Salt(9));
        assert_eq!(adoption, Adoption { desired, moves: Vec::new() });
    }

    #[test]
    fn an_edited_split_in_the_file_wins_over_an_older_one_of_run_time_and_can_be_rolled_back() {
        let desired = after(&started("blue 100 green 0"), &[switch("green")]);
        let adoption = adopt(&desired, &[file("blue 30 green 70")], || Salt(9));
        assert_eq!(shop(&adoption.desired).split, split("blue 30 green 70"));
        assert_eq!(shop(&adoption.desired).stable, split("blue 0 green 100"));
        assert_eq!(shop(&adoption.desired).salt, Salt(7));
        assert_eq!(adoption.moves[0].reason, FileReason::Edited);
        assert_eq!(adoption.desired.version, desired.version + 1);
    }

    #[test]
    fn a_file_that_catches_up_with_run_time_moves_nothing() {
        let desired = after(&started("blue 100 green 0"), &[switch("green")]);
        let adoption = adopt(&desired, &[file("blue 0 green 100")], || Salt(9));
        assert_eq!(adoption.moves, []);
        assert_eq!(adoption.desired.version, desired.version);
        assert_eq!(shop(&adoption.desired).file_split, split("blue 0 green 100"));
        assert_eq!(shop(&adoption.desired).stable, split("blue 100 green 0"));
    }

    #[test]
    fn a_group_that_is_gone_with_a_share_gives_way_to_the_files_split_and_one_without_just_vanishes() {
        let desired = after(&started("blue 100 canary 0 green 0"), &[set("blue 50 green 50")]);
        let adoption = adopt(&desired, &[file("blue 100 canary 0")], || Salt(9));
        assert_eq!(shop(&adoption.desired).split, split("blue 100 canary 0"));
        assert_eq!(adoption.moves[0].reason, FileReason::GroupGone);
        let adoption = adopt(&desired, &[file("blue 100 green 0 red 0")], || Salt(9));
        assert_eq!(shop(&adoption.desired).split, split("blue 50 green 50 red 0"));
        assert_eq!(shop(&adoption.desired).stable, split("blue 100 green 0 red 0"));
        assert_eq!(adoption.moves, []);
    }

    #[test]
    fn a_stable_split_that_has_become_impossible_is_repaired() {
        let desired = after(&started("blue 100 green 0"), &[switch("green")]);
        let adoption = adopt(&desired, &[file("green 100 red 0")], || Salt(9));
        assert_eq!(shop(&adoption.desired).split, split("green 100 red 0"));
        assert_eq!(shop(&adoption.desired).stable, split("green 100 red 0"));
    }

    #[test]
    fn a_service_that_comes_back_goes_on_where_it_was_left() {
        let desired = after(&started("blue 100 green 0"), &[switch("green")]);
        let without = adopt(&desired, &[], || Salt(9)).desired;
        assert!(without.services.is_empty() && without.version == desired.version + 1);
        let adoption = adopt(&without, &[file("blue 100 green 0")], || Salt(9));
        assert_eq!(shop(&adoption.desired).split, split("blue 0 green 100"));
        assert_eq!(shop(&adoption.desired).salt, Salt(7));
        assert_eq!(adoption.moves[0].reason, FileReason::Returned);
    }

    proptest! {
        #[test]
        fn a_file_read_twice_changes_nothing_the_second_time(
            intents in proptest::collection::vec(any_intent(), 0..10),
            text in prop_oneof![Just("blue 100 canary 0 green 0"), Just("green 100"), Just("blue 40 red 60"), Just("red 100")],
        ) {
            let mut api = file("blue 100 canary 0 green 0");
            api.name = service("api");
            let first = adopt(&Desired::default(), &[file("blue 100 canary 0 green 0"), api.clone()], || Salt(1)).desired;
            let desired = after(&first, &intents);
            let once = adopt(&desired, &[file(text), api.clone()], || Salt(2)).desired;
            let twice = adopt(&once, &[file(text), api], || Salt(3));
            prop_assert_eq!(&twice.desired, &once);
            prop_assert_eq!(twice.moves, []);
            prop_assert_eq!(total(&once.services["shop"].split), 1_000_000);
        }
    }
}
