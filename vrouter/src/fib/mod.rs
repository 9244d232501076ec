//! The forwarding information base: which route a destination follows.
//!
//! A [`Fib`] is built whole from a list of routes and never changes; a change of routes is another one, swapped in its
//! place. The longest prefix that contains the destination wins. IPv4 and IPv6 have a table each, of one kind:
//!
//! ```text
//!  routes   sorted by address, then length      ──▶ explain(): what `route get` says
//!     │ swept once
//!  points   where along the line of all addresses the answer changes, neighbours with one answer merged
//!     │
//!  trie     a root indexed by the first bits, below it nodes of 64 slots, runs of equal slots stored once
//!                                               ──▶ lookup(): what packets ask
//! ```
//!
//! The answer itself is a number of 16 bits in the trie. Equal targets have one number, and their next hops are stored
//! once. A destination with several next hops keeps to one of them as its flow's hash says, by hash-threshold
//! (RFC 2992): equal shares of the hash's range. It looks at the upper bits, which a modulus, as
//! [`FlowHash::owner`] takes it, does not favour; and when one of *n* hops goes, it moves fewer flows that could have
//! stayed than a modulus would.
//!
//! Refused when built, with the first fault found: see [`FibError`]. Not known here: whether domains and neighbours
//! exist, or what to do with group addresses; who asks has dealt with both.
//!
//! Limits: [`ROUTES_MAX`], [`NEXT_HOPS_MAX`], [`TARGETS_MAX`], [`NODES_MAX`]; beyond any of them nothing is
//! built, so that what held before holds on. No clock.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use wire::{Cidr, DomainId, FlowHash};

mod error;
mod table;
mod target;
mod trie;

#[cfg(test)]
mod tests;

pub use error::FibError;
use table::{Entry, Table};
use target::{Codebook, Targets};
pub use trie::NODES_MAX;

/// Routes of a table, both families together. More are refused.
pub const ROUTES_MAX: usize = 1 << 22;
/// Next hops of one route. More are refused.
pub const NEXT_HOPS_MAX: usize = 16;
/// Different targets of all routes together. More are refused.
pub const TARGETS_MAX: usize = 65_279;

/// One route, as configured or derived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Destinations that it is for. Host bits are zero.
    pub prefix: Cidr,
    /// What becomes of packets to them.
    pub target: Target,
}

/// What becomes of packets to a prefix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Target {
    /// The destination is a neighbour in this domain.
    Connected(DomainId),
    /// Through one of these next hops, 1 to [`NEXT_HOPS_MAX`], none twice, of the prefix's family. The flow chooses.
    Via(Vec<NextHop>),
    /// Dropped silently.
    Blackhole,
    /// Refused with ICMP "host unreachable" or its like.
    Unreachable,
    /// Refused with ICMP "administratively prohibited".
    Prohibit,
}

/// A router that packets are handed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NextHop {
    /// The domain it is a neighbour in.
    pub domain: DomainId,
    /// Its address there.
    pub address: IpAddr,
}

/// The answer of a look-up: a [`Target`] that lives in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolved<'a> {
    /// The destination is a neighbour in this domain.
    Connected(DomainId),
    /// Through one of these.
    Via(NextHops<'a>),
    /// Dropped silently.
    Blackhole,
    /// Refused with ICMP "host unreachable" or its like.
    Unreachable,
    /// Refused with ICMP "administratively prohibited".
    Prohibit,
}

impl Resolved<'_> {
    /// The same, outliving the table.
    pub fn to_target(self) -> Target {
        match self {
            Self::Connected(domain) => Target::Connected(domain),
            Self::Via(hops) => Target::Via(hops.as_slice().to_vec()),
            Self::Blackhole => Target::Blackhole,
            Self::Unreachable => Target::Unreachable,
            Self::Prohibit => Target::Prohibit,
        }
    }
}

/// The next hops of a route: at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHops<'a>(&'a [NextHop]);

impl<'a> NextHops<'a> {
    /// The one that the flow keeps to for as long as the list is this one.
    #[inline]
    pub fn choose(self, hash: FlowHash) -> NextHop {
        // Less than the length, for the hash is less than 2^32.
        let index = (u64::from(hash.0) * self.0.len() as u64) >> 32;
        self.0[usize::try_from(index).expect("an index below 16")]
    }

    /// All of them, in the route's order.
    pub const fn as_slice(self) -> &'a [NextHop] {
        self.0
    }
}

/// The table. The default one has no routes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fib {
    v4: Table<u32>,
    v6: Table<u128>,
    targets: Targets,
}

impl Fib {
    /// Compiles routes, in any order.
    ///
    /// # Errors
    /// The first fault found: of single routes in their order, then of prefixes in the order of addresses.
    pub fn build(routes: &[Route]) -> Result<Self, FibError> {
        if routes.len() > ROUTES_MAX {
            return Err(FibError::TooManyRoutes(routes.len()));
        }
        for route in routes {
            check(route)?;
        }
        let codes = Codebook::of(routes)?;
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for route in routes {
            let (prefix_len, code) = (route.prefix.prefix_len(), codes.code(&route.target));
            match route.prefix.address() {
                IpAddr::V4(address) => v4.push(Entry { first: address.to_bits(), prefix_len, code }),
                IpAddr::V6(address) => v6.push(Entry { first: address.to_bits(), prefix_len, code }),
            }
        }
        Ok(Self { v4: Table::build(v4)?, v6: Table::build(v6)?, targets: codes.into_targets() })
    }

    /// What becomes of packets to `dst`; `None` if no route is for it.
    #[inline]
    pub fn lookup(&self, dst: IpAddr) -> Option<Resolved<'_>> {
        match dst {
            IpAddr::V4(dst) => self.lookup_v4(dst),
            IpAddr::V6(dst) => self.lookup_v6(dst),
        }
    }

    /// The same for an IPv4 destination.
    #[inline]
    pub fn lookup_v4(&self, dst: Ipv4Addr) -> Option<Resolved<'_>> {
        self.targets.resolve(self.v4.find(dst.to_bits()))
    }

    /// The same for an IPv6 destination. An IPv4-mapped one is IPv6.
    #[inline]
    pub fn lookup_v6(&self, dst: Ipv6Addr) -> Option<Resolved<'_>> {
        self.targets.resolve(self.v6.find(dst.to_bits()))
    }

    /// The route that packets to `dst` follow. Some microseconds: for people, not for packets.
    pub fn explain(&self, dst: IpAddr) -> Option<Route> {
        match dst {
            IpAddr::V4(dst) => self.v4.longest(dst.to_bits()).map(|entry| self.route(entry)),
            IpAddr::V6(dst) => self.v6.longest(dst.to_bits()).map(|entry| self.route(entry)),
        }?
    }

    /// All routes: IPv4, then IPv6, each by address, then length.
    pub fn routes(&self) -> impl Iterator<Item = Route> {
        let v4 = self.v4.entries().iter().filter_map(|entry| self.route(entry));
        v4.chain(self.v6.entries().iter().filter_map(|entry| self.route(entry)))
    }

    /// How many routes there are.
    pub fn len(&self) -> usize {
        self.v4.entries().len() + self.v6.entries().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many different targets they have.
    pub fn target_count(&self) -> usize {
        self.targets.count()
    }

    /// Octets of memory that the table takes, the routes for [`Fib::explain`] included.
    pub fn memory(&self) -> usize {
        self.lookup_memory() + self.v4.entries_memory() + self.v6.entries_memory()
    }

    /// Octets of it that look-ups read.
    pub fn lookup_memory(&self) -> usize {
        self.v4.trie_memory() + self.v6.trie_memory() + self.targets.memory()
    }

    /// What `entry` was made from. Always there, for it was made.
    fn route<K: trie::Key>(&self, entry: &Entry<K>) -> Option<Route> {
        let prefix = Cidr::new(entry.first.address(), entry.prefix_len)?;
        Some(Route { prefix, target: self.targets.resolve(entry.code)?.to_target() })
    }
}

/// Looks at one route alone.
fn check(route: &Route) -> Result<(), FibError> {
    let prefix = route.prefix;
    if !prefix.is_network() {
        return Err(FibError::HostBits(prefix));
    }
    match &route.target {
        Target::Via(hops) => check_hops(prefix, hops),
        Target::Connected(_) | Target::Blackhole | Target::Unreachable | Target::Prohibit => Ok(()),
    }
}

fn check_hops(prefix: Cidr, hops: &[NextHop]) -> Result<(), FibError> {
    if hops.is_empty() {
        return Err(FibError::NoNextHop(prefix));
    }
    if hops.len() > NEXT_HOPS_MAX {
        return Err(FibError::TooManyNextHops(prefix, hops.len()));
    }
    for (index, hop) in hops.iter().enumerate() {
        if hop.address.is_ipv4() != prefix.address().is_ipv4() {
            return Err(FibError::OtherFamily(prefix, hop.address));
        }
        if !crate::plan::is_host(hop.address) {
            return Err(FibError::NotAHostAddress(prefix, hop.address));
        }
        if hops[..index].contains(hop) {
            return Err(FibError::NextHopTwice(prefix, hop.address));
        }
    }
    Ok(())
}
