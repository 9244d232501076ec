//! Mappings: which outside L4 port stands for which endpoint inside.
//!
//! A *shared* mapping is endpoint-independent: one inside endpoint has one outside L4 port for a protocol and outside
//! address, whoever it talks to (RFC 4787 REQ-1, RFC 5382 REQ-1; of echo, the identifier: RFC 5508 REQ-1). A *private*
//! one is a single session's. A mapping lives while sessions use it, and its number is nobody else's meanwhile.
//!
//! Filtering by address asks whether a mapping has talked to an address. For that, and only if the plan filters so, the
//! pairs are counted in a table of their own (12 octets a pair, 28 for IPv6, and as much again of room).

use alloc::boxed::Box;
use alloc::vec::Vec;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wire::Rng;

use super::address::{Address, Tuple, hash};
use super::index::Index;
use super::pool::Pool;
use super::slab::{Entry, NONE, Slab};
use crate::hash::HashKey;
use crate::plan::Protocol;

/// An outside L4 port and whose it is.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Mapping<A> {
    pub(super) inside: A,
    pub(super) outside: A,
    pub(super) inside_l4_port: u16,
    pub(super) outside_l4_port: u16,
    pub(super) protocol: Protocol,
    pub(super) is_shared: bool,
    /// Sessions that use it.
    pub(super) sessions: u32,
}

impl<A: Address> Entry for Mapping<A> {
    const VACANT: Self = Self {
        inside: A::UNSPECIFIED,
        outside: A::UNSPECIFIED,
        inside_l4_port: 0,
        outside_l4_port: 0,
        protocol: Protocol::Tcp,
        is_shared: false,
        sessions: 0,
    };

    fn next_vacant(&mut self) -> &mut u32 {
        &mut self.sessions
    }
}

impl<A: Address> Mapping<A> {
    /// What a shared mapping is found by.
    const fn name(&self) -> Tuple<A> {
        Tuple { src: self.inside, dst: self.outside, src_l4_port: self.inside_l4_port, dst_l4_port: 0 }
    }
}

/// That a mapping has talked to an address, in so many sessions.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Talk<A> {
    mapping: u32,
    peer: A,
    sessions: u32,
}

/// All of a family.
#[derive(Clone, Debug)]
pub(super) struct Mappings<A> {
    key: HashKey,
    slab: Slab<Mapping<A>>,
    shared: Index,
    /// Ordered by address and protocol.
    pools: Vec<(A, Protocol, Box<Pool>)>,
    /// `None` unless the plan filters by address.
    talks: Option<HashTable<Talk<A>>>,
}

/// As it is, the talks in order.
impl<A: Address> Serialize for Mappings<A> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let talks = self.talks.as_ref().map(|talks| {
            let mut talks: Vec<&Talk<A>> = talks.iter().collect();
            talks.sort_unstable_by_key(|talk| (talk.mapping, talk.peer));
            talks
        });
        (self.key, &self.slab, &self.shared, &self.pools, talks).serialize(serializer)
    }
}

impl<'de, A: Address> Deserialize<'de> for Mappings<A> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (key, slab, shared, pools, talks) = Deserialize::deserialize(deserializer)?;
        let rehash = |talk: &Talk<A>| talk_hash(key, talk.mapping, talk.peer);
        let table = |talks: Vec<Talk<A>>| {
            let mut table = HashTable::with_capacity(talks.len());
            for talk in talks {
                table.insert_unique(rehash(&talk), talk, rehash);
            }
            table
        };
        Ok(Self { key, slab, shared, pools, talks: Option::map(talks, table) })
    }
}

impl<A: Address> Mappings<A> {
    pub(super) fn new(key: HashKey) -> Self {
        Self { key, slab: Slab::new(), shared: Index::new(), pools: Vec::new(), talks: None }
    }

    pub(super) const fn count(&self) -> u32 {
        self.slab.count()
    }

    pub(super) fn at(&self, place: u32) -> &Mapping<A> {
        self.slab.at(place)
    }

    /// The pools in order of address and protocol.
    pub(super) fn pools(&self) -> impl Iterator<Item = (A, Protocol, &Pool)> {
        self.pools.iter().map(|(outside, protocol, pool)| (*outside, *protocol, &**pool))
    }

    pub(super) fn pools_mut(&mut self) -> impl Iterator<Item = (A, Protocol, &mut Pool)> {
        self.pools.iter_mut().map(|(outside, protocol, pool)| (*outside, *protocol, &mut **pool))
    }

    /// The pool of a protocol at an address; made, with what is `reserved` in it, if there is none yet.
    pub(super) fn pool(
        &mut self,
        outside: A,
        protocol: Protocol,
        reserved: impl Iterator<Item = (u16, u16)>,
    ) -> &mut Pool {
        let at = self.find_pool(outside, protocol).unwrap_or_else(|at| {
            let mut pool = Box::new(Pool::new(protocol));
            pool.reserve(reserved);
            self.pools.insert(at, (outside, protocol, pool));
            at
        });
        &mut self.pools[at].2
    }

    /// Keeps the pools of these addresses. Those that go have no mappings left.
    pub(super) fn retain_pools(&mut self, is_kept: impl Fn(A) -> bool) {
        self.pools.retain(|(outside, _, pool)| is_kept(*outside) || pool.in_use() != 0);
    }

    /// The shared mapping of an inside endpoint at an outside address.
    pub(super) fn shared(&self, protocol: Protocol, inside: A, l4_port: u16, outside: A) -> Option<u32> {
        let name = Tuple { src: inside, dst: outside, src_l4_port: l4_port, dst_l4_port: 0 };
        self.shared.find(hash(self.key, protocol, &name), |place| {
            let mapping = self.slab.at(place);
            mapping.protocol == protocol && mapping.name() == name
        })
    }

    /// Whose an outside L4 port is.
    pub(super) fn owner(&self, protocol: Protocol, outside: A, l4_port: u16) -> Option<u32> {
        self.pools[self.find_pool(outside, protocol).ok()?].2.owner(l4_port)
    }

    /// Whether the end of a mapping's only session would free an L4 port that suits another mapping.
    pub(super) fn can_yield(&self, place: u32, wanted: &Mapping<A>) -> bool {
        let mapping = self.slab.at(place);
        let is_alike = (mapping.outside, mapping.protocol) == (wanted.outside, wanted.protocol);
        let pool = self.find_pool(wanted.outside, wanted.protocol).map(|at| &self.pools[at].2);
        is_alike
            && mapping.sessions == 1
            && pool.is_ok_and(|pool| pool.suits(mapping.outside_l4_port, wanted.inside_l4_port))
    }

    /// Where the pool is, or where it belongs.
    fn find_pool(&self, outside: A, protocol: Protocol) -> Result<usize, usize> {
        self.pools.binary_search_by(|(a, p, _)| (*a, *p).cmp(&(outside, protocol)))
    }

    /// Makes a mapping that no session uses yet, in a pool that exists. `None` if the pool is used up.
    pub(super) fn make(&mut self, rng: &mut Rng, mut mapping: Mapping<A>) -> Option<u32> {
        let at = self.find_pool(mapping.outside, mapping.protocol).ok()?;
        let pool = &mut self.pools[at].2;
        mapping.outside_l4_port = pool.choose(rng, mapping.inside_l4_port)?;
        mapping.sessions = 0;
        let place = self.slab.insert(mapping);
        pool.take(mapping.outside_l4_port, place);
        if mapping.is_shared {
            self.shared.insert(hash(self.key, mapping.protocol, &mapping.name()), place);
        }
        Some(place)
    }

    /// Another session uses the mapping.
    pub(super) fn hold(&mut self, place: u32) {
        self.slab.at_mut(place).sessions += 1;
    }

    /// A session uses it no more; the last one ends it.
    pub(super) fn release(&mut self, place: u32) {
        let mapping = self.slab.at_mut(place);
        mapping.sessions = mapping.sessions.saturating_sub(1);
        if mapping.sessions == 0 {
            self.end(place);
        }
    }

    fn end(&mut self, place: u32) {
        let mapping = *self.slab.at(place);
        if mapping.is_shared {
            self.shared.remove(hash(self.key, mapping.protocol, &mapping.name()), place);
        }
        if let Ok(at) = self.find_pool(mapping.outside, mapping.protocol) {
            self.pools[at].2.give_back(mapping.outside_l4_port);
        }
        self.slab.remove(place);
    }

    /// Ends a mapping that no session came to use.
    pub(super) fn end_unused(&mut self, place: u32) {
        if self.slab.at(place).sessions == 0 {
            self.end(place);
        }
    }

    /// Whether talks are counted from now on. Counts start anew.
    pub(super) fn count_talks(&mut self, is_wanted: bool) {
        self.talks = is_wanted.then(HashTable::new);
    }

    /// A session of the mapping with `peer` begins.
    pub(super) fn talk(&mut self, mapping: u32, peer: A) {
        let key = self.key;
        if let Some(talks) = &mut self.talks {
            let is_it = |talk: &Talk<A>| talk.mapping == mapping && talk.peer == peer;
            let talk = talks
                .entry(talk_hash(key, mapping, peer), is_it, |talk| talk_hash(key, talk.mapping, talk.peer))
                .or_insert(Talk { mapping, peer, sessions: 0 });
            talk.into_mut().sessions += 1;
        }
    }

    /// A session of the mapping with `peer` has ended.
    pub(super) fn fall_silent(&mut self, mapping: u32, peer: A) {
        let key = self.key;
        if let Some(talks) = &mut self.talks {
            let is_it = |talk: &Talk<A>| talk.mapping == mapping && talk.peer == peer;
            let rehash = |talk: &Talk<A>| talk_hash(key, talk.mapping, talk.peer);
            if let Slot::Occupied(mut talk) = talks.entry(talk_hash(key, mapping, peer), is_it, rehash) {
                talk.get_mut().sessions -= 1;
                if talk.get().sessions == 0 {
                    talk.remove();
                }
            }
        }
    }

    /// Whether the mapping has talked to an address.
    pub(super) fn has_talked(&self, mapping: u32, peer: A) -> bool {
        let is_it = |talk: &Talk<A>| talk.mapping == mapping && talk.peer == peer;
        self.talks
            .as_ref()
            .is_some_and(|talks| talks.find(talk_hash(self.key, mapping, peer), is_it).is_some())
    }
}

fn talk_hash<A: Address>(key: HashKey, mapping: u32, peer: A) -> u64 {
    let [a, b, c, d] = mapping.to_be_bytes();
    let name = Tuple {
        src: peer,
        dst: A::UNSPECIFIED,
        src_l4_port: u16::from_be_bytes([a, b]),
        dst_l4_port: u16::from_be_bytes([c, d]),
    };
    let hash = u64::from(hash(key, Protocol::Udp, &name));
    hash << 32 | hash // The table takes bits from both ends.
}

/// A session without a mapping.
pub(super) const UNMAPPED: u32 = NONE;
