//! From a checked configuration to what a node obeys, and what the shell must open for it.
//!
//! Compiling cannot fail: whatever the plan's own check would refuse has been refused with its line before. It is
//! deterministic: from fresh [`Ids`], equal configurations give equal plans.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use encap::{Endpoint, UnderlayId, Vni};
use node::Plan;
use vrouter::Publish;
use vswitch::{
    DomainPlan, Guards, Isolation, Membership, PortPlan, ReservedForward, StaticStation, Storm, SwitchPlan,
    plan,
};
use wire::{Cidr, DomainId, Mac, PortId, UnicastMac};

use crate::Config;
use crate::derive;
use crate::force;
use crate::ids::Ids;
use crate::spec::{Guard, NetworkSpec, PortSpec, StormSpec};

mod overlay;
mod router;
mod tunnel;
mod uplink;

/// A configuration in the terms of node and shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// What the node obeys.
    pub plan: Plan,
    /// Every port by name, tunnels and the uplink among them.
    pub ports: BTreeMap<String, CompiledPort>,
    /// Every network by name, and the uplink.
    pub networks: BTreeMap<String, DomainId>,
    /// Worker threads, at least one.
    pub workers: usize,
    /// How long an idle worker spins before it blocks.
    pub spin: Duration,
    /// Whether workers join small frames of one flow.
    pub gro: bool,
    /// Whether super-segments are to leave VXLAN tunnels whole.
    pub tunnel_gso: bool,
    /// What the configuration asks for and this version does not do, a sentence each.
    pub not_in_force: Vec<String>,
    /// By id, the names of `ports`: listings of stations ask for one each.
    port_names: Vec<Option<String>>,
    /// By id, the names of `networks`.
    network_names: Vec<Option<String>>,
}

/// A port in the terms of the shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledPort {
    /// Its id in the plan.
    pub id: PortId,
    /// Its serial in the plan: differs whenever the id is another port's.
    pub serial: u32,
    /// What stands behind it.
    pub kind: PortKind,
}

/// What stands behind a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortKind {
    /// A TAP device that the shell opens.
    Device(Device),
    /// An interface of the shell's namespace, used raw.
    Nic(Nic),
    /// A tunnel: no device; its frames travel in datagrams.
    Tunnel(Tunnel),
}

/// The TAP device of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The namespace it is moved to, by name or absolute path; `None`: it stays.
    pub netns: Option<String>,
    /// What it is called there.
    pub ifname: String,
    /// Its MAC address.
    pub mac: UnicastMac,
    /// Its MTU.
    pub mtu: u16,
    /// Its addresses. None if its network is tagged: then they belong to a VLAN interface that the shell does not make.
    pub addresses: Vec<Cidr>,
    /// Next routers of its default routes, at most one of each family; none for a device that stays, whose host has
    /// a default route of its own.
    pub gateways: Vec<IpAddr>,
    /// Other routes of its namespace over it: what is reached, and by which next router.
    pub routes: Vec<(Cidr, IpAddr)>,
    /// For a TUN device the router's MAC address: the shell puts an Ethernet header before each packet, from [`Device::mac`]
    /// to that, and takes away those of frames.
    pub tun: Option<UnicastMac>,
}

/// An interface that exists and stays, on which a station of ours stands beside the host's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// What it is called in the shell's namespace.
    pub ifname: String,
    /// The station's MAC address; the interface keeps its own.
    pub mac: UnicastMac,
    /// The station's addresses, which the interface itself must not have.
    pub addresses: Vec<Cidr>,
    /// Longest packet that is wanted. The interface's own limit holds if it is lower ([`Compiled::follow_mtu`]).
    pub mtu: u16,
}

/// A remote end of a tunnel. Its socket is the plan's underlay ([`node::Plan::underlays`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// The network that continues there.
    pub network: String,
    /// The socket.
    pub underlay: UnderlayId,
    /// The other end.
    pub remote: Endpoint,
    /// The network's identifier on the wire; `None` where packets travel bare.
    pub vni: Option<Vni>,
    /// Longest packet that is wanted inside. What fits the underlay holds if it is less
    /// ([`Compiled::follow_underlay`]).
    pub mtu: u16,
    /// Whether that is what fits the interface below. If not, the configuration says how much does.
    pub follows_interface: bool,
}

impl Compiled {
    /// The name of a port.
    pub fn port_name(&self, id: PortId) -> Option<&str> {
        self.port_names.get(id.index())?.as_deref()
    }

    /// Lets the plan obey the MTU that the interface of port `name` has at the moment, in octets: that of the port, and
    /// that of the router's gateway in the port's network. Returns whether that changed the plan. Does nothing unless the
    /// port is a [`PortKind::Nic`].
    pub fn follow_mtu(&mut self, name: &str, interface: u16) -> bool {
        let Some(CompiledPort { id, kind: PortKind::Nic(nic), .. }) = self.ports.get(name) else {
            return false;
        };
        let Some(port) = self.plan.switch.ports.iter_mut().find(|plan| plan.id == *id) else { return false };
        let mtu = nic.mtu.min(interface);
        let before = std::mem::replace(&mut port.mtu, mtu);
        let domains: Vec<DomainId> = port.memberships.iter().map(|membership| membership.domain).collect();
        for gateway in self.plan.router.gateways.iter_mut().filter(|it| domains.contains(&it.domain)) {
            gateway.mtu = mtu;
        }
        before != mtu
    }

    /// The name of a network.
    pub fn network_name(&self, id: DomainId) -> Option<&str> {
        self.network_names.get(id.index())?.as_deref()
    }
}

/// Compiles `config`. `ids` remembers which id each name has, for the next time.
pub fn compile(config: &Config, ids: &mut Ids) -> Compiled {
    assign_ids(config, ids);
    let mut publishes = router::publishes(config);
    ids.publishes.assign(&mut publishes);
    let compiler = Compiler { config, ids };
    let ports = compiler.ports();
    let others = special_domains(config);
    let networks: BTreeMap<String, DomainId> = config
        .network
        .keys()
        .map(String::as_str)
        .chain(others)
        .map(|name| (name.to_owned(), compiler.domain(name)))
        .collect();
    Compiled {
        plan: compiler.plan(publishes),
        port_names: names_by_id(ports.iter().map(|(name, port)| (port.id.index(), name))),
        network_names: names_by_id(networks.iter().map(|(name, id)| (id.index(), name))),
        ports,
        networks,
        workers: usize::from(config.workers),
        spin: Duration::from_micros(u64::from(config.spin_us)),
        gro: config.gro,
        tunnel_gso: config.tunnel_gso,
        not_in_force: force::not_in_force(config),
    }
}

fn names_by_id<'a>(names: impl Iterator<Item = (usize, &'a String)>) -> Vec<Option<String>> {
    let mut by_id = Vec::new();
    for (id, name) in names {
        if by_id.len() <= id {
            by_id.resize(id + 1, None);
        }
        by_id[id] = Some(name.clone());
    }
    by_id
}

/// The domains that are no networks of the user's: the uplink and the overlay's ends.
fn special_domains(config: &Config) -> Vec<&str> {
    let uplink = config.uplink.as_ref().map(|_| derive::UPLINK);
    let overlay = config.overlay.iter().filter(|overlay| derive::overlay_format(overlay).is_some());
    uplink.into_iter().chain(overlay.flat_map(derive::ends).map(|end| end.domain)).collect()
}

/// The ports that are remote ends of tunnels, each with its domain.
fn tunnel_ports(config: &Config) -> Vec<(String, &str)> {
    let remotes = derive::remotes(config).map(|remote| (remote.port, remote.network));
    remotes.chain(derive::tunnelled(config).map(|peer| (peer.port, peer.end.domain))).collect()
}

fn assign_ids(config: &Config, ids: &mut Ids) {
    let uplink = || config.uplink.iter().map(|_| derive::UPLINK);
    let domains = config.network.keys().map(String::as_str).chain(special_domains(config)).collect();
    let passed_on = ids.domains.assign(&domains, plan::DOMAINS_MAX);
    let tunnels = tunnel_ports(config);
    let ports: BTreeSet<&str> = config
        .port
        .keys()
        .chain(tunnels.iter().map(|(port, _)| port))
        .map(String::as_str)
        .chain(uplink())
        .collect();
    ids.ports.assign(&ports, plan::PORTS_MAX);
    let underlays: Vec<String> = tunnel::local_ends(config).keys().map(Endpoint::to_string).collect();
    ids.underlays.assign(&underlays.iter().map(String::as_str).collect(), encap::plan::UNDERLAYS_MAX);
    // The switch keeps the stations of a domain whose id stays, so their ports must look like others.
    for (name, port) in config.port.iter().filter(|_| !passed_on.is_empty()) {
        if derive::memberships(port).any(|(_, network)| passed_on.contains(&ids.domains.id(network))) {
            ids.ports.give_out(ids.ports.id(name));
        }
    }
    for (port, _) in tunnels.iter().filter(|(_, domain)| passed_on.contains(&ids.domains.id(domain))) {
        ids.ports.give_out(ids.ports.id(port));
    }
    for name in uplink().filter(|name| passed_on.contains(&ids.domains.id(name))) {
        ids.ports.give_out(ids.ports.id(name));
    }
}

struct Compiler<'a> {
    config: &'a Config,
    ids: &'a Ids,
}

impl Compiler<'_> {
    fn plan(&self, publishes: Vec<Publish>) -> Plan {
        let devices = self.config.port.iter().map(|(name, port)| self.port_plan(name, port));
        let tunnels = derive::remotes(self.config).map(|remote| self.tunnel_port_plan(&remote));
        let peers = self.peers().map(|(peer, format)| self.overlay_port_plan(&peer, format));
        let mut ports: Vec<PortPlan> =
            devices.chain(tunnels).chain(peers).chain(self.uplink_port_plan()).collect();
        ports.sort_by_key(|port| port.id);
        let networks = self.config.network.iter().map(|(name, network)| self.domain_plan(name, network));
        let mut domains: Vec<DomainPlan> =
            networks.chain(self.uplink_domain_plan()).chain(self.overlay_domain_plans()).collect();
        domains.sort_by_key(|domain| domain.id);
        let mut statics: Vec<StaticStation> = self
            .config
            .station
            .iter()
            .map(|station| StaticStation {
                domain: self.domain(&station.network),
                mac: unicast(station.mac),
                port: self.port(&station.port),
            })
            .chain(self.overlay_statics())
            .collect();
        statics.sort_by_key(|station| (station.domain, station.mac));
        Plan {
            switch: SwitchPlan { domains, ports, statics },
            router: self.router_plan(publishes),
            underlays: self.underlay_plans(),
            tunnels: self.tunnel_plans(),
        }
    }

    fn ports(&self) -> BTreeMap<String, CompiledPort> {
        let devices = self
            .config
            .port
            .iter()
            .map(|(name, port)| (name.clone(), PortKind::Device(self.device(name, port))));
        let tunnels =
            derive::remotes(self.config).map(|remote| (remote.port.clone(), self.tunnel_kind(&remote)));
        let peers = self.peers().map(|(peer, format)| (peer.port.clone(), self.overlay_kind(&peer, format)));
        let uplink = self.uplink_kind().map(|kind| (derive::UPLINK.to_owned(), kind));
        let with_id = |(name, kind): (String, PortKind)| {
            let id = self.port(&name);
            let serial = self.ids.ports.serial(id.0);
            (name, CompiledPort { id, serial, kind })
        };
        devices.chain(tunnels).chain(peers).chain(uplink).map(with_id).collect()
    }

    fn domain_plan(&self, name: &str, network: &NetworkSpec) -> DomainPlan {
        DomainPlan {
            id: self.domain(name),
            ageing: Duration::from_secs(u64::from(network.ageing)),
            stations_max: network.stations_max,
            reserved_forward: ReservedForward(
                network.reserved_forward.iter().fold(0, |mask, bit| mask | 1 << bit),
            ),
            answers: network.vxlan.as_ref().is_some_and(|vxlan| vxlan.arp_suppression),
        }
    }

    fn port_plan(&self, name: &str, port: &PortSpec) -> PortPlan {
        let id = self.port(name);
        PortPlan {
            id,
            serial: self.ids.ports.serial(id.0),
            memberships: derive::memberships(port)
                .map(|(vlan, network)| Membership { domain: self.domain(network), vid: derive::vid(vlan) })
                .collect(),
            mtu: derive::port_mtu(self.config, port),
            stations_max: port.stations_max.unwrap_or(plan::PORT_STATIONS_DEFAULT),
            isolation: isolation(derive::isolated(self.config, port)),
            horizon: None,
            // Behind a trunk there are many stations, of which the device's own need not be one.
            mac: (port.trunk.is_empty() || port.mac.is_some()).then(|| unicast(derive::port_mac(name, port))),
            addresses: port.address.given().iter().map(|cidr| cidr.address()).collect(),
            guards: guards(&port.guard),
            storm: storm(port.storm),
        }
    }

    fn device(&self, name: &str, port: &PortSpec) -> Device {
        let addresses = if port.vlan == 0 { port.address.given().to_vec() } else { Vec::new() };
        let gateways = match (&port.network, &port.netns) {
            (Some(network), Some(_)) => self.config.network[network].gateway.as_slice(),
            (None, _) | (_, None) => &[],
        };
        let reachable = |gateway: &IpAddr| addresses.iter().any(|cidr| cidr.contains(*gateway));
        Device {
            netns: port.netns.clone(),
            ifname: derive::ifname(name, port).to_owned(),
            mac: unicast(derive::port_mac(name, port)),
            mtu: derive::port_mtu(self.config, port),
            gateways: gateways.iter().copied().filter(reachable).collect(),
            routes: Vec::new(),
            tun: port
                .network
                .as_ref()
                .filter(|_| port.tun)
                .map(|network| unicast(derive::gateway_mac(network, &self.config.network[network]))),
            addresses,
        }
    }

    fn port(&self, name: &str) -> PortId {
        PortId(self.ids.ports.id(name))
    }

    fn domain(&self, name: &str) -> DomainId {
        DomainId(self.ids.domains.id(name))
    }
}

fn unicast(mac: Mac) -> UnicastMac {
    UnicastMac::new(mac).expect("given MAC addresses are checked and derived ones are unicast")
}

fn isolation(isolated: bool) -> Isolation {
    if isolated { Isolation::Isolated } else { Isolation::Open }
}

fn guards(guards: &BTreeSet<Guard>) -> Guards {
    let on = |guard| guards.contains(&guard);
    Guards {
        mac: on(Guard::Mac),
        arp: on(Guard::Arp),
        nd: on(Guard::Nd),
        ra: on(Guard::Ra),
        dhcp: on(Guard::Dhcp),
    }
}

fn storm(storm: StormSpec) -> Storm {
    Storm { broadcast: storm.broadcast, multicast: storm.multicast, unknown: storm.unknown }
}
