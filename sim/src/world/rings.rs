//! Which stations share a broadcast domain when switches are wired together, and which wires close a ring in one.
//!
//! A place is a domain of a switch. A wire between two switches joins two places for each tag (or none) that both of its
//! ports have, and two tunnel ends that name each other join the places of their ports. Places that are joined are one
//! segment; a wire that joins what is one already closes a ring. Tunnels close none among themselves, however many there
//! are: nothing passes from one end to another of the same network.

use std::collections::BTreeMap;
use std::net::IpAddr;

use encap::{Encapsulation, Vni};
use wire::{DomainId, Vid};

use super::topology::{CablePlan, End, NodePlan};

/// Segments of a world.
#[derive(Clone, Debug, Default)]
pub(super) struct Segments {
    /// By place: another place of its segment, or itself.
    parents: BTreeMap<(usize, DomainId), (usize, DomainId)>,
}

impl Segments {
    /// The segments of a world, and the cables that close rings.
    pub(super) fn of(nodes: &[NodePlan], cables: &[CablePlan]) -> (Self, Vec<usize>) {
        let mut segments = Self::default();
        for [a, b] in tunnels(nodes) {
            segments.join(a, b);
        }
        let mut closing = Vec::new();
        for (number, cable) in cables.iter().enumerate() {
            let [End::Port(a, at_a), End::Port(b, at_b)] = &cable.ends else { continue };
            let others = memberships(&nodes[*b], at_b);
            let mut closes = false;
            for (vid, domain) in memberships(&nodes[*a], at_a) {
                if let Some((_, other)) = others.iter().find(|(other, _)| *other == vid) {
                    closes |= !segments.join((*a, domain), (*b, *other));
                }
            }
            if closes {
                closing.push(number);
            }
        }
        (segments, closing)
    }

    /// A name for the segment that untagged frames of this port are in.
    pub(super) fn untagged(&self, nodes: &[NodePlan], node: usize, port: &str) -> Option<(usize, DomainId)> {
        let own = memberships(&nodes[node], port).into_iter().find(|(vid, _)| vid.is_none());
        own.map(|(_, domain)| self.root((node, domain)))
    }

    fn root(&self, mut place: (usize, DomainId)) -> (usize, DomainId) {
        while let Some(&parent) = self.parents.get(&place).filter(|parent| **parent != place) {
            place = parent;
        }
        place
    }

    /// Whether they were apart.
    fn join(&mut self, a: (usize, DomainId), b: (usize, DomainId)) -> bool {
        let (a, b) = (self.root(a), self.root(b));
        self.parents.insert(a.max(b), a.min(b));
        a != b
    }
}

/// The cables that close rings.
pub(super) fn closing(nodes: &[NodePlan], cables: &[CablePlan]) -> Vec<usize> {
    Segments::of(nodes, cables).1
}

/// The places that tunnels join.
fn tunnels(nodes: &[NodePlan]) -> Vec<[(usize, DomainId); 2]> {
    // A tunnel by its ends, this one first, and its VNI.
    let mut ends: BTreeMap<(IpAddr, IpAddr, Option<Vni>), (usize, DomainId)> = BTreeMap::new();
    for (number, node) in nodes.iter().enumerate() {
        let plan = &node.compiled.plan;
        for tunnel in &plan.tunnels {
            let local = plan.underlays.iter().find(|known| known.id == tunnel.underlay);
            let port = plan.switch.ports.iter().find(|port| port.id == tunnel.port);
            let domain = port.and_then(|port| port.memberships.first()).map(|member| member.domain);
            let vni = match tunnel.encapsulation {
                Encapsulation::Vxlan(vni) => Some(vni),
                Encapsulation::BareIp { .. } => None,
            };
            if let (Some(local), Some(domain)) = (local, domain) {
                ends.insert((local.local.address, tunnel.remote.address, vni), (number, domain));
            }
        }
    }
    let joined = |(&(local, remote, vni), &place): (&_, &_)| {
        ends.get(&(remote, local, vni)).filter(|_| local < remote).map(|&other| [place, other])
    };
    ends.iter().filter_map(joined).collect()
}

fn memberships(node: &NodePlan, port: &str) -> Vec<(Option<Vid>, DomainId)> {
    let id = node.compiled.ports.get(port).map(|port| port.id);
    let plan = node.compiled.plan.switch.ports.iter().find(|plan| Some(plan.id) == id);
    plan.map_or_else(Vec::new, |plan| plan.memberships.iter().map(|it| (it.vid, it.domain)).collect())
}
