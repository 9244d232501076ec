//! What a node is to do: the rooms' plans side by side, checked against each other, then frozen.

use alloc::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use vrouter::RouterPlan;
use vswitch::{PortPlan, SwitchPlan};
use wire::PortId;

use encap::{TunnelPlan, UnderlayPlan};

/// All that a node obeys. A change is a new plan, swapped whole by [`crate::Event::Configure`].
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Plan {
    /// Domains, ports and static stations.
    pub switch: SwitchPlan,
    /// The router's own addresses.
    pub router: RouterPlan,
    /// The sockets that datagrams come and go through.
    pub underlays: alloc::vec::Vec<UnderlayPlan>,
    /// Ports whose frames travel inside a tunnel, at most one entry a port.
    pub tunnels: alloc::vec::Vec<TunnelPlan>,
}

/// Why a plan was refused. Nothing of a refused plan is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// By the switch.
    Switch(vswitch::plan::PlanError),
    /// By the router.
    Router(vrouter::PlanError),
    /// Among underlays and tunnels.
    Encap(encap::plan::PlanError),
    /// A tunnel on a port that the switch does not have or that carries anything but one domain, untagged (its header
    /// stands for the tag).
    Tunnel(PortId),
}

impl Plan {
    /// Whether some port takes less than the router says of a network that it is in.
    pub(crate) fn has_narrow_ports(&self) -> bool {
        let gateways = &self.router.gateways;
        let mtus: BTreeMap<_, _> = gateways.iter().map(|gateway| (gateway.domain, gateway.mtu)).collect();
        let is_narrow = |port: &PortPlan| {
            let mut mtus = port.memberships.iter().filter_map(|member| mtus.get(&member.domain));
            mtus.any(|&mtu| port.mtu < mtu)
        };
        self.switch.ports.iter().any(is_narrow)
    }

    /// Whether the rooms agree with themselves and with each other.
    ///
    /// # Errors
    /// The first contradiction found.
    pub fn check(&self) -> Result<(), PlanError> {
        self.switch.check().map_err(PlanError::Switch)?;
        self.router.check().map_err(PlanError::Router)?;
        encap::plan::check(&self.underlays, &self.tunnels).map_err(PlanError::Encap)?;
        let carries_one = |port: &PortPlan| matches!(port.memberships[..], [only] if only.vid.is_none());
        let able: BTreeSet<PortId> =
            self.switch.ports.iter().filter(|port| carries_one(port)).map(|port| port.id).collect();
        match self.tunnels.iter().find(|tunnel| !able.contains(&tunnel.port)) {
            Some(tunnel) => Err(PlanError::Tunnel(tunnel.port)),
            None => Ok(()),
        }
    }
}
