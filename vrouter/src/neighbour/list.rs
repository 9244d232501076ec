//! What the table knows, for people: `tapestry neigh ls`, `del` and `flush`.

use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use wire::{DomainId, Instant, Mac};

use super::Neighbours;
use super::table::{Class, NeighbourName, NeighbourState};

/// One neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighbourInfo {
    /// The domain that it is in.
    pub domain: DomainId,
    /// Its address.
    pub address: IpAddr,
    /// Its MAC address, unless it is `Incomplete` or `Failed`.
    pub mac: Option<Mac>,
    /// What is known of it.
    pub state: NeighbourState,
    /// How long ago it last proved that it is there; if it never did, how long its state has lasted.
    pub age: Duration,
    /// How long ago a packet was last sent to it; `None`: never.
    pub idle: Option<Duration>,
    /// Packets that wait for its MAC address.
    pub parked: usize,
}

/// Sums over all domains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct NeighbourStats {
    /// Neighbours whose MAC address is known.
    pub known: usize,
    /// Neighbours that are asked for or have not answered lately.
    pub unresolved: usize,
    /// Packets that wait for a MAC address.
    pub parked: usize,
    /// Questions sent since the start.
    pub asked: u64,
    /// Questions put off because a domain hears no more of them in a second, since the start.
    pub put_off: u64,
    /// Next hops whose MAC address has become known, since the start.
    pub resolved: u64,
    /// Neighbours that did not answer, since the start.
    pub unanswered: u64,
    /// Neighbours that have yielded to others, since the start.
    pub yielded: u64,
    /// Times that a station was found to use an address of ours, since the start.
    pub conflicts: u64,
}

impl Neighbours {
    /// All neighbours, by domain and address.
    pub fn list(&self, now: Instant) -> Vec<NeighbourInfo> {
        self.page(now, None, None, usize::MAX).0
    }

    /// The first `max` neighbours from `first` on, of one domain or of all, by domain and address, and the name of the
    /// one after them.
    pub fn page(
        &self,
        now: Instant,
        domain: Option<DomainId>,
        first: Option<NeighbourName>,
        max: usize,
    ) -> (Vec<NeighbourInfo>, Option<NeighbourName>) {
        let is_wanted = |name: NeighbourName| domain.is_none_or(|domain| domain == name.domain);
        let (names, next) = self.table.page(first, max, |entry| is_wanted(entry.name));
        let page = names.into_iter().filter_map(|name| {
            let entry = self.table.find(name)?;
            Some(NeighbourInfo {
                domain: name.domain,
                address: name.address,
                mac: (!entry.mac.is_zero()).then_some(entry.mac),
                state: entry.state,
                age: now.since(entry.confirmed.unwrap_or(entry.since)),
                idle: entry.used.map(|used| now.since(used)),
                parked: self.lot.count(name),
            })
        });
        (page.collect(), next)
    }

    /// Forgets neighbours: of one domain or of all, at one address or at each. How many. Those that packets wait for are
    /// being asked for already and stay.
    pub fn forget(&mut self, domain: Option<DomainId>, address: Option<IpAddr>) -> usize {
        let names = self.table.names(|entry| {
            entry.state != NeighbourState::Incomplete
                && domain.is_none_or(|domain| domain == entry.name.domain)
                && address.is_none_or(|address| address == entry.name.address)
        });
        for &name in &names {
            self.table.remove(name);
        }
        names.len()
    }

    /// Sums over all domains.
    pub fn stats(&self) -> NeighbourStats {
        NeighbourStats {
            known: self.table.count(Class::Known),
            unresolved: self.table.count(Class::Unresolved),
            parked: self.lot.len(),
            asked: self.asked,
            put_off: self.put_off,
            resolved: self.resolved,
            unanswered: self.unanswered,
            yielded: self.table.yielded,
            conflicts: self.conflicts,
        }
    }
}
