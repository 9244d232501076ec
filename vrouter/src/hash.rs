//! The router's keyed hash: who does not know the seed cannot choose addresses that collide.
//!
//! Each word is mixed in by a product folded onto itself, as in `foldhash` and in the switch's table of stations: every
//! bit of the result depends on every bit of the words. Not for secrets; nothing visible may depend on its order.

use serde::{Deserialize, Serialize};
use wire::Rng;

/// What a hash is keyed with.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct HashKey {
    mask: u64,
    factor: u64,
}

impl HashKey {
    /// The key that follows from `seed`.
    pub(crate) fn seeded(seed: u64) -> Self {
        let mut rng = Rng::seeded(seed);
        Self { mask: rng.next_u64(), factor: rng.next_u64() | 1 }
    }

    /// The hash of some words, in their order.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the halves are meant")]
    pub(crate) fn hash<const WORDS: usize>(self, words: [u64; WORDS]) -> u64 {
        words.into_iter().fold(self.mask, |hash, word| {
            let product = u128::from(hash ^ word) * u128::from(self.factor);
            product as u64 ^ (product >> 64) as u64
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn neighbours_spread_and_the_key_matters() {
        let slots = |seed, of: fn(u64) -> [u64; 2]| {
            let key = HashKey::seeded(seed);
            (0..1_024).map(|n| key.hash(of(n)) % 1_024).collect::<BTreeSet<_>>().len()
        };
        for seed in 0..20 {
            // Thrown at random, 1,024 names hit 647 of 1,024 slots on average.
            for of in [|n| [n, 0], |n| [0, n], |n| [n << 32, n], |n| [n << 48, 7]] {
                let hit = slots(seed, of);
                assert!(hit > 560, "seed={seed} hit={hit}");
            }
        }
        assert_ne!(HashKey::seeded(1).hash([1]), HashKey::seeded(2).hash([1]));
        assert_ne!(HashKey::seeded(1).hash([1, 2]), HashKey::seeded(1).hash([2, 1]));
    }
}
