//! Flapping: a station that keeps moving between ports, as in a loop or when two stations have one address.
//!
//! A station flaps when it has moved [`FLAP_MOVES`] times within [`FLAP_WINDOW`]. It is told once per that many
//! moves, so that a loop at line rate does not become a flood of notices.
//!
//! Limit: [`FLAPS_MAX`] moving stations are watched. When all are, the one that has been quiet longest is forgotten:
//! more stations moving at a time than that may hide the flapping of each, but every move is still counted.

use core::time::Duration;

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use wire::Instant;

use crate::fdb::Name;

/// So many moves make a flap.
pub const FLAP_MOVES: usize = 5;
/// Within this time.
pub const FLAP_WINDOW: Duration = Duration::from_secs(10);
/// Moving stations watched at a time.
pub const FLAPS_MAX: usize = 64;

/// The stations that have moved lately.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Flaps {
    movers: Vec<Mover>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Mover {
    station: Name,
    /// The last moves, oldest first.
    moved_at: [Instant; FLAP_MOVES],
    moves: usize,
}

impl Flaps {
    /// Takes note of a move; `true` if it is the one that makes a flap.
    pub(crate) fn moved(&mut self, now: Instant, station: Name) -> bool {
        let mover = self.mover(station);
        let fresh = |moved_at: &Instant| now.since(*moved_at) <= FLAP_WINDOW;
        let stale = mover.moves - mover.moved_at[..mover.moves].iter().filter(|at| fresh(at)).count();
        mover.moved_at.copy_within(stale..mover.moves, 0);
        mover.moves -= stale;
        mover.moved_at[mover.moves] = now;
        mover.moves += 1;
        let flaps = mover.moves == FLAP_MOVES;
        if flaps {
            mover.moves = 0;
        }
        flaps
    }

    fn mover(&mut self, station: Name) -> &mut Mover {
        let known = self.movers.iter().position(|mover| mover.station == station);
        let at = known.unwrap_or_else(|| {
            let fresh = Mover { station, moved_at: [Instant::ZERO; FLAP_MOVES], moves: 0 };
            if self.movers.len() < FLAPS_MAX {
                self.movers.push(fresh);
            } else {
                // Kept in the order of their last moves: the first has been quiet longest.
                self.movers[0] = fresh;
                self.movers.rotate_left(1);
            }
            self.movers.len() - 1
        });
        self.movers[at..].rotate_left(1);
        self.movers.last_mut().expect("a mover was found or added")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    fn station(number: u64) -> Name {
        Name::from_number(number)
    }

    #[test]
    fn the_fifth_move_in_ten_seconds_is_a_flap() {
        let mut flaps = Flaps::default();
        let told = [0, 1_000, 2_000, 3_000, 10_000].map(|millis| flaps.moved(at(millis), station(1)));
        assert_eq!(told, [false, false, false, false, true]);
        // It is told once per five moves.
        let told = [10_001, 10_002, 10_003, 10_004, 10_005].map(|millis| flaps.moved(at(millis), station(1)));
        assert_eq!(told, [false, false, false, false, true]);
    }

    #[test]
    fn slow_moves_are_no_flap() {
        let mut flaps = Flaps::default();
        assert!((0..100).all(|n| !flaps.moved(at(n * 2_501), station(1))));
    }

    #[test]
    fn when_full_the_quietest_is_forgotten() {
        let mut flaps = Flaps::default();
        for _ in 0..4 {
            flaps.moved(at(0), station(1));
        }
        for number in 2..=FLAPS_MAX as u64 {
            flaps.moved(at(1), station(number));
        }
        assert_eq!(flaps.movers.len(), FLAPS_MAX);
        assert!(flaps.moved(at(2), station(1)), "it fits beside 63 others");
        for number in 2..=FLAPS_MAX as u64 + 1 {
            flaps.moved(at(3), station(number));
        }
        assert_eq!(flaps.movers.len(), FLAPS_MAX);
        assert!(flaps.movers.iter().all(|mover| mover.station != station(1)), "64 others have moved since");
    }
}
