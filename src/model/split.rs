//! Shares and splits: how much of a service's traffic each group gets.
//!
//! A [`Split`] that exists sums to exactly 100 %. Shares are whole parts per million, so that equal means equal.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::names::GroupName;

/// A part of a service's traffic in parts per million: 250 000 is 25 %.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "f64", try_from = "f64")]
pub struct Share(u32);

impl From<Share> for f64 {
    fn from(share: Share) -> Self {
        share.percent()
    }
}

impl TryFrom<f64> for Share {
    type Error = SplitError;

    fn try_from(percent: f64) -> Result<Self, SplitError> {
        Self::from_percent(percent)
    }
}

/// Why a number is no share, or shares make no split.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SplitError {
    /// Not within 0 and 100, or not a number.
    #[error("a share is a percentage from 0 to 100, not {0}")]
    OutOfRange(f64),
    /// More than four decimals.
    #[error("a share has at most 4 decimals, {0} has more")]
    TooFine(f64),
    /// The shares do not add up.
    #[error("the shares sum to {0}, they must sum to 100")]
    Sum(Percent),
    /// A group that the service does not have.
    #[error("there is no group {group:?}; the groups are {known}")]
    UnknownGroup {
        /// The name that was given.
        group: String,
        /// The names that would be right, separated by commas.
        known: String,
    },
}

/// A sum of shares for people: `99.9`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percent(u64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0 as f64 / 10_000.0)
    }
}

impl Share {
    /// No traffic.
    pub const NONE: Share = Share(0);
    /// All traffic.
    pub const ALL: Share = Share(1_000_000);

    /// A share from a percentage with up to four decimals.
    ///
    /// # Errors
    /// [`SplitError::OutOfRange`] and [`SplitError::TooFine`].
    pub fn from_percent(percent: f64) -> Result<Self, SplitError> {
        if !(0.0..=100.0).contains(&percent) {
            return Err(SplitError::OutOfRange(percent));
        }
        let ppm = (percent * 10_000.0).round();
        if (percent * 10_000.0 - ppm).abs() > 1e-4 {
            return Err(SplitError::TooFine(percent));
        }
        Ok(Self(ppm as u32))
    }

    /// In per cent, 0 to 100.
    #[must_use]
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }

    /// In parts per million, 0 to 1 000 000.
    #[must_use]
    pub fn ppm(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.percent())
    }
}

/// Each group's share of a service; the shares sum to 100 %, and there is at least one group.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<GroupName, Share>")]
pub struct Split(BTreeMap<GroupName, Share>);

impl TryFrom<BTreeMap<GroupName, Share>> for Split {
    type Error = SplitError;

    fn try_from(shares: BTreeMap<GroupName, Share>) -> Result<Self, SplitError> {
        Self::new(shares)
    }
}

impl fmt::Debug for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (group, share)) in self.0.iter().enumerate() {
            write!(f, "{}{group} {share}", if i > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

impl Split {
    /// A split of the given shares; a group named twice keeps its last share.
    ///
    /// # Errors
    /// [`SplitError::Sum`] when they do not sum to 100.
    pub fn new(shares: impl IntoIterator<Item = (GroupName, Share)>) -> Result<Self, SplitError> {
        let shares: BTreeMap<_, _> = shares.into_iter().collect();
        let sum: u64 = shares.values().map(|s| u64::from(s.0)).sum();
        if sum == u64::from(Share::ALL.0) { Ok(Self(shares)) } else { Err(SplitError::Sum(Percent(sum))) }
    }

    /// Everything to `group`, nothing to the other `groups`.
    #[must_use]
    pub fn all_to(group: &GroupName, groups: impl IntoIterator<Item = GroupName>) -> Self {
        let mut shares: BTreeMap<_, _> = groups.into_iter().map(|g| (g, Share::NONE)).collect();
        shares.insert(group.clone(), Share::ALL);
        Self(shares)
    }

    /// `group` gets `share`; the others keep their proportions among themselves. Where all others had nothing, the
    /// rest goes to `heir` (the group that was live before, or the first other one).
    #[must_use]
    pub fn with_share(&self, group: &GroupName, share: Share, heir: &GroupName) -> Self {
        let rest = u64::from(Share::ALL.0 - share.0);
        let others: u64 = self.0.iter().filter(|(g, _)| *g != group).map(|(_, s)| u64::from(s.0)).sum();
        let mut shares = self.0.clone();
        let mut given = 0;
        for (name, old) in shares.iter_mut().filter(|(g, _)| *g != group) {
            let in_proportion = (u64::from(old.0) * rest).checked_div(others);
            let new = in_proportion.unwrap_or(if name == heir { rest } else { 0 });
            given += new;
            *old = Share(new as u32);
        }
        // What rounding left over goes to the largest of the others.
        if let Some((_, largest)) = shares.iter_mut().filter(|(g, _)| *g != group).max_by_key(|(_, s)| **s) {
            largest.0 += (rest - given) as u32;
            shares.insert(group.clone(), share);
        } else {
            shares.insert(group.clone(), Share::ALL);
        }
        Self(shares)
    }

    /// The share of `group`, nothing for one that is not named.
    #[must_use]
    pub fn share(&self, group: &GroupName) -> Share {
        self.0.get(group.as_str()).copied().unwrap_or_default()
    }

    /// Groups and shares in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&GroupName, Share)> {
        self.0.iter().map(|(g, s)| (g, *s))
    }

    /// The group with the largest share (of equals the first by name).
    #[must_use]
    pub fn live(&self) -> &GroupName {
        let mut shares = self.0.iter();
        let first = shares.next().expect("a split sums to 100, so it has a group");
        shares.fold(first, |best, next| if next.1 > best.1 { next } else { best }).0
    }

    /// Whether one group has everything.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.0.values().any(|s| *s == Share::ALL)
    }

    /// Whether both send the same traffic to the same groups: groups without a share do not count.
    #[must_use]
    pub fn same_traffic(&self, other: &Self) -> bool {
        let some =
            |split: &Self| split.0.iter().filter(|(_, s)| s.0 > 0).map(|(g, s)| (g.clone(), *s)).collect::<Vec<_>>();
        some(self) == some(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn group(name: &str) -> GroupName {
        GroupName::new(name).unwrap()
    }

    fn split(shares: &[(&str, f64)]) -> Result<Split, SplitError> {
        Split::new(shares.iter().map(|(g, p)| (group(g), Share::from_percent(*p).unwrap())))
    }

    #[test]
    fn a_split_sums_to_exactly_100() {
        assert_eq!(
            split(&[("blue", 99.9), ("green", 0.0)]).unwrap_err().to_string(),
            "the shares sum to 99.9, they must sum to 100"
        );
        assert!(split(&[("blue", 99.9999), ("green", 0.0001)]).is_ok());
        assert!(split(&[("blue", 100.0), ("green", 0.0001)]).is_err());
        assert!(split(&[]).is_err());
    }

    #[test]
    fn a_share_is_a_percentage_with_at_most_four_decimals() {
        assert_eq!(Share::from_percent(33.3333).unwrap().ppm(), 333_333);
        assert_eq!(Share::from_percent(33.33333), Err(SplitError::TooFine(33.33333)));
        for out in [-0.1, 100.1, f64::INFINITY] {
            assert_eq!(Share::from_percent(out), Err(SplitError::OutOfRange(out)));
        }
        assert!(Share::from_percent(f64::NAN).is_err());
    }

    #[test]
    fn what_a_group_gains_the_others_lose_in_proportion() {
        let before = split(&[("blue", 60.0), ("canary", 30.0), ("green", 10.0)]).unwrap();
        let after = before.with_share(&group("green"), Share::from_percent(55.0).unwrap(), &group("blue"));
        assert_eq!(after, split(&[("blue", 30.0), ("canary", 15.0), ("green", 55.0)]).unwrap());
        let back = split(&[("blue", 0.0), ("green", 100.0)]).unwrap();
        let shifted = back.with_share(&group("green"), Share::from_percent(90.0).unwrap(), &group("blue"));
        assert_eq!(shifted, split(&[("blue", 10.0), ("green", 90.0)]).unwrap());
    }

    proptest! {
        #[test]
        fn whatever_share_a_group_gets_the_sum_stays_100(
            weights in prop::collection::vec(0_u32..1000, 2..6), share in 0_u32..=1_000_000, which in 0_usize..6, heir in 0_usize..6,
        ) {
            prop_assume!(weights.iter().sum::<u32>() > 0);
            let sum: u32 = weights.iter().sum();
            let mut ppm: Vec<u32> = weights.iter().map(|w| (u64::from(*w) * 1_000_000 / u64::from(sum)) as u32).collect();
            ppm[0] += 1_000_000 - ppm.iter().sum::<u32>();
            let before = Split::new(ppm.iter().enumerate().map(|(i, p)| (group(&format!("g{i}")), Share(*p)))).unwrap();
            let target = group(&format!("g{}", which % weights.len()));
            let after = before.with_share(&target, Share(share), &group(&format!("g{}", heir % weights.len())));
            let total: u64 = after.iter().map(|(_, s)| u64::from(s.ppm())).sum();
            // Where the heir is the group itself and the others had nothing, the rest goes to one of the others.
            prop_assert_eq!(total, 1_000_000);
            prop_assert_eq!(after.share(&target), Share(share));
        }
    }
}
