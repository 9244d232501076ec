//! The forwarding database: where each station of each domain lives, as a table for two look-ups per frame.
//!
//! ```text
//!  name    domain (16 bits) | MAC (48)                               what is looked up
//!  place   port (16) | unused (7) | static (1) | last tick (40)      what is found; together 16 octets and a tag
//! ```
//!
//! The table is `hashbrown`'s: a look-up compares 16 one-octet tags at once and then reads, nearly always, one slot.
//! Nothing in it depends on which slot that is, so the processor overlaps the look-ups of several frames. The hash is
//! keyed by the node's seed: who does not know the seed cannot choose addresses that collide. The order of the slots
//! shows nowhere: listings are sorted by name, so a page goes on where the last one stopped whatever was added or
//! removed meanwhile.
//!
//! Removing may leave a tombstone. When tombstones rather than stations fill the table it is rebuilt at the same size,
//! so a changing population of 100,000 stations takes the 22 octets per station that a fresh one does. When stations
//! fill it (to seven eighths) it doubles; after a flood has aged it shrinks again ([`Fdb::shrink`]).
//!
//! Limit: who inserts keeps to one ([`crate::STATIONS_MAX`]).
//!
//! Measured by `cargo bench -p benches --bench fdb`, medians on two cores of an AMD EPYC (Zen 5, 1 MiB of L2 each) with
//! other work running, time per look-up of evenly drawn stations:
//!
//! | table | 1,000 stations | 100,000 |
//! |---|---|---|
//! | this one | 1 (2 to 3 ns) | 1 (3 to 5 ns) |
//! | the standard `HashMap` with its own hasher | 3.7 | 3.8 |
//! | `BTreeMap` | 20 | 30 |
//! | ordered linear probing of our own, 16 octets per slot, four fifths full | 3 | 5 |
//!
//! The last has no tombstones, one cache line per look-up and grows in less than half the time, but its walks differ
//! in length; each mispredicted end keeps the processor from starting the next look-up.
//!
//! The worker hears nothing while a sweep over 100,000 stations runs (0.3 to 0.4 ms, at most once a second, when the
//! oldest station is due) and while the table grows: beyond 114,688 stations 1 to 3 ms, beyond 458,752, the last time,
//! 7 to 9 ms.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;

use hashbrown::HashTable;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wire::{DomainId, Instant, Mac, PortId, Rng};

/// Whole seconds since the epoch: how precisely a station's last frame is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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

/// Where a station lives and when it was heard last, packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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

/// A station's domain and address in one word. Ordered by domain, then address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Name(u64);

impl Name {
    /// Of the station with this address in this domain.
    #[inline]
    pub const fn new(domain: DomainId, mac: Mac) -> Self {
        Self((domain.0 as u64) << 48 | mac.to_bits())
    }

    /// Its domain.
    pub const fn domain(self) -> DomainId {
        let [high, low, ..] = self.0.to_be_bytes();
        DomainId(u16::from_be_bytes([high, low]))
    }

    /// Its address.
    pub const fn mac(self) -> Mac {
        Mac::from_bits(self.0)
    }

    /// As a number, to hand to somebody who lists page by page.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The inverse of [`Name::number`]. Any number will do.
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }
}

/// A station and its place. Ordered by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Slot {
    name: Name,
    place: Place,
}

/// The table.
#[derive(Clone, Debug)]
pub struct Fdb {
    key: Key,
    table: HashTable<Slot>,
}

/// The key and the stations, ordered: which slot one is in means nothing.
impl Serialize for Fdb {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut slots: Vec<&Slot> = self.table.iter().collect();
        slots.sort_unstable();
        (self.key, slots).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Fdb {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (key, slots): (Key, Vec<Slot>) = Deserialize::deserialize(deserializer)?;
        let mut fdb = Self { key, table: HashTable::with_capacity(slots.len().max(Self::CAPACITY_MIN)) };
        for Slot { name, place } in slots {
            fdb.set(name, place);
        }
        Ok(fdb)
    }
}

impl Fdb {
    /// Stations that the smallest table holds: 64 slots.
    const CAPACITY_MIN: usize = 56;

    /// An empty table whose hash follows from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { key: Key::seeded(seed), table: HashTable::with_capacity(Self::CAPACITY_MIN) }
    }

    /// Stations in the table.
    pub fn count(&self) -> usize {
        self.table.len()
    }

    /// Octets that the table takes, empty slots included.
    pub fn memory(&self) -> usize {
        self.table.allocation_size()
    }

    /// Where a station is.
    #[inline]
    pub fn find(&self, name: Name) -> Option<Place> {
        self.table.find(self.key.hash(name), |slot| slot.name == name).map(|slot| slot.place)
    }

    /// Says where a station is, and whether it was in the table before.
    pub fn set(&mut self, name: Name, place: Place) -> bool {
        let hash = self.key.hash(name);
        if let Some(slot) = self.table.find_mut(hash, |slot| slot.name == name) {
            slot.place = place;
            return true;
        }
        if self.table.len() == self.table.capacity() {
            self.make_room();
        }
        let key = self.key;
        self.table.insert_unique(hash, Slot { name, place }, |slot| key.hash(slot.name));
        false
    }

    /// Removes a station; `false` if it was not in the table.
    pub fn remove(&mut self, name: Name) -> bool {
        let found = self.table.find_entry(self.key.hash(name), |slot| slot.name == name);
        found.map(|entry| entry.remove()).is_ok()
    }

    /// Keeps the stations that `keep` wants.
    pub fn retain(&mut self, mut keep: impl FnMut(Name, Place) -> bool) {
        self.table.retain(|slot| keep(slot.name, slot.place));
    }

    /// Gives memory back if the table could hold eight times as many stations as it does.
    pub fn shrink(&mut self) {
        let wanted = (self.table.len() * 2).max(Self::CAPACITY_MIN);
        if self.table.capacity() >= wanted * 4 {
            let key = self.key;
            self.table.shrink_to(wanted, |slot| key.hash(slot.name));
        }
    }

    /// The first `max` of the stations from `first` on that are `wanted`, ordered by name, and the one after them.
    pub fn page(
        &self,
        first: Name,
        max: usize,
        wanted: impl Fn(Name, Place) -> bool,
    ) -> (Vec<(Name, Place)>, Option<Name>) {
        // The smallest seen so far, one more than the page holds; the largest of them on top.
        let mut smallest = BinaryHeap::new();
        for &slot in self.table.iter().filter(|slot| slot.name >= first && wanted(slot.name, slot.place)) {
            if smallest.len() <= max {
                smallest.push(slot);
            } else if let Some(mut largest) = smallest.peek_mut().filter(|largest| **largest > slot) {
                *largest = slot;
            }
        }
        let next = if smallest.len() > max { smallest.pop().map(|slot| slot.name) } else { None };
        let page = smallest.into_sorted_vec().iter().map(|slot| (slot.name, slot.place)).collect();
        (page, next)
    }

    /// Makes room for one more in a table that has none: sweeps tombstones out if they take a sixteenth of the slots,
    /// else doubles.
    #[cold]
    fn make_room(&mut self) {
        let (stations, slots) = (self.table.len(), self.table.num_buckets());
        let key = self.key;
        if stations * 16 > slots * 13 {
            self.table.reserve(1, |slot| key.hash(slot.name));
            return;
        }
        let mut table = HashTable::with_capacity(slots / 8 * 7);
        for &slot in &self.table {
            table.insert_unique(key.hash(slot.name), slot, |slot| key.hash(slot.name));
        }
        self.table = table;
    }
}

/// What the hash is keyed with.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Key {
    mask: u64,
    factor: u64,
}

impl Key {
    fn seeded(seed: u64) -> Self {
        let mut rng = Rng::seeded(seed);
        Self { mask: rng.next_u64(), factor: rng.next_u64() | 1 }
    }

    /// Both halves of a product, folded: every bit of the result depends on every bit of the name, as in `foldhash`.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the halves are meant")]
    fn hash(self, name: Name) -> u64 {
        let product = u128::from(name.0 ^ self.mask) * u128::from(self.factor);
        product as u64 ^ (product >> 64) as u64
    }
}

#[cfg(test)]
mod tests;
