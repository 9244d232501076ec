//! What a node is to do: the rooms' plans side by side, checked against each other, then frozen.

use vrouter::RouterPlan;
use vswitch::SwitchPlan;
use wire::PortId;

use encap::TunnelPlan;

/// All that a node obeys. A change is a new plan, swapped whole by [`crate::Event::Configure`].
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Plan {
    /// Domains, ports and static stations.
    pub switch: SwitchPlan,
    /// The router's own addresses.
    pub router: RouterPlan,
    /// Ports whose frames travel inside a tunnel, at most one entry a port.
    pub tunnels: alloc::vec::Vec<(PortId, TunnelPlan)>,
}

/// Why a plan was refused. Nothing of a refused plan is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// By the switch.
    Switch(vswitch::plan::PlanError),
    /// By the router.
    Router(vrouter::PlanError),
    /// A tunnel on a port that the switch does not have, or two tunnels on one port.
    Tunnel(PortId),
}
