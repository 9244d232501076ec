//! The table of neighbours: who is known or asked for, in which state, until when, and who yields when it is full.
//!
//! Look-up is one walk of a `hashbrown` table whose hash is keyed by the router's seed: who does not know the seed cannot
//! choose addresses that collide. Everything that needs an order stands in ordered sets beside it: timers by time,
//! entries that may yield by who should go first. They change only when an entry changes state ([`Table::alter`]),
//! never when a packet merely uses it ([`Table::touch`]).
//!
//! Entries are of two classes with limits of their own, in all and for each domain, so that asking for addresses that
//! nobody has (a scan) never displaces a neighbour that is known:
//!
//! | class | states | all, per domain | at the limit |
//! |---|---|---|---|
//! | known | the others | [`NEIGHBOURS_MAX`], [`NEIGHBOURS_PER_DOMAIN_MAX`] | a `Stale` one yields: first one that has never been used, then the least recently used |
//! | unresolved | `Incomplete`, `Failed` | [`UNRESOLVED_MAX`], [`INCOMPLETE_MAX`] | the oldest `Failed` one yields |
//!
//! If none may yield, there is no room ([`Table::make_room`]).

use alloc::collections::{BTreeSet, BinaryHeap};
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use hashbrown::HashTable;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wire::{DomainId, Instant, Mac};

use crate::hash::HashKey;

/// Known neighbours of all domains together. At it a stale one yields to a new one; if there is none, what is new is
/// not remembered.
pub const NEIGHBOURS_MAX: usize = 65_536;
/// Known neighbours of one domain. At it likewise, among the domain's own.
pub const NEIGHBOURS_PER_DOMAIN_MAX: usize = 16_384;
/// Neighbours of all domains together that are asked for or did not answer. At it the oldest that did not answer
/// yields; if there is none, a packet to a new next hop is dropped as `route.neighbours-max`.
pub const UNRESOLVED_MAX: usize = 4_096;
/// Neighbours of one domain that are asked for or did not answer. At it likewise, among the domain's own.
pub const INCOMPLETE_MAX: usize = 256;

/// Whose entry it is. Ordered by domain, then address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NeighbourName {
    /// The domain that it is in.
    pub domain: DomainId,
    /// Its address.
    pub address: IpAddr,
}

/// What is known of a neighbour (RFC 4861 §7.3.2), IPv4 ones included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NeighbourState {
    /// It is asked for; its MAC address is not known yet.
    Incomplete,
    /// It has answered a short while ago.
    Reachable,
    /// It has not been heard of for a while, or nobody has asked it. Nothing is done before a packet is for it.
    Stale,
    /// A packet was sent to a stale neighbour; an upper layer may still say that it is there.
    Delay,
    /// It is asked whether it is still there.
    Probe,
    /// It did not answer. For a while nobody asks again.
    Failed,
}

impl NeighbourState {
    const fn class(self) -> Class {
        match self {
            Self::Incomplete | Self::Failed => Class::Unresolved,
            Self::Reachable | Self::Stale | Self::Delay | Self::Probe => Class::Known,
        }
    }
}

/// Entries that share a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Known,
    Unresolved,
}

impl Class {
    /// In all, and in one domain.
    const fn limits(self) -> (usize, usize) {
        match self {
            Self::Known => (NEIGHBOURS_MAX, NEIGHBOURS_PER_DOMAIN_MAX),
            Self::Unresolved => (UNRESOLVED_MAX, INCOMPLETE_MAX),
        }
    }
}

/// One neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) name: NeighbourName,
    /// Zero while it is unresolved.
    pub(super) mac: Mac,
    pub(super) state: NeighbourState,
    /// Questions sent in this state.
    pub(super) asked: u8,
    /// When the state began.
    pub(super) since: Instant,
    /// When something happens to it by itself.
    pub(super) due: Instant,
    /// When the last packet was sent to it.
    pub(super) used: Option<Instant>,
    /// When it last proved that it is there.
    pub(super) confirmed: Option<Instant>,
    /// Until when what nobody asked for does not change its MAC address.
    pub(super) locked_until: Instant,
    /// How long a proof counts.
    pub(super) reachable_for: Duration,
}

impl Entry {
    /// A new one, due at once.
    pub(super) const fn new(name: NeighbourName, state: NeighbourState, mac: Mac, now: Instant) -> Self {
        Self {
            name,
            mac,
            state,
            asked: 0,
            since: now,
            due: now,
            used: None,
            confirmed: None,
            locked_until: now,
            reachable_for: Duration::ZERO,
        }
    }

    /// Enters a state for some time.
    pub(super) fn enter(&mut self, state: NeighbourState, now: Instant, lasts: Duration) {
        self.state = state;
        self.asked = 0;
        self.since = now;
        self.due = now + lasts;
    }

    /// Its place among those that may yield, if it is one: unused before used, then the longest ago.
    fn yields(&self) -> Option<Yield> {
        match self.state {
            NeighbourState::Stale => Some((self.used.is_some(), self.used.unwrap_or(self.since), self.name)),
            NeighbourState::Failed => Some((false, self.since, self.name)),
            NeighbourState::Incomplete
            | NeighbourState::Reachable
            | NeighbourState::Delay
            | NeighbourState::Probe => None,
        }
    }
}

/// Whether it has been used, when last (or since when it is there), and who.
type Yield = (bool, Instant, NeighbourName);

/// The table.
#[derive(Clone, Debug)]
pub(super) struct Table {
    key: HashKey,
    entries: HashTable<Entry>,
    order: Order,
    /// How many have yielded so far.
    pub(super) yielded: u64,
}

/// The key, the entries in order, and how many have yielded. The order of what is due follows from the entries.
impl Serialize for Table {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut entries: Vec<&Entry> = self.entries.iter().collect();
        entries.sort_unstable_by_key(|entry| entry.name);
        (self.key, entries, self.yielded).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Table {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (key, entries, yielded): (HashKey, Vec<Entry>, u64) = Deserialize::deserialize(deserializer)?;
        let mut table = Self { key, entries: HashTable::new(), order: Order::default(), yielded };
        for entry in entries {
            table.insert(entry);
        }
        Ok(table)
    }
}

impl Table {
    /// An empty table whose hash follows from `seed`.
    pub(super) fn new(seed: u64) -> Self {
        Self { key: HashKey::seeded(seed), entries: HashTable::new(), order: Order::default(), yielded: 0 }
    }

    #[inline]
    pub(super) fn find(&self, name: NeighbourName) -> Option<&Entry> {
        self.entries.find(hash(self.key, name), |entry| entry.name == name)
    }

    /// An entry whose `used` (unless it is stale) and `confirmed` may be changed, nothing else.
    #[inline]
    pub(super) fn touch(&mut self, name: NeighbourName) -> Option<&mut Entry> {
        self.entries.find_mut(hash(self.key, name), |entry| entry.name == name)
    }

    /// Changes an entry if it is there.
    pub(super) fn alter(&mut self, name: NeighbourName, change: impl FnOnce(&mut Entry)) {
        let found = self.entries.find_mut(hash(self.key, name), |entry| entry.name == name);
        if let Some(entry) = found {
            self.order.remove(entry);
            change(entry);
            self.order.insert(entry);
        }
    }

    /// Adds an entry that is not there yet. The caller has made room.
    pub(super) fn insert(&mut self, entry: Entry) {
        debug_assert!(self.find(entry.name).is_none());
        let key = self.key;
        self.order.insert(&entry);
        self.entries.insert_unique(hash(key, entry.name), entry, |entry| hash(key, entry.name));
    }

    /// Removes an entry if it is there.
    pub(super) fn remove(&mut self, name: NeighbourName) {
        if let Ok(found) = self.entries.find_entry(hash(self.key, name), |entry| entry.name == name) {
            let (entry, _) = found.remove();
            self.order.remove(&entry);
        }
    }

    /// Sees to it that one more of the class fits the domain; `false` if nobody may yield. `displaces_used`: whether one
    /// that packets have been sent to may yield too.
    pub(super) fn make_room(&mut self, domain: DomainId, class: Class, displaces_used: bool) -> bool {
        let (total_max, domain_max) = class.limits();
        self.make_room_in(Some(domain), class, domain_max, displaces_used)
            && self.make_room_in(None, class, total_max, displaces_used)
    }

    fn make_room_in(
        &mut self,
        domain: Option<DomainId>,
        class: Class,
        max: usize,
        displaces_used: bool,
    ) -> bool {
        let Some(pool) = self.order.pool(domain, class) else { return true };
        if pool.count < max {
            return true;
        }
        let first = pool.yielding.first().filter(|(is_used, ..)| displaces_used || !is_used);
        let Some(&(_, _, name)) = first else { return false };
        self.remove(name);
        self.yielded += 1;
        true
    }

    /// Entries of a class, in all.
    pub(super) fn count(&self, class: Class) -> usize {
        self.order.pool(None, class).map_or(0, |pool| pool.count)
    }

    /// Octets that the entries take, empty slots included.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.entries.allocation_size()
    }

    /// Whom something happens to next, and when.
    pub(super) fn next_due(&self) -> Option<(Instant, NeighbourName)> {
        self.order.timers.first().copied()
    }

    /// The names of those that are `wanted`, in order.
    pub(super) fn names(&self, wanted: impl Fn(&Entry) -> bool) -> Vec<NeighbourName> {
        let mut names: Vec<NeighbourName> =
            self.entries.iter().filter(|entry| wanted(entry)).map(|entry| entry.name).collect();
        names.sort_unstable();
        names
    }

    /// The names of the first `max` of the entries from `first` on that are `wanted`, in order, and the one after them.
    pub(super) fn page(
        &self,
        first: Option<NeighbourName>,
        max: usize,
        wanted: impl Fn(&Entry) -> bool,
    ) -> (Vec<NeighbourName>, Option<NeighbourName>) {
        // The smallest seen so far, one more than the page holds; the largest of them on top.
        let mut smallest = BinaryHeap::new();
        let candidates = self.entries.iter().filter(|entry| Some(entry.name) >= first && wanted(entry));
        for name in candidates.map(|entry| entry.name) {
            if smallest.len() <= max {
                smallest.push(name);
            } else if let Some(mut largest) = smallest.peek_mut().filter(|largest| **largest > name) {
                *largest = name;
            }
        }
        let next = if smallest.len() > max { smallest.pop() } else { None };
        (smallest.into_sorted_vec(), next)
    }
}

/// What the hash table has no order for.
#[derive(Clone, Debug, Default)]
struct Order {
    timers: BTreeSet<(Instant, NeighbourName)>,
    total: Census,
    /// By [`DomainId`].
    domains: Vec<Census>,
}

/// A pool for each class.
#[derive(Clone, Debug, Default)]
struct Census {
    known: Pool,
    unresolved: Pool,
}

/// How many there are, and who of them may yield, first first.
#[derive(Clone, Debug, Default)]
struct Pool {
    count: usize,
    yielding: BTreeSet<Yield>,
}

impl Order {
    fn insert(&mut self, entry: &Entry) {
        self.timers.insert((entry.due, entry.name));
        let index = entry.name.domain.index();
        if self.domains.len() <= index {
            self.domains.resize(index + 1, Census::default());
        }
        for pool in self.pools(entry) {
            pool.count += 1;
            pool.yielding.extend(entry.yields());
        }
    }

    fn remove(&mut self, entry: &Entry) {
        self.timers.remove(&(entry.due, entry.name));
        for pool in self.pools(entry) {
            pool.count -= 1;
            if let Some(place) = entry.yields() {
                pool.yielding.remove(&place);
            }
        }
    }

    /// The pools that an entry, whose domain has one, belongs to.
    fn pools(&mut self, entry: &Entry) -> [&mut Pool; 2] {
        let class = entry.state.class();
        let domain = &mut self.domains[entry.name.domain.index()];
        [self.total.pool_mut(class), domain.pool_mut(class)]
    }

    /// `None` for a domain that has never had an entry.
    fn pool(&self, domain: Option<DomainId>, class: Class) -> Option<&Pool> {
        let census = match domain {
            Some(domain) => self.domains.get(domain.index())?,
            None => &self.total,
        };
        Some(match class {
            Class::Known => &census.known,
            Class::Unresolved => &census.unresolved,
        })
    }
}

impl Census {
    const fn pool_mut(&mut self, class: Class) -> &mut Pool {
        match class {
            Class::Known => &mut self.known,
            Class::Unresolved => &mut self.unresolved,
        }
    }
}

#[inline]
fn hash(key: HashKey, name: NeighbourName) -> u64 {
    let domain = u64::from(name.domain.0);
    match name.address {
        IpAddr::V4(address) => key.hash([domain << 32 | u64::from(address.to_bits())]),
        IpAddr::V6(address) => {
            let [a, b, c, d, e, f, g, h, interface @ ..] = address.octets();
            let prefix = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
            key.hash([domain, prefix, u64::from_be_bytes(interface)])
        }
    }
}
