//! The overlay in the terms of node and shell (flannel's model): a domain of its own, in which the router is this host's
//! tunnel end and each other host a port. With an end of each family there are two such domains, as there are two devices
//! with flannel: each has its MAC address, its MTU and its peers.
//!
//! Nothing is learned or asked there. Each host has a static station (its MAC address), a static next hop (the first
//! address of its subnet, as flannel has it) and a route. A host that is a neighbour on the uplink and is to be reached
//! directly (`host-gw`, or `direct_routing`) has a route through the uplink instead, and no port.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use encap::{Encapsulation, Endpoint, Format, TunnelPlan, Vni};
use vrouter::fib::{Fib, NextHop, Route, Target};
use vrouter::{Gateway, OverlayPolicy, Side};
use vswitch::{
    DomainPlan, Guards, Horizon, Isolation, Membership, PortPlan, ReservedForward, StaticStation, Storm, plan,
};
use wire::{Cidr, UnicastMac};

use super::{Compiler, PortKind, Tunnel, unicast};
use crate::derive::{self, End, Peer};
use crate::spec::{NetworkSpec, OverlaySpec};

/// What an end's socket is bound to.
pub(super) fn local_end(end: &End<'_>) -> Endpoint {
    Endpoint { address: end.address, l4_port: derive::overlay_l4_port(end.overlay) }
}

fn remote_end(peer: &Peer<'_>) -> Endpoint {
    Endpoint { address: peer.spec.endpoint, l4_port: derive::overlay_l4_port(peer.end.overlay) }
}

fn vni(overlay: &OverlaySpec) -> Vni {
    Vni::new(overlay.vni).expect("VNIs are checked to have 24 bits")
}

/// The address that stands for a peer as a next hop.
fn next_hop(peer: &Peer<'_>) -> IpAddr {
    peer.spec.subnet.network().address()
}

fn ours(end: &End<'_>) -> UnicastMac {
    unicast(end.mac())
}

fn theirs(peer: &Peer<'_>) -> UnicastMac {
    unicast(derive::peer_mac(peer.spec))
}

impl Compiler<'_> {
    /// The overlay, if it has tunnels.
    fn overlay(&self) -> Option<(&OverlaySpec, Format)> {
        let overlay = self.config.overlay.as_ref()?;
        Some((overlay, derive::overlay_format(overlay)?))
    }

    /// Our ends of its tunnels.
    fn ends(&self) -> impl Iterator<Item = (End<'_>, Format)> {
        let overlay = self.overlay().into_iter();
        overlay.flat_map(|(overlay, format)| derive::ends(overlay).map(move |end| (end, format)))
    }

    pub(super) fn overlay_domain_plans(&self) -> impl Iterator<Item = DomainPlan> {
        self.ends().map(|(end, _)| DomainPlan {
            id: self.domain(end.domain),
            ageing: Duration::from_secs(u64::from(NetworkSpec::default().ageing)),
            stations_max: plan::DOMAIN_STATIONS_DEFAULT,
            reserved_forward: ReservedForward(0),
            answers: false,
        })
    }

    /// The router as this host's tunnel ends. It has no addresses there: errors come from those of the network.
    pub(super) fn overlay_gateways(&self) -> impl Iterator<Item = Gateway> {
        self.ends().map(|(end, format)| {
            let beyond = derive::tunnelled(self.config).filter(|peer| peer.end.domain == end.domain);
            let mut ends: Vec<(IpAddr, UnicastMac)> =
                beyond.map(|peer| (next_hop(&peer), theirs(&peer))).collect();
            ends.sort_unstable();
            let speakers = self.config.network[&end.overlay.network].gateway.clone();
            Gateway {
                domain: self.domain(end.domain),
                mac: ours(&end),
                addresses: Vec::new(),
                subnets: Vec::new(),
                mtu: end.mtu(format),
                side: Side::Overlay(OverlayPolicy { ends: Arc::from(ends), speakers }),
            }
        })
    }

    pub(super) fn overlay_routes(&self) -> Vec<Route> {
        let tunnelled = derive::tunnelled(self.config).map(|peer| {
            let hop = NextHop { domain: self.domain(peer.end.domain), address: next_hop(&peer) };
            Route { prefix: peer.spec.subnet.network(), target: Target::Via(vec![hop]) }
        });
        let direct = derive::direct(self.config).map(|peer| {
            let hop = NextHop { domain: self.domain(derive::UPLINK), address: peer.endpoint };
            Route { prefix: peer.subnet.network(), target: Target::Via(vec![hop]) }
        });
        tunnelled.chain(direct).collect()
    }

    /// What lies behind the uplink and is the overlay's.
    pub(super) fn direct_fib(&self) -> Fib {
        let route = |prefix: Cidr| Route { prefix, target: Target::Unreachable };
        let routes: Vec<Route> =
            derive::direct(self.config).map(|peer| route(peer.subnet.network())).collect();
        Fib::build(&routes).expect("peers' subnets are few and do not overlap")
    }

    pub(super) fn overlay_statics(&self) -> Vec<StaticStation> {
        let place = |peer: Peer<'_>| StaticStation {
            domain: self.domain(peer.end.domain),
            mac: theirs(&peer),
            port: self.port(&peer.port),
        };
        derive::tunnelled(self.config).map(place).collect()
    }

    pub(super) fn overlay_port_plan(&self, peer: &Peer<'_>, format: Format) -> PortPlan {
        let id = self.port(&peer.port);
        let domain = self.domain(peer.end.domain);
        PortPlan {
            id,
            serial: self.ids.ports.serial(id.0),
            memberships: vec![Membership { domain, vid: None }],
            mtu: peer.end.mtu(format),
            stations_max: 1,
            isolation: Isolation::Open,
            horizon: Some(Horizon(domain.0)),
            mac: Some(theirs(peer)),
            addresses: Vec::new(),
            guards: Guards { mac: true, ..Guards::default() },
            storm: Storm::default(),
        }
    }

    pub(super) fn overlay_tunnel_plan(&self, peer: &Peer<'_>, format: Format) -> TunnelPlan {
        let ours = ours(&peer.end);
        let (encapsulation, inner_dst) = match format {
            Format::Vxlan => (Encapsulation::Vxlan(vni(peer.end.overlay)), Some(ours)),
            Format::BareIp => (Encapsulation::BareIp { local: ours, remote: theirs(peer) }, None),
        };
        TunnelPlan {
            port: self.port(&peer.port),
            underlay: self.underlay(local_end(&peer.end)),
            remote: remote_end(peer),
            encapsulation,
            sources: vec![peer.spec.subnet.network()],
            inner_dst,
        }
    }

    pub(super) fn overlay_kind(&self, peer: &Peer<'_>, format: Format) -> PortKind {
        PortKind::Tunnel(Tunnel {
            network: peer.end.domain.to_owned(),
            underlay: self.underlay(local_end(&peer.end)),
            remote: remote_end(peer),
            vni: match format {
                Format::Vxlan => Some(vni(peer.end.overlay)),
                Format::BareIp => None,
            },
            mtu: u16::MAX,
            follows_interface: peer.end.overlay.underlay_mtu.is_none(),
        })
    }

    /// Every peer behind a tunnel, with the format of its datagrams.
    pub(super) fn peers(&self) -> impl Iterator<Item = (Peer<'_>, Format)> {
        let format = self.overlay().map(|(_, format)| format);
        derive::tunnelled(self.config).filter_map(move |peer| Some((peer, format?)))
    }
}
