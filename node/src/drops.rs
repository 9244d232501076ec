//! Dropped frames by reason, as short as most ports' experience is.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use wire::DropReason;

/// How many frames were dropped for each reason. A reason that has not occurred takes no room, because there are many
/// reasons and, with an overlay, many ports; one that occurs for the first time may allocate. Never longer than the table
/// of reasons.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Drops {
    /// Ordered by reason; no count is zero.
    counts: Vec<(DropReason, u64)>,
}

impl Drops {
    /// Counts so many more.
    pub fn add(&mut self, reason: DropReason, count: u64) {
        match self.counts.binary_search_by_key(&reason, |&(known, _)| known) {
            Ok(at) => self.counts[at].1 += count,
            Err(at) if count > 0 => {
                self.counts.reserve_exact(1);
                self.counts.insert(at, (reason, count));
            }
            Err(_) => {}
        }
    }

    /// How many for this reason.
    pub fn of(&self, reason: DropReason) -> u64 {
        let found = self.counts.binary_search_by_key(&reason, |&(known, _)| known);
        found.map_or(0, |at| self.counts[at].1)
    }

    /// How many for any reason.
    pub fn sum(&self) -> u64 {
        self.iter().map(|(_, count)| count).sum()
    }

    /// The reasons that have occurred, in table order, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> {
        self.counts.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Rng;

    #[test]
    fn they_count_like_an_array() {
        let mut rng = Rng::seeded(7);
        let (mut drops, mut model) = (Drops::default(), [0; DropReason::COUNT]);
        for _ in 0..500 {
            let index = usize::try_from(rng.below(DropReason::COUNT as u64)).unwrap();
            let count = rng.below(3);
            drops.add(DropReason::ALL[index], count);
            model[index] += count;
            assert_eq!(drops.of(DropReason::ALL[index]), model[index]);
            assert_eq!(drops.sum(), model.iter().sum::<u64>());
            assert!(drops.iter().is_sorted() && drops.iter().all(|(_, count)| count > 0));
        }
        assert_eq!(drops.iter().count(), DropReason::COUNT);
    }
}
