//! What of the router's own addresses leads to a station: published runs of L4 ports, and one-to-one addresses.
//!
//! A run is one entry however wide. Entries of one protocol and listen address are disjoint (the plan's check sees to
//! it) and sorted by their first L4 port, so the only candidate is found by bisection: once among those of the very
//! address, once among those that listen at all. A published L4 port goes before a one-to-one address.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::address::Address;
use crate::plan::{OneToOne, Protocol, Publish};

/// A run of L4 ports and where it leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Run<A> {
    protocol: Protocol,
    /// `None`: at each address.
    listen: Option<A>,
    first: u16,
    last: u16,
    to: A,
    to_first: u16,
    id: u32,
}

/// What one family of the router's addresses leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Published<A> {
    /// Ordered by protocol, listen address and first L4 port.
    runs: Vec<Run<A>>,
    /// Outside and inside, ordered by the outside address.
    inward: Vec<(A, A)>,
    /// Inside and outside, ordered by the inside address.
    outward: Vec<(A, A)>,
}

impl<A: Address> Published<A> {
    pub(super) const NOTHING: Self = Self { runs: Vec::new(), inward: Vec::new(), outward: Vec::new() };

    pub(super) fn new(publishes: &[Publish], one_to_one: &[OneToOne]) -> Self {
        let mut runs: Vec<Run<A>> = publishes.iter().filter_map(Run::of).collect();
        runs.sort_unstable_by_key(|run| (run.protocol, run.listen, run.first));
        let pairs = one_to_one.iter().filter_map(|pair| Some((A::of(pair.outside)?, A::of(pair.inside)?)));
        let mut inward: Vec<(A, A)> = pairs.collect();
        inward.sort_unstable();
        let mut outward: Vec<(A, A)> = inward.iter().map(|&(outside, inside)| (inside, outside)).collect();
        outward.sort_unstable();
        Self { runs, inward, outward }
    }

    /// Where an L4 port of the router's address leads, and by which entry.
    pub(super) fn run(&self, protocol: Protocol, dst: A, l4_port: u16) -> Option<(A, u16, u32)> {
        [Some(dst), None].into_iter().find_map(|listen| {
            let name = (protocol, listen, l4_port);
            let above = self.runs.partition_point(|run| (run.protocol, run.listen, run.first) <= name);
            let run = self.runs[..above].last()?;
            let is_it = run.protocol == protocol && run.listen == listen && l4_port <= run.last;
            is_it.then(|| (run.to, run.to_first + (l4_port - run.first), run.id))
        })
    }

    /// The station that an outside address is.
    pub(super) fn inside_of(&self, outside: A) -> Option<A> {
        let at = self.inward.binary_search_by_key(&outside, |pair| pair.0).ok()?;
        Some(self.inward[at].1)
    }

    /// The outside address that a station has.
    pub(super) fn outside_of(&self, inside: A) -> Option<A> {
        let at = self.outward.binary_search_by_key(&inside, |pair| pair.0).ok()?;
        Some(self.outward[at].1)
    }

    /// The runs of L4 ports that are published at an address.
    pub(super) fn at(&self, outside: A, protocol: Protocol) -> impl Iterator<Item = (u16, u16)> {
        self.runs
            .iter()
            .filter(move |run| run.protocol == protocol && run.listen.is_none_or(|listen| listen == outside))
            .map(|run| (run.first, run.last))
    }

    /// Whether all that leads somewhere in `self` leads there in `newer`, too.
    pub(super) fn is_kept_by(&self, newer: &Self) -> bool {
        let has_run = |run: &Run<A>| {
            let name = (run.protocol, run.listen, run.first);
            let found = newer.runs.binary_search_by_key(&name, |run| (run.protocol, run.listen, run.first));
            found.is_ok_and(|at| newer.runs[at] == *run)
        };
        let has_pair = |&(outside, inside): &(A, A)| newer.inside_of(outside) == Some(inside);
        self.runs.iter().all(has_run) && self.inward.iter().all(has_pair)
    }
}

impl<A: Address> Run<A> {
    /// `None` if it is for the other family.
    fn of(publish: &Publish) -> Option<Self> {
        let listen = match publish.listen {
            Some(address) => Some(A::of(address)?),
            None => None,
        };
        Some(Self {
            protocol: publish.protocol,
            listen,
            first: publish.l4_port_first,
            last: publish.l4_port_last,
            to: A::of(publish.to)?,
            to_first: publish.to_l4_port_first,
            id: publish.id,
        })
    }
}
