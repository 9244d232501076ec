//! The forwarding database: where each station of each domain lives, as a table for two look-ups per frame.
//!
//! A station is named by its domain and MAC, 64 bits together. A keyed *bijection* mixes them into a hash, so the
//! hash is the name: nothing else is stored, and the name can be had back. Slots are sorted by hash all along the
//! table; a slot's home is given by the hash's upper bits, and whoever is not at home stands to the right of it
//! (ordered linear probing: Amble and Knuth, "Ordered hash tables", 1974):
//!
//! ```text
//!  home        0        1        2        3        4        5        6        7   | overflow
//!  slot    | 0.3    |        | 2.1    | 2.8    | 3.0    |        | 6.6    | 7.2 | 7.9    | …  | EMPTY |
//!                                        ^ home 2    ^ home 3                      ^ home 7
//! ```
//!
//! - A look-up walks right while the hash is smaller and stops at the first that is not, found or not; an empty slot
//!   holds the largest hash, so there is one comparison per slot, and misses cost what hits do.
//! - A slot has 16 octets, four to a cache line, and a walk starts where the hash says: mostly one line.
//! - Removing shifts the neighbours back home. There are no tombstones, and the layout depends on *what* is in the
//!   table, not on how it came to be.
//! - Growing, sweeping and listing are walks in order. A listing that is interrupted goes on at a hash, whatever was
//!   added or removed meanwhile.
//!
//! The hash is keyed by the node's seed: who does not know the seed cannot choose addresses that collide.
//!
//! Limit: the table doubles when it is four fifths full; who inserts keeps to a limit ([`crate::STATIONS_MAX`]). It
//! does not shrink.

use alloc::vec;
use alloc::vec::Vec;

use wire::{DomainId, Instant, Mac, PortId, Rng};

use crate::plan::DOMAINS_MAX;

/// Whole seconds since the epoch: how precisely a station's last frame is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(u64);

impl Tick {
    /// The last tick of all, 34,000 years after the epoch; an [`Instant`] ends before it.
    const MAX: u64 = (1 << Place::TICK_BITS) - 1;

    /// The second that `now` lies in.
    pub const fn of(now: Instant) -> Self {
        Self(now.as_nanos() / 1_000_000_000)
    }

    /// When the tick begins.
    pub const fn instant(self) -> Instant {
        Instant::from_nanos(self.0.saturating_mul(1_000_000_000))
    }

    /// Ticks passed since `earlier`; zero if it is later.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The tick so many later.
    pub const fn after(self, ticks: u64) -> Self {
        Self(self.0.saturating_add(ticks))
    }

    /// Which of the spans of `ticks` since the epoch the tick belongs to.
    pub const fn span(self, ticks: u64) -> u64 {
        self.0 / ticks
    }
}

/// Where a station lives and when it was heard last, packed: port (16 bits), static (1), unused (7), tick (40).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u64);

impl Place {
    const TICK_BITS: u32 = 40;
    const STATIC: u64 = 1 << Self::TICK_BITS;
    const PORT_SHIFT: u32 = 48;

    /// Of a station that was heard at `tick`.
    pub const fn learned(port: PortId, tick: Tick) -> Self {
        Self((port.0 as u64) << Self::PORT_SHIFT | (tick.0 & Tick::MAX))
    }

    /// Of a station that is where the configuration says.
    pub const fn fixed(port: PortId) -> Self {
        Self((port.0 as u64) << Self::PORT_SHIFT | Self::STATIC)
    }

    /// Behind which port.
    pub const fn port(self) -> PortId {
        let [high, low, ..] = self.0.to_be_bytes();
        PortId(u16::from_be_bytes([high, low]))
    }

    /// Whether the configuration says so.
    pub const fn is_static(self) -> bool {
        self.0 & Self::STATIC != 0
    }

    /// When it was heard last; the epoch for static stations.
    pub const fn seen(self) -> Tick {
        Tick(self.0 & Tick::MAX)
    }
}

/// A station's name, mixed. Ordered as the table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hash(u64);

impl Hash {
    /// Not after any other: where a listing starts.
    pub const FIRST: Self = Self(0);

    /// As a number, to hand to somebody who lists page by page.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The inverse of [`Hash::number`]. Any number will do.
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: Hash,
    place: Place,
}

/// What an empty slot holds: the largest hash, which no station has ([`Mix::seeded`]).
const EMPTY: Slot = Slot { hash: Hash(u64::MAX), place: Place(0) };

/// Where in the table a station stands, until the table changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index(usize);

/// The table.
#[derive(Clone, Debug)]
pub struct Fdb {
    mix: Mix,
    /// `1 << home_bits` homes, [`Fdb::OVERFLOW`] more for who is pushed past the last, and one that stays empty.
    slots: Vec<Slot>,
    home_bits: u32,
    count: usize,
}

impl Fdb {
    /// Homes of an empty table.
    const HOME_BITS_MIN: u32 = 6;
    /// Slots behind the last home; once they do not suffice the table doubles early. At four fifths full, runs of this
    /// length do not happen by chance.
    const OVERFLOW: usize = 256;

    /// An empty table whose hash follows from `seed`.
    pub fn new(seed: u64) -> Self {
        let home_bits = Self::HOME_BITS_MIN;
        Self { mix: Mix::seeded(seed), slots: empty_slots(home_bits), home_bits, count: 0 }
    }

    /// Stations in the table.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Octets that the slots take, empty ones included.
    pub fn memory(&self) -> usize {
        self.slots.len() * size_of::<Slot>()
    }

    /// The hash of a station.
    pub const fn hash(&self, domain: DomainId, mac: Mac) -> Hash {
        self.mix.mix((domain.0 as u64) << 48 | mac.to_bits())
    }

    /// The station that has the hash.
    pub fn name(&self, hash: Hash) -> (DomainId, Mac) {
        let name = self.mix.unmix(hash);
        let [high, low, ..] = name.to_be_bytes();
        (DomainId(u16::from_be_bytes([high, low])), Mac::from_bits(name))
    }

    /// Finds a station.
    #[inline]
    pub fn find(&self, hash: Hash) -> Option<(Index, Place)> {
        let index = self.lower_bound(hash);
        let slot = self.slots[index];
        (slot.hash == hash).then_some((Index(index), slot.place))
    }

    /// Says where the station at `index` is.
    pub fn set(&mut self, index: Index, place: Place) {
        debug_assert!(self.slots[index.0].hash != EMPTY.hash);
        self.slots[index.0].place = place;
    }

    /// Adds a station that is not in the table. `false` if there is no room near its home, which a table that is not
    /// nearly empty makes by growing: who gets that far knows the seed, and gets no further.
    #[must_use]
    pub fn insert(&mut self, hash: Hash, place: Place) -> bool {
        let homes = |fdb: &Self| 1_usize << fdb.home_bits;
        if (self.count + 1) * 5 > homes(self) * 4 {
            self.grow();
        }
        while !self.try_insert(hash, place) {
            if self.count * 8 < homes(self) {
                return false;
            }
            self.grow();
        }
        self.count += 1;
        true
    }

    /// Removes the station at `index`.
    pub fn remove(&mut self, index: Index) {
        let Index(at) = index;
        debug_assert!(self.slots[at].hash != EMPTY.hash);
        // Who follows without a gap and is not at home moves one to the left.
        let mut end = at + 1;
        while self.slots[end].hash != EMPTY.hash && self.home(self.slots[end].hash) != end {
            end += 1;
        }
        self.slots.copy_within(at + 1..end, at);
        self.slots[end - 1] = EMPTY;
        self.count -= 1;
    }

    /// Keeps the stations that `keep` wants, in one walk.
    pub fn retain(&mut self, mut keep: impl FnMut(DomainId, Mac, Place) -> bool) {
        let mut free = 0;
        for at in 0..self.slots.len() {
            let slot = self.slots[at];
            if slot.hash == EMPTY.hash {
                continue;
            }
            self.slots[at] = EMPTY;
            let (domain, mac) = self.name(slot.hash);
            if keep(domain, mac, slot.place) {
                // At home, or next to who came before: never to the right of where it was.
                let to = self.home(slot.hash).max(free);
                self.slots[to] = slot;
                free = to + 1;
            } else {
                self.count -= 1;
            }
        }
    }

    /// The stations from `first` on, in the order of their hashes.
    pub fn iter_from(&self, first: Hash) -> impl Iterator<Item = (Hash, Place)> {
        let occupied = |slot: &&Slot| slot.hash != EMPTY.hash;
        self.slots[self.lower_bound(first)..].iter().filter(occupied).map(|slot| (slot.hash, slot.place))
    }

    /// The first slot from the hash's home on that is empty or not before it.
    #[inline]
    fn lower_bound(&self, hash: Hash) -> usize {
        let mut at = self.home(hash);
        // The last slot is always empty, which ends every walk.
        while self.slots[at].hash < hash {
            at += 1;
        }
        at
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "home_bits is far below 32")]
    const fn home(&self, hash: Hash) -> usize {
        (hash.0 >> (u64::BITS - self.home_bits)) as usize
    }

    /// `false` if the overflow is used up.
    fn try_insert(&mut self, hash: Hash, place: Place) -> bool {
        assert!(hash != EMPTY.hash, "no station of a domain below DOMAINS_MAX has the empty slot's hash");
        let at = self.lower_bound(hash);
        debug_assert!(self.slots[at].hash != hash, "the station is in the table");
        let mut end = at;
        while self.slots[end].hash != EMPTY.hash {
            end += 1;
        }
        let fits = end + 1 < self.slots.len();
        if fits {
            self.slots.copy_within(at..end, at + 1);
            self.slots[at] = Slot { hash, place };
        }
        fits
    }

    /// Doubles the table. Nobody is pushed past the overflow who was not before: relative to the end of the homes, each
    /// home moves at least as far to the left as it was from it.
    fn grow(&mut self) {
        self.home_bits += 1;
        let before = core::mem::replace(&mut self.slots, empty_slots(self.home_bits));
        let mut free = 0;
        for slot in before.into_iter().filter(|slot| slot.hash != EMPTY.hash) {
            let to = self.home(slot.hash).max(free);
            self.slots[to] = slot;
            free = to + 1;
        }
    }
}

fn empty_slots(home_bits: u32) -> Vec<Slot> {
    vec![EMPTY; (1 << home_bits) + Fdb::OVERFLOW + 1]
}

/// The keyed bijection: exclusive or, multiply, fold, multiply; each step can be undone. The upper bits, which choose
/// the home, depend on every bit of the name.
#[derive(Clone, Debug)]
struct Mix {
    mask: u64,
    factors: [u64; 2],
    inverses: [u64; 2],
}

impl Mix {
    fn seeded(seed: u64) -> Self {
        let mut rng = Rng::seeded(seed);
        loop {
            let factors = [rng.next_u64() | 1, rng.next_u64() | 1];
            let mix = Self { mask: rng.next_u64(), factors, inverses: factors.map(inverse) };
            // The name that would get the empty slot's hash has to be one that no station can have.
            if mix.unmix(EMPTY.hash) >> 48 >= DOMAINS_MAX as u64 {
                return mix;
            }
        }
    }

    #[inline]
    const fn mix(&self, name: u64) -> Hash {
        let product = (name ^ self.mask).wrapping_mul(self.factors[0]);
        Hash((product ^ product >> 32).wrapping_mul(self.factors[1]))
    }

    const fn unmix(&self, hash: Hash) -> u64 {
        let folded = hash.0.wrapping_mul(self.inverses[1]);
        (folded ^ folded >> 32).wrapping_mul(self.inverses[0]) ^ self.mask
    }
}

/// The multiplicative inverse of an odd number modulo 2^64 by Newton's method: each step doubles the right bits, of
/// which there are three at first (n · n = 1 modulo 8).
fn inverse(odd: u64) -> u64 {
    (0..5).fold(odd, |inverse, _| inverse.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(inverse))))
}

#[cfg(test)]
mod tests;
