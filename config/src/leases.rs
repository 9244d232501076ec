//! Leases: which addresses the ports with "auto" have been given, so that they get them again.
//!
//! [`settle`] is a function of the document and the leases before it. A port keeps each address that it had as long as
//! the pool still has it and nobody was given it by name; then the others get, in the order of the file, the lowest
//! free address of each subnet of their network. An address is not free while it is a gateway's, another port's, or
//! leased to a port that is absent: that one gets it back when it returns. Only a pool that is otherwise exhausted
//! takes an absent port's lease, the lowest address first. Nobody is given an address that a route or a one-to-one
//! translation names, because it stands for somebody of whom the configuration says no more; a port that has it stays.
//!
//! Limit: [`LEASES_MAX`]; at it the leases of absent ports go, the last by name first. No clock.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use wire::Cidr;

use crate::address::Addresses;
use crate::ends::Inside;
use crate::pool::Pool;
use crate::spec::Document;

/// Leases remembered. At it those of absent ports go.
pub const LEASES_MAX: usize = 65_536;

/// What ports with automatic addresses were given, by port name.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Leases(BTreeMap<String, Lease>);

/// What one port was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// The network it was in.
    pub network: String,
    /// At most one of each family.
    pub addresses: Vec<IpAddr>,
}

impl Leases {
    /// All of them, by port name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Lease)> {
        self.0.iter().map(|(port, lease)| (port.as_str(), lease))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Gives every port with "auto" its addresses, those first in `order` first, and returns the leases that hold from then
/// on. Where there are none to give (no network, no subnet, all taken), "auto" stays, and the check says so.
pub(crate) fn settle(document: &mut Document, order: &[String], before: &Leases) -> Leases {
    let waiting: Vec<(&str, &str)> = order.iter().filter_map(|name| waits(document, name)).collect();
    let mut takings = Takings::new(document, before, &waiting);
    let mut given: BTreeMap<&str, Vec<Option<Cidr>>> = BTreeMap::new();
    for (port, network) in &waiting {
        let had = before.0.get(*port).filter(|lease| lease.network == *network);
        given.insert(port, takings.keep(network, port, had));
    }
    for (port, network) in &waiting {
        takings.choose(network, port, given.get_mut(port).expect("every waiting port has an entry"));
    }
    let mut leases = takings.rest(before);
    let mut settled = Vec::new();
    for (port, network) in &waiting {
        let Some(addresses) = given[port].iter().copied().collect::<Option<Vec<Cidr>>>() else { continue };
        if addresses.is_empty() {
            continue;
        }
        let lease = addresses.iter().map(|cidr| cidr.address()).collect();
        leases.insert((*port).to_owned(), Lease { network: (*network).to_owned(), addresses: lease });
        settled.push(((*port).to_owned(), addresses));
    }
    for (port, addresses) in settled {
        document.port.entry(port).and_modify(|spec| spec.address = Addresses::Given(addresses));
    }
    Leases(leases)
}

/// The port and its network, if it waits for addresses that there may be.
fn waits<'d>(document: &'d Document, name: &str) -> Option<(&'d str, &'d str)> {
    let (name, port) = document.port.get_key_value(name)?;
    let network = port.network.as_ref().filter(|network| document.network.contains_key(*network))?;
    (port.address == Addresses::Auto).then_some((name, network))
}

/// Addresses of stations that the configuration names without saying who has them.
fn named(document: &Document) -> BTreeSet<IpAddr> {
    let hops = document.route.iter().flat_map(|route| &route.via).copied();
    let inside = document.one_to_one.iter().filter_map(|pair| match &pair.inside {
        Inside::Address(address) => Some(*address),
        Inside::Port(_) => None,
    });
    hops.chain(inside).collect()
}

/// Who has what while a document is being settled.
#[derive(Default)]
struct Takings<'d> {
    networks: BTreeMap<&'d str, Network<'d>>,
    /// What routes and one-to-one translations lead to.
    named: BTreeSet<IpAddr>,
}

#[derive(Default)]
struct Network<'d> {
    pools: Vec<Pool>,
    /// The port that has the address, or "" for a gateway.
    taken: BTreeMap<IpAddr, &'d str>,
    /// Leased to a port that is not waiting.
    absent: BTreeMap<IpAddr, &'d str>,
    /// How far each pool has been searched: sparing absent ports' leases, and not.
    reached: Vec<[u128; 2]>,
}

impl<'d> Takings<'d> {
    fn new(document: &'d Document, before: &'d Leases, waiting: &[(&str, &str)]) -> Self {
        let mut takings = Self { named: named(document), ..Self::default() };
        for (name, network) in &document.network {
            let pools: Vec<Pool> = network.subnet.iter().map(|subnet| Pool::new(network, *subnet)).collect();
            takings.networks.insert(
                name,
                Network {
                    reached: vec![[0; 2]; pools.len()],
                    pools,
                    taken: network.gateway.iter().map(|gateway| (*gateway, "")).collect(),
                    absent: BTreeMap::new(),
                },
            );
        }
        for (name, port) in &document.port {
            let network =
                port.network.as_ref().and_then(|network| takings.networks.get_mut(network.as_str()));
            if let Some(network) = network {
                network.taken.extend(port.address.given().iter().map(|cidr| (cidr.address(), name.as_str())));
            }
        }
        let waits: BTreeSet<&(&str, &str)> = waiting.iter().collect();
        for (port, lease) in
            before.iter().filter(|(port, lease)| !waits.contains(&(*port, lease.network.as_str())))
        {
            if let Some(network) = takings.networks.get_mut(lease.network.as_str()) {
                network.absent.extend(lease.addresses.iter().map(|address| (*address, port)));
            }
        }
        takings
    }

    /// Lets the port have again what it had, one address a subnet.
    fn keep(&mut self, network: &str, port: &'d str, had: Option<&Lease>) -> Vec<Option<Cidr>> {
        let Some(network) = self.networks.get_mut(network) else { return Vec::new() };
        let Network { pools, taken, .. } = network;
        let again = |pool: &Pool| {
            let address =
                had?.addresses.iter().find(|address| pool.has(**address) && !taken.contains_key(*address))?;
            Some((*address, pool.with_len(*address)?))
        };
        let kept: Vec<Option<(IpAddr, Cidr)>> = pools.iter().map(again).collect();
        taken.extend(kept.iter().flatten().map(|(address, _)| (*address, port)));
        kept.into_iter().map(|kept| kept.map(|(_, cidr)| cidr)).collect()
    }

    /// Fills what the port still lacks.
    fn choose(&mut self, network: &str, port: &'d str, given: &mut [Option<Cidr>]) {
        let Self { networks, named } = self;
        let Some(network) = networks.get_mut(network) else { return };
        let Network { pools, taken, absent, reached } = network;
        for ((given, pool), [sparing, all]) in given.iter_mut().zip(pools).zip(reached) {
            if given.is_some() {
                continue;
            }
            let free = |address: IpAddr| !taken.contains_key(&address) && !named.contains(&address);
            let spared = pool.lowest(sparing, |address| free(address) && !absent.contains_key(&address));
            *given = spared.or_else(|| pool.lowest(all, free));
            taken.extend(given.iter().map(|cidr| (cidr.address(), port)));
        }
    }

    /// The leases of others, without what has been given to somebody else, at most [`LEASES_MAX`].
    fn rest(&self, before: &Leases) -> BTreeMap<String, Lease> {
        let mut rest: BTreeMap<String, Lease> = BTreeMap::new();
        for (port, lease) in before.iter() {
            let taken = self.networks.get(lease.network.as_str()).map(|network| &network.taken);
            let is_theirs = |address: &&IpAddr| {
                taken.and_then(|taken| taken.get(*address)).is_none_or(|owner| *owner == port)
            };
            let addresses: Vec<IpAddr> = lease.addresses.iter().filter(is_theirs).copied().collect();
            if !addresses.is_empty() {
                rest.insert(port.to_owned(), Lease { network: lease.network.clone(), addresses });
            }
        }
        let waiting: usize = self.networks.values().map(|network| network.taken.len()).sum();
        while rest.len() > LEASES_MAX.saturating_sub(waiting) && rest.pop_last().is_some() {}
        rest
    }
}
