//! Hosts: how many sessions each has begun, and which of them yield.
//!
//! A host is known while it has sessions, so there are never more hosts than sessions.

use serde::{Deserialize, Serialize};

use super::address::{Address, Tuple, hash};
use super::clock::List;
use super::index::Index;
use super::slab::{Entry, Slab};
use crate::hash::HashKey;
use crate::plan::Protocol;

/// Who has begun sessions.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Host<A> {
    pub(super) address: A,
    pub(super) sessions: u32,
    /// Those that yield; first who has done so longest.
    pub(super) yielding: List,
    /// Whether people have been told that its share is used up, and it has not recovered since.
    pub(super) is_told: bool,
}

impl<A: Address> Entry for Host<A> {
    const VACANT: Self = Self { address: A::UNSPECIFIED, sessions: 0, yielding: List::EMPTY, is_told: false };

    fn next_vacant(&mut self) -> &mut u32 {
        &mut self.sessions
    }
}

/// All of a family.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "A: Address")]
pub(super) struct Hosts<A> {
    key: HashKey,
    slab: Slab<Host<A>>,
    index: Index,
}

impl<A: Address> Hosts<A> {
    pub(super) fn new(key: HashKey) -> Self {
        Self { key, slab: Slab::new(), index: Index::new() }
    }

    pub(super) fn at_mut(&mut self, place: u32) -> &mut Host<A> {
        self.slab.at_mut(place)
    }

    pub(super) fn find(&self, address: A) -> Option<u32> {
        self.index.find(self.hash(address), |place| self.slab.at(place).address == address)
    }

    /// Another session of a host begins.
    pub(super) fn hold(&mut self, address: A) -> u32 {
        let place = self.find(address).unwrap_or_else(|| {
            let place = self.slab.insert(Host { address, ..Host::VACANT });
            self.index.insert(self.hash(address), place);
            place
        });
        self.slab.at_mut(place).sessions += 1;
        place
    }

    /// A session of a host has ended.
    pub(super) fn release(&mut self, place: u32) {
        let host = self.slab.at_mut(place);
        host.sessions -= 1;
        if host.sessions == 0 {
            let hash = self.hash(self.slab.at(place).address);
            self.index.remove(hash, place);
            self.slab.remove(place);
        }
    }

    fn hash(&self, address: A) -> u32 {
        hash(self.key, Protocol::Tcp, &Tuple { src: address, ..Tuple::VACANT })
    }
}
