//! Tunnels in the terms of node and shell: a socket for each local end, and a port for each remote end.
//!
//! Networks whose tunnels have one local end share its socket; their VNIs keep them apart.

use std::collections::BTreeMap;

use encap::{Encapsulation, Endpoint, Format, TunnelPlan, UnderlayId, UnderlayPlan, Vni};
use vrouter::Side;
use vswitch::{Guards, Horizon, Membership, PortPlan, Storm};
use wire::PortId;
use wire::segment::Egress;

use super::{Compiled, CompiledPort, Compiler, PortKind, Tunnel, isolation, overlay};
use crate::derive::{self, Remote};
use crate::spec::{Document, VxlanSpec};

/// The local ends, and what their datagrams carry.
pub(super) fn local_ends(document: &Document) -> BTreeMap<Endpoint, Format> {
    let stretched = derive::tunnels(document).map(|(_, vxlan)| (local_end(vxlan), Format::Vxlan));
    let overlay = document.overlay.iter().flat_map(derive::ends);
    let overlay =
        overlay.filter_map(|end| Some((overlay::local_end(&end), derive::overlay_format(end.overlay)?)));
    stretched.chain(overlay).collect()
}

fn local_end(vxlan: &VxlanSpec) -> Endpoint {
    Endpoint { address: vxlan.local, l4_port: vxlan.port }
}

fn remote_end(remote: &Remote<'_>) -> Endpoint {
    Endpoint { address: remote.address, l4_port: remote.vxlan.port }
}

fn vni(vxlan: &VxlanSpec) -> Vni {
    Vni::new(vxlan.vni).expect("VNIs are checked to have 24 bits")
}

impl Compiled {
    /// Lets frames for tunnels pass whole, because sockets finish them. So it is in a live switch.
    pub fn leave_to_sockets(&mut self) {
        for underlay in &mut self.plan.underlays {
            underlay.takes = Egress::ALL;
        }
    }

    /// [`Compiled::follow_mtu`] of the port, or [`Compiled::follow_underlay`] of the underlay with the local end, that has
    /// this name. Names of ports have no colon.
    pub fn follow(&mut self, name: &str, interface: u16) -> bool {
        let underlay = self.plan.underlays.iter().find(|underlay| underlay.local.to_string() == name);
        match underlay.map(|underlay| (underlay.id, underlay.takes)) {
            Some((id, takes)) => self.follow_underlay(id, interface, takes),
            None => self.follow_mtu(name, interface),
        }
    }

    /// Lets the plan obey what is known of an underlay: the MTU of the interface that has its local address, in octets, and
    /// what its socket finishes itself. Ports of its tunnels, and the router's gateway in an overlay, get what fits a
    /// datagram, unless the configuration says what does. Returns whether that changed the plan.
    pub fn follow_underlay(&mut self, id: UnderlayId, interface: u16, takes: Egress) -> bool {
        let Some(underlay) = self.plan.underlays.iter_mut().find(|underlay| underlay.id == id) else {
            return false;
        };
        let mut has_changed = std::mem::replace(&mut underlay.takes, takes) != takes;
        let fits = derive::inner_mtu(interface, underlay.format, underlay.local.address);
        let wanted: BTreeMap<PortId, u16> =
            self.ports.values().filter_map(|port| port.wanted_mtu(id)).collect();
        for port in &mut self.plan.switch.ports {
            let Some(mtu) = wanted.get(&port.id).map(|wanted| fits.min(*wanted)) else { continue };
            has_changed |= std::mem::replace(&mut port.mtu, mtu) != mtu;
            for gateway in &mut self.plan.router.gateways {
                let is_overlay = matches!(gateway.side, Side::Overlay(_));
                if is_overlay && port.memberships.iter().any(|member| member.domain == gateway.domain) {
                    has_changed |= std::mem::replace(&mut gateway.mtu, mtu) != mtu;
                }
            }
        }
        has_changed
    }
}

impl CompiledPort {
    /// The longest packet that is wanted in a tunnel through the underlay.
    fn wanted_mtu(&self, underlay: UnderlayId) -> Option<(PortId, u16)> {
        match &self.kind {
            PortKind::Tunnel(tunnel) if tunnel.underlay == underlay && tunnel.follows_interface => {
                Some((self.id, tunnel.mtu))
            }
            PortKind::Tunnel(_) | PortKind::Device(_) | PortKind::Nic(_) => None,
        }
    }
}

impl Compiler<'_> {
    /// Nothing is taken over by sockets until the shell says so.
    pub(super) fn underlay_plans(&self) -> Vec<UnderlayPlan> {
        let plan =
            |(local, format)| UnderlayPlan { id: self.underlay(local), local, format, takes: Egress::NONE };
        let mut plans: Vec<UnderlayPlan> = local_ends(self.config).into_iter().map(plan).collect();
        plans.sort_by_key(|plan| plan.id);
        plans
    }

    pub(super) fn tunnel_plans(&self) -> Vec<TunnelPlan> {
        let plan = |remote: Remote<'_>| TunnelPlan {
            port: self.port(&remote.port),
            underlay: self.underlay(local_end(remote.vxlan)),
            remote: remote_end(&remote),
            encapsulation: Encapsulation::Vxlan(vni(remote.vxlan)),
            sources: remote.vxlan.sources.get(&remote.address).cloned().unwrap_or_default(),
            inner_dst: None,
        };
        let peers = self.peers().map(|(peer, format)| self.overlay_tunnel_plan(&peer, format));
        let mut plans: Vec<TunnelPlan> = derive::remotes(self.config).map(plan).chain(peers).collect();
        plans.sort_by_key(|plan| plan.port);
        plans
    }

    /// A tunnel's port carries its network untagged, as long packets as the network has and as many stations; it is
    /// isolated if the network's ports are, because those behind it are such ports of another host.
    pub(super) fn tunnel_port_plan(&self, remote: &Remote<'_>) -> PortPlan {
        let id = self.port(&remote.port);
        let spec = &self.config.network[remote.network];
        PortPlan {
            id,
            serial: self.ids.ports.serial(id.0),
            memberships: vec![Membership { domain: self.domain(remote.network), vid: None }],
            mtu: spec.mtu.min(derive::configured_mtu(
                remote.vxlan.underlay_mtu,
                Format::Vxlan,
                remote.vxlan.local,
            )),
            stations_max: spec.stations_max,
            isolation: isolation(!spec.icc),
            horizon: Some(Horizon(self.domain(remote.network).0)),
            mac: None,
            addresses: Vec::new(),
            guards: Guards::default(),
            storm: Storm::default(),
        }
    }

    pub(super) fn tunnel_kind(&self, remote: &Remote<'_>) -> PortKind {
        PortKind::Tunnel(Tunnel {
            network: remote.network.to_owned(),
            underlay: self.underlay(local_end(remote.vxlan)),
            remote: remote_end(remote),
            vni: Some(vni(remote.vxlan)),
            mtu: self.config.network[remote.network].mtu,
            follows_interface: remote.vxlan.underlay_mtu.is_none(),
        })
    }

    pub(super) fn underlay(&self, local: Endpoint) -> UnderlayId {
        UnderlayId(self.ids.underlays.id(&local.to_string()))
    }
}
