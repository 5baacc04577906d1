//! Cohorts: which part of a service's traffic an id belongs to.
//!
//! A client's cookie holds a random id, never a verdict. Its position is `keyed_hash(salt, id)` in parts per million;
//! groups own contiguous ranges of positions in the fixed order of their names. So a growing share never moves anyone
//! back, and a rollback moves everybody at once. The hash is keyed (SipHash-1-3, Aumasson and Bernstein 2012) so that
//! a client cannot choose its position and sequential ids spread evenly.

use std::fmt;
use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::split::Share;

/// The key of the cohort hash. Another salt, other users first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Salt(pub u128);

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(…)")
    }
}

/// A place on the line from 0 to 999 999 that the groups divide among themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(u32);

/// Second key of a draw that must be independent of the first one.
const AGAIN: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c834;

impl Position {
    /// Where the client with `id` stands under `salt`.
    #[must_use]
    pub fn of(salt: Salt, id: &[u8]) -> Self {
        Self(scale(hash(salt.0, id), Share::ALL.ppm()))
    }

    /// From a uniformly random number, for clients without an id.
    #[must_use]
    pub fn random(random: u64) -> Self {
        Self(scale(random, Share::ALL.ppm()))
    }

    /// The same client's place among the groups that are left when its own cannot serve: a second, independent draw
    /// on a line of the length `total` (the sum of their shares in ppm).
    #[must_use]
    pub fn among(self, salt: Salt, total: u32) -> Self {
        Self(scale(hash(salt.0 ^ AGAIN, &self.0.to_le_bytes()), total))
    }

    /// In parts per million, 0 to 999 999.
    #[must_use]
    pub fn ppm(self) -> u32 {
        self.0
    }
}

fn hash(key: u128, bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_key(&key.to_le_bytes());
    hasher.write(bytes);
    hasher.finish()
}

/// Maps a uniform 64-bit number to `0..limit` by multiplication (Lemire 2019): no division, bias below 2^-32.
fn scale(uniform: u64, limit: u32) -> u32 {
    ((u128::from(uniform) * u128::from(limit)) >> 64) as u32
}

/// The index of the group that owns `position`, where `shares` are the groups' shares in ppm in their fixed order.
/// `None` when the position lies beyond their sum.
#[must_use]
pub fn owner(shares: impl IntoIterator<Item = u32>, position: Position) -> Option<usize> {
    let mut end = 0;
    shares.into_iter().position(|share| {
        end += share;
        position.0 < end
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(n: u64) -> Vec<u8> {
        format!("{n:016x}").into_bytes()
    }

    fn group_of(salt: Salt, shares: [u32; 3], n: u64) -> usize {
        owner(shares, Position::of(salt, &id(n))).unwrap()
    }

    #[test]
    fn over_100_000_sequential_ids_every_share_is_met_within_half_a_percent() {
        for (salt, shares) in [
            (1, [900_000, 0, 100_000]),
            (2, [500_000, 250_000, 250_000]),
            (3, [10_000, 980_000, 10_000]),
            (4, [333_333, 333_333, 333_334]),
        ] {
            let mut counts = [0_u32; 3];
            (0..100_000).for_each(|n| counts[group_of(Salt(salt), shares, n)] += 1);
            for (count, share) in counts.iter().zip(shares) {
                let off = (f64::from(*count) / 1e5 - f64::from(share) / 1e6).abs();
                assert!(off < 0.005, "{counts:?} for {shares:?}");
            }
        }
    }

    #[test]
    fn another_salt_begins_with_other_users() {
        let early =
            |salt| (0..10_000).filter(|n| group_of(Salt(salt), [900_000, 0, 100_000], *n) == 2).collect::<Vec<_>>();
        let (first, second) = (early(1), early(2));
        let both = first.iter().filter(|n| second.contains(n)).count();
        assert!(both < first.len() / 5, "{both} of {} are early twice", first.len());
    }

    proptest! {
        #[test]
        fn while_a_share_grows_nobody_who_has_reached_it_falls_back(
            salt: u128, n: u64, mut steps in prop::collection::vec(0_u32..=1_000_000, 1..12),
        ) {
            steps.sort_unstable();
            for place in 0..3 {
                let mut reached = false;
                for &share in &steps {
                    // The others keep their proportions, 3 to 1.
                    let rest = 1_000_000 - share;
                    let mut others = [rest * 3 / 4, rest - rest * 3 / 4].into_iter();
                    let shares = [0, 1, 2].map(|i| if i == place { share } else { others.next().unwrap() });
                    let here = group_of(Salt(salt), shares, n) == place;
                    prop_assert!(here || !reached, "fell back at {shares:?}");
                    reached = here;
                }
            }
        }

        #[test]
        fn a_rollback_moves_everybody(salt: u128, n: u64) {
            prop_assert_eq!(group_of(Salt(salt), [1_000_000, 0, 0], n), 0);
            prop_assert_eq!(group_of(Salt(salt), [0, 0, 1_000_000], n), 2);
        }

        #[test]
        fn a_group_that_cannot_serve_is_replaced_by_the_same_one_for_the_same_client(salt: u128, n: u64) {
            let position = Position::of(Salt(salt), &id(n));
            let among = position.among(Salt(salt), 300_000);
            prop_assert!(among.ppm() < 300_000);
            prop_assert_eq!(among, position.among(Salt(salt), 300_000));
        }
    }
}
