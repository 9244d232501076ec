//! The uplink in the terms of node and shell: a domain of its own with one port, behind which everybody else lives.
//!
//! The port is an interface used raw (`nic`), or a TAP whose other end is the host's stack (`host`); the host then has
//! a route to every network by way of the router.

use std::time::Duration;

use wire::{Cidr, PortId};

use super::{Compiler, Device, Nic, PortKind, unicast};
use crate::derive;
use crate::spec::{NetworkSpec, UplinkKind, UplinkSpec};
use vswitch::{DomainPlan, Guards, Isolation, Membership, PortPlan, ReservedForward, Storm, plan};

impl Compiler<'_> {
    pub(super) fn uplink_domain_plan(&self) -> Option<DomainPlan> {
        self.config.uplink.as_ref().map(|_| DomainPlan {
            id: self.domain(derive::UPLINK),
            ageing: Duration::from_secs(u64::from(NetworkSpec::default().ageing)),
            stations_max: plan::DOMAIN_STATIONS_DEFAULT,
            reserved_forward: ReservedForward(0),
            answers: false,
        })
    }

    /// Many stations may live behind it, so it has no MAC address and no addresses of its own.
    pub(super) fn uplink_port_plan(&self) -> Option<PortPlan> {
        let uplink = self.config.uplink.as_ref()?;
        let id: PortId = self.port(derive::UPLINK);
        Some(PortPlan {
            id,
            serial: self.ids.ports.serial(id.0),
            memberships: vec![Membership { domain: self.domain(derive::UPLINK), vid: None }],
            mtu: uplink.mtu,
            stations_max: plan::PORT_STATIONS_DEFAULT,
            isolation: Isolation::Open,
            horizon: None,
            mac: None,
            addresses: Vec::new(),
            guards: Guards::default(),
            storm: Storm::default(),
        })
    }

    pub(super) fn uplink_kind(&self) -> Option<PortKind> {
        let uplink = self.config.uplink.as_ref()?;
        Some(match uplink.kind {
            UplinkKind::Nic => PortKind::Nic(Nic {
                ifname: uplink.ifname.clone(),
                mac: unicast(derive::uplink_mac(uplink)),
                addresses: uplink.address.clone(),
                mtu: uplink.mtu,
            }),
            UplinkKind::Host => PortKind::Device(Device {
                netns: None,
                ifname: uplink.ifname.clone(),
                mac: unicast(derive::uplink_host_mac(uplink)),
                mtu: uplink.mtu,
                addresses: uplink.host_address.clone(),
                gateways: Vec::new(),
                routes: self.host_routes(uplink),
                tun: None,
            }),
        })
    }

    /// To each network by way of the router's first address of its family.
    fn host_routes(&self, uplink: &UplinkSpec) -> Vec<(Cidr, std::net::IpAddr)> {
        let router = |subnet: &Cidr| {
            let mut own = uplink.address.iter().map(|cidr| cidr.address());
            own.find(|address| address.is_ipv4() == subnet.address().is_ipv4())
        };
        let subnets = self.config.network.values().flat_map(derive::routed_subnets);
        subnets.filter_map(|subnet| Some((subnet, router(&subnet)?))).collect()
    }
}
