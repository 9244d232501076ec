//! The roster: every lease that the registry is known to hold, and the peers that follow from them.
//!
//! It is told snapshots and single changes and holds the last word on each key. Peers are worked out from all leases
//! together, never edited, so the order in which news came cannot matter and nothing stale survives a snapshot:
//!
//! - a lease that cannot be used is refused under a name ([`Broken`]), counted, and blocks nothing else;
//! - of two leases whose subnets overlap the one created first counts, so nobody takes a subnet over by writing a key
//!   inside or around it;
//! - of several leases of one host, which its public address names, the one written last counts: a host that got another
//!   subnet leaves the old key behind until it expires, and an address that another host has now must not be reached for
//!   the sake of an old key. A reservation (no etcd lease) counts only beside others of its kind: it may be one that the host
//!   has not taken yet;
//! - our own key is nobody's peer. What happens to it is told apart ([`Roster::own`]).
//!
//! Limits: [`LEASES_MAX`] keys; further ones are not kept until the next snapshot. [`PEERS_MAX`] peers, the older leases
//! first; a host with both families is two of them. What is beyond either is counted as `registry.too-many`.
//! No clock.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use wire::{Cidr, Mac};

use super::lease::{Broken, Holder, Subnets};
use super::network::{Backend, Network};

/// Keys held: the hosts of a /8 with a /24 each.
pub const LEASES_MAX: usize = 65_536;
/// Ends that packets are sent to, as many as a switch has tunnels for.
pub const PEERS_MAX: usize = config::PEERS_MAX;
/// Keys named in a report; all are counted.
pub const NAMED_MAX: usize = 10;

/// A key with its value, as etcd has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What follows `PREFIX/subnets/`.
    pub key: String,
    /// The value.
    pub value: Vec<u8>,
    /// The revision at which the key was created.
    pub created: i64,
    /// The revision at which it was written last.
    pub written: i64,
    /// The etcd lease that it goes with; 0: none, it stays (a reservation).
    pub lease: i64,
}

/// Another host, as far as packets are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    /// What is behind it.
    pub subnet: Cidr,
    /// Where it listens.
    pub endpoint: IpAddr,
    /// The MAC address of its end of the tunnel; backend `vxlan` only.
    pub mac: Option<Mac>,
}

/// What follows from the leases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Every peer, by subnet.
    pub peers: Vec<Peer>,
    /// How many keys are refused, for each reason that there is.
    pub refused: BTreeMap<Broken, u64>,
    /// The first [`NAMED_MAX`] of them, by key.
    pub named: Vec<(String, Broken)>,
}

/// All leases.
#[derive(Debug)]
pub struct Roster {
    network: Network,
    own: Option<(Subnets, Holder)>,
    /// Where we listen, which behind a NAT is not where others reach us.
    locals: Vec<IpAddr>,
    entries: BTreeMap<String, Known>,
    too_many: u64,
}

/// A key with what it says, read once: a thousand of them are looked at whenever one changes.
#[derive(Debug)]
struct Known {
    entry: Entry,
    read: Result<(Subnets, Holder), Broken>,
}

/// A lease that can be used as far as it alone can tell.
struct Sound<'a> {
    entry: &'a Entry,
    subnets: Subnets,
    holder: &'a Holder,
}

impl Roster {
    /// An empty one.
    pub fn new(network: Network) -> Self {
        Self { network, own: None, locals: Vec::new(), entries: BTreeMap::new(), too_many: 0 }
    }

    /// The same of a host with these addresses, which no other can have.
    #[must_use]
    pub fn with_locals(self, locals: Vec<IpAddr>) -> Self {
        Self { locals, ..self }
    }

    /// Which lease is our own, and what we have written there.
    pub fn set_own(&mut self, own: Option<(Subnets, Holder)>) {
        self.own = own;
    }

    /// Our own key, if the registry has it.
    pub fn own(&self) -> Option<&Entry> {
        self.entries.get(&self.own.as_ref()?.0.to_string()).map(|known| &known.entry)
    }

    /// This is all there is.
    pub fn reset(&mut self, entries: impl IntoIterator<Item = Entry>) {
        self.entries.clear();
        self.too_many = 0;
        entries.into_iter().for_each(|entry| self.put(entry));
    }

    /// A key was written.
    pub fn put(&mut self, entry: Entry) {
        if self.entries.len() >= LEASES_MAX && !self.entries.contains_key(&entry.key) {
            self.too_many += 1;
            return;
        }
        let subnets = entry.key.parse::<Subnets>();
        let read = subnets.and_then(|subnets| Ok((subnets, Holder::parse(&entry.value)?)));
        self.entries.insert(entry.key.clone(), Known { entry, read });
    }

    /// A key was deleted, or its lease has expired.
    pub fn delete(&mut self, key: &str) {
        self.entries.remove(key);
    }

    /// What follows from the leases as they are.
    pub fn view(&self) -> View {
        let mut view = View::default();
        if self.too_many > 0 {
            view.refused.insert(Broken::TooMany, self.too_many);
        }
        let own_key = self.own.as_ref().map(|(own, _)| own.to_string());
        let mut sound = Vec::new();
        let mut refused = Vec::new();
        for (key, known) in self.entries.iter().filter(|(key, _)| Some(*key) != own_key.as_ref()) {
            match self.judge(known) {
                Ok(lease) => sound.push(lease),
                Err(broken) => refused.push((key.clone(), broken)),
            }
        }
        for lease in self.settle(sound, &mut refused) {
            let peer = |subnet| {
                let mac = lease.holder.vtep(subnet).map(wire::UnicastMac::mac);
                Some(Peer { subnet, endpoint: lease.holder.endpoint(subnet)?, mac })
            };
            view.peers.extend(self.families(lease.subnets).filter_map(peer));
        }
        view.peers.sort_unstable();
        for (_, broken) in &refused {
            *view.refused.entry(*broken).or_default() += 1;
        }
        refused.sort_unstable();
        refused.truncate(NAMED_MAX);
        view.named = refused;
        view
    }

    /// The subnets of the families that the network has.
    fn families(&self, subnets: Subnets) -> impl Iterator<Item = Cidr> {
        subnets.iter().filter(|&subnet| self.network.pool_for(subnet).is_some())
    }

    fn judge<'a>(&self, known: &'a Known) -> Result<Sound<'a>, Broken> {
        let entry = &known.entry;
        let (subnets, holder) = known.read.as_ref().map_err(|broken| *broken)?;
        let subnets = *subnets;
        // flanneld's `udp` takes leases of every backend, and with it a cluster changes from one to another.
        if self.network.backend.lease_type().is_some_and(|wanted| wanted != holder.backend) {
            return Err(Broken::Backend);
        }
        for subnet in self.families(subnets) {
            let network =
                self.network.pool_for(subnet).expect("it is of a family that the network has").network();
            if !network.contains(subnet.address()) || subnet.prefix_len() < network.prefix_len() {
                return Err(Broken::Outside);
            }
            if holder.endpoint(subnet).is_none() {
                return Err(Broken::PublicIp);
            }
            if matches!(self.network.backend, Backend::Vxlan(_)) && holder.vtep(subnet).is_none() {
                return Err(Broken::Vtep);
            }
        }
        let is_local = |endpoint: IpAddr| self.locals.contains(&endpoint);
        if self.families(subnets).filter_map(|subnet| holder.endpoint(subnet)).any(is_local) {
            return Err(Broken::OurAddress);
        }
        let Some((own, ours)) = &self.own else { return Ok(Sound { entry, subnets, holder }) };
        let is_ours = |subnet| {
            let mac = holder.vtep(subnet);
            holder.endpoint(subnet) == ours.endpoint(subnet) || mac.is_some() && mac == ours.vtep(subnet)
        };
        if self.families(subnets).any(is_ours) {
            return Err(Broken::OurAddress);
        }
        if own.overlap(subnets) {
            return Err(Broken::OverlapsOurs);
        }
        Ok(Sound { entry, subnets, holder })
    }

    /// Leaves those that can be used together.
    fn settle<'a>(&self, sound: Vec<Sound<'a>>, refused: &mut Vec<(String, Broken)>) -> Vec<Sound<'a>> {
        let endpoints = |lease: &Sound| -> Vec<IpAddr> {
            self.families(lease.subnets).filter_map(|subnet| lease.holder.endpoint(subnet)).collect()
        };
        let rank = |lease: &Sound| (lease.entry.lease != 0, lease.entry.written);
        let mut newest: BTreeMap<IpAddr, (bool, i64)> = BTreeMap::new();
        for lease in &sound {
            for endpoint in endpoints(lease) {
                let first = newest.entry(endpoint).or_insert((false, i64::MIN));
                *first = rank(lease).max(*first);
            }
        }
        let is_current = |lease: &Sound| {
            endpoints(lease).iter().all(|endpoint| newest.get(endpoint) == Some(&rank(lease)))
        };
        let (mut current, old): (Vec<_>, Vec<_>) = sound.into_iter().partition(is_current);
        refused.extend(old.iter().map(|lease| (lease.entry.key.clone(), Broken::Superseded)));
        // The older first, so that it is there when the younger looks; one transaction can create several.
        current.sort_by(|a, b| (a.entry.created, &a.entry.key).cmp(&(b.entry.created, &b.entry.key)));
        let (mut taken, mut vteps) = (Taken::default(), BTreeSet::new());
        let mut peers = 0;
        current.retain(|lease| {
            let subnets = || self.families(lease.subnets);
            let macs = || {
                subnets().filter_map(|each| Some((each.address().is_ipv4(), lease.holder.vtep(each)?.mac())))
            };
            let conflict = if peers + subnets().count() > PEERS_MAX {
                Some(Broken::TooMany)
            } else if subnets().any(|subnet| taken.overlaps(subnet)) {
                Some(Broken::Overlaps)
            } else {
                macs().any(|mac| vteps.contains(&mac)).then_some(Broken::SameVtep)
            };
            match conflict {
                Some(broken) => refused.push((lease.entry.key.clone(), broken)),
                None => {
                    peers += subnets().count();
                    subnets().for_each(|subnet| taken.insert(subnet));
                    vteps.extend(macs());
                }
            }
            conflict.is_none()
        });
        current
    }
}

/// Disjoint prefixes, asked whether another would overlap them.
#[derive(Default)]
struct Taken(BTreeSet<(IpAddr, u8)>);

impl Taken {
    fn insert(&mut self, prefix: Cidr) {
        self.0.insert((prefix.address(), prefix.prefix_len()));
    }

    /// Prefixes are nested or disjoint, so one that overlaps begins at `prefix` or within it, or is the last before it.
    fn overlaps(&self, prefix: Cidr) -> bool {
        let start = (prefix.address(), 0);
        let overlaps = |&(address, len): &(IpAddr, u8)| {
            Cidr::new(address, len).is_some_and(|each| each.overlaps(prefix))
        };
        self.0.range(start..).next().is_some_and(overlaps)
            || self.0.range(..start).next_back().is_some_and(overlaps)
    }
}

#[cfg(test)]
#[path = "roster/tests.rs"]
mod tests;
