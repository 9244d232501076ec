//! Worlds with overlays: switches on hosts of their own, which meet in the underlay alone.
//!
//! Two to four switches are each other's peers, by VXLAN, bare packets in UDP, or as neighbours on a LAN (host-gw); each
//! has a subnet of its own. Beside that there may be tenants: networks stretched between all switches by VXLAN. All
//! tenants number their stations alike, so that a frame in the wrong one finds somebody to listen. Every host is in
//! the overlay or with one tenant.

use std::collections::BTreeMap;

use wire::Rng;

use super::faults::{Chance, faults};
use super::{HEAL_WITHIN_MS, HEALED_MS, index, mac, millis, nodes};
use crate::world::{Expect, FlowKind, FlowSpec, HostSpec, LinkSpec, NodeSpec, WorldSpec};

/// How packets travel between hosts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Backend {
    Vxlan,
    Udp,
    HostGw,
}

/// Whom a host belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Overlay,
    Tenant(u64),
}

struct Station {
    of: Of,
    node: u64,
    /// Which of its tenant's, or of its switch's.
    place: usize,
}

struct Drawing {
    chance: Chance,
    backend: Backend,
    nodes: u64,
    tenants: u64,
    is_v6: bool,
    shares_port: bool,
    has_guards: bool,
    stations: Vec<Station>,
}

pub(super) fn world(seed: u64, mut rng: Rng) -> WorldSpec {
    let faults = faults(&mut rng);
    let backend = [Backend::Vxlan, Backend::Vxlan, Backend::Udp, Backend::HostGw][index(rng.below(4))];
    let (nodes_count, tenants) = (2 + rng.below(3), rng.below(3));
    let is_v6 = backend != Backend::HostGw && rng.chance(1, 3);
    let [shares_port, has_guards] = [(); 2].map(|()| rng.chance(1, 2));
    let mut stations: Vec<Station> = Vec::new();
    for _ in 0..2 + rng.below(5) {
        let of = if tenants > 0 && rng.chance(1, 2) { Of::Tenant(rng.below(tenants)) } else { Of::Overlay };
        let node = rng.below(nodes_count);
        let is_neighbour = |other: &&Station| other.of == of && (of != Of::Overlay || other.node == node);
        let place = stations.iter().filter(is_neighbour).count();
        stations.push(Station { of, node, place });
    }
    let chance = Chance { rng, faults };
    let mut drawing =
        Drawing { chance, backend, nodes: nodes_count, tenants, is_v6, shares_port, has_guards, stations };
    let link = drawing.links();
    let configs: Vec<String> = (0..nodes_count).map(|node| drawing.config(node)).collect();
    let at = drawing.chance.script(&link, &configs);
    let mut node = nodes(configs);
    if backend == Backend::HostGw {
        node.insert("lan".to_owned(), NodeSpec { config: drawing.lan(), count: None });
    }
    WorldSpec {
        seed,
        life: millis(HEALED_MS + HEAL_WITHIN_MS + 10),
        heal_within: millis(HEAL_WITHIN_MS),
        loops: false,
        node,
        host: drawing.hosts(),
        link,
        at,
        flow: drawing.flows(),
    }
}

impl Drawing {
    /// The address of a switch's own host, at which its tenants' tunnels end.
    fn local(&self, node: u64) -> String {
        let number = node + 1;
        match (self.backend, self.is_v6) {
            (Backend::HostGw, _) => format!("192.0.2.{number}"),
            (Backend::Vxlan | Backend::Udp, true) => format!("2001:db8::{number}"),
            (Backend::Vxlan | Backend::Udp, false) => format!("192.168.0.{number}"),
        }
    }

    /// The address by which the registry knows it, as flannel's knows hosts: IPv4.
    fn name(&self, node: u64) -> String {
        let net = if self.backend == Backend::HostGw { "192.0.2" } else { "192.168.0" };
        format!("{net}.{}", node + 1)
    }

    /// The L4 port of the tenants' tunnels: their own, or the overlay's.
    fn tenants_port(&self) -> u16 {
        if self.shares_port && self.backend == Backend::Vxlan { 8472 } else { 4789 }
    }

    fn config(&self, node: u64) -> String {
        let (local, own) = (self.local(node), self.name(node));
        let backend = match self.backend {
            Backend::Vxlan => "vxlan",
            Backend::Udp => "udp",
            Backend::HostGw => "host-gw",
        };
        let mut text = String::new();
        if self.backend == Backend::HostGw {
            text += &format!(
                "[uplink]\nkind = \"nic\"\nifname = \"eth0\"\naddress = [\"{local}/24\"]\n\
                 gateway = [\"192.0.2.254\"]\n"
            );
        }
        text += &format!(
            "[overlay]\nbackend = \"{backend}\"\nregistry = \"etcd\"\nnetwork = \"pods\"\nlocal = \"{own}\"\n\
             [network.pods]\nsubnet = [\"10.{0}.0.0/24\"]\ngateway = [\"10.{0}.0.1\"]\n",
            100 + node
        );
        for tenant in 0..self.tenants {
            let others = (0..self.nodes).filter(|other| *other != node);
            let remotes: Vec<String> = others.map(|other| format!("\"{}\"", self.local(other))).collect();
            text += &format!(
                "[network.t{tenant}]\n[network.t{tenant}.vxlan]\nvni = {}\nport = {}\nlocal = \"{local}\"\n\
                 remotes = [{}]\n",
                100 + tenant,
                self.tenants_port(),
                remotes.join(", ")
            );
        }
        for (number, station) in self.stations.iter().enumerate().filter(|(_, it)| it.node == node) {
            let network = match station.of {
                Of::Overlay => "pods".to_owned(),
                Of::Tenant(tenant) => format!("t{tenant}"),
            };
            text += &format!(
                "[port.h{number}]\nnetwork = \"{network}\"\nnetns = \"h{number}\"\naddress = [\"{}\"]\nmac = \"{}\"\n",
                address(station),
                mac(number)
            );
            text += if self.has_guards { "guard = [\"mac\", \"arp\"]\n" } else { "" };
        }
        text
    }

    /// The switch that joins neighbours.
    fn lan(&self) -> String {
        let port = |node| format!("[port.p{node}]\nnetwork = \"lan\"\n");
        "[network.lan]\n".to_owned() + &(0..self.nodes).map(port).collect::<String>()
    }

    fn hosts(&self) -> BTreeMap<String, HostSpec> {
        let host = |(number, station): (usize, &Station)| {
            // What is stretched is narrower than what it crosses, and nobody tells its stations.
            let mtu = (station.of != Of::Overlay).then_some(1400);
            (format!("h{number}"), HostSpec { mtu, ..HostSpec::default() })
        };
        self.stations.iter().enumerate().map(host).collect()
    }

    fn links(&mut self) -> Vec<LinkSpec> {
        let to_host = |(number, station): (usize, &Station)| {
            [format!("h{number}"), format!("s{}:h{number}", station.node)]
        };
        let mut ends: Vec<[String; 2]> = self.stations.iter().enumerate().map(to_host).collect();
        for node in 0..self.nodes {
            if self.backend == Backend::HostGw {
                ends.push([format!("s{node}:uplink"), format!("lan:p{node}")]);
            }
            if self.backend != Backend::HostGw || self.tenants > 0 {
                ends.push([format!("s{node}"), "underlay".to_owned()]);
            }
        }
        self.chance.links(ends)
    }

    fn flows(&mut self) -> Vec<FlowSpec> {
        let count = 1 + self.chance.rng.below(5);
        (0..count).map(|_| self.flow()).collect()
    }

    fn flow(&mut self) -> FlowSpec {
        let rng = &mut self.chance.rng;
        let count = self.stations.len() as u64;
        let from = rng.below(count);
        let to = (from + 1 + rng.below(count - 1)) % count;
        let kind = self.chance.flow_kind();
        let mut flow = self.chance.flow(kind, from, to);
        let (from, to) = (&self.stations[index(from)], &self.stations[index(to)]);
        match (from.of, to.of) {
            (Of::Overlay, Of::Overlay) => {}
            (Of::Tenant(own), Of::Tenant(other)) if own == other => {}
            (Of::Tenant(own), Of::Tenant(_)) => self.meets_namesake(&mut flow, own, to.place),
            (Of::Overlay, Of::Tenant(_)) => flow.expect = Expect::Fails,
            // A tenant's station has no route there and asks nobody.
            (Of::Tenant(_), Of::Overlay) => flow.expect = Expect::Fails,
        }
        flow
    }

    /// The flow is for a station of the own tenant, and one of another has the same address and listens.
    fn meets_namesake(&self, flow: &mut FlowSpec, own: u64, place: usize) {
        let is_namesake = |(number, other): &(usize, &Station)| {
            other.of == Of::Tenant(own) && other.place == place && format!("h{number}") != flow.from
        };
        let there_is = self.stations.iter().enumerate().any(|it| is_namesake(&it));
        flow.kind = FlowKind::Udp;
        (flow.every, flow.answer, flow.bytes) = (Some(millis(100)), None, None);
        flow.expect = if there_is { Expect::Fails } else { Expect::Any };
        if !there_is {
            // The sender's stack would do nothing but ask for the station, and its other flows would starve.
            flow.start = millis(HEALED_MS + HEAL_WITHIN_MS);
        }
    }
}

fn address(station: &Station) -> String {
    let number = 10 + station.place;
    match station.of {
        Of::Overlay => format!("10.{}.0.{number}/24", 100 + station.node),
        Of::Tenant(_) => format!("10.50.0.{number}/16"),
    }
}
