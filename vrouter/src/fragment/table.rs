//! The packets in pieces: found by name, ordered by age, counted per source. Every step takes constant time.
//!
//! Entries lie in one slab and are linked three times by their places: all by age, those of one source by age, and those
//! that wait for their first by the time since when they do. The two hash tables hold places and sources; they are as
//! large from the start as they get, with room for as many tombstones, so that they are swept but never grow.

use alloc::vec::Vec;
use core::net::IpAddr;

use hashbrown::HashTable;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wire::headers::Family;
use wire::{DomainId, Instant};

use super::piece::Map;
use super::{DATAGRAMS_MAX, PARKED_PER_DATAGRAM_MAX};
use crate::hash::HashKey;
use crate::packet::{Flow, Packet};

/// The place of an entry.
pub(super) type At = u16;

/// What the pieces of one packet have in common (RFC 791 §3.2, RFC 8200 §4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Name {
    source: Source,
    dst: IpAddr,
    id: u32,
    /// 0 in version 6, whose pieces need not agree about it.
    protocol: u8,
}

/// A sender in a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Source {
    domain: DomainId,
    address: IpAddr,
}

impl Name {
    pub(super) const fn new(domain: DomainId, packet: &Packet, id: u32) -> Self {
        let protocol = match packet.headers.family {
            Family::V4 => packet.headers.protocol,
            Family::V6 => 0,
        };
        Self { source: Source { domain, address: packet.src }, dst: packet.dst, id, protocol }
    }

    /// The domain that the packet came in through.
    pub(super) const fn domain(&self) -> DomainId {
        self.source.domain
    }

    fn hash(&self, key: HashKey) -> u64 {
        let [high, low] = words(self.dst);
        let rest = u64::from(self.id) << 8 | u64::from(self.protocol);
        key.hash([self.source.hash(key), high, low, rest])
    }
}

impl Source {
    fn hash(&self, key: HashKey) -> u64 {
        let [high, low] = words(self.address);
        key.hash([high, low, u64::from(self.domain.0)])
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the halves are meant")]
fn words(address: IpAddr) -> [u64; 2] {
    let bits = match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    };
    [(bits >> 64) as u64, bits as u64]
}

/// What is known of a packet in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    /// Its first piece has not come.
    Waiting,
    /// Its first piece has come, and was of this flow.
    Known(Option<Flow>),
    /// Its pieces contradict each other.
    Refused,
}

/// A packet in pieces.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Datagram {
    pub(super) name: Name,
    pub(super) state: State,
    pub(super) deadline: Instant,
    pub(super) map: Map,
    /// Places of pieces that wait for the first, in the order in which they came.
    parked: [u8; PARKED_PER_DATAGRAM_MAX],
    parked_count: u8,
    links: [Links; 3],
}

impl Datagram {
    /// Where its parked pieces are.
    pub(super) fn parked(&self) -> &[u8] {
        &self.parked[..usize::from(self.parked_count)]
    }
}

/// All, by age.
const BY_AGE: usize = 0;
/// Those of one source, by age.
const BY_SOURCE: usize = 1;
/// Those with parked pieces, by the time of the first of them.
const BY_WAITING: usize = 2;

/// An entry's neighbours in one list.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Links {
    older: Option<At>,
    newer: Option<At>,
}

/// The ends of one list.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct List {
    oldest: Option<At>,
    newest: Option<At>,
}

impl List {
    fn push(&mut self, entries: &mut [Datagram], which: usize, at: At) {
        entries[usize::from(at)].links[which] = Links { older: self.newest, newer: None };
        match self.newest {
            Some(newest) => entries[usize::from(newest)].links[which].newer = Some(at),
            None => self.oldest = Some(at),
        }
        self.newest = Some(at);
    }

    fn remove(&mut self, entries: &mut [Datagram], which: usize, at: At) {
        let Links { older, newer } = entries[usize::from(at)].links[which];
        match older {
            Some(older) => entries[usize::from(older)].links[which].newer = newer,
            None => self.oldest = newer,
        }
        match newer {
            Some(newer) => entries[usize::from(newer)].links[which].older = older,
            None => self.newest = older,
        }
    }
}

/// What one source has in the table.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Share {
    source: Source,
    datagrams: List,
    count: usize,
    parked: usize,
}

/// The table.
#[derive(Clone, Debug)]
pub(super) struct Table {
    key: HashKey,
    entries: Vec<Datagram>,
    free: Vec<At>,
    names: HashTable<At>,
    shares: HashTable<Share>,
    by_age: List,
    by_waiting: List,
}

/// All but what the entries' names tell anyway.
impl Serialize for Table {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut names: Vec<At> = self.names.iter().copied().collect();
        names.sort_unstable();
        let mut shares: Vec<&Share> = self.shares.iter().collect();
        shares.sort_unstable_by_key(|share| share.source);
        let lists = (self.by_age, self.by_waiting);
        (self.key, &self.entries, &self.free, names, shares, lists).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Table {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (key, entries, free, names, shares, (by_age, by_waiting)) =
            Deserialize::deserialize(deserializer)?;
        let mut table = Self { key, entries, free, by_age, by_waiting, ..Self::new(0) };
        for at in Vec::<At>::into_iter(names) {
            let name = |at: At| table.entries.get(usize::from(at)).map(|entry| entry.name.hash(key));
            let Some(hash) = name(at) else { return Err(serde::de::Error::custom("no such packet")) };
            table.names.insert_unique(hash, at, |&at| name(at).unwrap_or(0));
        }
        for share in Vec::<Share>::into_iter(shares) {
            table.shares.insert_unique(share.source.hash(key), share, |share| share.source.hash(key));
        }
        Ok(table)
    }
}

impl Table {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            key: HashKey::seeded(seed),
            entries: Vec::new(),
            free: Vec::new(),
            names: HashTable::with_capacity(2 * DATAGRAMS_MAX),
            shares: HashTable::with_capacity(2 * DATAGRAMS_MAX),
            by_age: List::default(),
            by_waiting: List::default(),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(super) fn find(&self, name: &Name) -> Option<At> {
        let hash = name.hash(self.key);
        self.names.find(hash, |&at| self.entries[usize::from(at)].name == *name).copied()
    }

    pub(super) fn get(&self, at: At) -> &Datagram {
        &self.entries[usize::from(at)]
    }

    pub(super) fn get_mut(&mut self, at: At) -> &mut Datagram {
        &mut self.entries[usize::from(at)]
    }

    /// The one that came first.
    pub(super) fn oldest(&self) -> Option<At> {
        self.by_age.oldest
    }

    /// The one that came next after `at`.
    pub(super) fn younger(&self, at: At) -> Option<At> {
        self.get(at).links[BY_AGE].newer
    }

    /// The one whose pieces have been parked the longest.
    pub(super) fn oldest_waiting(&self) -> Option<At> {
        self.by_waiting.oldest
    }

    /// How many this name's source has, and its oldest.
    pub(super) fn of_source(&self, name: &Name) -> (usize, Option<At>) {
        self.share(&name.source).map_or((0, None), |share| (share.count, share.datagrams.oldest))
    }

    /// How many pieces this name's source has parked.
    pub(super) fn parked_of_source(&self, name: &Name) -> usize {
        self.share(&name.source).map_or(0, |share| share.parked)
    }

    fn share(&self, source: &Source) -> Option<&Share> {
        self.shares.find(source.hash(self.key), |share| share.source == *source)
    }

    /// Enters a packet that is not there. The caller has seen to it that there is room.
    pub(super) fn insert(&mut self, name: Name, deadline: Instant) -> At {
        let datagram = Datagram {
            name,
            state: State::Waiting,
            deadline,
            map: Map::EMPTY,
            parked: [0; PARKED_PER_DATAGRAM_MAX],
            parked_count: 0,
            links: [Links::default(); 3],
        };
        let at = if let Some(at) = self.free.pop() {
            self.entries[usize::from(at)] = datagram;
            at
        } else {
            let at = At::try_from(self.entries.len()).expect("the table has a limit");
            self.entries.push(datagram);
            at
        };
        let (key, entries) = (self.key, &mut self.entries);
        let hash = name.hash(key);
        self.names.insert_unique(hash, at, |&at| entries[usize::from(at)].name.hash(key));
        self.by_age.push(entries, BY_AGE, at);
        let source = name.source;
        let share = self.shares.entry(
            source.hash(key),
            |share| share.source == source,
            |share| share.source.hash(key),
        );
        let mut share = share.or_insert(Share { source, datagrams: List::default(), count: 0, parked: 0 });
        let share = share.get_mut();
        share.datagrams.push(entries, BY_SOURCE, at);
        share.count += 1;
        at
    }

    /// Takes a packet out. Nothing is parked of it.
    pub(super) fn remove(&mut self, at: At) {
        let (key, entries) = (self.key, &mut self.entries);
        let name = entries[usize::from(at)].name;
        if let Ok(entry) = self.names.find_entry(name.hash(key), |&other| other == at) {
            entry.remove();
        }
        self.by_age.remove(entries, BY_AGE, at);
        if let Ok(mut share) =
            self.shares.find_entry(name.source.hash(key), |share| share.source == name.source)
        {
            share.get_mut().datagrams.remove(entries, BY_SOURCE, at);
            share.get_mut().count -= 1;
            if share.get().count == 0 {
                share.remove();
            }
        }
        self.free.push(at);
    }

    /// Notes a parked piece of a packet. The caller has seen to it that there is room.
    pub(super) fn park(&mut self, at: At, place: u8) {
        let datagram = &mut self.entries[usize::from(at)];
        let count = usize::from(datagram.parked_count);
        datagram.parked[count] = place;
        datagram.parked_count += 1;
        let source = datagram.name.source;
        if count == 0 {
            self.by_waiting.push(&mut self.entries, BY_WAITING, at);
        }
        if let Some(share) = self.shares.find_mut(source.hash(self.key), |share| share.source == source) {
            share.parked += 1;
        }
    }

    /// Takes the parked pieces of a packet, and returns their places in the order in which they came.
    pub(super) fn unpark(&mut self, at: At) -> impl Iterator<Item = u8> + use<> {
        let datagram = &mut self.entries[usize::from(at)];
        let (places, count) = (datagram.parked, usize::from(datagram.parked_count));
        datagram.parked_count = 0;
        let source = datagram.name.source;
        if count > 0 {
            self.by_waiting.remove(&mut self.entries, BY_WAITING, at);
        }
        if let Some(share) = self.shares.find_mut(source.hash(self.key), |share| share.source == source) {
            share.parked -= count;
        }
        places.into_iter().take(count)
    }

    /// Octets that the table takes.
    pub(super) fn memory(&self) -> usize {
        self.entries.capacity() * size_of::<Datagram>()
            + self.free.capacity() * size_of::<At>()
            + self.names.allocation_size()
            + self.shares.allocation_size()
    }
}
