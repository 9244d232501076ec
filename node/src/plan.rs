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
    /// A tunnel on a port that the switch does not have or that carries anything but one domain, untagged (its header
    /// stands for the tag); or two tunnels on one port.
    Tunnel(PortId),
}

impl Plan {
    /// Whether the rooms agree with themselves and with each other.
    ///
    /// # Errors
    /// The first contradiction found.
    pub fn check(&self) -> Result<(), PlanError> {
        self.switch.check().map_err(PlanError::Switch)?;
        self.router.check().map_err(PlanError::Router)?;
        for (at, (port, _)) in self.tunnels.iter().enumerate() {
            let known = self.switch.ports.iter().find(|known| known.id == *port);
            let carries_one =
                known.is_some_and(|known| matches!(known.memberships[..], [only] if only.vid.is_none()));
            let is_second = self.tunnels[..at].iter().any(|(earlier, _)| earlier == port);
            if !carries_one || is_second {
                return Err(PlanError::Tunnel(*port));
            }
        }
        Ok(())
    }
}
