//! Tunnels in the terms of node and shell: a socket for each local end, and a port for each remote end.
//!
//! Networks whose tunnels have one local end share its socket; their VNIs keep them apart.

use std::collections::BTreeMap;

use encap::{Encapsulation, Endpoint, Format, TunnelPlan, UnderlayId, UnderlayPlan, Vni};
use vswitch::{Guards, Membership, PortPlan, Storm};
use wire::segment::Egress;

use super::{Compiler, PortKind, Tunnel, isolation};
use crate::derive::{self, Remote};
use crate::spec::{Document, VxlanSpec};

/// The local ends, and what their datagrams carry.
pub(super) fn local_ends(document: &Document) -> BTreeMap<Endpoint, Format> {
    derive::tunnels(document).map(|(_, vxlan)| (local_end(vxlan), Format::Vxlan)).collect()
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
            sources: Vec::new(),
        };
        let mut plans: Vec<TunnelPlan> = derive::remotes(self.config).map(plan).collect();
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
            mtu: spec.mtu,
            stations_max: spec.stations_max,
            isolation: isolation(!spec.icc),
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
        })
    }

    fn underlay(&self, local: Endpoint) -> UnderlayId {
        UnderlayId(self.ids.underlays.id(&local.to_string()))
    }
}
