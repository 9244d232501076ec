//! An index: from a hash to the places of a slab, a table that asks the slab which place is meant.
//!
//! ```text
//!  slot    hash (32 bits) | place + 1 (32)     8 octets, 8 to a cache line; 0: empty
//! ```
//!
//! Open addressing with linear probing, home slot by the hash's upper bits. A removal moves later slots back, so there
//! are no tombstones and a changing population costs what a fresh one does. The hash is stored, so that a look-up reads
//! a place only if all 32 bits agree, and growing reads the table alone, in order. It doubles when three quarters full
//! and does not shrink; its owner bounds the entries.
//!
//! Two entries of one hash are both found: the caller says whether a place is the one.

use alloc::vec;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

const SLOTS_MIN: usize = 64;

/// The table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Index {
    /// Their number is a power of two.
    slots: Vec<u64>,
    /// By how many bits a hash is more than a slot's number.
    shift: u32,
    count: usize,
}

impl Index {
    pub(super) fn new() -> Self {
        Self::with_slots(SLOTS_MIN)
    }

    /// The place with this hash that `is_it`.
    #[inline]
    pub(super) fn find(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let mask = self.slots.len() - 1;
        let mut at = self.home(hash);
        loop {
            let slot = self.slots[at & mask];
            if slot == 0 {
                return None;
            }
            if hash_of(slot) == hash && is_it(place_of(slot)) {
                return Some(place_of(slot));
            }
            at += 1;
        }
    }

    /// Adds a place, which is not in the table.
    pub(super) fn insert(&mut self, hash: u32, place: u32) {
        if (self.count + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        self.count += 1;
        self.put(u64::from(hash) << 32 | u64::from(place + 1));
    }

    /// Removes a place; nothing happens if it is not in the table.
    pub(super) fn remove(&mut self, hash: u32, place: u32) {
        let mask = self.slots.len() - 1;
        let wanted = u64::from(hash) << 32 | u64::from(place + 1);
        let mut hole = self.home(hash);
        while self.slots[hole] != wanted {
            if self.slots[hole] == 0 {
                return;
            }
            hole = (hole + 1) & mask;
        }
        self.count -= 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let slot = self.slots[at];
            if slot == 0 {
                break;
            }
            // It may move back to the hole unless its home lies behind the hole.
            let from_home = at.wrapping_sub(self.home(hash_of(slot))) & mask;
            if from_home >= (at.wrapping_sub(hole) & mask) {
                self.slots[hole] = slot;
                hole = at;
            }
        }
        self.slots[hole] = 0;
    }

    fn with_slots(slots: usize) -> Self {
        Self { slots: vec![0; slots], shift: 32 - slots.trailing_zeros(), count: 0 }
    }

    #[inline]
    const fn home(&self, hash: u32) -> usize {
        (hash >> self.shift) as usize
    }

    fn put(&mut self, slot: u64) {
        let mask = self.slots.len() - 1;
        let mut at = self.home(hash_of(slot));
        while self.slots[at] != 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = slot;
    }

    #[cold]
    fn grow(&mut self) {
        let mut wider = Self::with_slots(self.slots.len() * 2);
        for &slot in self.slots.iter().filter(|&&slot| slot != 0) {
            wider.put(slot);
        }
        wider.count = self.count;
        *self = wider;
    }
}

const fn hash_of(slot: u64) -> u32 {
    (slot >> 32) as u32
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
const fn place_of(slot: u64) -> u32 {
    (slot as u32).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use wire::Rng;

    #[test]
    fn the_index_agrees_with_a_set() {
        for seed in 0..6 {
            let mut rng = Rng::seeded(seed);
            let (mut fast, mut slow) = (Index::new(), BTreeSet::new());
            for step in 0..20_000_u32 {
                // Few hashes, which collide and lie at both ends of the table, so that probing goes around.
                let spread = if seed < 3 { 40 } else { 4_000 };
                let number = u32::try_from(rng.below(spread)).unwrap();
                let hash =
                    number.wrapping_sub(20).wrapping_mul(if number % 2 == 0 { 1 } else { 0x0101_0101 });
                let place = u32::try_from(rng.below(4)).unwrap() + 4 * number;
                let is_in = slow.contains(&(hash, place));
                let found = fast.find(hash, |found| found == place);
                assert_eq!(found.is_some(), is_in, "seed {seed} step {step}");
                if is_in {
                    fast.remove(hash, place);
                    slow.remove(&(hash, place));
                } else if rng.chance(2, 3) {
                    fast.insert(hash, place);
                    slow.insert((hash, place));
                } else {
                    fast.remove(hash, place); // Not there: nothing happens.
                }
                assert_eq!(fast.count, slow.len());
            }
            for &(hash, place) in &slow {
                assert_eq!(fast.find(hash, |found| found == place), Some(place));
            }
        }
    }

    #[test]
    fn the_last_places_fit() {
        let mut index = Index::new();
        for place in [0, u32::MAX - 1] {
            index.insert(u32::MAX, place);
            assert_eq!(index.find(u32::MAX, |found| found == place), Some(place));
        }
        index.remove(u32::MAX, 0);
        assert_eq!(index.find(u32::MAX, |_| true), Some(u32::MAX - 1));
    }
}
