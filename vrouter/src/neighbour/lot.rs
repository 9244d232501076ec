//! The parking lot: packets that wait for the MAC address of their next hop, in the order in which they came.
//!
//! One list for all, at most [`PARKED_MAX`] long; who wants those of one neighbour walks it, which happens once per
//! answer and per failure. Limits: [`PARKED_PER_NEIGHBOUR`], [`PARKED_PER_DOMAIN_MAX`] and [`PARKED_MAX`]. At each the
//! oldest packet to the same neighbour gives way to a new one; a neighbour that has none there then gets none. Either
//! ends as `route.neighbour-queue`.

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};
use wire::{DomainId, FrameBuf, PortId};

use super::table::NeighbourName;

/// Packets that wait for one neighbour. The newest replaces the oldest (RFC 4861 §7.2.2).
pub const PARKED_PER_NEIGHBOUR: usize = 3;
/// Packets that wait in one domain, so that a scan of one does not take the room of the others.
pub const PARKED_PER_DOMAIN_MAX: usize = 128;
/// Packets that wait in all domains: 32 MiB of buffers.
pub const PARKED_MAX: usize = 512;

/// A packet that waits: for whom, and the port that it came in through.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Parked {
    pub(super) name: NeighbourName,
    pub(super) port: PortId,
    pub(super) frame: FrameBuf,
}

/// The packets that wait, oldest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Lot {
    parked: Vec<Parked>,
}

/// What parking comes to.
#[derive(Clone, Debug)]
pub(super) enum Room {
    /// There is some.
    Free,
    /// There is, now that this packet to the same neighbour has given way.
    Swapped(Parked),
    /// There is none.
    None,
}

impl Lot {
    /// Sees to it that a packet to this neighbour can be parked.
    pub(super) fn make_room(&mut self, name: NeighbourName) -> Room {
        let of_neighbour = self.count(name);
        let is_full = of_neighbour >= PARKED_PER_NEIGHBOUR
            || self.parked.len() >= PARKED_MAX
            || self.count_in(name.domain) >= PARKED_PER_DOMAIN_MAX;
        if !is_full {
            return Room::Free;
        }
        let oldest = self.parked.iter().position(|parked| parked.name == name);
        oldest.map_or(Room::None, |index| Room::Swapped(self.parked.remove(index)))
    }

    /// Parks a packet; there is room.
    pub(super) fn park(&mut self, parked: Parked) {
        self.parked.push(parked);
    }

    /// Takes out what waits for a neighbour, oldest first.
    pub(super) fn take(&mut self, name: NeighbourName) -> impl Iterator<Item = Parked> {
        self.parked.extract_if(.., move |parked| parked.name == name)
    }

    /// Packets that wait for a neighbour.
    pub(super) fn count(&self, name: NeighbourName) -> usize {
        self.parked.iter().filter(|parked| parked.name == name).count()
    }

    fn count_in(&self, domain: DomainId) -> usize {
        self.parked.iter().filter(|parked| parked.name.domain == domain).count()
    }

    /// Packets that wait at all.
    pub(super) const fn len(&self) -> usize {
        self.parked.len()
    }
}
